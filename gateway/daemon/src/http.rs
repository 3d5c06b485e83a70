//! `/metrics`, `/healthz`, `/clients` and `/status`, over HTTP on the address of `[http] listen` (by default loopback).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::command::clients::{Answer, PATH};
use crate::command::status;
use crate::exposition::Exposition;
use crate::health::Report;

/// What the pages show, made anew for each request.
pub(crate) trait Pages: Send + Sync + 'static {
    /// All metrics.
    fn metrics(&self) -> Exposition;
    /// How each part gets on.
    fn health(&self) -> Report;
    /// Who is connected, and who was refused.
    fn clients(&self) -> Answer;
    /// How far the cluster is behind.
    fn status(&self) -> status::Answer;
}

/// Binds the port, so that a taken one is an error at the start.
pub(crate) async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

/// Serves until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, pages: Arc<dyn Pages>) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route(PATH, get(clients))
        .route(status::PATH, get(behind))
        .with_state(pages);
    axum::serve(listener, routes).await
}

async fn metrics(State(pages): State<Arc<dyn Pages>>) -> impl IntoResponse {
    match pages.metrics().encode() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n")),
    }
}

async fn health(State(pages): State<Arc<dyn Pages>>) -> impl IntoResponse {
    let report = pages.health();
    let status = if report.well() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{}\n", report.json()))
}

async fn behind(State(pages): State<Arc<dyn Pages>>) -> impl IntoResponse {
    match serde_json::to_string(&pages.status()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n")),
    }
}

async fn clients(State(pages): State<Arc<dyn Pages>>) -> impl IntoResponse {
    match serde_json::to_string(&pages.clients()) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], format!("{error}\n")),
    }
}
