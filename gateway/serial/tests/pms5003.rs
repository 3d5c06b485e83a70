//! The source of dust on a real pseudo-terminal, with the clock of the test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "outside `#[test]` functions too, a test fails by panicking"
)]

#[path = "link/intake.rs"]
#[expect(dead_code, reason = "the link's tests use more of it")]
mod intake;
#[path = "pty/line.rs"]
#[expect(dead_code, reason = "this sensor hears nothing")]
mod line;

use std::sync::Arc;
use std::time::Duration;

use intake::FakeIntake;
use lamppost_event::{DeviceId, Origin, SourceKind};
use lamppost_serial::{DustOptions, DustSource, DustStatus, PortSettings};
use line::{Line, PATIENCE};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A reading of so many µg/m³ in the atmosphere, with the sensor's error.
fn frame(atmosphere: [u16; 3], error: u8) -> Vec<u8> {
    let mut frame = vec![0x42, 0x4d, 0, 28];
    // CF = 1: other figures, which are not to be taken.
    for word in [900, 901, 902].into_iter().chain(atmosphere).chain([0; 6]) {
        frame.extend(u16::to_be_bytes(word));
    }
    frame.extend([0x91, error]);
    let sum: u16 = frame.iter().map(|byte| u16::from(*byte)).sum();
    frame.extend(sum.to_be_bytes());
    frame
}

struct Bench {
    intake: Arc<FakeIntake>,
    status: Arc<DustStatus>,
    line: Line,
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new(every: Duration, warm_up: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("usb-dust-if00");
        let line = Line::at(&link);
        let intake = Arc::new(FakeIntake::new());
        let options = DustOptions { every, warm_up, ..DustOptions::new(DeviceId::new("post-17").unwrap()) };
        let settings = PortSettings::new(&link, 9_600);
        let source = DustSource::new("dust", settings, options, Arc::<FakeIntake>::clone(&intake)).unwrap();
        let status = source.status();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { source.run(async { drop(stopped.await) }).await.unwrap() });
        let bench = Self { intake, status, line, task, stop, _dir: dir };
        bench.until("an opening", |status| status.port.opens.get() > 0).await;
        bench
    }

    async fn until(&self, what: &str, condition: impl Fn(&DustStatus) -> bool) {
        let wait = async {
            while !condition(&self.status) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited: Result<(), _> = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "never happened: {what}; {:?}", self.status);
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_comes_in_an_interval_is_stored_as_its_mean_and_garbage_costs_nothing_else() {
    let bench = Bench::new(Duration::from_millis(300), Duration::ZERO).await;
    let mut damaged = frame([500, 500, 500], 0);
    damaged[9] ^= 1;
    let noise = [&b"BM\x00\x07 no frame"[..], &frame([10, 20, 30], 0), &damaged, &frame([11, 20, 31], 0)].concat();
    bench.line.send(&noise).await;
    bench.until("three means", |status| status.stored.get() >= 3).await;
    let offers = bench.intake.offers();
    let told: Vec<_> =
        offers.iter().map(|it| (it.address.to_string(), String::from_utf8(it.payload.to_vec()).unwrap())).collect();
    let told_as = |measure: &str, value: &str| {
        let payload = format!(r#"{{"measure":"{measure}","value":{value},"unit":"ug/m3"}}"#);
        (format!("pms5003/post-17/{measure}"), payload)
    };
    assert_eq!(told, [told_as("pm1", "10.5"), told_as("pm2_5", "20"), told_as("pm10", "30.5")]);
    let marks = offers.iter().all(|it| it.origin == Origin::Unmarked && it.source == SourceKind::Serial);
    assert!(marks && offers.iter().all(|it| it.device.as_str() == "post-17"));
    assert_eq!((bench.status.readings.get(), bench.status.frames_bad.get()), (2, 2));
    assert!(
        bench.status.garbage_bytes.get() >= 32 && bench.status.port.last_error().unwrap().contains("PMS5003 frame")
    );
    bench.until("an interval without readings", |status| status.empty.get() > 0).await;
    bench.stop().await;
}

#[tokio::test]
async fn a_sensor_that_warms_up_or_says_that_it_is_faulty_is_not_believed() {
    let bench = Bench::new(Duration::from_millis(50), Duration::from_secs(2)).await;
    bench.line.send(&frame([900, 900, 900], 0)).await;
    bench.until("a warming reading", |status| status.warming.get() == 1).await;
    tokio::time::sleep(Duration::from_millis(2_050)).await;
    bench.line.send(&frame([800, 800, 800], 1)).await;
    bench.until("a faulty reading", |status| status.faulty.get() == 1).await;
    assert!(bench.status.port.last_error().unwrap().contains("faulty: error 0x01"), "{:?}", bench.status);
    bench.line.send(&frame([1, 2, 3], 0)).await;
    bench.until("the means", |status| status.stored.get() == 3).await;
    assert_eq!(bench.intake.offers().len(), 3);
    bench.stop().await;
}

#[tokio::test]
async fn means_that_find_no_room_within_a_second_are_given_up_and_counted() {
    let bench = Bench::new(Duration::from_millis(100), Duration::ZERO).await;
    bench.intake.set_full(true);
    bench.line.send(&frame([1, 2, 3], 0)).await;
    bench.until("three missed", |status| status.missed.get() == 3).await;
    bench.intake.set_full(false);
    bench.line.send(&frame([4, 5, 6], 0)).await;
    bench.until("three stored", |status| status.stored.get() == 3).await;
    assert!(bench.intake.offers().iter().any(|it| it.payload.ends_with(br#""value":6,"unit":"ug/m3"}"#)));
    bench.stop().await;
}
