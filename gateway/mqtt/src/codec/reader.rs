//! Takes MQTT's primitive types off the front of a slice.

use super::DecodeError;

/// A slice that shrinks from its front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader<'a>(&'a [u8]);

const SHORT: DecodeError = DecodeError::Malformed("ends early");
pub(super) const OVERLONG: DecodeError = DecodeError::Malformed("a variable byte integer with a byte too many");

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.0.split_first().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// A variable byte integer (MQTT 5.0, section 1.5.5): at most four bytes, and none too many [MQTT-1.5.5-1].
    pub(crate) fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(OVERLONG) } else { Ok(value) };
            }
        }
        Err(DecodeError::Malformed("variable byte integer"))
    }

    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// [MQTT-1.5.4-1], [MQTT-1.5.4-2]: well-formed UTF-8 (no surrogates), no U+0000.
    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| DecodeError::Malformed("a string is not UTF-8"))?;
        if text.contains('\0') {
            return Err(DecodeError::Malformed("a string holds U+0000"));
        }
        Ok(text)
    }

    /// [MQTT-2.2.1-3]: not 0.
    pub(crate) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::Malformed("packet id 0")),
            packet_id => Ok(packet_id),
        }
    }

    /// A block with its length in front.
    pub(crate) fn block(&mut self) -> Result<Reader<'a>, DecodeError> {
        let length = self.varint()?;
        self.take(length as usize).map(Reader)
    }

    pub(crate) fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Malformed(what)) }
    }
}
