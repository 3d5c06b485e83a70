//! What the judge takes: it is shown the records of so many devices, as a cluster would have them, and its peak memory is printed.
//!
//!     cargo run --release -p lamppost-audit --example billion -- [--devices 1000000] [--records 100000000] [--per-gateway 50] [--ledger 0] [--random-ids]
//!
//! Fifty devices a gateway (`--per-gateway`), one topic of six partitions. Half of the devices count, (device, boot, sequence), the other half give ids, `dev-3:17`. One record in a
//! million is not there. `--ledger N`: a ledger has the first N events. `--random-ids`: ids without a number at their end.

use std::time::Instant;

use lamppost_audit::{Judge, Lane, LedgerEntry, LedgerIndex, Mark, MarkRef, Record};
use lamppost_event::{Partition, partition_of};

const PARTITIONS: u16 = 6;
const LOST_EVERY: u64 = 1_000_003;

/// What `/proc/self/status` says of this process, in MiB.
fn memory_mib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

/// The events of the devices, in turns.
struct Devices {
    count: u64,
    random_ids: bool,
    key: String,
    mark: String,
}

impl Devices {
    /// The `n`th event's device.
    fn set(&mut self, n: u64) {
        let (device, sequence) = (n % self.count, n / self.count);
        self.key.clear();
        self.mark.clear();
        self.key.push_str(&format!("dev-{device}"));
        self.mark.push_str(&if self.random_ids {
            format!("{:016x}-", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        } else {
            format!("dev-{device}:{sequence}")
        });
    }

    fn mark(&self, n: u64) -> MarkRef<'_> {
        let (device, sequence) = (n % self.count, n / self.count);
        if device.is_multiple_of(2) && !self.random_ids {
            MarkRef::Sequence { device: &self.key, boot: 1, sequence }
        } else {
            MarkRef::Id(&self.mark)
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is a program")]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(otherwise)
    };
    let (count, records) = (number("--devices", 1_000_000).max(1), number("--records", 100_000_000));
    let per_gateway = number("--per-gateway", 50).max(1);
    let lines = number("--ledger", 0);
    let random_ids = arguments.iter().any(|argument| argument == "--random-ids");
    let mut devices = Devices { count, random_ids, key: String::new(), mark: String::new() };
    let mut judge = Judge::new();
    judge.reserve(usize::try_from(lines).unwrap_or(0));
    for n in 0..lines {
        devices.set(n);
        let mark = match devices.mark(n) {
            MarkRef::Id(id) => Mark::Id { id: id.to_owned() },
            MarkRef::Sequence { device, boot, sequence } => {
                Mark::Sequence { device: device.to_owned(), boot, sequence }
            }
        };
        let line = u32::try_from(n + 1).unwrap_or(u32::MAX);
        let entry = LedgerEntry { topic: Some("air".to_owned()), key: Some(devices.key.clone()), mark };
        judge.expect(LedgerIndex(0), line, &entry);
    }
    println!("{lines} ledger lines heard: {} MiB", memory_mib("VmHWM:"));

    let gateways = count.div_ceil(per_gateway);
    let mut ends = vec![[0_u64; PARTITIONS as usize]; usize::try_from(gateways).unwrap_or(0)];
    let mut offsets = [0_i64; PARTITIONS as usize];
    let began = Instant::now();
    for n in 0..records {
        devices.set(n);
        let gateway = n % count / per_gateway;
        let Partition(partition) = partition_of(devices.key.as_bytes(), PARTITIONS);
        let of_gateway = usize::try_from(gateway).ok().and_then(|gateway| ends.get_mut(gateway));
        let end = of_gateway.and_then(|ends| ends.get_mut(usize::from(partition)));
        let (Some(end), Some(offset)) = (end, offsets.get_mut(usize::from(partition))) else { continue };
        *end += 1;
        if n % LOST_EVERY == LOST_EVERY - 1 {
            continue;
        }
        *offset += 1;
        let id = format!("post-{gateway}/00000000000000aa/air/{partition}/{}", *end - 1);
        judge.observe(&Record {
            topic: "air",
            partition: Partition(partition),
            partitions: PARTITIONS,
            offset: *offset,
            key: devices.key.as_bytes(),
            id: Some(&id),
            mark: Some(devices.mark(n)),
            time_ms: 0,
            lane: Lane::Only,
            reason: None,
            notice: None,
        });
        if (n + 1).is_multiple_of((records / 10).max(1)) {
            println!("{} records: {} MiB, {:.0} s", n + 1, memory_mib("VmHWM:"), began.elapsed().as_secs_f64());
        }
    }
    let (room, seconds) = (!judge.is_full(), began.elapsed().as_secs_f64());
    let report = judge.verdict(&[]);
    println!("judged: {} MiB in all, {seconds:.0} s, within its bounds: {room}", memory_mib("VmHWM:"));
    let (delivered, missing, holes) = (report.delivered, report.missing_offsets, report.sequence_holes);
    println!(
        "{delivered} delivered, {missing} missing, {} partitions, {holes} holes in counts",
        report.partitions.len()
    );
    println!(
        "found {} of {}, lost {}, senders: one in {}",
        report.found, report.acknowledged, report.lost, report.senders_one_of
    );
}
