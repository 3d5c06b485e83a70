//! The figures of serial ports, by what is spoken there.

use std::time::Duration;

use lamppost_serial::{DustStatus, LinesStatus, LinkStatus, ModbusStatus, PortStatus};

use super::sources::SerialSeen;
use crate::exposition::Exposition;
use crate::health::Progress;

pub(super) fn serial(out: &mut Exposition, name: &str, seen: &SerialSeen) {
    match seen {
        SerialSeen::Link(seen) => {
            port(out, name, "link", &seen.status.port);
            link(out, name, &seen.status);
        }
        SerialSeen::Lines(status) => {
            port(out, name, "lines", &status.port);
            lines(out, name, status);
        }
        SerialSeen::Modbus(status, _) => {
            port(out, name, "modbus", &status.port);
            modbus(out, name, status);
        }
        SerialSeen::Dust(status, _) => {
            port(out, name, "pms5003", &status.port);
            dust(out, name, status);
        }
    }
}

fn port(out: &mut Exposition, name: &str, protocol: &str, status: &PortStatus) {
    let labels = [("source", name), ("protocol", protocol)];
    out.counter("lamppost_serial_opens_total", "Times that the port was opened.", &labels, status.opens.get());
    out.counter("lamppost_serial_open_errors_total", "Times that it could not be.", &labels, status.open_errors.get());
    let hang_ups = "Times that an open port hung up or failed.";
    out.counter("lamppost_serial_hang_ups_total", hang_ups, &labels, status.hang_ups.get());
    out.counter("lamppost_serial_bytes_total", "Bytes read.", &labels, status.bytes.get());
}

fn link(out: &mut Exposition, name: &str, status: &LinkStatus) {
    let source = ("source", name);
    let frames = "Frames received on a link.";
    for (state, count) in [
        ("ok", &status.frames_ok),
        ("bad_crc", &status.frames_bad_crc),
        ("cut", &status.frames_cut),
        ("too_long", &status.frames_too_long),
        ("unknown", &status.frames_unknown),
        ("malformed", &status.frames_malformed),
    ] {
        out.counter("lamppost_link_frames_total", frames, &[source, ("state", state)], count.get());
    }
    out.counter(
        "lamppost_link_garbage_bytes_total",
        "Bytes that belonged to no good frame.",
        &[source],
        status.garbage_bytes.get(),
    );
    out.counter("lamppost_link_readings_total", "Readings offered to the journal.", &[source], status.readings.get());
    out.counter("lamppost_link_resent_total", "Readings received again.", &[source], status.resent.get());
    out.counter(
        "lamppost_link_passed_over_total",
        "Readings that the node dropped for want of room.",
        &[source],
        status.passed_over.get(),
    );
    let hellos = "Hellos of nodes, by what they were: refused (no valid name), newer (of a later version of the link), or usual.";
    let (refused, newer) = (status.hellos_refused.get(), status.hellos_newer.get());
    let usual = status.hellos.get().saturating_sub(refused).saturating_sub(newer);
    for (kind, count) in [("usual", usual), ("refused", refused), ("newer", newer)] {
        out.counter("lamppost_link_hellos_total", hellos, &[source, ("kind", kind)], count);
    }
    let commands = "Operators' commands to the node, by what came of them.";
    for (outcome, count) in [("done", &status.commands_done), ("failed", &status.commands_failed)] {
        out.counter("lamppost_link_commands_total", commands, &[source, ("outcome", outcome)], count.get());
    }
    let counts = [
        ("lamppost_link_boots_given_total", "Lives of nodes that were given a number.", &status.boots_given),
        (
            "lamppost_link_recounted_total",
            "Times that a node was heard all the same that counts its lives through used numbers anew.",
            &status.recounted,
        ),
        (
            "lamppost_link_out_of_turn_total",
            "Readings dropped, to be sent again: one before was lost.",
            &status.out_of_turn,
        ),
        (
            "lamppost_link_before_welcome_total",
            "Readings and heartbeats dropped, to be sent again: of no welcomed life.",
            &status.before_welcome,
        ),
        ("lamppost_link_acknowledgements_total", "Acknowledgements given.", &status.acknowledgements),
        ("lamppost_link_jumps_told_total", "Times that the node was told of a jump of the clock.", &status.jumps_told),
        ("lamppost_link_stalls_total", "Times that reading stopped for want of room.", &status.stalls),
    ];
    for (metric, help, count) in counts {
        out.counter(metric, help, &[source], count.get());
    }
    let levels = [
        ("lamppost_link_node_kept", "Readings that the node keeps, by its last heartbeat.", &status.node_kept),
        (
            "lamppost_link_node_dropped",
            "Readings that it has dropped in this life, by its last heartbeat.",
            &status.node_dropped,
        ),
        (
            "lamppost_link_node_failed_measurements",
            "Measurements that failed in this life, by its last heartbeat.",
            &status.node_faults,
        ),
    ];
    for (metric, help, count) in levels {
        out.level(metric, help, &[source], count.get());
    }
    out.level("lamppost_link_node_connected", "1 while a node speaks.", &[source], u64::from(status.node().is_some()));
}

