//! Reading along: what a cluster keeps only shortly is judged at the end all the same.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{Builder, JoinHandle, Thread};
use std::time::{Duration, SystemTime};

use crate::audit::{AuditConfig, AuditError, LOOK_AGAIN, conclude};
use crate::judge::Judge;
use crate::plan::Plan;
use crate::reader::{Patience, Reader};
use crate::report::Report;

/// While the run goes on, a broker that does not answer must not keep the reader from the others.
const PATIENCE: Patience = Patience { request: Duration::from_secs(2), record: Duration::from_secs(2) };

/// Reads the cluster in a thread of its own from its start on, and judges at the end.
///
/// Memory: the judge's ([`Judge`]), and without a bound 48 bytes more for each event until the ledgers are heard, and all of these at once: it reads only once. Dropped without
/// [`Follower::finish`], it ends its thread soon after.
#[derive(Debug)]
pub struct Follower {
    config: AuditConfig,
    began: SystemTime,
    end: End,
    thread: JoinHandle<Result<(Reader, Judge), AuditError>>,
}

/// Tells the thread that the run is over; dropped, too.
#[derive(Debug)]
struct End {
    told: Arc<AtomicBool>,
    thread: Thread,
}

impl Drop for End {
    fn drop(&mut self) {
        self.told.store(true, Relaxed);
        self.thread.unpark();
    }
}

impl Follower {
    /// Connects to the cluster, and begins to read: everything that it has by now, and what is added. `config` names the
    /// topics, which need not be there yet; or none, then new ones are found as they come. Its `ledgers`, `settle` and `since` are not
    /// used: [`Follower::finish`] is given the first two.
    ///
    /// # Errors
    /// [`AuditError::Cluster`]: the cluster does not answer. [`AuditError::Thread`].
    #[expect(clippy::disallowed_methods, reason = "how long it took is shown to a person, nothing depends on it")]
    pub fn start(config: AuditConfig) -> Result<Self, AuditError> {
        let config = AuditConfig { since: None, ..config };
        let began = SystemTime::now();
        let mut reader = Reader::connect(&config)?;
        reader.begin()?;
        reader.patience = PATIENCE;
        let told = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&told);
        let thread = Builder::new().name("audit".into()).spawn(move || follow(reader, &over))?;
        let end = End { told, thread: thread.thread().clone() };
        Ok(Self { config, began, end, thread })
    }

    /// The run is over: hears the ledgers, reads to the ends, waits up to `settle` for what is still on its way
    /// ([`AuditConfig::settle`]), and judges as [`crate::audit`] does. Blocks.
    ///
    /// # Errors
    /// [`AuditError`]: no verdict is given on what was not read whole; above all [`AuditError::FellBehind`], where the cluster
    /// has dropped something before it was read. That the cluster did not answer for a while meanwhile is no error.
    ///
    /// # Panics
    /// As the thread did, if it has panicked.
    pub fn finish(self, ledgers: &[PathBuf], settle: Duration) -> Result<Report, AuditError> {
        let Self { config, began, end, thread } = self;
        drop(end);
        let (mut reader, judge) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        reader.patience = Patience::of(&config);
        // What the cluster no longer has can't be read again.
        let plan = Plan::of(ledgers, u64::MAX)?;
        let mut report = conclude(reader, judge, ledgers, &plan, settle, &mut |_| {})?;
        report.seconds = began.elapsed().unwrap_or_default().as_secs_f64();
        Ok(report)
    }
}

/// Reads until it is told that the run is over. What fails meanwhile is tried again, but for what is gone for good.
fn follow(mut reader: Reader, done: &AtomicBool) -> Result<(Reader, Judge), AuditError> {
    let mut judge = Judge::of_a_run().with_topics(reader.wanted());
    while !done.load(Relaxed) {
        for (topic, count) in reader.topics().unwrap_or_default() {
            let read = reader.read_topic(&topic, count, &mut judge, &mut |_| {});
            if let Err(error @ AuditError::FellBehind { .. }) = read {
                return Err(error);
            }
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
    Ok((reader, judge))
}

#[cfg(test)]
mod tests {
    use rdkafka::config::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

    use super::*;

    #[test]
    fn what_the_cluster_dropped_before_it_was_read_along_is_an_error_and_no_loss() {
        let cluster = MockCluster::new(1).unwrap();
        let bootstrap = cluster.bootstrap_servers();
        let mut reader = Reader::connect(&AuditConfig::new(&bootstrap)).unwrap();
        reader.begin().unwrap();
        // The mock cluster keeps 5 MiB of a partition.
        cluster.create_topic("air", 1, 1).unwrap();
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().unwrap();
        for _ in 0..1000 {
            let record = BaseRecord::<str, [u8]>::to("air").payload(&[b'x'; 10_000]);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
        let over = AtomicBool::new(false);
        let followed = std::thread::scope(|scope| {
            let thread = scope.spawn(|| follow(reader, &over));
            std::thread::sleep(Duration::from_millis(300));
            over.store(true, Relaxed);
            thread.join().unwrap()
        });
        let error = followed.err().unwrap();
        assert!(matches!(error, AuditError::FellBehind { next: 0, low: 1.., .. }), "{error}");
        assert!(error.to_string().starts_with("air/0: records 0 to "), "{error}");
    }
}
