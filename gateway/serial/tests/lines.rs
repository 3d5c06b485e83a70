//! The source of lines on a real pseudo-terminal.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

#[path = "link/intake.rs"]
#[expect(dead_code, reason = "the link's tests use more of it")]
mod intake;
#[path = "pty/line.rs"]
#[expect(dead_code, reason = "a device that only writes hears nothing")]
mod line;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use intake::FakeIntake;
use lamppost_event::{Arrival, DeviceId, JournalStopped, Origin, SourceKind};
use lamppost_serial::{Field, FieldFrom, FieldKind, LineFormat, LinesOptions, LinesSource, LinesStatus, PortSettings};
use line::{Line, PATIENCE};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Bench {
    intake: Arc<FakeIntake>,
    status: Arc<LinesStatus>,
    link: PathBuf,
    task: JoinHandle<Result<(), JournalStopped>>,
    stop: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(options: LinesOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("usb-sensor-if00");
        Self::on(link, dir, options)
    }

    fn on(link: PathBuf, dir: tempfile::TempDir, options: LinesOptions) -> Self {
        let intake = Arc::new(FakeIntake::new());
        let settings = PortSettings {
            reopen_pause_min: Duration::from_millis(10),
            reopen_pause_max: Duration::from_millis(50),
            ..PortSettings::new(&link, 9_600)
        };
        let source = LinesSource::new("bench", settings, options, Arc::<FakeIntake>::clone(&intake));
        let status = source.status();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { source.run(async { drop(stopped.await) }).await });
        Self { intake, status, link, task, stop, _dir: dir }
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited: Result<(), _> = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "never happened: {what}; {:?}", self.status);
    }

    async fn opened(&self) {
        self.until("an opening", |bench| bench.status.port.opens.get() > 0).await;
    }

    fn texts(&self) -> Vec<(String, String)> {
        self.intake.offers().iter().map(text).collect()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, self.task).await.expect("it goes on").unwrap(), Ok(()));
    }
}

fn text(arrival: &Arrival) -> (String, String) {
    (arrival.address.to_string(), String::from_utf8(arrival.payload.to_vec()).unwrap())
}

fn pair(address: &str, payload: &str) -> (String, String) {
    (address.to_owned(), payload.to_owned())
}

fn device() -> DeviceId {
    DeviceId::new("post-17").unwrap()
}

fn number(name: &str, from: FieldFrom, unit: Option<&str>) -> Field {
    let unit = unit.map(str::to_owned);
    Field { name: name.to_owned(), from, unit, scale: None, kind: FieldKind::Number, optional: false }
}

fn delimited(fields: Vec<Field>) -> LinesOptions {
    LinesOptions { fields, ..LinesOptions::new(LineFormat::Delimited { separator: ";".to_owned() }, device()) }
}

/// The first line end after the opening is where reading begins.
const SYNC: &[u8] = b"tail of a line\n";

