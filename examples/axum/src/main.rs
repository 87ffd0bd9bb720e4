//! A web application on axum: plain.rs is killed when it is replaced, main.rs goes on. docs/guide-async.md has the difference.
use std::error::Error;

use axum::Router;
use axum::routing::{get, post};
use handoff_tokio::{AsyncServer, Options, run};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/", get(async || format!("process {}\n", std::process::id())))
        .route("/echo", post(async |body: String| body));
    let [data, control] = [1, 2].map(|at| std::env::args().nth(at).unwrap_or_default());
    let options = Options::new(data, control).listener("http", "127.0.0.1:3000");
    let server = AsyncServer::new("http", move |listener| {
        let drained = listener.drained();
        axum::serve(listener, app.clone()).with_graceful_shutdown(drained)
    });
    run(options, server).await?;
    Ok(())
}
