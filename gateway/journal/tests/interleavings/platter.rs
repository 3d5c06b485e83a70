//! A simulated disk that remembers, beside it, what is on the platter for certain: bytes whose flush was begun after they were
//! written and has come back, under names whose directory flush has.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use lamppost_journal::sim::SimDisk;
use lamppost_journal::{Access, Disk, DiskFile, DiskLock, Entry};

/// The bytes of all files by name.
pub type Image = BTreeMap<String, Vec<u8>>;

type Id = usize;

struct Written {
    certain: Vec<u8>,
    /// Where and what was written since.
    uncertain: Vec<(u64, Vec<u8>)>,
}

#[derive(Default)]
struct Books {
    /// By id.
    files: Vec<Written>,
    names: BTreeMap<String, Id>,
    /// Changes of names so far.
    changes: u64,
    names_certain: BTreeMap<String, Id>,
    /// The changes of which that is.
    changes_certain: u64,
}

impl Books {
    fn rename(&mut self, from: &str, to: Option<&str>) {
        let id = self.names.remove(from).unwrap();
        if let Some(to) = to {
            self.names.insert(to.to_owned(), id);
        }
        self.changes += 1;
    }
}

/// See the module. Its own lock is the standard library's, and never held over a point of scheduling.
pub struct Platter {
    disk: SimDisk,
    books: Arc<Mutex<Books>>,
}

impl Platter {
    pub fn new(disk: &SimDisk) -> Arc<Self> {
        Arc::new(Self { disk: disk.clone(), books: Arc::default() })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// What a power cut would leave now, if it took all that it may.
    pub fn image(&self) -> Image {
        let books = self.books();
        books.names_certain.iter().map(|(name, id)| (name.clone(), books.files[*id].certain.clone())).collect()
    }

    fn file(&self, name: &str, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let id = self.books().names[name];
        Arc::new(PlatterFile { file, books: Arc::clone(&self.books), id })
    }
}

/// A disk with these files.
pub fn restored(image: &Image) -> SimDisk {
    let disk = SimDisk::new(0);
    for (name, bytes) in image {
        let file = disk.create_zeroed(name, bytes.len() as u64).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.flush().unwrap();
    }
    disk.flush_dir().unwrap();
    disk
}

struct PlatterFile {
    file: Arc<dyn DiskFile>,
    books: Arc<Mutex<Books>>,
    id: Id,
}

impl DiskFile for PlatterFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)?;
        self.books.lock().unwrap().files[self.id].uncertain.push((at, bytes.to_vec()));
        Ok(())
    }

    /// What a failed flush was asked to make certain is lost, as it is with a page cache that drops it.
    fn flush(&self) -> io::Result<()> {
        let writes = self.books.lock().unwrap().files[self.id].uncertain.len();
        let flushed = self.file.flush();
        let Written { certain, uncertain } = &mut self.books.lock().unwrap().files[self.id];
        for (at, bytes) in uncertain.drain(..writes).filter(|_| flushed.is_ok()) {
            let (from, to) = (at as usize, at as usize + bytes.len());
            certain.resize(certain.len().max(to), 0);
            certain[from..to].copy_from_slice(&bytes);
        }
        flushed
    }

    /// Not certain before a flush; nothing asks for one.
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

impl Disk for Platter {
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.disk.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.disk.open(name, access)?))
    }

    fn create_zeroed(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create_zeroed(name, bytes)?;
        {
            let mut books = self.books();
            books.files.push(Written { certain: vec![0; bytes as usize], uncertain: Vec::new() });
            let id = books.files.len() - 1;
            books.names.insert(name.to_owned(), id);
            books.changes += 1;
        }
        Ok(self.file(name, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)?;
        self.books().rename(from, Some(to));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)?;
        self.books().rename(name, None);
        Ok(())
    }

    fn flush_dir(&self) -> io::Result<()> {
        let (changes, names) = {
            let books = self.books();
            (books.changes, books.names.clone())
        };
        self.disk.flush_dir()?;
        let mut books = self.books();
        // Another flush, begun later, may have come back before.
        if changes > books.changes_certain {
            (books.changes_certain, books.names_certain) = (changes, names);
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        self.disk.lock()
    }

    fn place(&self) -> String {
        self.disk.place()
    }
}
