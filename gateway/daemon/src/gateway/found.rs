//! How the journal was found at this start, for as long as the gateway runs: a line in the log is soon gone.

use lamppost_event::GatewayId;
use lamppost_journal::Recovery;

use super::owner::Owner;
use crate::exposition::Exposition;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Places at which commits are missing.
    damage: u64,
    /// Whose the journal was, as [`Owner::NAMES`] has it.
    owner: &'static str,
    /// What there is to say of that.
    words: Option<String>,
}

impl Found {
    pub(super) fn new(recovery: &Recovery, owner: &Owner, gateway: &GatewayId) -> Self {
        Self { damage: recovery.damage.len() as u64, owner: owner.name(), words: owner.words(gateway) }
    }

    pub(super) fn metrics(&self, out: &mut Exposition) {
        let damage = "Places in the journal at which commits were missing when it was opened: until what lies around them is recycled, the next start finds them again.";
        out.level("lamppost_journal_damage", damage, &[], self.damage);
        let owner = "1 for what the journal was found to be at this start: this gateway's (ours), a card or copy of another gateway's, another journal than the one before, an older copy than what this gateway had noted.";
        for name in Owner::NAMES {
            out.level("lamppost_journal_found", owner, &[("as", name)], u64::from(self.owner == name));
        }
    }

    /// What to tell who asks how the journal does; nothing if it was as it was left.
    pub(super) fn words(&self) -> Option<&str> {
        self.words.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::config;
    use crate::gateway::{Buses, Gateway};
    use crate::http::Pages;

    /// Starts a gateway, stops it in order, and gives what it said of the journal in its metrics and in its health.
    async fn found(state_dir: &Path, id: &str) -> (Vec<String>, String) {
        let text = format!(
            "[gateway]\nid = {id:?}\nstate_dir = {state_dir:?}\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [journal]\nsegment = \"1MiB\"\nquota = \"8MiB\"\nevent_max = \"64KiB\"\n"
        );
        let gateway = Gateway::start(&config::parse(&text).unwrap(), Buses::Modelled).await.unwrap();
        let metrics = gateway.overview.metrics().encode().unwrap();
        let of =
            |line: &str| line.strip_prefix("lamppost_journal_found{as=\"")?.strip_suffix("\"} 1").map(str::to_owned);
        let health = gateway.health();
        assert!(health.well(), "it is no illness: {}", health.json());
        let said = (metrics.lines().filter_map(of).collect(), health.json());
        gateway.stop().await.unwrap();
        said
    }

    #[tokio::test]
    async fn a_gateway_says_whose_journal_it_was_given_for_as_long_as_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (state, journal) = (dir.path().join("state"), dir.path().join("state/journal"));
        let said = async |id, how: &str, words: &str| {
            let (found, health) = found(&state, id).await;
            assert_eq!(found, [how]);
            assert!(health.contains(words), "{health}");
            assert_eq!(health.contains("reason"), how != "ours", "{health}");
        };
        said("pole-1", "ours", "").await;
        copy(&journal, &dir.path().join("copy"));
        said("yard-9", "another_gateways", "pole-1").await;
        said("yard-9", "ours", "").await;
        fs::remove_dir_all(&journal).unwrap();
        copy(&dir.path().join("copy"), &journal);
        said("yard-9", "older_copy", "an older copy was put back").await;
        fs::remove_dir_all(&journal).unwrap();
        said("yard-9", "another_journal", "another journal").await;
        said("yard-9", "ours", "").await;
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
