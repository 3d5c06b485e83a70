//! The edge: where the doctor reads the machine. Below a folder, `/` in earnest, so that tests can hand in another machine.

use std::io::Read;
use std::path::{Path, PathBuf};

/// What is read of one file at most, bytes: all of these are lists of a few lines, or devices' attributes.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Processes whose open files are looked at, and open files of one: a bound, not a limit that is met.
const PROCESSES_MAX: usize = 32_768;
const OPEN_FILES_MAX: usize = 65_536;

/// A machine, seen through its files.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    root: PathBuf,
}

/// A process that holds something open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// Its name, as `/proc/PID/comm` has it.
    pub(crate) name: String,
}

impl Holder {
    /// Whether it is a gateway (this process itself is not looked at).
    pub(crate) fn is_gateway(&self) -> bool {
        self.name == "lamppost"
    }
}

impl Machine {
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where `path` of that machine is here.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A text, without the white space around it; none if it can't be read.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        #[expect(clippy::disallowed_methods, reason = "a look at the machine; no journal data")]
        let file = std::fs::File::open(self.path(path.as_ref())).ok()?;
        let mut bytes = Vec::new();
        file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// What is at `path`, links followed; none if that can't be told.
    pub(crate) fn metadata(&self, path: &Path) -> Option<std::fs::Metadata> {
        std::fs::metadata(self.path(path)).ok()
    }

    /// Where `path` of that machine leads, all links followed; none if nothing is there.
    pub(crate) fn real(&self, path: &Path) -> Option<PathBuf> {
        let (root, real) = (self.root.canonicalize().ok()?, self.path(path).canonicalize().ok()?);
        Some(Path::new("/").join(real.strip_prefix(root).ok()?))
    }

    /// The names in a folder, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(Path::new(folder))).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.take(PROCESSES_MAX).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Who, but for this process, has something open whose name in `/proc/PID/fd` is `link`. Only root sees other users' processes.
    pub(crate) fn holder(&self, link: &str) -> Option<Holder> {
        let own = std::process::id();
        let pids = self.names("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
        pids.filter(|pid| *pid != own).find_map(|pid| {
            let files = std::fs::read_dir(self.path(Path::new(&format!("/proc/{pid}/fd")))).ok()?;
            let mut links =
                files.flatten().take(OPEN_FILES_MAX).filter_map(|file| std::fs::read_link(file.path()).ok());
            links
                .any(|open| open.as_os_str() == link)
                .then(|| Holder { pid, name: self.read(format!("/proc/{pid}/comm")).unwrap_or_else(|| "?".to_owned()) })
        })
    }

    /// Whether a process of this name runs.
    pub(crate) fn runs(&self, name: &str) -> bool {
        let pids = self.names("/proc").into_iter().filter(|pid| pid.parse::<u32>().is_ok());
        pids.into_iter().any(|pid| self.read(format!("/proc/{pid}/comm")).is_some_and(|comm| comm == name))
    }
}

#[cfg(test)]
pub(crate) mod model {
    use super::*;

    /// A machine of a few files.
    pub(crate) struct Modelled {
        folder: tempfile::TempDir,
    }

    impl Modelled {
        pub(crate) fn new(files: &[(&str, &str)]) -> Self {
            let modelled = Self { folder: tempfile::tempdir().unwrap() };
            files.iter().for_each(|(path, text)| modelled.file(path, text));
            modelled
        }

        pub(crate) fn machine(&self) -> Machine {
            Machine::at(self.folder.path())
        }

        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        pub(crate) fn file(&self, path: &str, text: &str) {
            let path = self.machine().path(Path::new(path));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        /// An open file of a process.
        pub(crate) fn open(&self, pid: u32, name: &str, fd: u32, link: &str) {
            self.file(&format!("/proc/{pid}/comm"), &format!("{name}\n"));
            let folder = self.machine().path(Path::new(&format!("/proc/{pid}/fd")));
            std::fs::create_dir_all(&folder).unwrap();
            std::os::unix::fs::symlink(link, folder.join(fd.to_string())).unwrap();
        }
    }

    #[test]
    fn who_holds_a_device_is_found_by_its_open_files() {
        let modelled = Modelled::new(&[("/proc/cpuinfo", "")]);
        modelled.open(7, "agetty", 0, "/dev/ttyS0");
        modelled.open(9, "lamppost", 12, "/dev/ttyS1");
        let machine = modelled.machine();
        assert_eq!(machine.holder("/dev/ttyS0"), Some(Holder { pid: 7, name: "agetty".to_owned() }));
        assert!(machine.holder("/dev/ttyS1").unwrap().is_gateway());
        assert_eq!(machine.holder("/dev/ttyS2"), None);
        assert!(machine.runs("agetty") && !machine.runs("ModemManager"));
    }
}
