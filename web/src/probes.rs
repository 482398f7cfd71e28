//! What load balancers and monitors ask: is the process alive, may work come, what was counted.

use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

/// Who knows the answers; asked for each request, so neither may wait.
pub struct Probes {
    /// Whether work may come, or why it should not, in plain words.
    pub readiness: Box<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// What was counted, in the text format of Prometheus.
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
}

/// Answers `/healthz`, `/readyz` and `/metrics` until `until` is over.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: std::net::TcpListener,
    probes: Arc<Probes>,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    axum::serve(listener, routes(probes)).with_graceful_shutdown(until).await
}

fn routes(probes: Arc<Probes>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics))
        .with_state(probes)
}

async fn readiness(State(probes): State<Arc<Probes>>) -> impl IntoResponse {
    match (probes.readiness)() {
        Ok(words) => (StatusCode::OK, format!("{words}\n")),
        Err(words) => (StatusCode::SERVICE_UNAVAILABLE, format!("{words}\n")),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (probes.metrics)())
}
