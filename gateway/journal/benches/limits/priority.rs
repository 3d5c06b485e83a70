//! Ahead of the machine's other work, where that is allowed: a thread that wakes up from a flush on a busy processor otherwise waits for
//! milliseconds until the scheduler's turn, and it is the scheduler that is measured.

use std::process::{Command, Stdio};

/// Puts this process, its later threads and children into the real-time class (SCHED_FIFO), by util-linux's `chrt`. Says what is so.
pub(crate) fn raise() {
    let pid = std::process::id().to_string();
    let mut command = Command::new("chrt");
    command.args(["--fifo", "--pid", "10", &pid]).stdout(Stdio::null()).stderr(Stdio::null());
    let raised = command.status().is_ok_and(|status| status.success());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let how = if raised {
        "ahead of the machine's other work (SCHED_FIFO)"
    } else {
        "as ordinary work: SCHED_FIFO needs root and chrt"
    };
    println!("Measuring {how}; load average before: {load}");
}
