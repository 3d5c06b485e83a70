//! A topic filter with placeholders, and what it has in common with a topic or another filter (section 4.7 of both standards).

use super::Guest;

/// A filter of a rule, level by level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    /// One level, as written.
    Name(Vec<Piece>),
    /// `+`
    Any,
    /// `#`
    Rest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Client,
    User,
}

/// A filter of a rule, in bytes.
const BYTES_MAX: usize = 65_535;

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the topic filter is missing at the end".to_owned());
        }
        if text.len() > BYTES_MAX {
            return Err(format!("a topic filter of more than {BYTES_MAX} bytes"));
        }
        let levels = text.split('/').map(Level::parse).collect::<Result<Vec<_>, _>>()?;
        if levels.iter().rev().skip(1).any(|level| *level == Level::Rest) {
            return Err(format!("{text:?}: # has to be the last level"));
        }
        Ok(Self { levels })
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.levels.iter().flat_map(|level| match level {
            Level::Name(pieces) => pieces.as_slice(),
            Level::Any | Level::Rest => &[],
        })
    }

    pub(super) fn needs_user(&self) -> bool {
        self.pieces().any(|piece| *piece == Piece::User)
    }

    /// Whether the guest's names can stand in for the placeholders.
    pub(super) fn is_usable(&self, guest: Guest<'_>) -> bool {
        self.pieces().all(|piece| match piece {
            Piece::Text(_) => true,
            Piece::Client => is_part_of_a_level(guest.client),
            Piece::User => guest.user.is_some_and(is_part_of_a_level),
        })
    }

    /// Whether all that `asked` (a name or a filter) stands for is in here.
    pub(super) fn covers(&self, guest: Guest<'_>, asked: &str) -> bool {
        // Wildcards at the beginning leave out what is the server's own [MQTT-4.7.2-1].
        if asked.starts_with('$') && matches!(self.levels.first(), Some(Level::Any | Level::Rest)) {
            return false;
        }
        let mut asked = asked.split('/');
        for level in &self.levels {
            let covered = match (level, asked.next()) {
                (Level::Rest, _) => return true,
                (_, None | Some("#")) => false,
                (Level::Any, Some(_)) => true,
                (Level::Name(_), Some("+")) => false,
                (Level::Name(pieces), Some(name)) => is(pieces, guest, name),
            };
            if !covered {
                return false;
            }
        }
        asked.next().is_none()
    }

    /// Whether anything that `asked` (a filter) stands for is in here. In doubt it is.
    pub(super) fn meets(&self, guest: Guest<'_>, asked: &str) -> bool {
        let mut asked = asked.split('/');
        for level in &self.levels {
            let met = match (level, asked.next()) {
                (Level::Rest, _) | (_, Some("#")) => return true,
                (_, None) => false,
                (Level::Any, Some(_)) | (Level::Name(_), Some("+")) => true,
                (Level::Name(pieces), Some(name)) => is(pieces, guest, name),
            };
            if !met {
                return false;
            }
        }
        matches!(asked.next(), None | Some("#"))
    }
}

impl Level {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "+" => return Ok(Self::Any),
            "#" => return Ok(Self::Rest),
            _ if text.contains(['+', '#']) => {
                return Err(format!("{text:?}: a wildcard has to stand alone in its level"));
            }
            _ => {}
        }
        let mut pieces = Vec::new();
        let mut written = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            written.push_str(before);
            let placeholder = after.chars().next();
            match placeholder {
                Some('%') => written.push('%'),
                Some('c' | 'u') => {
                    if !written.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut written).into()));
                    }
                    pieces.push(if placeholder == Some('c') { Piece::Client } else { Piece::User });
                }
                _ => return Err(format!("{text:?}: after % comes c (client id), u (user name) or another %")),
            }
            rest = after.get(1..).unwrap_or_default();
        }
        written.push_str(rest);
        if !written.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(written.into()));
        }
        Ok(Self::Name(pieces))
    }
}

/// A name that could be read as more than one level, or as a wildcard, stands for nothing.
fn is_part_of_a_level(name: &str) -> bool {
    !name.is_empty() && !name.contains(['+', '#', '/']) && !name.starts_with('$')
}

/// Whether the pieces, one after the other, are `name`.
fn is(pieces: &[Piece], guest: Guest<'_>, name: &str) -> bool {
    let mut rest = name;
    for piece in pieces {
        let text = match piece {
            Piece::Text(text) => text,
            Piece::Client => guest.client,
            Piece::User => guest.user.unwrap_or_default(),
        };
        match rest.strip_prefix(text) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}
