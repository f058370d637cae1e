//! ```text
//! cargo run --manifest-path examples/parse_server/Cargo.toml
//! curl -d '1 + 2 + 3' localhost:8000/parse     6
//! curl -d crash localhost:8000/parse           the worker of the task parse (pid 4711) died: signal: 6 (SIGABRT)
//! curl localhost:8000/statistics
//! ```

use std::error::Error;
use std::time::Duration;

use parse_server::{Service, router};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = Service::new(4, Duration::from_secs(1))?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router(service)).await?;
    Ok(())
}
