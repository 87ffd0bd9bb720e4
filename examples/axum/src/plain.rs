//! A web application on axum: plain.rs is killed when it is replaced, main.rs goes on. docs/guide-async.md has the difference.
use std::error::Error;

use axum::Router;
use axum::routing::{get, post};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/", get(async || format!("process {}\n", std::process::id())))
        .route("/echo", post(async |body: String| body));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await?;
    Ok(())
}
