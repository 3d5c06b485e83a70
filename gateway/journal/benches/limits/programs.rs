//! The two programs that are built beside: the modelled card, and the peers. Both are workspaces of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::arguments::Arguments;

/// The programs that this run needs.
pub(crate) struct Programs {
    pub(crate) card: Option<PathBuf>,
    pub(crate) peers: Option<PathBuf>,
}

impl Programs {
    pub(crate) fn build(arguments: &Arguments) -> Outcome<Self> {
        let with_card = !arguments.is_without("device");
        let with_peers = with_card && !arguments.quick && arguments.wants("peers") && !arguments.is_without("peers");
        let card = (with_card && arguments.wants("device")) || with_peers;
        let card = card.then(|| build(&room("../../tests/rig/card"), "device", "card", "lamppost-card"));
        let peers = with_peers.then(|| build(&room("benches/peers"), "peers", "peers", "lamppost-peers"));
        Ok(Self { card: card.transpose()?, peers: peers.transpose()? })
    }
}

/// Builds a workspace's program through cargo, into a folder of its own beside this one's output, and gives its path.
///
/// # Errors
/// It can't be built; what can be left out for want of it is `name`.
fn build(manifest: &Path, name: &str, into: &str, program: &str) -> Outcome<PathBuf> {
    let manifest = manifest.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(format!("{} is missing: {program} can't be built", manifest.display()).into());
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(into);
    println!("Building {program} ...");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--locked", "--quiet", "--bin", program, "--manifest-path"]).arg(&manifest);
    let status = command.arg("--target-dir").arg(&target).status()?;
    if !status.success() {
        let reason = format!("{program} could not be built ({status}); its reasons are above");
        return Err(format!("{reason}. `--without {name}` leaves out what needs it").into());
    }
    Ok(target.join("release").join(program))
}

/// A folder of this repository.
fn room(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
