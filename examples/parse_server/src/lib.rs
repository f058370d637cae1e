//! A web server that parses untrusted input with an untrusted parser.
//!
//! The parser runs in the worker processes of a pool. Whatever it does there — crash, hang, panic, eat memory — costs
//! the request that made it do so, and no other: the worker is replaced, and the handler answers with a status that
//! says what happened. A request whose worker was killed by something else is tried again.

pub mod parser;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use kettle::pool::{Statistics, TaskError};
use kettle::{Pool, StartError};

/// How much memory a worker may take, in bytes.
pub const MEMORY: u64 = 256 << 20;
/// How often a document is tried again whose worker died.
pub const RETRIES: u32 = 5;

pub struct Service {
    pool: Pool,
    patience: Duration,
}

impl Service {
    /// Starts the workers. A document may take as long as `patience`.
    pub fn new(workers: usize, patience: Duration) -> Result<Arc<Self>, StartError> {
        let pool = Pool::builder().name("parser").workers(workers).max_memory_per_worker(MEMORY).build()?;
        Ok(Arc::new(Self { pool, patience }))
    }

    pub fn statistics(&self) -> Statistics {
        self.pool.statistics()
    }
}

pub fn router(service: Arc<Service>) -> Router {
    Router::new().route("/parse", post(parse)).route("/statistics", get(statistics)).with_state(service)
}

async fn statistics(State(service): State<Arc<Service>>) -> String {
    format!("{:?}\n", service.statistics())
}

/// No thread waits here: the handle of a task is a future. If the client goes away, the handler is dropped, and the task
/// is cancelled with it.
async fn parse(State(service): State<Arc<Service>>, document: String) -> (StatusCode, String) {
    let tasks = service.pool.task_timeout(service.patience).retries(RETRIES);
    let handle = match tasks.submit(parser::parse::call(document)) {
        Ok(handle) => handle.cancel_on_drop(),
        Err(e) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")),
    };
    match handle.await {
        Ok(Ok(value)) => (StatusCode::OK, format!("{value}\n")),
        Ok(Err(e)) => (StatusCode::BAD_REQUEST, format!("{e}\n")),
        Err(e) => (status_of(&e), format!("{e}\n")),
    }
}

fn status_of(e: &TaskError) -> StatusCode {
    match e {
        TaskError::WorkerDied(death) if death.too_big => StatusCode::PAYLOAD_TOO_LARGE,
        TaskError::Panicked(_) | TaskError::WorkerDied(_) => StatusCode::UNPROCESSABLE_ENTITY,
        TaskError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
