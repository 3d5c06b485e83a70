//! `[[sink]]`: other clusters, and folders, beside the one cluster of `[kafka]`.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};
use std::time::Duration;

use lamppost_event::{Group, Interest, MAIN_SINK};
use lamppost_forward::LaneGroups;
use serde::Deserialize;
use toml::Spanned;

use super::file;
use super::problem::Problem;
use super::value::{Size, Span, Text};
use super::{Kafka, convert_kafka};

/// More would be a mistake: each reads the whole journal.
const SINKS_MAX: usize = 16;
/// The least time that events can be held back for: they go by whole segments, so less means nothing.
const HOLD_MIN: Duration = Duration::from_secs(60);
/// A line is at most so many times as long as its event: a character may be written as `\u0000`.
const LINE_FACTOR: u64 = 6;
/// A line may be so long in any case: `event_max` may have been larger, up to a tenth of the usual segment.
const LINE_LEAST: u64 = 16 << 20;
/// What a line has beside its event.
const LINE_EXTRA: u64 = 16 << 10;

/// A sink beside `[kafka]`.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    /// Its name, and that of its cursors.
    pub(crate) name: Group,
    pub(crate) topics: Interest,
    /// It holds events back until it has had them.
    pub(crate) required: bool,
    /// For so long at most.
    pub(crate) hold_max: Option<Duration>,
    pub(crate) to: SinkTo,
}

/// Where a sink leads.
#[derive(Debug, Clone)]
pub(crate) enum SinkTo {
    Kafka(Box<Kafka>),
    Files(Files),
}

/// A folder of files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    pub(crate) mount_point: Option<PathBuf>,
    pub(crate) line_max: Size,
    pub(crate) rotate: Size,
    pub(crate) rotate_after: Duration,
    pub(crate) compression: Packing,
    pub(crate) quota: Size,
    pub(crate) when_full: WhenFull,
    pub(crate) flush: Duration,
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Packing {
    #[default]
    None,
    Zstd,
}

/// What becomes of a sink whose folder is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenFull {
    #[default]
    Pause,
    DeleteOldest,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) name: Spanned<Text<Group>>,
    pub(super) topics: Option<Spanned<Vec<String>>>,
    pub(super) required: Option<bool>,
    pub(super) hold_max: Option<Spanned<Span>>,
    pub(super) kafka: Option<file::Kafka>,
    pub(super) files: Option<WrittenFiles>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenFiles {
    folder: Spanned<PathBuf>,
    mount_point: Option<Spanned<PathBuf>>,
    #[serde(default = "rotate")]
    rotate: Spanned<Size>,
    #[serde(default = "rotate_after")]
    rotate_after: Spanned<Span>,
    #[serde(default)]
    compression: Packing,
    #[serde(default = "quota")]
    quota: Spanned<Size>,
    #[serde(default)]
    when_full: WhenFull,
    #[serde(default = "flush")]
    flush: Spanned<Span>,
}

fn rotate() -> Spanned<Size> {
    file::unplaced(Size(16 << 20))
}

fn rotate_after() -> Spanned<Span> {
    file::unplaced(Span(Duration::from_secs(3600)))
}

fn quota() -> Spanned<Size> {
    file::unplaced(Size(1 << 30))
}

fn flush() -> Spanned<Span> {
    file::unplaced(Span(Duration::from_secs(1)))
}