#[tokio::test]
async fn json_lines_become_one_arrival_a_field_with_numbers_as_written() {
    let scaled = Field {
        scale: Some("0.1".parse().unwrap()),
        ..number("pm10", FieldFrom::Pointer("/pm/10".parse().unwrap()), None)
    };
    let fields = vec![number("pm2_5", FieldFrom::Pointer("/pm/2.5".parse().unwrap()), Some("ug/m3")), scaled];
    let device_from = Some(FieldFrom::Pointer("/id".parse().unwrap()));
    let bench = Bench::new(LinesOptions { fields, device_from, ..LinesOptions::new(LineFormat::Json, device()) });
    let line = Line::at(&bench.link);
    bench.opened().await;
    line.send(SYNC).await;
    line.send(b"{\"id\":\"lamp-7\",\"pm\":{\"2.5\":12.30,\"10\":207}}\r\n").await;
    bench.until("both values", |bench| bench.intake.offers().len() == 2).await;
    let expected = [
        pair("lines/lamp-7/pm2_5", r#"{"measure":"pm2_5","value":12.30,"unit":"ug/m3"}"#),
        pair("lines/lamp-7/pm10", r#"{"measure":"pm10","value":20.7}"#),
    ];
    assert_eq!(bench.texts(), expected);
    let first = bench.intake.offers().remove(0);
    assert_eq!((first.source, first.device.as_str()), (SourceKind::Serial, "lamp-7"));
    assert_eq!((first.origin, first.content_type.unwrap().as_str()), (Origin::Unmarked, "application/json"));
    assert_eq!((bench.status.stored.get(), bench.status.undecodable.get()), (2, 0));
    bench.stop().await;
}

#[tokio::test]
async fn a_json_line_without_fields_arrives_whole_as_it_was_written() {
    let bench = Bench::new(LinesOptions::new(LineFormat::Json, device()));
    let line = Line::at(&bench.link);
    bench.opened().await;
    line.send(SYNC).await;
    line.send(b"{ \"t\": 21.50 }\nnonsense\n").await;
    bench.until("a dead letter", |bench| bench.intake.dead().len() == 1).await;
    assert_eq!(bench.texts(), [pair("lines/post-17", "{ \"t\": 21.50 }")]);
    assert!(bench.intake.dead()[0].1.contains("not JSON"));
    bench.stop().await;
}

/// What a Nova SDS011 behind an ESP firmware, a HiLink mmWave counter and the like write: a comment at the start, columns, now
/// and then half a line.
#[tokio::test]
async fn delimited_lines_between_comments_and_cut_ones_are_stored_or_dead_letters_with_the_reason() {
    let fields = vec![number("count", FieldFrom::Column(2), None), number("speed", FieldFrom::Column(3), Some("km/h"))];
    let bench = Bench::new(LinesOptions { skip: vec!["#".to_owned()], ..delimited(fields) });
    let line = Line::at(&bench.link);
    bench.opened().await;
    line.send(b"9;99\n# counter v1.2\n0001; 5;+07.50\n0002;6\n0003;x;1\n\xff;1;2\n0004;7;48.0\n").await;
    bench.until("the last line", |bench| bench.intake.offers().len() == 4).await;
    let expected = [
        pair("lines/post-17/count", r#"{"measure":"count","value":5}"#),
        pair("lines/post-17/speed", r#"{"measure":"speed","value":7.50,"unit":"km/h"}"#),
        pair("lines/post-17/count", r#"{"measure":"count","value":7}"#),
        pair("lines/post-17/speed", r#"{"measure":"speed","value":48.0,"unit":"km/h"}"#),
    ];
    assert_eq!(bench.texts(), expected);
    let dead = bench.intake.dead();
    let reasons: Vec<_> = dead.iter().map(|(_, reason)| reason.as_str()).collect();
    for (reason, part) in
        reasons.iter().zip(["\"speed\": nothing at column 3", "\"x\" is not a number", "UTF-8 from byte 1"])
    {
        assert!(reason.starts_with("serial source \"bench\": ") && reason.contains(part), "{reason}");
    }
    assert_eq!(dead.len(), 3);
    assert_eq!((dead[0].0.address.as_str(), &dead[2].0.payload[..]), ("lines/post-17", &b"\xff;1;2"[..]));
    let status = &bench.status;
    assert_eq!(
        (status.lines.get(), status.skipped.get(), status.undecodable.get(), status.partial.get()),
        (6, 1, 3, 1)
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_line_too_long_is_a_dead_letter_with_its_beginning_and_no_memory_grows() {
    let bench =
        Bench::new(LinesOptions { line_bytes_max: 32, ..delimited(vec![number("n", FieldFrom::Column(1), None)]) });
    let line = Line::at(&bench.link);
    bench.opened().await;
    line.send(SYNC).await;
    line.send(&[b'1'; 10_000]).await;
    line.send(b"\n2\n").await;
    bench.until("the next line", |bench| bench.intake.offers().len() == 1).await;
    let (arrival, reason) = bench.intake.dead().remove(0);
    assert_eq!(arrival.payload, [b'1'; 32][..]);
    assert!(reason.contains("longer than 32 bytes"), "{reason}");
    assert_eq!(bench.intake.dead().len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_device_that_names_itself_illegally_makes_a_dead_letter() {
    let device_from = Some(FieldFrom::Column(1));
    let fields = vec![number("n", FieldFrom::Column(2), None)];
    let bench = Bench::new(LinesOptions { device_from, ..delimited(fields) });
    let line = Line::at(&bench.link);
    bench.opened().await;
    line.send(SYNC).await;
    line.send(b"a/b;1\n;1\nlamp;1\n").await;
    bench.until("the good line", |bench| bench.intake.offers().len() == 1).await;
    let reasons: Vec<_> = bench.intake.dead().into_iter().map(|(_, reason)| reason).collect();
    assert!(reasons[0].contains("\"a/b\" is not legal") && reasons[1].contains("nothing at column 1"), "{reasons:?}");
    bench.stop().await;
}

#[tokio::test]
async fn after_a_second_of_silence_the_first_line_is_whole() {
    let bench = Bench::new(delimited(vec![number("n", FieldFrom::Column(1), None)]));
    let line = Line::at(&bench.link);
    bench.opened().await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    line.send(b"1\n").await;
    bench.until("the first line", |bench| bench.intake.offers().len() == 1).await;
    assert_eq!(bench.status.partial.get(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn while_the_journal_is_full_the_port_is_not_read_and_what_the_kernel_held_is_stored_then() {
    let bench = Bench::new(delimited(vec![number("n", FieldFrom::Column(1), None)]));
    let line = Line::at(&bench.link);
    bench.opened().await;
    line.send(SYNC).await;
    bench.intake.set_full(true);
    for n in 0..100 {
        line.send(format!("{n}\n").as_bytes()).await;
    }
    bench.until("a stall", |bench| bench.status.stalls.get() == 1).await;
    assert!(bench.intake.offers().is_empty());
    bench.intake.set_full(false);
    bench.until("all lines", |bench| bench.intake.offers().len() == 100).await;
    let numbers: Vec<_> = bench.texts().into_iter().map(|(_, payload)| payload).collect();
    let expected: Vec<_> = (0..100).map(|n| format!("{{\"measure\":\"n\",\"value\":{n}}}")).collect();
    assert_eq!(numbers, expected);
    assert_eq!(bench.status.overruns.get(), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_buffer_that_ran_full_is_given_up_and_no_two_lines_are_joined() {
    let bench = Bench::new(delimited(vec![number("n", FieldFrom::Column(1), None)]));
    let line = Line::at(&bench.link);
    bench.opened().await;
    line.send(SYNC).await;
    bench.intake.set_full(true);
    line.send(b"1\n").await;
    bench.until("a stall", |bench| bench.status.stalls.get() == 1).await;
    // A device does not wait: what finds no room is gone, here in the middle of a line.
    for _ in 0..2_000 {
        line.send_some(b"1234567890;1234567890;1234567890;1234567890\n");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.intake.set_full(false);
    bench.until("the overrun", |bench| bench.status.overruns.get() == 1).await;
    // Behind the loss the first line end is where reading begins again.
    line.send(b"7;\n8\n").await;
    bench.until("what came then", |bench| bench.texts().last().is_some_and(|(_, text)| text.contains(":8}"))).await;
    let values: Vec<_> = bench.texts().into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(values.first().map(String::as_str), Some("{\"measure\":\"n\",\"value\":1}"));
    let whole = |value: &String| value.contains(":1}") || value.contains(":8}") || value.contains(":1234567890}");
    assert!(values.iter().all(whole), "{values:?}");
    bench.stop().await;
}

#[tokio::test]
async fn a_port_that_is_unplugged_and_plugged_in_again_is_read_on() {
    let bench = Bench::new(delimited(vec![number("n", FieldFrom::Column(1), None)]));
    bench.until("a failed opening", |bench| bench.status.port.open_errors.get() > 0).await;
    let line = Line::at(&bench.link);
    bench.opened().await;
    line.send(b"0\n1\n").await;
    bench.until("a line", |bench| bench.intake.offers().len() == 1).await;
    drop(line);
    bench.until("the hang-up", |bench| bench.status.port.hang_ups.get() == 1).await;
    let line = Line::at(&bench.link);
    bench.until("another opening", |bench| bench.status.port.opens.get() == 2).await;
    line.send(b"9\n2\n").await;
    bench.until("the next line", |bench| bench.intake.offers().len() == 2).await;
    assert_eq!(bench.status.partial.get(), 2);
    bench.stop().await;
}

#[tokio::test]
async fn a_port_that_another_one_uses_is_told_so_and_taken_once_it_is_free() {
    let first = Bench::new(delimited(vec![number("n", FieldFrom::Column(1), None)]));
    let line = Line::at(&first.link);
    first.opened().await;
    let dir = tempfile::tempdir().unwrap();
    let same = dir.path().join("usb-sensor-if00");
    std::os::unix::fs::symlink(std::fs::read_link(&first.link).unwrap(), &same).unwrap();
    let second = Bench::on(same, dir, delimited(vec![number("n", FieldFrom::Column(1), None)]));
    second.until("a refusal", |bench| bench.status.port.open_errors.get() > 1).await;
    let error = second.status.port.last_error().unwrap();
    assert!(error.contains("usb-sensor-if00 is in use by another program"), "{error}");
    first.stop().await;
    second.opened().await;
    line.send(b"0\n1\n").await;
    second.until("a line", |bench| bench.intake.offers().len() == 1).await;
    second.stop().await;
}

#[tokio::test]
async fn one_bad_port_stops_no_other() {
    let options = || delimited(vec![number("n", FieldFrom::Column(1), None)]);
    let at = |make: &dyn Fn(&std::path::Path)| {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("usb-sensor-if00");
        make(&link);
        Bench::on(link, dir, options())
    };
    // All on one thread: whichever blocks it would stop the good one.
    let absent = at(&|_| {});
    let no_port = at(&|link| std::os::unix::fs::symlink("/dev/null", link).unwrap());
    let folder = at(&|link| std::fs::create_dir(link).unwrap());
    let noisy = Bench::new(options());
    let noise = Line::at(&noisy.link);
    noisy.opened().await;
    noisy.intake.set_full(true);
    noise.send(b"0\n1\n").await;
    noisy.until("a stall", |bench| bench.status.stalls.get() == 1).await;
    let bad = [absent, no_port, folder];
    for bench in &bad {
        bench.until("two failed openings", |bench| bench.status.port.open_errors.get() > 1).await;
        assert!(bench.status.port.last_error().unwrap().contains("usb-sensor-if00"));
    }

    let good = Bench::new(options());
    let line = Line::at(&good.link);
    good.opened().await;
    line.send(SYNC).await;
    for n in 0..50 {
        noise.send_some(&[0xff; 512]);
        line.send(format!("{n}\n").as_bytes()).await;
        good.until("its line", |bench| bench.intake.offers().len() == n + 1).await;
    }
    for bench in bad.into_iter().chain([noisy, good]) {
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_stopped_journal_ends_the_source() {
    let bench = Bench::new(delimited(vec![number("n", FieldFrom::Column(1), None)]));
    let line = Line::at(&bench.link);
    bench.opened().await;
    bench.intake.stop();
    line.send(b"0\n1\n").await;
    let ended = tokio::time::timeout(PATIENCE, bench.task).await.expect("it goes on").unwrap();
    assert!(ended.unwrap_err().reason.contains("the test stopped it"));
}
