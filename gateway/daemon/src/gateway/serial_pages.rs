//! The figures of serial ports, by what is spoken there.

use lamppost_serial::{LinesStatus, LinkStatus, PortStatus};

use super::sources::SerialSeen;
use crate::exposition::Exposition;

pub(super) fn serial(out: &mut Exposition, name: &str, seen: &SerialSeen) {
    match seen {
        SerialSeen::Link(status) => {
            port(out, name, "link", &status.port);
            link(out, name, status);
        }
        SerialSeen::Lines(status) => {
            port(out, name, "lines", &status.port);
            lines(out, name, status);
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
