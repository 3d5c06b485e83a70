//! The gateway that is measured: a process of its own, so that its memory and its time on the processors are its own.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, sleep};

use crate::scrape;

/// How long the gateway may take to be ready.
const READY_MAX: Duration = Duration::from_secs(20);

/// A folder for one benchmark, gone with it.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    /// In `dir`, or where temporary files are.
    pub(crate) fn within(dir: Option<&Path>) -> anyhow::Result<Self> {
        let named = tempfile::Builder::new().prefix("lamppost-bench-").to_owned();
        match dir {
            Some(dir) => named.tempdir_in(dir).with_context(|| {
                format!("{} can't be used; --dir names a folder that exists and can be written", dir.display())
            }),
            None => named.tempdir().context("no temporary folder can be made; --dir names another place"),
        }
        .map(Self)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A server in a process of its own; it ends with this.
pub(crate) struct Server(Child);

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Time on the processors, user and system.
    pub(crate) cpu: Duration,
    /// Resident memory now, KiB.
    pub(crate) rss_kib: u64,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.map(Self).with_context(|| format!("{} can't be started", program.display()))
    }

    /// `utime` and `stime` of proc(5), `VmRSS` likewise.
    pub(crate) fn used(&self) -> anyhow::Result<Used> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The name may hold anything, so fields are counted from behind it: the 14th and 15th of all.
        let (_, fields) = stat.rsplit_once(") ").context("no name in /proc/…/stat")?;
        let ticks = |at: usize| fields.split(' ').nth(at - 3).and_then(|field| field.parse::<u64>().ok());
        let ticks = ticks(14).zip(ticks(15)).map(|(user, system)| user + system).context("no times in /proc/…/stat")?;
        let cpu = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1));
        Ok(Used { cpu, rss_kib: self.status_kib("VmRSS:")? })
    }

    /// `VmHWM` of proc(5).
    pub(crate) fn peak_rss_kib(&self) -> anyhow::Result<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> anyhow::Result<u64> {
        status_kib(&self.0.id().to_string(), name)
    }

    /// Whether it still runs.
    fn runs(&mut self) -> anyhow::Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the server ended at once: {status}; what it said stands above"),
        }
    }

    /// Waits until it takes connections.
    pub(crate) async fn listens(&mut self, at: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while Instant::now() < deadline {
            if tokio::net::TcpStream::connect(at).await.is_ok() {
                return Ok(());
            }
            self.runs()?;
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("the server did not listen on {at} within {READY_MAX:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone and reaped afterwards.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn status_kib(process: &str, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a process that has ended")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

/// This process's own `VmHWM`.
pub(crate) fn own_peak_rss_kib() -> anyhow::Result<u64> {
    status_kib("self", "VmHWM:")
}

/// This process's time on the processors.
pub(crate) fn cpu() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or_default(), u32::try_from(spent.tv_nsec).unwrap_or_default())
}

/// The gateway itself.
pub(crate) struct Gateway {
    pub(crate) server: Server,
    http: SocketAddr,
}

impl Gateway {
    /// Starts `lamppost run` with this configuration, which names `http`.
    pub(crate) fn start(dir: &Path, text: &str, http: SocketAddr) -> anyhow::Result<Self> {
        let path = write_down(dir, "lamppost.toml", text)?;
        let program = std::env::current_exe().context("where is this program?")?;
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(path).env("RUST_LOG", "error");
        // As under systemd.
        command.env("MALLOC_ARENA_MAX", "2");
        Ok(Self { server: Server::start(&mut command)?, http })
    }

    /// Waits until it is well.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while Instant::now() < deadline {
            if matches!(scrape::get(self.http, "/healthz").await, Ok((200, _))) {
                return Ok(());
            }
            self.server.runs()?;
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the gateway was not ready within {READY_MAX:?}")
    }

    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        Ok(scrape::get(self.http, "/metrics").await?.1)
    }
}

/// A configuration that lives as long as the benchmark.
pub(crate) fn write_down(dir: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    #[expect(clippy::disallowed_methods, reason = "it need not outlive a crash")]
    std::fs::File::create(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// What the journal lies on: the file system and its device, from mountinfo (proc(5)).
pub(crate) fn disk_of(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let longest = fields.filter(|(_, at, _)| dir.starts_with(at)).max_by_key(|(_, at, _)| at.len());
    longest.map_or_else(|| "an unknown disk".to_owned(), |(device, _, kind)| format!("{kind} on {device}"))
}
