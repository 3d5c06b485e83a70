//! `[control]`: where the control socket is.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::problem::Problem;

/// The name of the socket where only a folder is known.
const NAME: &str = "control.sock";
/// The unit's runtime directory.
const RUN: &str = "/run/lamppost";

/// The table, as serde reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    socket: Option<Spanned<String>>,
}

/// Where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlSocket {
    /// There is none.
    Off,
    /// There.
    At(PathBuf),
    /// In the service manager's runtime directory, or in the state directory.
    Usual,
}

impl Written {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        if let Some(socket) = &self.socket
            && socket.get_ref() != "off"
            && (!Path::new(socket.get_ref()).is_absolute() || Path::new(socket.get_ref()).file_name().is_none())
        {
            let what = format!("socket = {:?} is not a place for a socket", socket.get_ref());
            problems.push(Problem::at(socket.span(), what, "write a path that begins with /, or \"off\""));
        }
    }

    pub(super) fn convert(self) -> ControlSocket {
        match self.socket.map(Spanned::into_inner) {
            None => ControlSocket::Usual,
            Some(off) if off == "off" => ControlSocket::Off,
            Some(path) => ControlSocket::At(path.into()),
        }
    }
}

impl ControlSocket {
    /// Where a gateway listens that keeps its state in `state_dir`; systemd hands its runtime directory over in the environment.
    pub(crate) fn serve_at(&self, state_dir: &Path) -> Option<PathBuf> {
        self.among(state_dir, std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from))
    }

    fn among(&self, state_dir: &Path, runtime: Option<PathBuf>) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::At(path) => Some(path.clone()),
            Self::Usual => Some(runtime.unwrap_or_else(|| state_dir.to_owned()).join(NAME)),
        }
    }

    /// Where to ask for such a gateway, which may have been started by a service manager or by hand.
    pub(crate) fn ask_at(&self, state_dir: &Path) -> Option<PathBuf> {
        let by_hand = state_dir.join(NAME);
        let by_hand = (*self == Self::Usual && by_hand.exists() && !is_left_over(&by_hand)).then_some(by_hand);
        by_hand.or_else(|| self.among(state_dir, Some(RUN.into())))
    }
}

/// Of a gateway that was killed.
fn is_left_over(socket: &Path) -> bool {
    UnixStream::connect(socket).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::config::problem::Problems;

    fn socket(text: &str) -> ControlSocket {
        parse(text).unwrap().control
    }

    #[test]
    fn the_socket_is_where_it_is_written_else_in_the_runtime_directory_else_beside_the_journal() {
        let state = Path::new("/var/lib/lamppost");
        let run = || Some(PathBuf::from("/run/lamppost"));
        let usual = socket("");
        assert_eq!(usual.among(state, run()), Some("/run/lamppost/control.sock".into()));
        assert_eq!(usual.among(state, None), Some("/var/lib/lamppost/control.sock".into()));
        assert_eq!(usual.ask_at(state), Some("/run/lamppost/control.sock".into()));
        let there = socket("[control]\nsocket = \"/tmp/x\"\n");
        assert_eq!((there.among(state, run()), there.ask_at(state)), (Some("/tmp/x".into()), Some("/tmp/x".into())));
        let off = socket("[control]\nsocket = \"off\"\n");
        assert_eq!((off.among(state, run()), off.ask_at(state)), (None, None));
    }

    #[test]
    fn a_gateway_that_was_started_by_hand_is_asked_unless_it_was_killed() {
        let state = tempfile::tempdir().unwrap();
        let by_hand = state.path().join("control.sock");
        let listens = std::os::unix::net::UnixListener::bind(&by_hand).unwrap();
        assert_eq!(socket("").ask_at(state.path()), Some(by_hand.clone()));
        drop(listens);
        assert!(by_hand.exists());
        assert_eq!(socket("").ask_at(state.path()), Some("/run/lamppost/control.sock".into()));
    }

    #[test]
    fn a_place_that_depends_on_where_the_program_is_started_is_shown_with_its_line() {
        for wrong in ["run/x", "", "/"] {
            let text = format!("[control]\nsocket = \"{wrong}\"\n");
            let shown = Problems::new(Path::new("x.toml"), &text, parse(&text).unwrap_err()).to_string();
            assert!(shown.contains("x.toml:2:10: ") && shown.contains("or \"off\""), "{shown}");
        }
    }
}
