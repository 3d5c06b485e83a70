//! `lamppost passwd`: an entry of the MQTT password file. The password comes from the terminal or standard input, never from
//! the command line, where everybody on the machine could read it.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use lamppost_mqtt::Passwords;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::cli::Passwd;
use crate::durable::replace_file_made;

/// What is read of standard input, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Makes the entry, and writes it into the file or out.
pub(crate) fn run(args: &Passwd, out: &mut impl Write) -> anyhow::Result<()> {
    let entry = if args.delete {
        None
    } else {
        let password = read_password(&args.user)?;
        Some(Passwords::entry(&args.user, password.as_bytes())?)
    };
    let Some(path) = &args.file else {
        let entry = entry.context("--delete needs --file")?;
        return Ok(writeln!(out, "{entry}")?);
    };
    let before = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && entry.is_some() => String::new(),
        Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
    };
    Passwords::parse(&before).with_context(|| format!("{} is not a password file", path.display()))?;
    let after = with_entry(&before, &args.user, entry.as_deref());
    let after = after.with_context(|| format!("there is no user {:?} in {}", args.user, path.display()))?;
    replace(path, &after)?;
    let done = if args.delete { "taken out of" } else { "written to" };
    writeln!(out, "{} {done} {}", args.user, path.display())?;
    Ok(())
}

/// The file with the user's line in its place, at the end, or gone. `None`: it was to go and is not there.
fn with_entry(before: &str, user: &str, entry: Option<&str>) -> Option<String> {
    let is_the_users =
        |line: &str| !line.starts_with('#') && line.split_once(':').is_some_and(|(name, _)| name == user);
    let mut after = String::new();
    let mut found = false;
    for line in before.lines() {
        let line = if is_the_users(line) {
            found = true;
            let Some(entry) = entry else { continue };
            entry
        } else {
            line
        };
        after.extend([line, "\n"]);
    }
    match entry {
        None if !found => return None,
        Some(entry) if !found => after.extend([entry, "\n"]),
        _ => {}
    }
    Some(after)
}

/// Writes a whole new file in its place. Who could read the old one can read the new one; a first one is its owner's alone.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = replace_file_made(path, text.as_bytes(), |file| {
        let Ok(old) = std::fs::metadata(path) else { return Ok(()) };
        file.set_permissions(std::fs::Permissions::from_mode(old.mode() & 0o777))?;
        std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()))
    });
    written.with_context(|| format!("{} can't be written", path.display()))
}

fn read_password(user: &str) -> anyhow::Result<String> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return line(&mut input.lock());
    }
    let first = ask(&format!("Password for {user}: "))?;
    ensure!(first == ask("The same again: ")?, "the two are not the same");
    Ok(first)
}

fn line(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.take(LINE_BYTES_MAX).read_line(&mut line).context("the password can't be read from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password on standard input");
    }
    Ok(password.to_owned())
}

/// Asks on the terminal, without showing what is typed.
fn ask(question: &str) -> anyhow::Result<String> {
    let input = std::io::stdin();
    let shown = tcgetattr(&input).context("the terminal does not answer")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    write!(std::io::stderr(), "{question}")?;
    tcsetattr(&input, OptionalActions::Flush, &hidden)?;
    let typed = line(&mut input.lock());
    tcsetattr(&input, OptionalActions::Flush, &shown)?;
    writeln!(std::io::stderr())?;
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_the_place_of_the_users_old_one_and_all_else_stays() {
        let before = "# people\nanna:1\n#anna:0\nannabel:2\n";
        assert_eq!(with_entry(before, "anna", Some("anna:3")).unwrap(), "# people\nanna:3\n#anna:0\nannabel:2\n");
        assert_eq!(with_entry(before, "bert", Some("bert:4")).unwrap(), format!("{before}bert:4\n"));
        assert_eq!(with_entry(before, "anna", None).unwrap(), "# people\n#anna:0\nannabel:2\n");
        assert_eq!(with_entry(before, "bert", None), None);
        assert_eq!(with_entry("", "anna", Some("anna:1")).unwrap(), "anna:1\n");
        assert_eq!(with_entry("anna:1", "bert", Some("bert:2")).unwrap(), "anna:1\nbert:2\n");
    }

    #[test]
    fn a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords");
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        replace(&path, "a\n").unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, "b\n").unwrap();
        assert_eq!((mode(), std::fs::read_to_string(&path).unwrap().as_str()), (0o640, "b\n"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_password_is_the_first_line_without_its_end() {
        for (given, password) in [("secret\n", "secret"), ("se cret \r\nmore\n", "se cret "), ("secret", "secret")] {
            assert_eq!(line(&mut given.as_bytes()).unwrap(), password);
        }
        assert!(line(&mut "\n".as_bytes()).is_err());
    }
}
