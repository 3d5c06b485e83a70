//! A disk in memory that behaves as badly as disks may, and repeatably: the same seed gives the same bytes.
//!
//! **A power cut** ([`SimDisk::power_cut`]). Of what was written since a file's last flush any 512-byte sectors survive, in any
//! version that was written since, whatever their order: all, none, the first, the last, whole writes, or by the toss of a
//! coin for each sector. A 4 KiB page that was being written may come back as garbage. A file that was growing may end at any
//! of its new sectors, with zeros where none came. Of the directory changes since the last directory flush some first ones
//! survive (a journalling file system keeps their order), the rest are undone.
//!
//! **Where.** Every read, write, flush and directory change is one I/O. [`SimDisk::cut_after`] lets the power fail at a chosen
//! one, [`SimDisk::cut_in`] at a chosen one of a [`Phase`]: it and all later ones give an error until [`SimDisk::power_cut`].
//! Even that one I/O may have had its effect, in part.
//!
//! **Faults** ([`Faults`], [`SimDisk::fail_reads`]). Reads, writes and flushes fail. After a failed flush the cache counts as clean,
//! as Linux has it: it shows what was written, some of it never reaches the platter, and whoever asks to forget the cache
//! ([`crate::DiskFile::forget_cache`]) or restarts the machine sees the platter. Writes land in another page of their file, and reads give
//! an older version of a sector: that is damage, and may cost data.

mod faults;
mod node;
mod phase;
mod serve;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::random::SplitMix64;
use crate::sync::Mutex;
use crate::waiting::hold;

pub use faults::{Faults, Times};
pub use phase::Phase;

use faults::BadPlace;
use node::Node;
use phase::Io;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

type NodeId = usize;
type Names = BTreeMap<String, NodeId>;

/// When the power fails.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// At the I/O after so many more.
    After(u64),
    /// At the I/O of this phase after so many more of it.
    In(Phase, u64),
}

struct State {
    random: SplitMix64,
    nodes: Vec<Node>,
    names: Names,
    durable_names: Names,
    /// Directories as they were after each change since the last directory flush.
    pending: Vec<Names>,
    /// What the last directory change was part of.
    dir_phase: Option<Phase>,
    locked: bool,
    opening: bool,
    faults: Faults,
    bad_places: Vec<BadPlace>,
    ios: u64,
    flushes: u64,
    cut: Option<Cut>,
    /// The power is off since an I/O that was part of this.
    off: Option<Option<Phase>>,
    /// Rises with each restart: file handles of before are dead.
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
            names: Names::new(),
            durable_names: Names::new(),
            pending: Vec::new(),
            dir_phase: None,
            locked: false,
            opening: false,
            faults: Faults::default(),
            bad_places: Vec::new(),
            ios: 0,
            flushes: 0,
            cut: None,
            off: None,
            life: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Switches faults on and off.
    pub fn set_faults(&self, faults: Faults) {
        hold(&self.state).faults = faults;
    }

    /// The faults that are left: those that happen once are taken back when they have.
    #[must_use]
    pub fn faults(&self) -> Faults {
        hold(&self.state).faults
    }

    /// Reads that touch these bytes of the file fail, whatever its name will be.
    pub fn fail_reads(&self, name: &str, bytes: Range<u64>, times: Times) {
        let mut state = hold(&self.state);
        if let Some(node) = state.names.get(name).copied() {
            state.bad_places.push(BadPlace { node, bytes, times });
        }
    }

    /// All places read again.
    pub fn mend_reads(&self) {
        hold(&self.state).bad_places.clear();
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

    /// Whether the journal is being opened: I/Os are [`Phase::Recovery`] then.
    pub fn set_opening(&self, opening: bool) {
        hold(&self.state).opening = opening;
    }

    /// Lets the power fail at the I/O that comes after `ios` more.
    pub fn cut_after(&self, ios: u64) {
        hold(&self.state).cut = Some(Cut::After(ios));
    }

    /// Lets the power fail at the I/O of a phase that comes after `ios` more of it.
    pub fn cut_in(&self, phase: Phase, ios: u64) {
        hold(&self.state).cut = Some(Cut::In(phase, ios));
    }

    /// The power stays, unless it has failed already.
    pub fn stay(&self) {
        hold(&self.state).cut = None;
    }

    /// Whether the power has failed since it was last restored.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        hold(&self.state).off.is_some()
    }

    /// What the I/O was part of that the power failed in.
    #[must_use]
    pub fn cut_phase(&self) -> Option<Phase> {
        hold(&self.state).off.flatten()
    }

    /// The power fails, if it has not yet, and comes back: what was not flushed is lost, in part, at random. All open files are dead.
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
            node.lose(!state.faults.no_garbage, &mut state.random);
        }
        state.restart();
    }

    /// The machine goes on, the process is gone: nothing is lost. All open files are dead.
    pub fn process_killed(&self) {
        hold(&self.state).restart();
    }

    /// Changes a byte of a file under the running system, as a failing card would.
    pub fn flip(&self, name: &str, at: usize, mask: u8) {
        let mut guard = hold(&self.state);
        let state = &mut *guard;
        if let Some(node) = state.names.get(name).and_then(|id| state.nodes.get_mut(*id)) {
            node.flip(at, mask);
        }
    }

    /// All files' bytes as a reader sees them, by name.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = hold(&self.state);
        let content = |id: &NodeId| state.nodes.get(*id).map_or_else(Vec::new, |node| node.cache().to_vec());
        state.names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
    }

    /// The size of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        hold(&self.state).bytes()
    }

    /// The files' names.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        hold(&self.state).names.keys().cloned().collect()
    }

    /// Whether there is a file whose name begins so.
    #[must_use]
    pub fn has(&self, prefix: &str) -> bool {
        let state = hold(&self.state);
        state.names.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// The CRC32C of all files' names and bytes: of two runs that are the same, the same.
    #[must_use]
    pub fn digest(&self) -> u32 {
        let state = hold(&self.state);
        state.names.iter().fold(0, |crc, (name, id)| {
            let crc = crc32c::crc32c_append(crc, name.as_bytes());
            crc32c::crc32c_append(crc, state.nodes.get(*id).map_or(&[], Node::cache))
        })
    }
}

impl State {
    /// Counts an I/O. An error if the power is gone; with `true` it fails in this one.
    fn io(&mut self, io: Io<'_>, name: &str) -> Result<(), bool> {
        self.ios += 1;
        if self.off.is_some() {
            return Err(false);
        }
        let phase = if self.opening { Some(Phase::Recovery) } else { phase::of(io, name, self.dir_phase) };
        let left = match &mut self.cut {
            Some(Cut::After(left)) => left,
            Some(Cut::In(wanted, left)) if Some(*wanted) == phase => left,
            _ => return Ok(()),
        };
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        (self.cut, self.off) = (None, Some(phase));
        Err(true)
    }

    fn restart(&mut self) {
        (self.cut, self.off, self.locked, self.opening) = (None, None, false, false);
        self.life += 1;
        for (id, node) in self.nodes.iter_mut().enumerate() {
            let named = [&self.names, &self.durable_names].into_iter().chain(&self.pending);
            if !named.flat_map(BTreeMap::values).any(|named| *named == id) {
                node.forget();
            }
        }
    }

    fn bytes(&self) -> u64 {
        self.names.values().filter_map(|id| self.nodes.get(*id)).map(|node| node.cache().len() as u64).sum()
    }
}

#[cfg(test)]
mod tests;
