//! A card in its stand: served by FUSE, on a loop device, with ext4 on it, mounted. Everything is taken down again on drop.
//!
//! The process that serves FUSE must not wait for its own file system: whatever could block on it (mount, umount, losetup,
//! mkfs) is a program of its own, and nothing in this process touches the mounted folder. If this process dies, the FUSE
//! connection is cut, those programs get errors, and the loop device, which is marked to go with its last user, goes.

use std::fs::create_dir_all;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fuser::BackgroundSession;

use crate::card::Card;
use crate::serve::{DISK, STATS, serve};

/// Whether the card gets a new file system or has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Make an ext4 first.
    New,
    /// Mount what is there; ext4 replays its journal.
    Keep,
}

/// A card in its stand.
pub struct Stand {
    card: Arc<Card>,
    session: Option<BackgroundSession>,
    fuse: PathBuf,
    folder: PathBuf,
    device: Option<String>,
    mounted: bool,
    /// The loop device is detached as soon as it is unmounted.
    goes_by_itself: bool,
    repaired: bool,
}

impl Stand {
    /// Serves the card at `place`/card and mounts its file system at `place`/folder.
    ///
    /// # Errors
    /// What could not be done, with what the program said. Everything is taken down again.
    pub fn put_up(card: Arc<Card>, place: &Path, format: Format) -> Result<Self> {
        let (fuse, folder) = (place.join("card"), place.join("folder"));
        for path in [&fuse, &folder] {
            create_dir_all(path).with_context(|| format!("can't make {}", path.display()))?;
        }
        let session = serve(Arc::clone(&card), &fuse).context("can't mount FUSE (root and /dev/fuse are needed)")?;
        let mut stand = Self {
            card,
            session: Some(session),
            fuse,
            folder,
            device: None,
            mounted: false,
            goes_by_itself: false,
            repaired: false,
        };
        stand.attach(format)?;
        Ok(stand)
    }

    fn attach(&mut self, format: Format) -> Result<()> {
        let disk = self.fuse.join(DISK);
        let disk = disk.to_str().context("the folder's name is not UTF-8")?;
        let device = run("losetup", &["--direct-io=on", "--find", "--show", disk])?.trim().to_owned();
        ensure!(device.starts_with("/dev/"), "losetup named no device: {device:?}");
        self.device = Some(device.clone());
        if format == Format::New {
            let eager = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
            run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-m", "0", "-E", eager, &device])?;
        }
        let folder = self.folder.to_str().context("the folder's name is not UTF-8")?;
        let mount = || run("mount", &["-t", "ext4", "-o", "noatime", &device, folder]);
        if let Err(error) = mount() {
            // As a machine does when it starts: what is safe to repair is repaired without a question.
            run("e2fsck", &["-p", &device]).with_context(|| format!("{error:#}"))?;
            mount()?;
            self.repaired = true;
        }
        self.mounted = true;
        // It is in use, so it stays until it is unmounted, and goes then: also if nobody is left to detach it.
        run("losetup", &["--detach", &device])?;
        self.goes_by_itself = true;
        Ok(())
    }

    /// The mounted file system. Not for this process: see the module.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file system had to be repaired before it could be mounted.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// The card's figures, as a file.
    #[must_use]
    pub fn stats(&self) -> PathBuf {
        self.fuse.join(STATS)
    }

    /// The loop device.
    #[must_use]
    pub fn device(&self) -> &str {
        self.device.as_deref().unwrap_or_default()
    }

    /// The card.
    #[must_use]
    pub const fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// What is left over, with the reason. Nothing can be tried again.
    pub fn take_down(mut self) -> Result<()> {
        self.clear()
    }

    fn clear(&mut self) -> Result<()> {
        // Each is tried, whatever became of those before.
        let folder = if std::mem::take(&mut self.mounted) { unmount(&self.folder) } else { Ok(()) };
        let device = self.device.take().map_or(Ok(()), |device| self.detach(&device));
        let card = match self.session.take() {
            Some(session) => unmount(&self.fuse).and_then(|()| session.join().context("the FUSE session failed")),
            None => Ok(()),
        };
        folder.and(device).and(card)
    }

    fn detach(&self, device: &str) -> Result<()> {
        if !self.goes_by_itself {
            run("losetup", &["--detach", device])?;
        }
        wait_until_detached(device, &self.fuse.join(DISK))
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            crate::say(&format!("taking the card down: {error:#}"));
        }
    }
}

/// What can be told before anything is tried.
///
/// # Errors
/// What is missing, by its name.
#[expect(clippy::disallowed_methods, reason = "devices are opened to see whether they can be; no journal data")]
pub fn check_machine() -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "root is missing: mounting needs it");
    for device in ["/dev/fuse", "/dev/loop-control"] {
        let open = std::fs::OpenOptions::new().read(true).write(true).open(device);
        open.with_context(|| format!("{device} is missing or may not be used"))?;
    }
    for (program, package) in
        [("losetup", "mount"), ("mount", "mount"), ("umount", "mount"), ("mkfs.ext4", "e2fsprogs")]
    {
        let asked = command(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.with_context(|| format!("{program} is missing (Debian's package {package})"))?;
    }
    Ok(())
}

/// Tries until it is not busy, for ten seconds. What is busy even then is unmounted as soon as nobody uses it.
///
/// # Errors
/// It can't be unmounted.
pub fn unmount(at: &Path) -> Result<()> {
    let path = at.to_str().context("the folder's name is not UTF-8")?;
    let mut last = None;
    for _ in 0..100 {
        match run("umount", &[path]) {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
        if !is_mounted(at)? {
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
    run("umount", &["--lazy", path])?;
    match last {
        Some(error) => Err(error.context("still in use after ten seconds; it is unmounted once nobody uses it")),
        None => Ok(()),
    }
}

fn is_mounted(at: &Path) -> Result<bool> {
    let at = at.to_str().context("the folder's name is not UTF-8")?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").context("can't read /proc/self/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(at)))
}

/// Waits until the device no longer has this file. It may have another's by then, so it is not detached here again.
fn wait_until_detached(device: &str, disk: &Path) -> Result<()> {
    let name = device.trim_start_matches("/dev/");
    let backing = PathBuf::from(format!("/sys/block/{name}/loop/backing_file"));
    for _ in 0..250 {
        let file = std::fs::read_to_string(&backing).unwrap_or_default();
        if Path::new(file.trim_end()) != disk {
            return Ok(());
        }
        sleep(Duration::from_millis(20));
    }
    bail!("{device} stays attached to {}", disk.display());
}

/// Runs a program to its end and gives what it printed.
fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let line = || format!("{program} {}", arguments.join(" "));
    let output = command(program).args(arguments).stdin(Stdio::null()).output().with_context(line)?;
    // The e2fsck of all tells what it found on stdout.
    let said = [&*output.stdout, b" ", &*output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // Of e2fsck, 1 means that all was repaired.
    let well = output.status.success() || (program == "e2fsck" && output.status.code() == Some(1));
    ensure!(well, "{}: {} ({})", line(), said.trim(), output.status);
    String::from_utf8(output.stdout).map_err(io::Error::other).with_context(line)
}

/// In a group of its own, so that ctrl-c at a terminal does not interrupt what is being taken down.
fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    // Debian puts these where an ordinary PATH does not lead.
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C").process_group(0);
    command
}
