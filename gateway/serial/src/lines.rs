//! Devices that write lines by themselves: JSON, or text with separators.
//!
//! ```text
//! port ── bytes ──► Splitter ── line ──► Mapping ── one arrival a field ──► Intake::offer ──► journal
//!                                            └───── can't be decoded ──────► Intake::offer_dead
//! ```
//!
//! Such a device knows no acknowledgement: it writes once and forgets. What has been read and is not on disk when the gateway
//! dies is lost: the topic's linger and one flush, tens of milliseconds as a rule, and what the kernel still held. While the
//! journal has no room the port is not read; a port whose buffer ran full meanwhile begins anew behind what it held, and that
//! is counted ([`LinesStatus::overruns`]), since lines joined across a loss could look right.

mod mapping;
mod source;
mod splitter;
mod status;

use lamppost_event::DeviceId;

pub use mapping::{Field, FieldFrom, FieldKind, LineFormat, Pointer};
pub use source::LinesSource;
pub use status::LinesStatus;

/// How the lines of a port are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinesOptions {
    /// How a line is written.
    pub format: LineFormat,
    /// Who reports, where the line does not say.
    pub device: DeviceId,
    /// Where the line says who reports.
    pub device_from: Option<FieldFrom>,
    /// What is taken from a line: one arrival each, at `lines/DEVICE/NAME`. With none, a line of JSON arrives whole, at
    /// `lines/DEVICE`.
    pub fields: Vec<Field>,
    /// Lines that begin with one of these are passed over.
    pub skip: Vec<String>,
    /// The longest line, bytes.
    pub line_bytes_max: usize,
}

impl LinesOptions {
    /// Lines of up to 1 KiB of `device`, without fields.
    #[must_use]
    pub const fn new(format: LineFormat, device: DeviceId) -> Self {
        Self { format, device, device_from: None, fields: Vec::new(), skip: Vec::new(), line_bytes_max: 1024 }
    }
}
