//! From bytes to frames. No I/O: bytes go in one by one, frames come out.

use crate::frame::{
    ANSWER_LENGTH, FRAME_BYTES_MAX, Frame, FrameError, HEADER_BYTES, READING_LENGTH, Reading, START, checksum,
};

/// Finds frames in whatever comes over the line. After garbage or a damaged frame it looks for the next start within what it
/// has already, so that a damaged byte costs the frame that it is in and no other that is whole.
#[derive(Debug, Clone)]
pub struct Parser {
    bytes: [u8; FRAME_BYTES_MAX],
    filled: usize,
    discarded: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// At the beginning of a line.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; FRAME_BYTES_MAX], filled: 0, discarded: 0 }
    }

    /// How many bytes were part of no frame.
    #[must_use]
    pub const fn discarded(&self) -> u64 {
        self.discarded
    }

    /// How many bytes are to come before there can be a frame; at least one. Who reads no more than these loses none that
    /// follow the frame.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.frame_bytes().unwrap_or(HEADER_BYTES).saturating_sub(self.filled).max(1)
    }

    /// Takes a byte; gives the frame that it ends, or why what looked like one is none.
    ///
    /// # Errors
    /// [`FrameError`], once for each such. The parser goes on.
    pub fn push(&mut self, byte: u8) -> Result<Option<Frame>, FrameError> {
        if let Some(place) = self.bytes.get_mut(self.filled) {
            *place = byte;
            self.filled += 1;
        }
        if !self.may_start() {
            self.resynchronise();
            return Ok(None);
        }
        if self.filled < HEADER_BYTES {
            return Ok(None);
        }
        let Some(frame_bytes) = self.frame_bytes() else {
            let found = self.length();
            self.resynchronise();
            return Err(FrameError::Length { found });
        };
        if self.filled < frame_bytes {
            return Ok(None);
        }
        let ended = self.frame();
        match ended {
            Ok(_) => self.filled = 0,
            Err(_) => self.resynchronise(),
        }
        ended.map(Some)
    }

    /// What the header says; 0 before it is there.
    fn length(&self) -> u16 {
        let [_, _, high, low, ..] = self.bytes;
        if self.filled < HEADER_BYTES { 0 } else { u16::from_be_bytes([high, low]) }
    }

    fn frame_bytes(&self) -> Option<usize> {
        let length = self.length();
        matches!(length, READING_LENGTH | ANSWER_LENGTH).then_some(HEADER_BYTES + usize::from(length))
    }

    fn frame(&self) -> Result<Frame, FrameError> {
        let whole = self.bytes.get(..self.filled).unwrap_or_default();
        let (summed, found) = whole.split_last_chunk::<2>().unwrap_or((&[], &[0, 0]));
        let (found, computed) = (u16::from_be_bytes(*found), checksum(summed));
        if found != computed {
            return Err(FrameError::Checksum { found, computed });
        }
        let [_, _, _, _, body @ ..] = &self.bytes;
        let [command, argument, ..] = *body;
        if self.length() == READING_LENGTH {
            Ok(Frame::Reading(Reading::parse(body)))
        } else {
            Ok(Frame::Answer { command, argument })
        }
    }

    /// Whether what is there can be the beginning of a frame.
    fn may_start(&self) -> bool {
        let begun = self.filled.min(START.len());
        self.bytes.get(..begun) == START.get(..begun)
    }

    /// Drops bytes, one at least, until what is left can be the beginning of a frame. That is less than a frame.
    fn resynchronise(&mut self) {
        loop {
            self.bytes.copy_within(1.., 0);
            self.filled = self.filled.saturating_sub(1);
            self.discarded = self.discarded.saturating_add(1);
            let sound = self.filled < HEADER_BYTES || self.frame_bytes().is_some_and(|bytes| self.filled < bytes);
            if self.filled == 0 || (self.may_start() && sound) {
                return;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
