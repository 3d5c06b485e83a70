//! The load of `lamppost bench mqtt`, in a process of its own: up to tens of thousands of MQTT clients on one thread and one epoll
//! set. Frames are made ahead, a window's worth goes out by one write, and PUBACKs are four bytes to compare: what this process costs
//! is told beside what it measured, so that one can see that it was not the bottleneck.

mod client;

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::time::Instant;

use super::order::{Answer, Done, Order};
use client::{Client, State};

/// A server that says nothing for this long has failed the benchmark.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long one `epoll_wait` may take, so that deadlines are seen.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
const EVENTS_AT_ONCE: usize = 1024;
const READ_BYTES: usize = 64 << 10;
/// QoS 0 publishes written at a time.
const FLOOD_AT_ONCE: usize = 32;
/// A client that was refused this often has no server.
const TRIES_MAX: u64 = 20;
/// How long a client waits to be let in before it tries again, as devices do.
const ARRIVAL_MAX: Duration = Duration::from_secs(5);
/// Longer ones count as this.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Does what standard input says until it ends.
pub(crate) fn serve(orders: impl BufRead, out: &mut impl Write) -> anyhow::Result<()> {
    let mut load = Load::new()?;
    for line in orders.lines() {
        let order = serde_json::from_str(&line?)?;
        let answer = match load.obey(&order) {
            Ok(done) => Answer::Done(done),
            Err(error) => Answer::Failed(format!("{error:#}")),
        };
        writeln!(out, "{}", serde_json::to_string(&answer)?)?;
        out.flush()?;
    }
    Ok(())
}

struct Load {
    epoll: std::os::fd::OwnedFd,
    server: Option<SocketAddr>,
    clients: Vec<Client>,
    began: Instant,
    scratch: Vec<u8>,
    input: Vec<u8>,
}

