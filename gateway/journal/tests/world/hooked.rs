//! A simulated disk with hooks, for faults that the simulation itself does not have.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Access, Disk, DiskFile, DiskLock, Entry};

type OnWrite = Box<dyn FnMut(&[u8]) + Send>;
type OnList = Box<dyn FnMut() + Send>;
type OnRead = Box<dyn FnMut(&str, u64, usize) -> io::Result<()> + Send>;

/// What happens before a read and before a write, and behind a listing. A hook is taken out while it runs: it may itself use the disk, unnoticed, and one
/// that panics does not poison the next. Afterwards it is put back, unless it has been replaced meanwhile; taken away it can't be
/// while it runs.
#[derive(Default)]
pub struct Hooks {
    pub on_write: Mutex<Option<OnWrite>>,
    /// Gets file, byte and length.
    pub on_read: Mutex<Option<OnRead>>,
    /// Runs once a folder has been listed, before who asked gets to see it.
    pub on_list: Mutex<Option<OnList>>,
    /// How often a file was asked to forget what is cached of it.
    pub forgotten: AtomicUsize,
}

pub struct Hooked {
    pub disk: SimDisk,
    pub hooks: Arc<Hooks>,
}

impl Hooked {
    pub fn new(disk: &SimDisk) -> (Arc<Self>, Arc<Hooks>) {
        let hooks = Arc::new(Hooks::default());
        (Arc::new(Self { disk: disk.clone(), hooks: Arc::clone(&hooks) }), hooks)
    }

    fn file(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(HookedFile { name: name.to_owned(), file, hooks: Arc::clone(&self.hooks) })
    }
}

fn put_back<T>(slot: &Mutex<Option<T>>, hook: T) {
    slot.lock().unwrap().get_or_insert(hook);
}

struct HookedFile {
    name: String,
    file: Arc<dyn DiskFile>,
    hooks: Arc<Hooks>,
}

impl DiskFile for HookedFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let hook = self.hooks.on_read.lock().unwrap().take();
        if let Some(mut hook) = hook {
            let done = hook(&self.name, at, buffer.len());
            put_back(&self.hooks.on_read, hook);
            done?;
        }
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let hook = self.hooks.on_write.lock().unwrap().take();
        if let Some(mut hook) = hook {
            hook(bytes);
            put_back(&self.hooks.on_write, hook);
        }
        self.file.write_at(bytes, at)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.flush()
    }

    fn shorten(&self, bytes: u64) -> io::Result<()> {
        self.file.shorten(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn forget_cache(&self) {
        self.hooks.forgotten.fetch_add(1, Ordering::Relaxed);
        self.file.forget_cache();
    }
}

impl Disk for Hooked {
    fn list(&self) -> io::Result<Vec<Entry>> {
        let entries = self.disk.list();
        let hook = self.hooks.on_list.lock().unwrap().take();
        if let Some(mut hook) = hook {
            hook();
            put_back(&self.hooks.on_list, hook);
        }
        entries
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.disk.open(name, access)?))
    }

    fn create_zeroed(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.disk.create_zeroed(name, bytes)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn flush_dir(&self) -> io::Result<()> {
        self.disk.flush_dir()
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        self.disk.lock()
    }

    fn place(&self) -> String {
        self.disk.place()
    }
}
