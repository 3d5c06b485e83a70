//! Who waits for a disk on the processor that serves its interrupts is woken sooner than who waits on another one. So the floor and the
//! journal's writer are given the same processor, the one where the floor is faster; whoever makes the events has the others, as in the
//! gateway.

use std::fs;
use std::time::Duration;

use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::Outcome;
use crate::floor::Floor;

/// The threads of a journal that wait for its disk.
const WRITER: &str = "journal-writer";
/// Commits by which the processors are told apart.
const TRIED: usize = 100;
const ROUNDS: usize = 3;

/// The processors of this machine, shared out.
pub(crate) struct Processors {
    shared: Option<Shared>,
}

struct Shared {
    all: CpuSet,
    disk: CpuSet,
    others: CpuSet,
}

impl Processors {
    /// Tries out where the floor is fastest. With one processor there is nothing to share out.
    pub(crate) fn share_out(floor: &mut Floor) -> Outcome<Self> {
        let all = sched_getaffinity(None)?;
        let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
        let mut fastest: Option<(Duration, usize)> = None;
        for _ in 0..ROUNDS {
            for cpu in &usable {
                sched_setaffinity(None, &only(*cpu))?;
                let tried = (floor.run(1, TRIED)?.elapsed, *cpu);
                fastest = Some(fastest.map_or(tried, |best| best.min(tried)));
            }
        }
        sched_setaffinity(None, &all)?;
        let Some((_, cpu)) = fastest.filter(|_| usable.len() > 1) else { return Ok(Self { shared: None }) };
        println!("  the floor and the journal's writer have processor {cpu}, who makes the events has the others");
        let mut others = all;
        others.unset(cpu);
        Ok(Self { shared: Some(Shared { all, disk: only(cpu), others }) })
    }

    /// Puts the writers of all journals where the floor is measured.
    pub(crate) fn place_writers(&self) -> Outcome<()> {
        let Some(Shared { disk, .. }) = &self.shared else { return Ok(()) };
        for task in fs::read_dir("/proc/self/task")? {
            let task = task?;
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let thread = task.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
            if name.trim() == WRITER {
                sched_setaffinity(Some(thread.ok_or("a thread without a number")?), disk)?;
            }
        }
        Ok(())
    }

    /// Does `work` where the floor is measured.
    pub(crate) fn at_the_disk<T>(&self, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        self.at(|shared| &shared.disk, work)
    }

    /// Does `work` elsewhere.
    pub(crate) fn aside<T>(&self, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        self.at(|shared| &shared.others, work)
    }

    fn at<T>(&self, place: impl FnOnce(&Shared) -> &CpuSet, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let Some(shared) = &self.shared else { return work() };
        sched_setaffinity(None, place(shared))?;
        let result = work();
        sched_setaffinity(None, &shared.all)?;
        result
    }
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}
