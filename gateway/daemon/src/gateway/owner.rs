//! Whose journal it is: a note beside it names the gateway that wrote it last, so that a card taken from another gateway, or a journal put in
//! another's place, is told apart.
//!
//! ```text
//! gateway <id>
//! journal <identity>      32 hexadecimal digits
//! ```

use std::io::{self, Read, Write};
use std::path::Path;

use lamppost_event::GatewayId;

/// In the state folder.
const FILE: &str = "owner";
/// An id has 64 bytes at most.
const FILE_BYTES_MAX: u64 = 1 << 10;

/// Whose the journal was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// This gateway's; or nobody had said so yet.
    Ours,
    /// Another gateway's.
    Another {
        /// Its id.
        gateway: String,
    },
    /// This gateway's had another one, which is not here.
    Replaced {
        /// Its identity.
        journal: String,
    },
}

/// Says whose the journal was that was found in a state folder, and notes that it is this gateway's from now on.
///
/// # Errors
/// The note can't be read or written.
pub(super) fn take_over(state_dir: &Path, gateway: &GatewayId, journal: u128) -> io::Result<Owner> {
    let path = state_dir.join(FILE);
    let ours = format!("gateway {gateway}\njournal {journal:032x}\n");
    let known = match read(&path) {
        Ok(known) => known,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if known == ours {
        return Ok(Owner::Ours);
    }
    let value = |key: &str| known.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    let mut file = tempfile::NamedTempFile::new_in(state_dir)?;
    file.write_all(ours.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(match (value("gateway "), value("journal ")) {
        (Some(other), _) if other != gateway.as_str() => Owner::Another { gateway: other },
        (Some(_), Some(journal)) => Owner::Replaced { journal },
        _ => Owner::Ours,
    })
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "a file of the daemon's own; no journal data")]
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    // What a fault of the card has made of it is nobody's name.
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

/// Tells it; what is told is only words, so a note that can't be had stops nothing.
pub(super) fn tell(found: io::Result<Owner>, gateway: &GatewayId) {
    match found {
        Ok(Owner::Ours) => {}
        Ok(Owner::Another { gateway: other }) => tracing::warn!(
            other,
            "the journal was gateway {other:?}'s: this is its card, or [gateway] id was changed. What it had not delivered goes on as {gateway}'s, and what it had delivered since its last note of it comes twice"
        ),
        Ok(Owner::Replaced { journal }) => tracing::warn!(
            journal,
            "another journal was here before: this one was put in its place, or the folder was wiped. What that one had not delivered is not here"
        ),
        Err(error) => tracing::warn!(%error, "whose journal this is can't be noted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_of_another_gateway_is_told_once_and_then_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let [pole, yard] = ["pole-1", "yard-9"].map(|id| GatewayId::new(id).unwrap());
        let take = |gateway| take_over(dir.path(), gateway, 0xabc).unwrap();
        assert_eq!(take(&pole), Owner::Ours, "nobody had said so");
        assert_eq!(take(&pole), Owner::Ours);
        assert_eq!(take(&yard), Owner::Another { gateway: "pole-1".into() });
        assert_eq!(take(&yard), Owner::Ours);
    }

    #[test]
    fn a_journal_in_anothers_place_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let pole = GatewayId::new("pole-1").unwrap();
        assert_eq!(take_over(dir.path(), &pole, 1).unwrap(), Owner::Ours);
        let first = "00000000000000000000000000000001".to_owned();
        assert_eq!(take_over(dir.path(), &pole, 2).unwrap(), Owner::Replaced { journal: first });
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a file of the daemon's own; no journal data")]
    fn garbage_in_the_note_is_nobodys_name_and_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let pole = GatewayId::new("pole-1").unwrap();
        for garbage in [&b"\xff\xfe gateway"[..], b"", b"gateway", &[b'x'; 5_000]] {
            std::fs::write(dir.path().join(FILE), garbage).unwrap();
            assert_eq!(take_over(dir.path(), &pole, 1).unwrap(), Owner::Ours);
            assert_eq!(read(&dir.path().join(FILE)).unwrap().lines().next(), Some("gateway pole-1"));
        }
    }
}