/// What concerns several values. What stands in `[sink.kafka]` is looked at with `[kafka]`. `event_max`: the largest event.
pub(super) fn check(sinks: &[Written], event_max: Size, problems: &mut Vec<Problem>) {
    let (mut names, mut folders) = (BTreeMap::new(), BTreeMap::new());
    for (index, sink) in sinks.iter().enumerate() {
        let mut problem = |span, what: String, remedy: &str| problems.push(Problem::at(span, what, remedy));
        let name = sink.name.get_ref().0.as_str();
        if name == MAIN_SINK {
            problem(sink.name.span(), format!("{name} is the sink of [kafka]"), "give this one another name");
        }
        let lanes = sink.kafka.as_ref().is_some_and(|kafka| kafka.live_first.is_some());
        if lanes && LaneGroups::of(&sink.name.get_ref().0).is_err() {
            problem(sink.name.span(), format!("{name} is too long to go live first"), "56 characters or less");
        }
        if LaneGroups::sink_of(name).is_some() {
            let what = format!("{name:?} ends as the cursors of a live lane do");
            problem(sink.name.span(), what, "give the sink a name that ends otherwise");
        }
        if names.insert(name, ()).is_some() {
            problem(sink.name.span(), format!("a second sink named {name:?}"), "give each sink its own name");
        }
        if index == SINKS_MAX {
            problem(
                sink.name.span(),
                format!("more than {SINKS_MAX} sinks"),
                "each reads the whole journal: use fewer",
            );
        }
        if sink.kafka.is_some() == sink.files.is_some() {
            let what =
                format!("the sink {name} leads {}", if sink.files.is_some() { "to two places" } else { "nowhere" });
            problem(sink.name.span(), what, "write either [sink.kafka] or [sink.files] below it");
        }
        if let Some(topics) = &sink.topics
            && let Err(error) = Interest::new(topics.get_ref().iter().map(String::as_str))
        {
            problem(
                topics.span(),
                error.to_string(),
                "names or patterns, as in [\"air-quality\", \"city-*\"]; leave it out for all",
            );
        }
        if let Some(hold_max) = &sink.hold_max {
            if sink.required == Some(false) {
                let what = format!("the sink {name} is not required: it holds nothing back");
                problem(hold_max.span(), what, "remove this line, or `required = false`");
            } else if hold_max.get_ref().0 < HOLD_MIN {
                problem(hold_max.span(), "held back for too short a time".to_owned(), "1min or more, as in \"7d\"");
            }
        }
        let Some(files) = &sink.files else { continue };
        let folder = files.folder.get_ref();
        if !folder.is_absolute() {
            let what = format!("folder = {folder:?} depends on where the program is started");
            problem(files.folder.span(), what, "write a path that begins with /");
        }
        if folder.components().any(|part| part == Component::ParentDir) {
            problem(files.folder.span(), format!("folder = {folder:?} has .. in it"), "write where that leads");
        }
        if let Some(mount_point) = &files.mount_point
            && !folder.starts_with(mount_point.get_ref())
        {
            let what = format!("the folder {folder:?} is not below mount_point = {:?}", mount_point.get_ref());
            problem(mount_point.span(), what, "write a folder at or above `folder`");
        }
        if folders.insert(folder.components().collect::<PathBuf>(), ()).is_some() {
            let what = format!("a second sink into the folder {folder:?}");
            problem(files.folder.span(), what, "give each sink its own folder");
        }
        let (rotate, quota) = (*files.rotate.get_ref(), *files.quota.get_ref());
        if rotate < Size(4096) {
            problem(files.rotate.span(), format!("a file of {rotate}"), "4KiB or more");
        } else if quota.0 < rotate.0.saturating_mul(4) {
            // Where only one of them was written, it is that one that does not fit.
            let span = if files.quota.span().is_empty() { files.rotate.span() } else { files.quota.span() };
            let what = format!("a quota of {quota} holds less than four files of {rotate}");
            problem(span, what, "raise `quota`, or lower `rotate`");
        } else if quota < line_room(rotate, event_max) {
            // It would wait for ever for room that nobody can make.
            let span = if files.quota.span().is_empty() { files.rotate.span() } else { files.quota.span() };
            let (what, least) = (
                format!("a quota of {quota} may be too small for the lines of one event of {event_max}"),
                line_room(rotate, event_max),
            );
            problem(span, what, &format!("{least} or more, or lower `event_max` of [journal]"));
        }
        if files.rotate_after.get_ref().0 < Duration::from_secs(1) {
            problem(files.rotate_after.span(), "a file that is finished too soon".to_owned(), "1s or more");
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(60)).contains(&files.flush.get_ref().0) {
            problem(files.flush.span(), "flushed too often, or too seldom".to_owned(), "from 10ms to 1min");
        }
    }
}

