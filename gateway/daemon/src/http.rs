//! `/metrics`, `/healthz`, `/clients` and `/status`, over HTTP on the address of `[http] listen` (by default loopback).

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use crate::command::clients::{Answer, PATH};
use crate::command::status;
use crate::exposition::Exposition;
use crate::health::Report;

/// Connections at once. Others wait in the kernel's queue: each that is accepted takes a descriptor and memory from the gateway.
const CONNECTIONS_MAX: usize = 32;
/// How long one lasts at most, whatever it does: who says nothing would keep its place for ever.
const CONNECTION_MAX: Duration = Duration::from_secs(30);

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
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    axum::serve(Bounded { listener, places, lasts: CONNECTION_MAX }, routes).await
}

/// A listener that lets in so many at once as it has places, each for a while.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    lasts: Duration,
}

impl Listener for Bounded {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        // It is never closed. First the place: what was accepted is served.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Placed { stream, over: Box::pin(sleep(self.lasts)), _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its place.
struct Placed {
    stream: TcpStream,
    over: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Placed {
    /// An error once its time is over; else whoever asks is woken then.
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.over.as_mut().poll(cx).is_ready() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Placed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape;

    #[tokio::test]
    async fn connections_are_bounded_and_who_says_nothing_keeps_nobody_out_for_long() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = Arc::new(Semaphore::new(2));
        let bounded = Bounded { listener, places: Arc::clone(&places), lasts: Duration::from_millis(200) };
        let routes = Router::new().route("/", get(|| async { "here" }));
        let served = tokio::spawn(async move { axum::serve(bounded, routes).await });
        let mut silent = Vec::new();
        for _ in 0..6 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..2_000 {
            if places.available_permits() == 0 {
                break;
            }
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(places.available_permits(), 0, "two are in");
        let (status, body) = scrape::get(address, "/").await.unwrap();
        assert_eq!((status, body.as_str()), (200, "here"));
        served.abort();
    }
}