impl Load {
    fn new() -> anyhow::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let (clients, scratch, input) = (Vec::new(), Vec::new(), vec![0; READ_BYTES]);
        Ok(Self { epoll, server: None, clients, began: Instant::now(), scratch, input })
    }

    fn obey(&mut self, order: &Order) -> anyhow::Result<Done> {
        let (began, cpu_before) = (Instant::now(), cpu());
        let done = match order {
            Order::Connect { server, clients, at_once } => {
                self.server = Some(*server);
                let from = u32::try_from(self.clients.len())?;
                self.clients.extend((from..*clients).map(Client::new));
                self.arrive(*at_once as usize)?
            }
            Order::Publish { clients, window, event_bytes, millis } => {
                self.publish(*clients as usize, usize::from(*window), *event_bytes, Duration::from_millis(*millis))?
            }
            Order::Flood { clients, event_bytes, millis, finish } => {
                self.flood(*clients as usize, *event_bytes, Duration::from_millis(*millis), *finish)?
            }
            Order::SubscribeAndSleep { clients } => self.subscribe_and_sleep(*clients as usize)?,
            Order::Storm => {
                self.clients.iter_mut().for_each(Client::vanish);
                self.arrive(usize::MAX)?
            }
            Order::Leave => {
                self.clients.clear();
                Done::default()
            }
        };
        Ok(Done { seconds: began.elapsed().as_secs_f64(), cpu_seconds: (cpu() - cpu_before).as_secs_f64(), ..done })
    }

    /// Connects whoever is away.
    fn arrive(&mut self, at_once: usize) -> anyhow::Result<Done> {
        let server = self.server.context("no server was named")?;
        let mut away: Vec<usize> = (0..self.clients.len())
            .filter(|at| self.clients.get(*at).is_some_and(|it| it.state == State::Away))
            .collect();
        away.reverse();
        let (mut arriving, mut tried_again, mut heard) = (0, 0, Instant::now());
        let patience = TRIES_MAX * away.len() as u64;
        let mut begun: VecDeque<(Instant, usize, u64)> = VecDeque::new();
        while arriving > 0 || !away.is_empty() {
            while let Some(at) = away.pop_if(|_| arriving < at_once) {
                let client = self.clients.get_mut(at).context("a client has no place")?;
                let socket = client.arrive(server).with_context(|| format!("client {at} can't connect to {server}"))?;
                let interest = EventFlags::IN | EventFlags::OUT;
                epoll::add(&self.epoll, socket, EventData::new_u64(at as u64), interest)?;
                begun.push_back((Instant::now(), at, client.arrivals()));
                arriving += 1;
            }
            while let Some((_, at, number)) = begun.front().filter(|(since, ..)| since.elapsed() > ARRIVAL_MAX).copied()
            {
                begun.pop_front();
                let Some(client) = self.clients.get_mut(at) else { continue };
                if client.state == State::Arriving && client.arrivals() == number {
                    client.vanish();
                    (arriving, tried_again) = (arriving - 1, tried_again + 1);
                    away.push(at);
                }
            }
            for at in self.wait()? {
                let Some(client) = self.clients.get_mut(at).filter(|it| it.state == State::Arriving) else { continue };
                let got_on = if client.is_unsent() { client.send_rest() } else { Ok(()) };
                match got_on.and_then(|()| client.read(&mut self.input, |_| {})) {
                    Ok(_) if client.state == State::Connected => {
                        arriving -= 1;
                        heard = Instant::now();
                        self.watch(at, false)?;
                    }
                    Ok(_) => self.watch(at, self.clients.get(at).is_some_and(Client::is_unsent))?,
                    Err(error) => {
                        tried_again += 1;
                        anyhow::ensure!(tried_again <= patience, "client {at} is not let in: {error}");
                        client.vanish();
                        arriving -= 1;
                        away.push(at);
                    }
                }
            }
            anyhow::ensure!(heard.elapsed() < SILENCE_MAX, "{arriving} clients were not let in within {SILENCE_MAX:?}");
        }
        Ok(Done { tried_again, ..Done::default() })
    }

    fn publish(&mut self, count: usize, window: usize, event_bytes: u32, span: Duration) -> anyhow::Result<Done> {
        let started = Instant::now();
        let mut latency_us: Histogram<u64> = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        let (mut sent, mut open, mut heard) = (0_u64, 0_u64, started);
        for at in 0..count {
            let now_us = self.now_us();
            let client = self.clients.get_mut(at).context("more publishers than clients")?;
            client.prepare(event_bytes, true);
            client.publish(window, now_us, &mut self.scratch)?;
            (sent, open) = (sent + window as u64, open + window as u64);
            if client.is_unsent() {
                self.watch(at, true)?;
            }
        }
        while open > 0 {
            for at in self.wait()? {
                let now_us = self.now_us();
                let client = self.clients.get_mut(at).context("an event of nobody")?;
                let was_unsent = client.is_unsent();
                if was_unsent {
                    client.send_rest()?;
                }
                let mut acknowledged = 0;
                client
                    .read(&mut self.input, |sent_us| {
                        acknowledged += 1;
                        latency_us.saturating_record(now_us.saturating_sub(sent_us).max(1));
                    })
                    .with_context(|| format!("client {at}"))?;
                open -= acknowledged;
                if acknowledged > 0 && started.elapsed() < span {
                    let more = window - client.unacknowledged();
                    client.publish(more, now_us, &mut self.scratch)?;
                    (sent, open) = (sent + more as u64, open + more as u64);
                }
                if client.is_unsent() != was_unsent {
                    let unsent = client.is_unsent();
                    self.watch(at, unsent)?;
                }
                heard = Instant::now();
            }
            anyhow::ensure!(
                heard.elapsed() < SILENCE_MAX,
                "{open} publishes were not acknowledged within {SILENCE_MAX:?}"
            );
        }
        let quantile = |of: f64| latency_us.value_at_quantile(of);
        let (p50_us, p99_us, p999_us) = (quantile(0.5), quantile(0.99), quantile(0.999));
        Ok(Done { sent, acknowledged: latency_us.len(), p50_us, p99_us, p999_us, ..Done::default() })
    }

    fn flood(&mut self, count: usize, event_bytes: u32, span: Duration, finish: bool) -> anyhow::Result<Done> {
        let started = Instant::now();
        for (at, client) in self.clients.iter_mut().enumerate().take(count) {
            client.prepare(event_bytes, false);
            epoll::modify(&self.epoll, client.socket()?, EventData::new_u64(at as u64), EventFlags::OUT)?;
        }
        let (mut sent, mut unsent) = (0, 0);
        while started.elapsed() < span || (finish && unsent > 0) {
            let still = started.elapsed() < span;
            for at in self.wait()? {
                let client = self.clients.get_mut(at).context("an event of nobody")?;
                if client.is_unsent() {
                    client.send_rest()?;
                    unsent -= usize::from(!client.is_unsent());
                }
                if still && client.flood(FLOOD_AT_ONCE, &mut self.scratch)? {
                    sent += FLOOD_AT_ONCE as u64;
                    unsent += usize::from(client.is_unsent());
                }
            }
            anyhow::ensure!(started.elapsed() < span + SILENCE_MAX, "{unsent} clients can't write any more");
        }
        (0..count).try_for_each(|at| self.watch(at, false))?;
        Ok(Done { sent, ..Done::default() })
    }

    fn subscribe_and_sleep(&mut self, count: usize) -> anyhow::Result<Done> {
        let first = self.clients.len().saturating_sub(count);
        for client in self.clients.iter_mut().skip(first) {
            client.subscribe_to_all()?;
            epoll::delete(&self.epoll, client.socket()?)?;
        }
        Ok(Done::default())
    }

    /// Whoever can be read or written now.
    fn wait(&self) -> anyhow::Result<Vec<usize>> {
        let mut room = [MaybeUninit::<Event>::uninit(); EVENTS_AT_ONCE];
        let (events, _) = match epoll::wait(&self.epoll, &mut room, Some(&TICK)) {
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            other => other?,
        };
        Ok(events.iter().map(|event| usize::try_from(event.data.u64()).unwrap_or(usize::MAX)).collect())
    }

    fn watch(&self, at: usize, writable: bool) -> anyhow::Result<()> {
        let client = self.clients.get(at).context("a client has no place")?;
        let interest = if writable { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, client.socket()?, EventData::new_u64(at as u64), interest)?)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// This process's time on a processor.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or_default(), u32::try_from(spent.tv_nsec).unwrap_or_default())
}
