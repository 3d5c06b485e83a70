//! The password file: who can prove to be whom.
//!
//! ```text
//! # user:hash, one a line; the hash as a PHC string
//! anna:$argon2id$v=19$m=19456,t=2,p=1$<salt, base64>$<hash, base64>
//! ```
//!
//! Only Argon2id (RFC 9106) is taken, and only as costly as this gateway's memory and time allow.

use std::collections::HashMap;
use std::fmt;

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use ring::rand::{SecureRandom, SystemRandom};

/// The memory that one verification may take, in KiB.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
/// Passes over that memory.
const PASSES_MAX: u32 = 16;
/// Lanes; they are gone through one after the other.
const LANES_MAX: u32 = 8;
/// Bytes of a new entry's salt (RFC 9106, section 3.1: 16 are recommended for passwords).
const SALT_BYTES: usize = 16;
/// A user name, in bytes.
const USER_BYTES_MAX: usize = 256;
/// A password, in bytes. Longer ones are not looked at.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;
/// Users in a file.
const USERS_MAX: usize = 100_000;

/// What a verification works in. Kept from one to the next: the allocator would keep a copy of it for each thread that had one.
#[derive(Default)]
pub(crate) struct Memory(Vec<Block>);

/// Users and their hashes. Its `Debug` tells their number only.
#[derive(Clone, Default)]
pub struct Passwords {
    hashes: HashMap<Box<str>, Box<str>>,
    /// The costs that occur, so that a user who is not there costs what one who is there might.
    costs: Vec<Params>,
}

/// A line that is not an entry. What it holds is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PasswordsError {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Why there can't be an entry for this user and password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The name can't stand in the file.
    #[error("a user name has 1 to {USER_BYTES_MAX} bytes, no colon, no control characters, and does not begin with #")]
    User,
    /// Nobody could log in with it.
    #[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes")]
    Password,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for the salt")]
    Random,
    /// Argon2 failed.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

impl Passwords {
    /// Reads a password file.
    ///
    /// # Errors
    /// The first line that is not an entry, or that repeats a user.
    pub fn parse(text: &str) -> Result<Self, PasswordsError> {
        let mut passwords = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            passwords.add(line).map_err(|what| PasswordsError { line: at + 1, what })?;
        }
        Ok(passwords)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let (user, hash) = line.split_once(':').ok_or("no colon: write USER:HASH, as lamppost passwd does")?;
        if !is_user(user) {
            return Err(EntryError::User.to_string());
        }
        let cost = cost(hash)?;
        if self.hashes.len() == USERS_MAX {
            return Err(format!("more than {USERS_MAX} users"));
        }
        if self.hashes.insert(user.into(), hash.into()).is_some() {
            return Err(format!("the user {user:?} stands here a second time"));
        }
        if !self.costs.contains(&cost) {
            self.costs.push(cost);
        }
        Ok(())
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether nobody can log in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// A line for the file: Argon2id with 19 MiB, 2 passes, 1 lane (OWASP's first choice) and a new salt.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn entry(user: &str, password: &[u8]) -> Result<String, EntryError> {
        if !is_user(user) {
            return Err(EntryError::User);
        }
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Err(EntryError::Password);
        }
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| EntryError::Random)?;
        let hash = hasher(Params::DEFAULT).hash_password_with_salt(password, &salt);
        let hash = hash.map_err(|error| EntryError::Hash(error.to_string()))?;
        Ok(format!("{user}:{hash}"))
    }

    pub(crate) fn hash(&self, user: &str) -> Option<&str> {
        self.hashes.get(user).map(|hash| &**hash)
    }

    /// Whether the password is the user's. Takes as long whether there is such a user or not: who is not there is given the
    /// cost that `number` (the same for the same name) picks of those that occur. Blocks for tens of milliseconds. `memory`
    /// grows to what is needed and is worth keeping.
    pub(crate) fn verify(&self, user: &str, password: &[u8], number: u64, memory: &mut Memory) -> bool {
        let known = self.hash(user).and_then(|hash| PasswordHash::new(hash).ok());
        let unknown = || {
            let picked = usize::try_from(number % self.costs.len().max(1) as u64).unwrap_or(0);
            self.costs.get(picked).cloned().unwrap_or(Params::DEFAULT)
        };
        let cost = known.as_ref().and_then(|hash| Params::try_from(hash).ok()).unwrap_or_else(unknown);
        let salt = known.as_ref().and_then(|hash| hash.salt.as_ref()).map_or(&[0; SALT_BYTES][..], AsRef::as_ref);
        let mut output = vec![0; cost.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
        if memory.0.len() < cost.block_count() {
            memory.0.resize(cost.block_count(), Block::new());
        }
        let hashed = hasher(cost).hash_password_into_with_memory(password, salt, &mut output, memory.0.as_mut_slice());
        let output = std::hint::black_box(Output::new(&output));
        // Outputs are compared in constant time.
        hashed.is_ok() && output.is_ok_and(|output| known.and_then(|hash| hash.hash).is_some_and(|is| is == output))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("users", &self.hashes.len()).finish_non_exhaustive()
    }
}