fn lines(out: &mut Exposition, name: &str, status: &LinesStatus) {
    let source = [("source", name)];
    let counts = [
        ("lamppost_lines_total", "Lines read.", &status.lines),
        ("lamppost_lines_skipped_total", "Lines passed over, as configured.", &status.skipped),
        ("lamppost_lines_undecodable_total", "Lines stored as dead letters.", &status.undecodable),
        ("lamppost_lines_stored_total", "Values that the journal took.", &status.stored),
        ("lamppost_lines_partial_total", "Ends of lines whose beginning was not read.", &status.partial),
        ("lamppost_lines_too_large_total", "Values or lines larger than an event may be.", &status.too_large),
        ("lamppost_lines_stalls_total", "Times that reading stopped for want of room.", &status.stalls),
        ("lamppost_lines_overruns_total", "Times that the port's buffer ran full meanwhile.", &status.overruns),
    ];
    for (metric, help, count) in counts {
        out.counter(metric, help, &source, count.get());
    }
}

fn dust(out: &mut Exposition, name: &str, status: &DustStatus) {
    let source = [("source", name)];
    let counts = [
        ("lamppost_pms5003_readings_total", "Readings received.", &status.readings),
        ("lamppost_pms5003_warming_total", "Readings passed over while the sensor was warming up.", &status.warming),
        (
            "lamppost_pms5003_faulty_total",
            "Readings passed over because the sensor said it was faulty.",
            &status.faulty,
        ),
        ("lamppost_pms5003_frames_bad_total", "Frames with a wrong length or checksum.", &status.frames_bad),
        ("lamppost_pms5003_garbage_bytes_total", "Bytes that were part of no good frame.", &status.garbage_bytes),
        ("lamppost_pms5003_empty_total", "Intervals without a reading that could be used.", &status.empty),
        ("lamppost_pms5003_stored_total", "Means that the journal took.", &status.stored),
        ("lamppost_pms5003_missed_total", "Means that found no room in time.", &status.missed),
    ];
    for (metric, help, count) in counts {
        out.counter(metric, help, &source, count.get());
    }
}

fn modbus(out: &mut Exposition, name: &str, status: &ModbusStatus) {
    let source = ("source", name);
    out.counter("lamppost_modbus_requests_total", "Requests sent.", &[source], status.requests.get());
    out.counter("lamppost_modbus_retries_total", "Requests sent again.", &[source], status.retries.get());
    let failed = "Requests without an answer, by why.";
    for (why, count) in [("silent", &status.silent), ("garbled", &status.garbled), ("wrong", &status.wrong)] {
        out.counter("lamppost_modbus_unanswered_total", failed, &[source, ("why", why)], count.get());
    }
    for slave in &status.slaves {
        let labels = [source, ("device", slave.device.as_str())];
        let counts = [
            ("lamppost_modbus_polls_total", "Polls begun.", &slave.polls),
            ("lamppost_modbus_errors_total", "Polls that brought nothing, or not all.", &slave.errors),
            ("lamppost_modbus_exceptions_total", "Answers that were exceptions.", &slave.exceptions),
            ("lamppost_modbus_unusable_total", "Values that are no numbers.", &slave.unusable),
            ("lamppost_modbus_stored_total", "Values that the journal took.", &slave.stored),
            ("lamppost_modbus_missed_total", "Polls left out, and values that found no room in time.", &slave.missed),
        ];
        for (metric, help, count) in counts {
            out.counter(metric, help, &labels, count.get());
        }
    }
}

/// The slaves of a bus, each a part of its own: a bus with one dead slave still gets on. And a dust sensor.
pub(super) fn health(name: &str, seen: &SerialSeen) -> Vec<(String, Progress)> {
    let (status, every) = match seen {
        SerialSeen::Modbus(status, every) => (status, every),
        SerialSeen::Dust(status, every) => {
            let done = status.stored.get() + status.missed.get();
            return vec![(format!("pms5003/{name}"), Progress::polled(done, *every))];
        }
        SerialSeen::Link(_) | SerialSeen::Lines(_) => return Vec::new(),
    };
    let part = |(slave, every): (&lamppost_serial::SlaveStatus, &Duration)| {
        (format!("modbus/{name}/{}", slave.device), Progress::polled(slave.answers.get(), *every))
    };
    status.slaves.iter().zip(every).map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The first column of the reference's tables.
    fn told() -> BTreeSet<&'static str> {
        let rows = include_str!("../../../serial/README.md").lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| row.split('`').next()).collect()
    }

    #[test]
    fn the_reference_has_every_figure_of_a_port_and_no_other() {
        let mut out = Exposition::default();
        port(&mut out, "a", "link", &PortStatus::default());
        link(&mut out, "a", &LinkStatus::default());
        lines(&mut out, "a", &LinesStatus::default());
        dust(&mut out, "a", &DustStatus::default());
        let text = out.encode().unwrap();
        let shown: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        // A bus has its figures only with its slaves, which the crate makes.
        let told: BTreeSet<&str> = told().into_iter().filter(|name| !name.starts_with("lamppost_modbus_")).collect();
        assert_eq!(shown, told);
    }
}
