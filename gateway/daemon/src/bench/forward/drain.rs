//! How fast a backlog goes to the cluster: a gateway with a full journal is started, and its own count of what was delivered is read.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::configuration;
use crate::bench::process::{Gateway, free_port};
use crate::scrape;

/// How often the gateway is asked: often enough beside seconds, and seldom enough not to be a load.
const LOOK: Duration = Duration::from_millis(50);
/// A backlog of which nothing is delivered for so long does not drain.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// What one drain gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drained {
    pub(super) events_per_s: f64,
    pub(super) cpu_us_per_event: f64,
    pub(super) peak_rss_kib: u64,
    /// Bytes to the brokers for each event.
    pub(super) wire_bytes_per_event: f64,
}

/// Drains the journal in `dir`, from the first delivery that is seen to the last.
pub(super) async fn drain(dir: &Path, text: &configuration::Text, events: u64) -> anyhow::Result<Drained> {
    let http = free_port()?;
    let mut gateway = Gateway::start(dir, &text.with_http(http), http)?;
    gateway.ready().await?;
    let (mut first, mut last) = (None, (0.0, Instant::now()));
    #[expect(clippy::cast_precision_loss, reason = "a count below 2^53")]
    let wanted = events as f64;
    let end = loop {
        let metrics = gateway.metrics().await?;
        let (delivered, at) = (scrape::sum(&metrics, "lamppost_forward_delivered_total"), Instant::now());
        if first.is_none() && delivered > 0.0 {
            first = Some((delivered, at, gateway.server.used()?.cpu));
        }
        if delivered > last.0 {
            last = (delivered, at);
        }
        if delivered >= wanted && scrape::sum(&metrics, "lamppost_forward_backlog_events") == 0.0 {
            break (delivered, at, gateway.server.used()?.cpu);
        }
        anyhow::ensure!(last.1.elapsed() < STANDSTILL_MAX, "{delivered} of {events} events, and then nothing more");
        sleep(LOOK).await;
    };
    let begun = first.unwrap_or(end);
    let (drained, took) = (end.0 - begun.0, end.1.duration_since(begun.1).as_secs_f64());
    anyhow::ensure!(took > 0.0, "{events} events are too few to be timed: raise --events");
    let peak_rss_kib = gateway.server.peak_rss_kib()?;
    let cpu = end.2.saturating_sub(begun.2).as_secs_f64();
    // What was written is told by librdkafka now and then.
    sleep(text.statistics_every).await;
    let wire = scrape::sum(&gateway.metrics().await?, "lamppost_forward_wire_bytes_total");
    Ok(Drained {
        events_per_s: drained / took,
        cpu_us_per_event: cpu * 1e6 / drained,
        peak_rss_kib,
        wire_bytes_per_event: wire / end.0,
    })
}