fn hasher(params: Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn is_user(user: &str) -> bool {
    (1..=USER_BYTES_MAX).contains(&user.len())
        && !user.contains([':', '\u{7f}'])
        && !user.starts_with('#')
        && !user.contains(char::is_control)
}

/// What verifying the hash costs, if it may cost that.
fn cost(hash: &str) -> Result<Params, String> {
    let remedy = "make entries with lamppost passwd";
    let parsed = PasswordHash::new(hash).map_err(|error| format!("not a PHC string ({error}): {remedy}"))?;
    if parsed.algorithm.as_str() != "argon2id" || parsed.version != Some(0x13) {
        return Err(format!("not Argon2id of version 19: {remedy}"));
    }
    if parsed.hash.is_none() || parsed.salt.is_none() {
        return Err(format!("a PHC string without salt or hash: {remedy}"));
    }
    let params =
        Params::try_from(&parsed).map_err(|error| format!("parameters that Argon2 does not take ({error})"))?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX || params.p_cost() > LANES_MAX {
        return Err(format!(
            "too costly: at most m={MEMORY_KIB_MAX} (KiB), t={PASSES_MAX}, p={LANES_MAX} are verified here"
        ));
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9106 costs, but small, so that a test is quick.
    pub(crate) const ANNA: &str = "anna:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA";

    fn cheap(user: &str, password: &str) -> String {
        let params = Params::new(8, 1, 1, None).unwrap();
        let hash = hasher(params).hash_password_with_salt(password.as_bytes(), b"saltsaltsaltsalt").unwrap();
        format!("{user}:{hash}")
    }

    #[test]
    fn an_entry_that_was_made_here_is_verified_here() {
        let mut memory = Memory::default();
        let line = Passwords::entry("anna", b"correct horse").unwrap();
        assert!(line.starts_with("anna:$argon2id$v=19$m=19456,t=2,p=1$"), "{line}");
        assert_ne!(line, Passwords::entry("anna", b"correct horse").unwrap(), "the salt is the same");
        let passwords = Passwords::parse(&format!("# people\n\n{line}\n")).unwrap();
        assert_eq!(passwords.len(), 1);
        assert!(passwords.verify("anna", b"correct horse", 0, &mut memory));
        assert!(!passwords.verify("anna", b"battery staple", 0, &mut memory));
        assert!(!passwords.verify("bert", b"correct horse", 0, &mut memory));
        assert!(passwords.verify("anna", b"correct horse", 0, &mut memory), "what was there before is left in it");
    }

    #[test]
    fn who_is_not_there_costs_what_one_who_is_there_does() {
        let mut memory = Memory::default();
        let text = format!("{}\n{}", cheap("anna", "a"), Passwords::entry("bert", b"b").unwrap());
        let passwords = Passwords::parse(&text).unwrap();
        let mut costs: Vec<_> = passwords.costs.iter().map(Params::m_cost).collect();
        costs.sort_unstable();
        assert_eq!(costs, [8, 19_456]);
        assert!(
            !passwords.verify("nobody", b"", 0, &mut memory)
                && !passwords.verify("nobody", b"a", u64::MAX, &mut memory)
        );
        assert!(!Passwords::default().verify("nobody", b"a", 7, &mut memory));
    }

    #[test]
    fn lines_that_are_no_entries_are_named_with_their_number_and_tell_no_hash() {
        let good = cheap("anna", "secret");
        for (line, what) in [
            ("anna", "no colon"),
            (":$argon2id$", "user name"),
            ("anna:secret", "PHC"),
            ("anna:$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", "Argon2id"),
            ("anna:$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", "version 19"),
            (ANNA, "without salt or hash"),
            ("anna:$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", "too costly"),
            ("anna:$argon2id$v=19$m=8,t=1,p=0$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo", "parameters"),
            (&good, "second time"),
        ] {
            let error = Passwords::parse(&format!("{good}\n{line}")).unwrap_err();
            assert_eq!(error.line, 2, "{line}");
            assert!(error.what.contains(what), "{line}: {error}");
            assert!(!error.to_string().contains("c2Fsd"), "{error}");
        }
    }

    #[test]
    fn an_entry_can_not_be_made_for_what_the_file_can_not_hold() {
        for user in ["", "a:b", "a\nb", "#a", &"x".repeat(257)] {
            assert_eq!(Passwords::entry(user, b"p"), Err(EntryError::User), "{user:?}");
        }
        assert_eq!(Passwords::entry("anna", b""), Err(EntryError::Password));
        assert_eq!(Passwords::entry("anna", &[b'x'; 1025]), Err(EntryError::Password));
    }

    #[test]
    fn hashes_are_not_in_the_debug_form() {
        let passwords = Passwords::parse(&cheap("anna", "secret")).unwrap();
        assert_eq!(format!("{passwords:?}"), "Passwords { users: 1, .. }");
    }
}
