//! When a commit is due: by linger, by size, for want of room, or for cursors that found nothing to ride.

use std::time::Duration;

use lamppost_event::{Cursor, Group, JournalStopped};

use crate::book::Book;
use crate::gather::Gathering;
use crate::options::Priority;
use crate::shared::Shared;
use crate::stats::count;
use crate::waiting::hold;

impl Shared {
    /// Sets the time at which the gathering commit is due, and wakes the writer where that matters.
    pub(crate) fn hurry(&self, gather: &mut Gathering, linger_ms: u64) {
        let at_once = linger_ms == 0 || gather.bytes() >= self.options.linger_bytes;
        let sooner = linger_ms < gather.linger_ms;
        if sooner {
            gather.linger_ms = linger_ms;
            let due = self.now_ms().saturating_add(linger_ms);
            gather.due = Some(gather.due.map_or(due, |before| before.min(due)));
        }
        let wake = sooner || (at_once && !gather.at_once);
        gather.at_once |= at_once;
        if wake {
            self.wake_writer.notify_one();
        }
    }

    /// There was no room: what has gathered goes now, and the keeper looks for space.
    pub(crate) fn refused(&self) {
        count(&self.counters.refused_full, 1);
        let mut gather = hold(&self.gather);
        let full_frame = !gather.is_empty() && !gather.at_once;
        gather.at_once |= full_frame;
        drop(gather);
        if full_frame {
            self.wake_writer.notify_one();
        }
        self.ask_keeper();
    }

    /// Whether it is worth trying again, if only to hear that the journal has stopped.
    pub(crate) fn has_room(&self, priority: Priority) -> bool {
        self.stopped.get().is_some() || hold(&self.gather).has_room(self.options.left_to_others(priority))
    }

    pub(crate) fn commit_cursors(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.change_cursors(&|book| book.move_cursors(group, cursors))
    }

    pub(crate) fn reset_cursors(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.change_cursors(&|book| book.reset_cursors(group, cursors))
    }

    pub(crate) fn forget_group(&self, group: &Group) -> Result<bool, JournalStopped> {
        let known = hold(&self.book)
            .cursors
            .get(group)
            .is_some_and(|table| table.values().any(|entry| !entry.reach.is_forgotten()));
        self.change_cursors(&|book| book.forget_group(group))?;
        Ok(known)
    }

    fn change_cursors(&self, change: &dyn Fn(&mut Book) -> bool) -> Result<(), JournalStopped> {
        let now_ms = self.now_ms();
        let first = {
            let mut book = hold(&self.book);
            self.taking()?;
            let moved = change(&mut book);
            let first = moved && book.cursors_since.is_none();
            if first {
                book.cursors_since = Some(now_ms);
            }
            first
        };
        // What waits for room may get it now.
        if !self.has_room(Priority::Normal) {
            self.ask_keeper();
        }
        if first {
            // With the lock taken between, the writer has either seen the cursors or is asleep.
            self.wake_writer.notify_one();
        }
        Ok(())
    }

    /// How long the writer may sleep; `None` means that a commit is due now.
    pub(crate) fn until_due(&self, gather: &Gathering, cursors_since: Option<u64>) -> Option<Duration> {
        let now = self.now_ms();
        if gather.at_once && !(gather.is_empty() && cursors_since.is_none()) {
            return None;
        }
        let deadline_ms = u64::try_from(self.options.cursor_deadline.as_millis()).unwrap_or(u64::MAX);
        let cursors = cursors_since.map(|since| since.saturating_add(deadline_ms));
        let due = [gather.due, cursors].into_iter().flatten().min();
        let wait = due.map_or(u64::MAX, |due| due.saturating_sub(now));
        // Never longer than a second: a clock that is turned by hand is looked at again.
        (wait > 0).then(|| Duration::from_millis(wait.min(1000)))
    }
}
