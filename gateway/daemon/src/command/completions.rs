//! `lamppost completions`: what a shell needs to complete our command line.

use std::io::Write;

use clap::CommandFactory as _;

use crate::cli::{Cli, Completions};

/// Prints the shell's script.
pub(crate) fn print(args: &Completions, out: &mut impl Write) -> anyhow::Result<()> {
    // It panics where it can't write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lamppost", &mut script);
    Ok(out.write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_gets_a_script_that_knows_the_commands() {
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
            let mut out = Vec::new();
            print(&Completions { shell }, &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            assert!(script.contains("doctor") && script.contains("journal"), "{shell}");
        }
    }
}
