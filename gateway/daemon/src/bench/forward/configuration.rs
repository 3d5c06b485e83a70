//! The gateway's configuration in the benchmark: the shipped defaults but for places, a quota that holds the backlog, and one topic.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{self, Config};

/// A configuration without its HTTP port, which is chosen last.
#[derive(Debug, Clone)]
pub(super) struct Text {
    text: String,
    /// How often librdkafka tells what it wrote.
    pub(super) statistics_every: Duration,
}

impl Text {
    pub(super) fn with_http(&self, http: SocketAddr) -> String {
        format!("{}[http]\nlisten = \"{http}\"\n", self.text)
    }

    pub(super) fn parse(&self) -> anyhow::Result<Config> {
        let parsed = config::parse(&self.text);
        Ok(parsed.map_err(|list| config::Problems::new(Path::new("bench"), &self.text, list))?)
    }
}

/// What varies.
pub(super) struct Wanted<'a> {
    pub(super) state_dir: PathBuf,
    pub(super) bootstrap: &'a str,
    pub(super) replication: i32,
    pub(super) topic: &'a str,
    pub(super) partitions: u16,
    /// What the journal has to hold.
    pub(super) bytes: u64,
    pub(super) mqtt: Option<SocketAddr>,
    /// Where the cursors go in exactly-once mode; `None`: at least once.
    pub(super) cursors: Option<&'a str>,
}

/// The text.
pub(super) fn text(wanted: &Wanted<'_>) -> Text {
    let Wanted { state_dir, bootstrap, replication, topic, partitions, bytes, mqtt, cursors } = wanted;
    let brokers: Vec<String> = bootstrap.split(',').map(|broker| format!("{broker:?}")).collect();
    let quota_mib = (bytes >> 20) + 512;
    let mut text = format!(
        "[gateway]\nid = \"bench\"\nstate_dir = {state_dir:?}\n[journal]\nquota = \"{quota_mib}MiB\"\n\
         [topics.{topic}]\npartitions = {partitions}\n[[route]]\nfrom = \"#\"\ntopic = \"{topic}\"\n\
         [kafka]\nbootstrap = [{}]\nreplication = {replication}\n",
        brokers.join(", ")
    );
    if let Some(cursors) = cursors {
        text.push_str(&format!("delivery = \"exactly-once\"\ncursors_topic = \"{cursors}\"\n"));
    }
    if let Some(mqtt) = mqtt {
        text.push_str(&format!("[mqtt]\nlisten = \"{mqtt}\"\n"));
    }
    Text { text, statistics_every: Duration::from_secs(6) }
}
