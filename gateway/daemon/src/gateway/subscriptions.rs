//! Which subscriptions a broker's session holds and what its retained messages said, kept in one small file for each broker. Written where
//! that changes: after a change of the configuration, of the session, or of what is retained.
//!
//! ```text
//! broker <host>:<port> as <client id>
//! settled <filter>
//! new <filter>
//! content <hash of a topic> <hash of what it said>      both 16 hexadecimal digits
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};

use lamppost_mqtt::{Broker, KeptContent, KeptSession, KeptSubscription, Subscriptions};

use crate::durable::{folder_of, make_folder, replace_file};

/// More than any configuration can bring together, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file of one broker.
pub(super) struct SubscriptionsFile {
    path: PathBuf,
    /// Whose session it is: what was kept of another is of no use.
    head: String,
}

impl SubscriptionsFile {
    pub(super) fn new(state_dir: &Path, broker: &Broker) -> Self {
        // A name may hold what a file's name can't.
        let name: String = broker.name.as_str().bytes().map(|byte| format!("{byte:02x}")).take(120).collect();
        let head = format!("broker {}:{} as {}", broker.host, broker.port, broker.client_id.escape_default());
        Self { path: state_dir.join("brokers").join(name), head }
    }

    fn read(&self) -> std::io::Result<String> {
        let mut text = String::new();
        #[expect(clippy::disallowed_methods, reason = "a file of the daemon's own; no journal data")]
        std::fs::File::open(&self.path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    /// A whole new file in the place of the old one, by rename: never half of one.
    fn replace(&self, text: &str) -> std::io::Result<()> {
        make_folder(folder_of(&self.path))?;
        replace_file(&self.path, text.as_bytes())
    }
}

impl Subscriptions for SubscriptionsFile {
    fn load(&self) -> KeptSession {
        let mut session = KeptSession::default();
        let Ok(text) = self.read() else { return session };
        let mut lines = text.lines();
        if lines.next() != Some(&self.head) {
            return session;
        }
        for (what, rest) in lines.filter_map(|line| line.split_once(' ')) {
            if what == "content" {
                session.contents.extend(content(rest));
            } else {
                let kept = KeptSubscription { filter: rest.to_owned(), settled: what == "settled" };
                session.subscriptions.push(kept);
            }
        }
        session
    }

    fn keep(&self, session: &KeptSession) {
        let mut text = format!("{}\n", self.head);
        for kept in &session.subscriptions {
            // One that can't be on a line of its own is met as new at the next start.
            if !kept.filter.contains(['\n', '\r']) {
                let state = if kept.settled { "settled" } else { "new" };
                text.push_str(&format!("{state} {}\n", kept.filter));
            }
        }
        for KeptContent { topic, payload } in &session.contents {
            text.push_str(&format!("content {topic:016x} {payload:016x}\n"));
        }
        if let Err(error) = self.replace(&text) {
            tracing::warn!(path = %self.path.display(), %error, "the subscriptions of a broker can't be kept");
        }
    }
}

fn content(line: &str) -> Option<KeptContent> {
    let (topic, payload) = line.split_once(' ')?;
    let hash = |text| u64::from_str_radix(text, 16).ok();
    Some(KeptContent { topic: hash(topic)?, payload: hash(payload)? })
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
        let contents = vec![KeptContent { topic: 7, payload: u64::MAX }, KeptContent { topic: 0, payload: 1 }];
        let all = KeptSession { subscriptions: vec![kept("city/+ x/#", true), kept("b", false)], contents };
        let older = KeptSession { subscriptions: vec![kept("older", true)], ..KeptSession::default() };
        assert_eq!(file(dir.path(), "mqtt://plant").load(), KeptSession::default());
        file(dir.path(), "mqtt://plant").keep(&older);
        let folders = [dir.path().to_owned(), dir.path().join("brokers")];
        assert_eq!(crate::durable::flushed::folders(), folders, "a new folder and the file in it outlive a power cut");
        file(dir.path(), "mqtt://plant").keep(&all);
        assert_eq!(file(dir.path(), "mqtt://plant").load(), all);
        assert_eq!(file(dir.path(), "mqtt://other").load(), KeptSession::default());
        let files: Vec<_> = std::fs::read_dir(dir.path().join("brokers")).unwrap().collect();
        assert_eq!(files.len(), 1);
    }
}
