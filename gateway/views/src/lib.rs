//! Views over the journal that can be thrown away, kept in sled: the devices with their latest values, and a fast copy
//! of the deduplication marks.
//!
//! sled is quick to ask and not to be trusted: its `flush` is not durable; after power cuts it was seen to come back
//! empty, with pages missing, or with a panic; and with damaged files to open without a word and give a mark that was
//! newer than the position beside it. So:
//!
//! - **Invariant:** nothing is acknowledged on a view's word. The journal's own state is the truth.
//! - A view names the journal's epoch and the commit that it has applied, in the same batch as what it applied. One of an
//!   epoch that the journal's does not go on from, ahead of the journal's end, or so far behind that the journal can't fill the
//!   difference, is discarded.
//! - A view is used after a restart only if it was closed, or if the machine has not been restarted since (what the kernel
//!   was given is then still there). And only if every record is there: the batch carries a checksum over all of them,
//!   which [`Views::open`] verifies by reading them all.
//! - Any error or panic breaks the view: every later call fails, and the next start discards it.
//! - Discarding replaces the folder; nothing is deleted record by record.
//! - Changes are gathered in memory (at most [`GATHER_BYTES_MAX`]) and written when that is full or when
//!   [`Views::settle`] is called: a device that reports ten times a second costs the card one write per settling, not ten.
//!
//! ```text
//! <folder>/session           one line: format, generation, boot id, opening | open | closed
//! <folder>/sled-<generation> sled's files; one tree
//!     "a"                    what was applied (see `record`)
//!     "d" device             the device and its latest value
//!     "m" device             its deduplication marks
//! ```

mod answer;
mod change;
mod gather;
mod open;
mod record;
mod session;
mod store;
mod views;

pub use answer::{DeviceView, Discarded, OpenError, ViewError};
pub use change::Change;
pub use gather::GATHER_BYTES_MAX;
pub use open::{Opened, Recovered};
pub use record::{BOOTS_MAX, PAYLOAD_BYTES_MAX};
pub use views::{DEVICES_MAX, DEVICES_PAGE_MAX, Views};
