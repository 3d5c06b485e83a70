//! Lines as they lie in the file.

use std::borrow::Cow;
use std::io;

use zstd_safe::{CCtx, CParameter};

use crate::config::Packing;

/// Zstandard's own default.
const LEVEL: i32 = 3;

/// Compresses, or leaves as it is.
pub(crate) struct Packer {
    context: Option<CCtx<'static>>,
}

impl Packer {
    pub(crate) fn new(packing: Packing) -> Self {
        let context = match packing {
            Packing::None => None,
            Packing::Zstd => {
                let mut context = CCtx::create();
                // Both are within Zstandard's ranges; with its own defaults a torn frame would still show by its end.
                context.set_parameter(CParameter::CompressionLevel(LEVEL)).ok();
                context.set_parameter(CParameter::ChecksumFlag(true)).ok();
                Some(context)
            }
        };
        Self { context }
    }

    /// Lines, as one frame.
    pub(crate) fn pack<'a>(&mut self, lines: &'a [u8]) -> io::Result<Cow<'a, [u8]>> {
        let Some(context) = &mut self.context else { return Ok(Cow::Borrowed(lines)) };
        let mut packed = Vec::with_capacity(zstd_safe::compress_bound(lines.len()));
        let done = context.compress2(&mut packed, lines);
        done.map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))?;
        Ok(Cow::Owned(packed))
    }
}
