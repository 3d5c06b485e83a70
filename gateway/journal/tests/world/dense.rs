//! The journal without padding: a disk that takes the padding out of what the journal writes, so that a frame begins in the page in
//! which the one before it ends.
//!
//! Where a frame went is kept aside and survives everything, and what no frame fills reads as zeros: only the physical pages
//! that two frames share make a difference to the journal with padding.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Access, Disk, DiskFile, DiskLock, Entry};

use super::{FRAMES_AT, PAGE};

/// A frame: where the journal has it, where it is, and its length without padding.
#[derive(Clone, Copy)]
struct Place {
    logical: usize,
    physical: usize,
    length: usize,
}

/// The frames of one file, by rising place.
type Places = Arc<Mutex<Vec<Place>>>;

/// Cloning gives another handle to the same disk.
#[derive(Clone)]
pub struct Dense {
    disk: SimDisk,
    /// By name; a file that was renamed is there under both, as a power cut may undo it.
    files: Arc<Mutex<HashMap<String, Places>>>,
}

impl Dense {
    pub fn new(disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), files: Arc::default() }
    }

    fn file(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if !name.starts_with("hot-") && !name.starts_with("free-") {
            return file;
        }
        let places = Arc::clone(self.files.lock().unwrap().entry(name.to_owned()).or_default());
        Arc::new(DenseFile { disk: self.disk.clone(), file, places })
    }
}

impl Disk for Dense {
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.disk.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.disk.open(name, access)?))
    }

    fn create_zeroed(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create_zeroed(name, bytes)?;
        self.files.lock().unwrap().remove(name);
        Ok(self.file(name, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        if let Some(places) = files.get(from).cloned() {
            files.insert(to.to_owned(), places);
        }
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

struct DenseFile {
    disk: SimDisk,
    file: Arc<dyn DiskFile>,
    places: Places,
}

impl DiskFile for DenseFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let at = at as usize;
        if at < FRAMES_AT {
            return self.file.read_at(buffer, at as u64);
        }
        buffer.fill(0);
        let asked = at..at + buffer.len();
        for place in self.places.lock().unwrap().iter() {
            let from = place.logical.max(asked.start);
            let to = (place.logical + place.length).min(asked.end);
            if from < to {
                let part = &mut buffer[from - at..to - at];
                self.file.read_at(part, (place.physical + from - place.logical) as u64)?;
            }
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.disk.is_cut() {
            // Nothing comes of it.
            return self.file.write_at(bytes, at);
        }
        let at = at as usize;
        let mut places = self.places.lock().unwrap();
        if at < FRAMES_AT {
            // A new head: none of the frames belongs to it.
            places.clear();
            return self.file.write_at(bytes, at as u64);
        }
        assert_eq!(at % PAGE, 0, "the journal writes whole pages behind the heads");
        let end = at + bytes.len();
        let old = places.iter().position(|place| place.logical == at).map(|index| places[index]);
        places.retain(|place| place.logical + place.length <= at || place.logical >= end);
        if !bytes.starts_with(b"LMPFRAME") {
            // Zeros, where nothing was to be read.
            return Ok(());
        }
        let length = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let before = places.iter().filter(|place| place.logical < at);
        let behind = before.map(|place| place.physical + place.length).max().unwrap_or(FRAMES_AT);
        let physical = old.filter(|old| old.length == length).map_or(behind, |old| old.physical);
        places.push(Place { logical: at, physical, length });
        places.sort_by_key(|place| place.logical);
        self.file.write_at(&bytes[..length], physical as u64)
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
        self.file.forget_cache();
    }
}
