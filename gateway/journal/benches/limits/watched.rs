//! The real folder with a watch on it: how long the writer spends in which call, so that what is lost against the floor has a name.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lamppost_journal::{Access, Directory, Disk, DiskFile, DiskLock, Entry};

/// What is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    Write,
    Flush,
    Folder,
}

impl Call {
    pub(crate) const ALL: [Self; 3] = [Self::Write, Self::Flush, Self::Folder];
}

/// Nanoseconds and calls of the writer's thread (by name, or by hand of whoever called), and of the others.
#[derive(Default)]
pub(crate) struct Watch {
    writer: [AtomicU64; 3],
    others: [AtomicU64; 3],
    calls: [AtomicU64; 3],
    frames: AtomicU64,
}

impl Watch {
    fn over<T>(&self, call: Call, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let spent = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let by_keeper = std::thread::current().name() == Some("journal-keeper");
        let times = if by_keeper { &self.others } else { &self.writer };
        times[call as usize].fetch_add(spent, Ordering::Relaxed);
        self.calls[call as usize].fetch_add(1, Ordering::Relaxed);
        result
    }

    /// What the writer has spent in such calls.
    pub(crate) fn writer(&self, call: Call) -> Duration {
        Duration::from_nanos(self.writer[call as usize].load(Ordering::Relaxed))
    }

    /// What the keeper has spent in all of them.
    pub(crate) fn keeper(&self) -> Duration {
        Duration::from_nanos(self.others.iter().map(|time| time.load(Ordering::Relaxed)).sum())
    }

    /// How many frames were begun to be written.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Acquire)
    }

    /// How many such calls there were.
    pub(crate) fn calls(&self, call: Call) -> u64 {
        self.calls[call as usize].load(Ordering::Relaxed)
    }
}

/// A folder that is watched.
pub(crate) struct Watched {
    folder: Directory,
    flushes: bool,
    pub(crate) watch: Arc<Watch>,
}

impl Watched {
    pub(crate) fn new(folder: Directory) -> Self {
        Self { folder, flushes: true, watch: Arc::default() }
    }

    /// Files are not flushed: where only bytes are counted.
    pub(crate) fn without_flushes(folder: Directory) -> Self {
        Self { flushes: false, ..Self::new(folder) }
    }

    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { file, flushes: self.flushes, watch: Arc::clone(&self.watch) })
    }
}

impl Disk for Watched {
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.folder.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.folder.open(name, access)?))
    }

    fn create_zeroed(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.watch.over(Call::Folder, || self.folder.create_zeroed(name, bytes))?;
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.watch.over(Call::Folder, || self.folder.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.watch.over(Call::Folder, || self.folder.remove(name))
    }

    fn flush_dir(&self) -> io::Result<()> {
        if self.flushes { self.watch.over(Call::Folder, || self.folder.flush_dir()) } else { Ok(()) }
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        self.folder.lock()
    }

    fn place(&self) -> String {
        self.folder.place()
    }
}

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    flushes: bool,
    watch: Arc<Watch>,
}

impl DiskFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.watch.over(Call::Write, || self.file.write_at(bytes, at))
    }

    fn write_pieces_at(&self, pieces: &[&[u8]], at: u64) -> io::Result<()> {
        self.watch.frames.fetch_add(1, Ordering::Release);
        self.watch.over(Call::Write, || self.file.write_pieces_at(pieces, at))
    }

    fn flush(&self) -> io::Result<()> {
        if self.flushes { self.watch.over(Call::Flush, || self.file.flush()) } else { Ok(()) }
    }

    fn start_flush(&self, at: u64, bytes: u64) {
        if self.flushes {
            self.watch.over(Call::Flush, || self.file.start_flush(at, bytes));
        }
    }

    fn shorten(&self, bytes: u64) -> io::Result<()> {
        self.file.shorten(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn forget_cache(&self) {
        self.file.forget_cache();
    }

    fn will_read(&self, at: u64, bytes: u64) {
        self.file.will_read(at, bytes);
    }
}