/// The longest line.
fn line_max(event_max: Size) -> Size {
    Size(event_max.0.saturating_mul(LINE_FACTOR).saturating_add(LINE_EXTRA))
}

/// The most that is written at once: lines of a quarter of a file, and one event more.
fn line_room(rotate: Size, event_max: Size) -> Size {
    Size((rotate.0 / 4).saturating_add(line_max(event_max).0))
}

impl Written {
    /// After [`check`] has found nothing.
    pub(super) fn convert(self, event_max: Size) -> Option<Sink> {
        let topics = self.topics.map(|topics| Interest::new(topics.get_ref().iter().map(String::as_str)));
        let to = match (self.kafka, self.files) {
            (Some(kafka), _) => SinkTo::Kafka(Box::new(convert_kafka(kafka))),
            (None, Some(files)) => SinkTo::Files(files.convert(event_max)),
            (None, None) => return None,
        };
        Some(Sink {
            name: self.name.into_inner().0,
            topics: topics.transpose().ok()?.unwrap_or_else(Interest::all),
            required: self.required.unwrap_or(true),
            hold_max: self.hold_max.map(|span| span.into_inner().0),
            to,
        })
    }
}

impl WrittenFiles {
    fn convert(self, event_max: Size) -> Files {
        Files {
            folder: self.folder.into_inner(),
            mount_point: self.mount_point.map(Spanned::into_inner),
            // The journal and files may hold what was taken while `event_max` was larger.
            line_max: Size(line_max(event_max).0.max(LINE_LEAST)),
            rotate: self.rotate.into_inner(),
            rotate_after: self.rotate_after.into_inner().0,
            compression: self.compression,
            quota: self.quota.into_inner(),
            when_full: self.when_full,
            flush: self.flush.into_inner().0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Problems, parse};
    use super::*;

    const KAFKA: &str = "[sink.kafka]\nbootstrap = [\"k:1\"]\n";
    const FILES: &str = "[sink.files]\nfolder = \"/srv/events\"\n";

    fn sink(name: &str) -> String {
        format!("[[sink]]\nname = \"{name}\"\n")
    }

    #[test]
    fn a_cluster_and_a_folder_are_read_with_all_their_keys() {
        let text = r#"
            [[sink]]
            name = "analytics"
            topics = ["air-quality", "city-*"]
            hold_max = "7d"
            [sink.kafka]
            bootstrap = ["other:9092"]
            compression = "lz4"
            topic_template = "{gateway}.{topic}"
            [[sink]]
            name = "disk"
            required = false
            [sink.files]
            folder = "/srv/events"
            rotate = "1MiB"
            rotate_after = "10min"
            compression = "zstd"
            quota = "64MiB"
            when_full = "delete-oldest"
            flush = "2s"
        "#;
        let sinks = parse(text).unwrap().sinks;
        let names: Vec<_> = sinks.iter().map(|sink| (sink.name.as_str(), sink.required, sink.hold_max)).collect();
        assert_eq!(names, [("analytics", true, Some(Duration::from_secs(7 * 86_400))), ("disk", false, None)]);
        assert_eq!(sinks[0].topics, Interest::new(["air-quality", "city-*"]).unwrap());
        let SinkTo::Kafka(kafka) = &sinks[0].to else { panic!("{sinks:?}") };
        assert_eq!(
            (kafka.bootstrap.as_slice(), kafka.topic_template.to_string().as_str()),
            (&["other:9092".to_owned()][..], "{gateway}.{topic}")
        );
        let SinkTo::Files(files) = &sinks[1].to else { panic!("{sinks:?}") };
        assert_eq!(
            (files.folder.as_path(), files.rotate, files.quota),
            (Path::new("/srv/events"), Size(1 << 20), Size(64 << 20))
        );
        assert_eq!((files.rotate_after.as_secs(), files.flush.as_secs()), (600, 2));
        assert_eq!((files.compression, files.when_full), (Packing::Zstd, WhenFull::DeleteOldest));
    }

    #[test]
    fn a_small_folder_is_enough_for_small_events() {
        let small = "[journal]\nevent_max = \"64KiB\"\n[[sink]]\nname = \"disk\"\n[sink.files]\nfolder = \"/f\"\nrotate = \"64KiB\"\n";
        assert!(parse(&format!("{small}quota = \"1MiB\"\n")).is_ok());
        assert!(parse(&format!("{small}quota = \"400KiB\"\n")).is_err());
    }

    #[test]
    fn each_mistake_is_shown_where_it_stands_with_what_would_be_right() {
        let (analytics, disk) = (sink("analytics"), format!("{}{FILES}", sink("disk")));
        for (text, place, remedy) in [
            (sink("forward") + KAFKA, ":2:8: ", "another name"),
            (format!("{disk}{}{KAFKA}", sink("disk")), ":6:8: ", "its own name"),
            (sink("disk.live") + FILES, ":2:8: ", "ends otherwise"),
            (format!("{}{KAFKA}live_first = [\"*\"]\n", sink(&"s".repeat(57))), ":2:8: ", "56 characters or less"),
            (analytics.clone(), ":2:8: ", "[sink.kafka] or [sink.files]"),
            (format!("{disk}{KAFKA}"), ":2:8: ", "[sink.kafka] or [sink.files]"),
            (format!("{analytics}topics = []\n{KAFKA}"), ":3:10: ", "leave it out"),
            (format!("{analytics}topics = [\"a b\"]\n{KAFKA}"), ":3:10: ", "patterns"),
            (format!("{analytics}hold_max = \"1s\"\n{KAFKA}"), ":3:12: ", "1min or more"),
            (format!("{analytics}required = false\nhold_max = \"1d\"\n{KAFKA}"), ":4:12: ", "remove this line"),
            (format!("{analytics}[sink.kafka]\nbootstrap = [\"k\"]\n"), ":4:14: ", "host:port"),
            (format!("{analytics}[sink.kafka]\nbootstraps = [\"k:1\"]\n"), ":4:1: ", "`bootstrap`"),
            (disk.replace("/srv", "srv"), ":4:10: ", "begins with /"),
            (format!("{disk}{}", disk.replace("\"disk\"", "\"other\"")), ":8:10: ", "its own folder"),
            (disk.replace("/srv", "/srv/../srv"), ":4:10: ", "where that leads"),
            (
                disk.replace("/srv/events", "/srv//events/.") + &disk.replace("\"disk\"", "\"other\""),
                ":8:10: ",
                "its own folder",
            ),
            (format!("{disk}mount_point = \"/media/stick\"\n"), ":5:15: ", "at or above `folder`"),
            (format!("{disk}quota = \"60MiB\"\n"), ":5:9: ", "raise `quota`"),
            (format!("{disk}rotate = \"1B\"\n"), ":5:10: ", "4KiB"),
            (format!("{disk}rotate = \"64KiB\"\nquota = \"1MiB\"\n"), ":6:9: ", "lower `event_max`"),
            (format!("{disk}flush = \"1ms\"\n"), ":5:9: ", "from 10ms"),
            (format!("{disk}when_full = \"drop\"\n"), ":5:13: ", "`delete-oldest`"),
            (
                format!("{analytics}[sink.kafka]\nbootstrap = [\"k:1\"]\ntopic_template = \"all\"\n"),
                ":5:18: ",
                "{topic}",
            ),
        ] {
            let shown = Problems::new(Path::new("x.toml"), &text, parse(&text).expect_err(&text)).to_string();
            assert!(shown.contains(&format!("x.toml{place}")) && shown.contains(remedy), "{text}\n{shown}");
        }
    }
}
