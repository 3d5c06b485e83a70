//! A disk in memory that behaves as badly as disks may, and repeatably: the same seed gives the same bytes.
//!
//! On a power cut ([`SimDisk::power_cut`]) each 512-byte sector written since the last flush of its file survives or not, by the toss of a
//! coin; and a 4 KiB page that was being written may come back as garbage. Of the directory changes since the last directory flush
//! some first ones survive (a journalling file system keeps their order), the rest are undone.
//!
//! Every read, write, flush and directory change is one I/O. [`SimDisk::cut_after`] lets the power fail at a chosen one: it and all
//! later ones give an error until [`SimDisk::power_cut`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use crate::disk::{Access, Disk, DiskFile, DiskLock, Entry};
use crate::random::SplitMix64;
use crate::waiting::hold;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// Faults that can be switched on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Flushes say that they are done, and do nothing: what a bad card or a journal without flushes does.
    pub ignore_flushes: bool,
    /// The next flush of a file fails.
    pub fail_next_flush: bool,
    /// The next write fails, half done.
    pub fail_next_write: bool,
    /// Files may take no more than this in all; beyond it is ENOSPC.
    pub capacity_bytes: Option<u64>,
}

#[derive(Default)]
struct Node {
    /// What the running system reads.
    now: Vec<u8>,
    /// What is on the platter for certain.
    durable: Vec<u8>,
    /// Sectors in which the two may differ.
    dirty: BTreeSet<usize>,
}

type NodeId = usize;

struct State {
    random: SplitMix64,
    nodes: Vec<Node>,
    names: BTreeMap<String, NodeId>,
    durable_names: BTreeMap<String, NodeId>,
    /// Directories as they were after each change since the last directory flush.
    pending: Vec<BTreeMap<String, NodeId>>,
    locked: bool,
    faults: Faults,
    ios: u64,
    cut_at: Option<u64>,
    flushes: u64,
    /// Rises with each power cut: file handles of before are dead.
    life: u64,
}

/// See the module. Cloning gives another handle to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: SplitMix64::new(seed),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending: Vec::new(),
            locked: false,
            faults: Faults::default(),
            ios: 0,
            cut_at: None,
            flushes: 0,
            life: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Switches faults on and off.
    pub fn set_faults(&self, faults: Faults) {
        hold(&self.state).faults = faults;
    }

    /// The I/Os so far.
    #[must_use]
    pub fn ios(&self) -> u64 {
        hold(&self.state).ios
    }

    /// The flushes of files so far.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        hold(&self.state).flushes
    }

    /// Lets the power fail at the I/O that comes after `ios` more.
    pub fn cut_after(&self, ios: u64) {
        let mut state = hold(&self.state);
        state.cut_at = Some(state.ios + ios);
    }

    /// Whether the power has failed since it was last restored.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let state = hold(&self.state);
        state.cut_at.is_some_and(|cut| state.ios > cut)
    }

    /// The power fails and comes back: what was not flushed is lost, in part, at random. All open files are dead.
    pub fn power_cut(&self) {
        let mut guard = hold(&self.state);
        let state = &mut *guard;
        let kept = state.random.below(state.pending.len() as u64 + 1) as usize;
        if let Some(names) = kept.checked_sub(1).and_then(|index| state.pending.get(index)) {
            state.durable_names = names.clone();
        }
        state.pending.clear();
        state.names = state.durable_names.clone();
        for node in &mut state.nodes {
            node.lose(&mut state.random);
        }
        (state.cut_at, state.locked) = (None, false);
        state.life += 1;
    }

    /// The machine goes on, the process is gone: nothing is lost. All open files are dead.
    pub fn process_killed(&self) {
        let mut state = hold(&self.state);
        (state.cut_at, state.locked) = (None, false);
        state.life += 1;
    }

    /// Changes a byte of a file under the running system, as a failing card would.
    pub fn flip(&self, name: &str, at: usize, mask: u8) {
        let mut guard = hold(&self.state);
        let state = &mut *guard;
        let Some(node) = state.names.get(name).and_then(|id| state.nodes.get_mut(*id)) else { return };
        for bytes in [&mut node.now, &mut node.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
    }

    /// All files' bytes as a reader sees them, by name.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = hold(&self.state);
        let content = |id: &NodeId| state.nodes.get(*id).map_or_else(Vec::new, |node| node.now.clone());
        state.names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
    }
}

impl Node {
    fn lose(&mut self, random: &mut SplitMix64) {
        let mut garbled = BTreeSet::new();
        for sector in std::mem::take(&mut self.dirty) {
            let page = sector * SECTOR / PAGE;
            if random.chance(1, 16) {
                garbled.insert(page);
            }
            if random.chance(1, 2) {
                self.copy(sector);
            }
        }
        for page in garbled {
            let end = ((page + 1) * PAGE).min(self.durable.len());
            for byte in self.durable.get_mut(page * PAGE..end).into_iter().flatten() {
                *byte = random.next_u64() as u8;
            }
        }
        self.now = self.durable.clone();
    }

