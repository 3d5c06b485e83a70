//! What consumers see of the journal: events where it has records.

use lamppost_event::{
    Chunk, Cursor, Gap, Group, Item, JournalStopped, Outlet, Position, Resume, Stored, TopicPartition, TopicShape,
    Waiting, decode_event,
};
use lamppost_journal::{Journal, ReadItem, ReadRecord};

/// The journal, read as events.
pub(crate) struct JournalOutlet {
    journal: Journal,
    topics: Vec<TopicShape>,
}

impl JournalOutlet {
    pub(crate) fn new(journal: Journal, topics: Vec<TopicShape>) -> Self {
        Self { journal, topics }
    }
}

/// A record that is not an event (written by a newer program, since its bytes are checked) is a hole that says why: the rest
/// goes on.
pub(crate) fn item(item: ReadItem) -> Item {
    match item {
        ReadItem::Gap(gap) => Item::Gap(gap),
        ReadItem::Record(ReadRecord { topic, partition, offset, epoch, record }) => {
            match decode_event(&topic, record) {
                Ok(event) => Item::Event(Stored { partition, offset, epoch, event }),
                Err(error) => Item::Gap(Gap {
                    at: TopicPartition { topic, partition },
                    from: offset,
                    to: offset.next(),
                    reason: error.to_string(),
                }),
            }
        }
    }
}

impl Outlet for JournalOutlet {
    fn topics(&self) -> Vec<TopicShape> {
        self.topics.clone()
    }

    fn resume(&self, group: &Group) -> Result<Resume, JournalStopped> {
        self.journal.resume(group)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Chunk, JournalStopped> {
        let chunk = self.journal.read(from, bytes_max)?;
        Ok(Chunk { items: chunk.items.into_iter().map(item).collect(), next: chunk.next, caught_up: chunk.caught_up })
    }

    fn commit(&self, group: &Group, cursors: &[Cursor]) -> Result<(), JournalStopped> {
        self.journal.commit_cursors(group, cursors)
    }

    fn grown(&self, position: Position) -> Waiting<'_, ()> {
        self.journal.grown(position)
    }
}
