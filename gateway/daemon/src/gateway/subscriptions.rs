//! Which subscriptions a broker's session holds, kept in one small file for each broker. Written where they change: after a change
//! of the configuration, or of the session.
//!
//! ```text
//! broker <host>:<port> as <client id>
//! settled <filter>
//! new <filter>
//! ```

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use lamppost_mqtt::{Broker, KeptSubscription, Subscriptions};

/// More than any configuration can bring together, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file of one broker.
pub(super) struct SubscriptionsFile {
    folder: PathBuf,
    path: PathBuf,
    /// Whose session it is: what was kept of another is of no use.
    head: String,
}

impl SubscriptionsFile {
    pub(super) fn new(state_dir: &Path, broker: &Broker) -> Self {
        let folder = state_dir.join("brokers");
        // A name may hold what a file's name can't.
        let name: String = broker.name.as_str().bytes().map(|byte| format!("{byte:02x}")).take(120).collect();
        let head = format!("broker {}:{} as {}", broker.host, broker.port, broker.client_id.escape_default());
        Self { path: folder.join(name), folder, head }
    }

    fn read(&self) -> std::io::Result<String> {
        let mut text = String::new();
        #[expect(clippy::disallowed_methods, reason = "a file of the daemon's own; no journal data")]
        std::fs::File::open(&self.path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    /// A whole new file in the place of the old one, by rename: never half of one.
    fn replace(&self, text: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl Subscriptions for SubscriptionsFile {
    fn load(&self) -> Vec<KeptSubscription> {
        let Ok(text) = self.read() else { return Vec::new() };
        let mut lines = text.lines();
        if lines.next() != Some(&self.head) {
            return Vec::new();
        }
        let kept = lines
            .filter_map(|line| line.split_once(' '))
            .map(|(state, filter)| KeptSubscription { filter: filter.to_owned(), settled: state == "settled" });
        kept.collect()
    }

    fn keep(&self, subscriptions: &[KeptSubscription]) {
        let mut text = format!("{}\n", self.head);
        for kept in subscriptions {
            // One that can't be on a line of its own is met as new at the next start.
            if !kept.filter.contains(['\n', '\r']) {
                let state = if kept.settled { "settled" } else { "new" };
                text.push_str(&format!("{state} {}\n", kept.filter));
            }
        }
        if let Err(error) = self.replace(&text) {
            tracing::warn!(path = %self.path.display(), %error, "the subscriptions of a broker can't be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn file(dir: &Path, url: &str) -> SubscriptionsFile {
        let text = format!("[[broker]]\nname = \"a/../b\"\nurl = \"{url}\"\nsubscribe = [\"#\"]\n");
        SubscriptionsFile::new(dir, &config::parse(&text).unwrap().brokers[0])
    }

    #[test]
    fn what_was_kept_is_loaded_for_the_same_session_and_for_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let kept = |filter: &str, settled| KeptSubscription { filter: filter.into(), settled };
        let all = [kept("city/+ x/#", true), kept("b", false)];
        assert_eq!(file(dir.path(), "mqtt://plant").load(), []);
        file(dir.path(), "mqtt://plant").keep(&[kept("older", true)]);
        file(dir.path(), "mqtt://plant").keep(&all);
        assert_eq!(file(dir.path(), "mqtt://plant").load(), all);
        assert_eq!(file(dir.path(), "mqtt://other").load(), []);
        let files: Vec<_> = std::fs::read_dir(dir.path().join("brokers")).unwrap().collect();
        assert_eq!(files.len(), 1);
    }
}
