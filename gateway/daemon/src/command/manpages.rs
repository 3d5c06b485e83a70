//! `lamppost manpages`: the manual pages, one a command, for packages. Made of the same words as `--help`.

use anyhow::Context;
use clap::{Command, CommandFactory as _};

use crate::cli::{Cli, Manpages};

/// Writes lamppost.1 and lamppost-COMMAND.1 into the folder.
pub(crate) fn write(args: &Manpages) -> anyhow::Result<()> {
    let folder = args.folder.display().to_string();
    std::fs::create_dir_all(&args.folder).with_context(|| folder.clone())?;
    for (name, text) in pages()? {
        #[expect(clippy::disallowed_methods, reason = "a package's file; no journal data")]
        std::fs::write(args.folder.join(&name), text).with_context(|| format!("{folder}/{name}"))?;
    }
    Ok(())
}

/// All pages, with their files' names.
fn pages() -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    page(command, "lamppost", &mut pages)?;
    Ok(pages)
}

fn page(command: Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        page(below.clone(), &format!("{name}-{}", below.get_name()), pages)?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(command).date("").manual("Lamppost").render(&mut text)?;
    pages.push((format!("{name}.1"), text));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page_and_no_other() {
        let names: Vec<_> = pages().unwrap().into_iter().map(|(name, _)| name).collect();
        for name in ["lamppost.1", "lamppost-doctor.1", "lamppost-journal-ls.1", "lamppost-bench-mqtt.1"] {
            assert!(names.iter().any(|it| it == name), "{name} of {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("manpages")), "{names:?}");
    }

    #[test]
    fn a_page_says_what_the_help_says_under_its_own_name() {
        let pages = pages().unwrap();
        let doctor = pages.iter().find(|(name, _)| name == "lamppost-doctor.1").unwrap();
        let text = String::from_utf8(doctor.1.clone()).unwrap();
        assert!(text.contains(".TH lamppost\\-doctor 1") || text.contains(".TH lamppost-doctor 1"), "{text}");
        assert!(text.contains("what to do about it") && text.contains("Exit status"), "{text}");
    }
}
