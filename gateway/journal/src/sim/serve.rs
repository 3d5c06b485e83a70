//! The simulated disk as the journal sees it.

use std::io;
use std::sync::Arc;

use super::phase::Io;
use super::{Node, NodeId, PAGE, SimDisk, State, phase};
use crate::disk::{Access, Disk, DiskFile, DiskLock, Entry};
use crate::sync::Mutex;
use crate::waiting::hold;

fn power_cut() -> io::Error {
    io::Error::other("the power is cut")
}

/// EIO, whose kind has no name.
fn refused() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl State {
    fn find(&self, name: &str) -> io::Result<NodeId> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn look(&mut self) -> io::Result<()> {
        self.io(Io::Look, "").map_err(|_| power_cut())
    }

    /// A change of the directory. If the power fails in it, it may still be found done.
    fn change(&mut self, io: Io<'_>, name: &str, change: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        let power = self.io(io, name);
        if power == Err(false) {
            return Err(power_cut());
        }
        change(self)?;
        self.dir_phase = phase::of(io, name, None);
        self.pending.push(self.names.clone());
        power.map_err(|_| power_cut())
    }

    fn has_room(&self, more: u64) -> io::Result<()> {
        let full = self.faults.capacity_bytes.is_some_and(|capacity| self.bytes() + more > capacity);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Some room has become free. `beside` are bytes that the state does not know of now.
    fn freed(&mut self, beside: u64) {
        if self.faults.others_take_room {
            let taken = self.bytes() + beside + self.faults.others_leave_bytes;
            let taken = self.faults.capacity_bytes.unwrap_or(u64::MAX).min(taken);
            self.faults.capacity_bytes = Some(taken);
        }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.random.chance(1, one_in)
    }
}

impl SimDisk {
    fn file(&self, id: NodeId, life: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { state: Arc::clone(&self.state), id, life })
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut state = hold(&self.state);
        state.look()?;
        let bytes = |id: &NodeId| state.nodes.get(*id).map_or(0, |node| node.cache().len() as u64);
        Ok(state.names.iter().map(|(name, id)| Entry { name: name.clone(), bytes: bytes(id) }).collect())
    }

    fn open(&self, name: &str, _access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = hold(&self.state);
        state.look()?;
        Ok(self.file(state.find(name)?, state.life))
    }

    fn create_zeroed(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = hold(&self.state);
        let size = usize::try_from(bytes).map_err(io::Error::other)?;
        let id = state.nodes.len();
        state.change(Io::Create, name, |state| {
            state.has_room(bytes)?;
            // If the power fails in it, it may be there and too short.
            let size = if state.off.is_some() { state.random.below(bytes + 1) as usize } else { size };
            state.nodes.push(Node::zeroed(name, size));
            state.names.insert(name.to_owned(), id);
            Ok(())
        })?;
        state.flushes += 1;
        Ok(self.file(id, state.life))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        hold(&self.state).change(Io::Rename { to }, from, |state| {
            let id = state.find(from)?;
            state.names.remove(from);
            if state.names.insert(to.to_owned(), id).is_some() {
                state.freed(0);
            }
            if let Some(node) = state.nodes.get_mut(id) {
                to.clone_into(&mut node.name);
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        hold(&self.state).change(Io::Remove, name, |state| {
            state.find(name)?;
            state.names.remove(name);
            state.freed(0);
            Ok(())
        })
    }

    fn flush_dir(&self) -> io::Result<()> {
        let mut state = hold(&self.state);
        state.io(Io::FlushDir, "").map_err(|_| power_cut())?;
        if std::mem::take(&mut state.faults.fail_next_dir_flush) {
            return Err(refused());
        }
        if std::mem::take(&mut state.faults.fill_next_dir_flush) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !state.faults.ignore_flushes {
            state.durable_names = state.names.clone();
            state.pending.clear();
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<DiskLock>> {
        let mut state = hold(&self.state);
        state.look()?;
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
    /// Counts an I/O on a file of the present life, and does it if the power is there or fails only in it (`true`).
    fn with<T>(&self, io: Io<'_>, act: impl FnOnce(&mut State, &mut Node, bool) -> io::Result<T>) -> io::Result<T> {
        let mut guard = hold(&self.state);
        let state = &mut *guard;
        if state.life != self.life {
            return Err(io::Error::other("the machine has restarted since this file was opened"));
        }
        let mut node = std::mem::take(state.nodes.get_mut(self.id).ok_or(io::ErrorKind::NotFound)?);
        let power = state.io(io, &node.name);
        let done = match power {
            Err(false) => Err(power_cut()),
            power => {
                act(state, &mut node, power.is_err()).and_then(|done| power.map(|()| done).map_err(|_| power_cut()))
            }
        };
        if let Some(place) = state.nodes.get_mut(self.id) {
            *place = node;
        }
        done
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let bytes = at..at.saturating_add(buffer.len() as u64);
        self.with(Io::Look, |state, node, _| {
            let bad = state.bad_places.iter_mut().any(|place| place.hit(self.id, &bytes));
            node.reads_spared = node.reads_spared.saturating_sub(1);
            if !bad && node.reads_spared == 0 && state.chance(state.faults.read_error_one_in) {
                node.reads_spared = super::Faults::READS_BETWEEN + 1;
                return Err(refused());
            }
            if bad {
                return Err(refused());
            }
            let stale = state.chance(state.faults.stale_one_in).then_some(&mut state.random);
            let at = usize::try_from(at).map_err(io::Error::other)?;
            node.read(buffer, at, stale).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        })
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        self.with(Io::Write, |state, node, _| {
            // The state knows of all nodes but this one.
            // What was written once has its place.
            if at + bytes.len() > node.cache().len() {
                state.has_room((at + bytes.len()) as u64)?;
            }
            if std::mem::take(&mut state.faults.fail_next_write) {
                node.write(bytes.split_at(bytes.len() / 2).0, at);
                return Err(refused());
            }
            if bytes.len() >= PAGE && state.chance(state.faults.misdirect_one_in) {
                node.write_astray(bytes, at, &mut state.random);
            } else {
                node.write(bytes, at);
            }
            Ok(())
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.with(Io::Flush, |state, node, cut| {
            if std::mem::take(&mut state.faults.fail_next_flush) {
                node.fail_flush(&mut state.random);
                return Err(refused());
            }
            // What the power fails in is for the power cut to decide.
            if !state.faults.ignore_flushes && !cut {
                node.flush(state.faults.stale_one_in > 0);
            }
            state.flushes += 1;
            Ok(())
        })
    }

    fn shorten(&self, bytes: u64) -> io::Result<()> {
        let size = usize::try_from(bytes).map_err(io::Error::other)?;
        self.with(Io::Write, |state, node, _| {
            node.shorten(size);
            // The state knows of all nodes but this one.
            state.freed(node.cache().len() as u64);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(Io::Look, |_, node, _| Ok(node.cache().len() as u64))
    }

    fn forget_cache(&self) {
        let mut state = hold(&self.state);
        if state.life == self.life
            && let Some(node) = state.nodes.get_mut(self.id)
        {
            node.forget_cache();
        }
    }
}
