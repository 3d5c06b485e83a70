//! What is done with a payload before it is stored. Payloads are stored as received: decoding looks, it does not rewrite.

use std::str::FromStr;

use lamppost_event::ContentType;
use serde::de::IgnoredAny;

/// How deep JSON may nest.
pub const JSON_DEPTH_MAX: usize = 64;

/// What is done with the payloads that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decode {
    /// Nothing.
    #[default]
    Keep,
    /// They must be JSON (RFC 8259) in UTF-8, nested at most [`JSON_DEPTH_MAX`] deep; the content type becomes
    /// `application/json`.
    Json,
}

/// Why a payload is not what its rule expects.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not UTF-8.
    #[error("the payload is not UTF-8 from byte {0} on")]
    Utf8(usize),
    /// Nested too deep.
    #[error("the payload is JSON nested more than {JSON_DEPTH_MAX} deep at byte {0}")]
    Depth(usize),
    /// Not JSON.
    #[error("the payload is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The text names no way to decode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a way to decode; write \"keep\" (as received) or \"json\" (must be JSON)")]
pub struct ParseDecodeError(pub String);

impl FromStr for Decode {
    type Err = ParseDecodeError;

    fn from_str(text: &str) -> Result<Self, ParseDecodeError> {
        match text {
            "keep" => Ok(Self::Keep),
            "json" => Ok(Self::Json),
            _ => Err(ParseDecodeError(text.to_owned())),
        }
    }
}

impl Decode {
    /// Looks at a payload.
    ///
    /// # Errors
    /// [`DecodeError`] if it is not what is expected.
    pub fn check(self, payload: &[u8]) -> Result<(), DecodeError> {
        match self {
            Self::Keep => Ok(()),
            Self::Json => check_json(payload),
        }
    }

    /// What a payload that passed [`Decode::check`] is known to be, whatever its sender said.
    #[must_use]
    pub fn content_type(self) -> Option<ContentType> {
        match self {
            Self::Keep => None,
            Self::Json => ContentType::new("application/json").ok(),
        }
    }
}

fn check_json(payload: &[u8]) -> Result<(), DecodeError> {
    // serde_json skips over ignored values without looking at their UTF-8 or counting their depth, so both come first.
    let text = std::str::from_utf8(payload).map_err(|error| DecodeError::Utf8(error.valid_up_to()))?;
    check_depth(payload)?;
    let IgnoredAny = serde_json::from_str(text)?;
    Ok(())
}

/// Counts brackets outside strings. Of text that is not JSON it may say anything; the parser has the last word there.
fn check_depth(json: &[u8]) -> Result<(), DecodeError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH_MAX {
            return Err(DecodeError::Depth(at));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(payload: &[u8]) -> Result<(), String> {
        Decode::Json.check(payload).map_err(|error| error.to_string())
    }

    #[test]
    fn json_passes_and_names_its_type() {
        for payload in [r#"{"pm10": 12.5, "unit": "µg/m³", "at": [1, null, true]}"#, "17", "\"\\\"[\"", " [] "] {
            assert_eq!(json(payload.as_bytes()), Ok(()), "{payload}");
        }
    }

    #[test]
    fn what_is_not_json_is_named_with_its_place() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "EOF while parsing"),
            (b"{\"a\": }", "line 1 column 7"),
            (b"17 18", "trailing characters"),
            (b"{'a': 1}", "key must be a string"),
            (b"NaN", "expected"),
            (b"[1,]", "expected value at line 1 column 4"),
            (b"\"\xff\"", "not UTF-8 from byte 1"),
        ];
        for (payload, part) in cases {
            let error = json(payload).expect_err("not JSON");
            assert!(error.contains(part), "{}: {error}", String::from_utf8_lossy(payload));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(json(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert!(json(nested(JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err().contains("64 deep at byte 64"));
        assert!(json("[".repeat(1_000_000).as_bytes()).is_err());
        let brackets_in_text = format!("\"\\\"{}\"", "[{".repeat(100));
        assert!(json(brackets_in_text.as_bytes()).is_ok());
    }

    #[test]
    fn keeping_accepts_anything_and_says_nothing() {
        assert!(Decode::Keep.check(b"\xff\x00").is_ok());
        assert_eq!(Decode::Keep.content_type(), None);
        assert_eq!(Decode::Json.content_type().unwrap().as_str(), "application/json");
    }

    #[test]
    fn a_way_to_decode_is_parsed_and_a_wrong_one_names_the_right_ones() {
        assert_eq!("json".parse(), Ok(Decode::Json));
        assert_eq!("keep".parse(), Ok(Decode::Keep));
        let error = "xml".parse::<Decode>().unwrap_err().to_string();
        assert!(error.contains("\"keep\"") && error.contains("\"json\""), "{error}");
    }
}
