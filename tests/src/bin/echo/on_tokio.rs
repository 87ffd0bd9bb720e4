//! The same daemon on tokio.
use std::time::Duration;

use handoff_tokio::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

/// More than any test opens.
const MOST: u32 = 100_000;

struct AsyncEcho(AsyncConnections);

async fn answer(mut client: AsyncConnection) -> HookResult<()> {
    let mut line = String::new();
    while client.next_request().await? {
        line.clear();
        client.read_line(&mut line).await?;
        let (word, size) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), "0"));
        let reply = format!("{word}{}\n", "x".repeat(size.parse()?));
        client.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}

impl AsyncDaemon for AsyncEcho {
    async fn open(&mut self, _: Option<&Sealed>) -> HookResult<ReadinessSnapshot> {
        Ok(ReadinessSnapshot::healthy(Vec::new()))
    }

    async fn serve(&mut self, mut listeners: AsyncListeners) -> HookResult<()> {
        self.0.serve(&mut listeners, "echo", answer)
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

    fn snapshot_state(&self) -> StateSnapshot {
        StateSnapshot::new(self.0.counts().open(), Vec::new())
    }

    fn connections(&self) -> Option<&AsyncConnections> {
        Some(&self.0)
    }
}

#[tokio::main]
pub(crate) async fn run(options: Options) -> Result<()> {
    let connections = Connections::new(Patience::default())?.limit(MOST);
    handoff_tokio::run(options, AsyncEcho(connections.into())).await.map(drop)
}
