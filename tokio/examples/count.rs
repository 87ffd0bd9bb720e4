//! Counts the lines of each connection: `count DATA_DIR CONTROL_SOCKET`. A connection and its count outlive a swap.
use std::time::Duration;

use handoff_tokio::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

struct Count(AsyncConnections);

async fn count(mut client: AsyncConnection) -> HookResult<()> {
    let mut lines = u64::from_le_bytes(client.session().try_into().unwrap_or_default());
    let mut line = String::new();
    while client.next_request().await? {
        line.clear();
        client.read_line(&mut line).await?; // fails if a drain keeps the connection
        if !line.ends_with('\n') {
            break;
        }
        lines += 1; // the request is whole: act only now
        client.set_session(lines.to_le_bytes().into()); // before the reply
        client.write_all(format!("{lines} {line}").as_bytes()).await?;
    }
    Ok(())
}

impl AsyncDaemon for Count {
    async fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        Ok(ReadinessSnapshot::healthy(Vec::new()))
    }
    async fn serve(&mut self, mut listeners: AsyncListeners) -> HookResult<()> {
        self.0.serve(&mut listeners, "lines", count)
    }
    async fn drain(&mut self, grace: Duration) -> HookResult<DrainReport> {
        Ok(self.0.drain(grace).await.into())
    }
    async fn seal(&mut self, _: &mut dyn FnMut(SealProgress)) -> HookResult<SealReport> {
        Ok(SealReport::default())
    }
    async fn resume_after_abort(&mut self, _: ResumeFrom) -> HookResult<()> {
        self.0.resume();
        Ok(())
    }
    fn connections(&self) -> Option<&AsyncConnections> {
        Some(&self.0)
    }
    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::new(self.0.counts().open(), Vec::new())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let [data, control] = [1, 2].map(|at| std::env::args().nth(at).unwrap_or_default());
    let options = Options::new(data, control).listener("lines", "127.0.0.1:7000");
    run(options, Count(AsyncConnections::new(Patience::default())?)).await.map(drop)
}
