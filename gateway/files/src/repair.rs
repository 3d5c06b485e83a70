//! What a crash has left: `….part` files, the last bytes of which may be anything. What is whole stays.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use zstd_safe::{DCtx, InBuffer, OutBuffer};

use crate::config::Packing;
use crate::line::is_line;
use crate::name::{PART, parse};

const BUFFER_BYTES: usize = 128 << 10;

/// Cuts every `….part` in the folder behind its last whole line or frame, and gives it its name; one without any goes. Returns the bytes
/// that were cut off. The folder has to be flushed.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the sink's place for repairing its own files; the folder is flushed by the caller"
)]
pub(crate) fn repair(folder: &Path, line_bytes_max: u64) -> io::Result<u64> {
    let mut torn = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let Some(part) = parse(&name).filter(|parsed| parsed.is_part) else { continue };
        let path = folder.join(&name);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let whole = match part.packing {
            Packing::None => whole_lines(&file, line_bytes_max)?,
            Packing::Zstd => whole_frames(&file)?,
        };
        if whole < length {
            torn += length - whole;
            tracing::warn!(name, bytes = length - whole, "the torn end of a file is cut off");
            file.set_len(whole)?;
        }
        file.sync_all()?;
        if whole == 0 {
            std::fs::remove_file(&path)?;
        } else {
            std::fs::rename(&path, folder.join(name.trim_end_matches(PART)))?;
        }
    }
    Ok(torn)
}

/// The bytes up to the end of the last whole line before which all are whole. None is longer than `line_bytes_max`, so no more than that is
/// kept in memory.
fn whole_lines(file: &File, line_bytes_max: u64) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let (mut whole, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = reader.by_ref().take(line_bytes_max).read_until(b'\n', &mut line)?;
        if read == 0 || !is_line(&line) {
            return Ok(whole);
        }
        whole += read as u64;
    }
}

/// The same of Zstandard frames, each with a checksum and ending with a line. Memory does not depend on what the bytes say.
fn whole_frames(mut file: &File) -> io::Result<u64> {
    let mut context = DCtx::create();
    let (mut whole, mut taken) = (0_u64, 0_u64);
    let (mut input, mut output) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut last = 0;
    loop {
        let read = file.read(&mut input)?;
        if read == 0 {
            return Ok(whole);
        }
        let mut from = InBuffer::around(input.get(..read).unwrap_or_default());
        loop {
            let before = from.pos();
            let (missing, made) = {
                let mut into = OutBuffer::around(output.as_mut_slice());
                match context.decompress_stream(&mut into, &mut from) {
                    Ok(missing) => (missing, into.pos()),
                    Err(_) => return Ok(whole),
                }
            };
            taken += (from.pos() - before) as u64;
            last = made.checked_sub(1).and_then(|at| output.get(at)).copied().unwrap_or(last);
            if missing == 0 {
                if last != b'\n' {
                    return Ok(whole);
                }
                whole = taken;
            }
            // All is taken, and nothing more of it waits to be put out.
            if from.pos() == read && (missing == 0 || made < output.len()) {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
