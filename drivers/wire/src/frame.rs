//! Frames: how a message is told from noise.
//!
//! ```text
//! line    0x00, stuffed bytes (COBS), 0x00
//! bytes   u8 type, body, u32 CRC-32/ISCSI (Castagnoli) of type and body, little-endian
//! ```
//!
//! The zero in front parts the frame from whatever noise came before, so noise between frames never costs a good one.
//! 32 bits of CRC: on a noisy line with a damaged frame a second, a 16-bit sum lets one through every 18 hours, this one
//! every 136 years. Castagnoli's polynomial keeps Hamming distance 6 up to 5,243 bits (Koopman, DSN 2002), more than
//! [`MESSAGE_BYTES_MAX`]: up to five flipped bits are seen for certain, unless one of them hits a stuffing code.

use crc::{CRC_32_ISCSI, Crc, Table};

use crate::cobs::{self, Unstuffed, Unstuffer};

/// The longest message: type, body and CRC, in bytes. Eight fully described measures in a hello fit.
pub const MESSAGE_BYTES_MAX: usize = 640;
/// The longest frame on the line, both zero bytes included.
pub const FRAME_BYTES_MAX: usize = cobs::encoded_bytes_max(MESSAGE_BYTES_MAX) + 2;
/// Room for any frame.
pub type FrameBuffer = [u8; FRAME_BYTES_MAX];

const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
const CRC_BYTES: usize = 4;

/// Why what came between two zero bytes is not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// It ends in the middle of a block, or is too short for a type and a CRC.
    Cut,
    /// It is longer than any frame this end takes.
    TooLong,
    /// The CRC does not fit.
    Crc,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Cut => "the frame is cut short",
            Self::TooLong => "the frame is too long",
            Self::Crc => "the frame's CRC does not fit",
        })
    }
}

impl core::error::Error for FrameError {}

/// What an end has met on the line. Counts since the session was made; they wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkCounters {
    /// Frames whose CRC was right.
    pub frames_ok: u32,
    /// Frames that ended too early.
    pub frames_cut: u32,
    /// Frames longer than allowed.
    pub frames_too_long: u32,
    /// Frames with a wrong CRC.
    pub frames_bad_crc: u32,
    /// Whole frames of a type that this end does not know: a newer peer, or our own echo.
    pub frames_unknown: u32,
    /// Whole frames whose body is not what their type asks for.
    pub frames_malformed: u32,
    /// Bytes that belonged to no whole frame.
    pub garbage_bytes: u32,
}

impl LinkCounters {
    fn count(&mut self, bytes: u32, outcome: Result<(), FrameError>) {
        let counter = match outcome {
            Ok(()) => &mut self.frames_ok,
            Err(FrameError::Cut) => &mut self.frames_cut,
            Err(FrameError::TooLong) => &mut self.frames_too_long,
            Err(FrameError::Crc) => &mut self.frames_bad_crc,
        };
        *counter = counter.wrapping_add(1);
        if outcome.is_err() {
            self.garbage_bytes = self.garbage_bytes.wrapping_add(bytes);
        }
    }
}

/// Seals `message` (type and body in its first `length` bytes, with room for the CRC behind) into `out`, both zero bytes
/// included, and says how long the frame is; `None` where it does not fit.
pub(crate) fn seal(message: &mut [u8; MESSAGE_BYTES_MAX], length: usize, out: &mut FrameBuffer) -> Option<usize> {
    let crc = CRC.checksum(message.get(..length)?).to_le_bytes();
    let end = length.checked_add(CRC_BYTES)?;
    message.get_mut(length..end)?.copy_from_slice(&crc);
    let (first, rest) = out.split_first_mut()?;
    *first = 0;
    let stuffed = cobs::encode(message.get(..end)?, rest)?;
    *rest.get_mut(stuffed)? = 0;
    Some(stuffed + 2)
}

/// Finds frames in what comes off the line, byte by byte. Holds one frame of at most `BYTES` unstuffed bytes.
#[derive(Debug, Clone)]
pub struct FrameDecoder<const BYTES: usize> {
    message: [u8; BYTES],
    length: usize,
    /// Bytes off the line since the last zero.
    taken: u32,
    too_long: bool,
    unstuffer: Unstuffer,
    counters: LinkCounters,
}

impl<const BYTES: usize> Default for FrameDecoder<BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const BYTES: usize> FrameDecoder<BYTES> {
    /// A decoder at the beginning of a frame.
    #[must_use]
    pub fn new() -> Self {
        Self {
            message: [0; BYTES],
            length: 0,
            taken: 0,
            too_long: false,
            unstuffer: Unstuffer::default(),
            counters: LinkCounters::default(),
        }
    }

    /// What was met so far.
    #[must_use]
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    pub(crate) fn counters_mut(&mut self) -> &mut LinkCounters {
        &mut self.counters
    }

    /// Takes a byte off the line. Where it ends a frame: the type and body, or why it is none. Two zero bytes in a row
    /// are no frame.
    pub fn take(&mut self, byte: u8) -> Option<Result<&[u8], FrameError>> {
        if byte != 0 {
            self.taken = self.taken.saturating_add(1);
            if let Unstuffed::Byte(byte) = self.unstuffer.take(byte) {
                match self.message.get_mut(self.length) {
                    Some(place) => {
                        *place = byte;
                        self.length += 1;
                    }
                    None => self.too_long = true,
                }
            }
            return None;
        }
        let taken = core::mem::take(&mut self.taken);
        if taken == 0 {
            return None;
        }
        let length = core::mem::take(&mut self.length);
        let too_long = core::mem::take(&mut self.too_long);
        let whole = core::mem::take(&mut self.unstuffer).is_whole();
        let checked = self.message.get(..length).ok_or(FrameError::TooLong).and_then(|bytes| match (too_long, whole) {
            (true, _) => Err(FrameError::TooLong),
            (false, false) => Err(FrameError::Cut),
            (false, true) => check(bytes),
        });
        self.counters.count(taken, checked.map(|_| ()));
        Some(checked)
    }
}

fn check(bytes: &[u8]) -> Result<&[u8], FrameError> {
    let (message, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(FrameError::Cut)?;
    if message.is_empty() {
        return Err(FrameError::Cut);
    }
    if CRC.checksum(message) != u32::from_le_bytes(*crc) {
        return Err(FrameError::Crc);
    }
    Ok(message)
}

#[cfg(test)]
mod tests;