    /// The sector reaches the platter.
    fn copy(&mut self, sector: usize) {
        let (start, end) = (sector * SECTOR, ((sector + 1) * SECTOR).min(self.now.len()));
        let Some(bytes) = self.now.get(start..end) else { return };
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        if let Some(place) = self.durable.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
    }

    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        if let Some(place) = self.now.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
        self.dirty.extend(at / SECTOR..end.div_ceil(SECTOR));
    }

    fn flush(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.copy(sector);
        }
        self.durable.resize(self.now.len(), 0);
    }
}

impl State {
    /// Counts an I/O; the power may be gone.
    fn io(&mut self) -> io::Result<()> {
        self.ios += 1;
        if self.cut_at.is_some_and(|cut| self.ios > cut) { Err(io::Error::other("the power is cut")) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> io::Result<NodeId> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn changed(&mut self) {
        self.pending.push(self.names.clone());
    }

    fn bytes(&self) -> u64 {
        let sizes = self.names.values().filter_map(|id| self.nodes.get(*id)).map(|node| node.now.len() as u64);
        sizes.sum()
    }

    fn has_room(&self, more: u64) -> io::Result<()> {
        let full = self.faults.capacity_bytes.is_some_and(|capacity| self.bytes() + more > capacity);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut state = hold(&self.state);
        state.io()?;
        let bytes = |id: &NodeId| state.nodes.get(*id).map_or(0, |node| node.now.len() as u64);
        Ok(state.names.iter().map(|(name, id)| Entry { name: name.clone(), bytes: bytes(id) }).collect())
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = hold(&self.state);
        state.io()?;
        let id = state.find(name)?;
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), id, life: state.life }))
    }

    fn create_zeroed(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = hold(&self.state);
        state.io()?;
        state.has_room(bytes)?;
        let size = usize::try_from(bytes).map_err(io::Error::other)?;
        let node = Node { now: vec![0; size], durable: vec![0; size], dirty: BTreeSet::new() };
        state.nodes.push(node);
        let id = state.nodes.len() - 1;
        state.names.insert(name.to_owned(), id);
        state.changed();
        state.flushes += 1;
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), id, life: state.life }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.io()?;
        let id = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        state.changed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.io()?;
        state.find(name)?;
        state.names.remove(name);
        state.changed();
        Ok(())
    }

    fn flush_dir(&self) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.io()?;
        if !state.faults.ignore_flushes {
            state.durable_names = state.names.clone();
            state.pending.clear();
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        let mut state = hold(&self.state);
        state.io()?;
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(SimLock { state: Arc::clone(&self.state), life: state.life })))
    }

    fn place(&self) -> String {
        "a simulated disk".to_owned()
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = hold(&self.state);
        if state.life == self.life {
            state.locked = false;
        }
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    id: NodeId,
    life: u64,
}

impl SimFile {
    /// Counts an I/O on a file of the present life.
    fn with<T>(&self, io: impl FnOnce(&mut Faults, &mut Node) -> io::Result<T>) -> io::Result<T> {
        let mut guard = hold(&self.state);
        let state = &mut *guard;
        if state.life != self.life {
            return Err(io::Error::other("the machine has restarted since this file was opened"));
        }
        let power = state.io();
        let node = state.nodes.get_mut(self.id).ok_or(io::ErrorKind::NotFound)?;
        power.and_then(|()| io(&mut state.faults, node))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.with(|_, node| {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let bytes = node.now.get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let place = usize::try_from(at).map_err(io::Error::other)?;
        {
            // A write that the power fails in may still reach the disk in part.
            let mut state = hold(&self.state);
            let growth = {
                let size = state.nodes.get(self.id).map_or(0, |node| node.now.len());
                (place + bytes.len()).saturating_sub(size) as u64
            };
            state.has_room(growth)?;
            let last = state.life == self.life && state.cut_at == Some(state.ios);
            if let Some(node) = state.nodes.get_mut(self.id).filter(|_| last) {
                node.write(bytes, place);
            }
        }
        self.with(|faults, node| {
            if std::mem::take(&mut faults.fail_next_write) {
                let half = bytes.split_at(bytes.len() / 2).0;
                node.write(half, place);
                return Err(io::Error::other("a write failed, as asked for"));
            }
            node.write(bytes, place);
            Ok(())
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.with(|faults, node| {
            if std::mem::take(&mut faults.fail_next_flush) {
                return Err(io::Error::other("a flush failed, as asked for"));
            }
            if !faults.ignore_flushes {
                node.flush();
            }
            Ok(())
        })?;
        hold(&self.state).flushes += 1;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|_, node| Ok(node.now.len() as u64))
    }

    fn forget_cache(&self) {}
}
