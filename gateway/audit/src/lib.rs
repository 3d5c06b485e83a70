//! The independent judge: reads the cluster and the senders' ledgers and says what is lost, doubled or out of order. It knows
//! ids and headers, and nothing of the forwarder or the journal.
//!
//! A judge that expects what it has received misses lost tails; so what must be there comes from the senders' own ledgers
//! ([`Ledger`]), and holes in the offsets are found without any.

mod account;
mod audit;
mod follower;
mod heard;
mod intervals;
mod judge;
mod ledger;
mod plan;
mod proof;
mod reader;
mod report;
mod senders;

pub use audit::{AuditConfig, AuditError, Progress, audit};
pub use follower::Follower;
pub use judge::{Judge, Lane, LedgerIndex, MEMORY_MAX, MarkRef, Record};
pub use ledger::{Ledger, LedgerEntry, LedgerError, Mark, read_ledger};
pub use report::{Examples, PartitionReport, Report, Verdict};
