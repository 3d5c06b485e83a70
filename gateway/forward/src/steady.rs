//! librdkafka's waits, by a clock that never jumps.
//!
//! librdkafka waits with C11's `cnd_timedwait`, until a moment of the *wall* clock (ISO C11, 7.26.3.5: `TIME_UTC`); C11 offers no other. If that clock is
//! set back by three days, as one that a bad battery had put ahead is by its first NTP answer, a wait that had 50 ms to go has three days to go: its
//! timers stand still (metadata, reconnection, transactions), and so does a thread that waits for its answers. So this takes the place of libc's
//! function in every program that this is linked into: the same contract, but what is left of the time is measured by `CLOCK_MONOTONIC`.
//!
//! Only for glibc 2.30 and later, which has a wait that names its clock. There a `cnd_t` is a `pthread_cond_t`, and a `mtx_t` a `pthread_mutex_t`: its own
//! `cnd_timedwait` is a cast (nptl/cnd_timedwait.c), and so is this.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, clockid_t, timespec};

const THRD_SUCCESS: c_int = 0;
const THRD_ERROR: c_int = 2;
const THRD_TIMEDOUT: c_int = 4;
const SECOND_NS: i128 = 1_000_000_000;

/// Waits that came by here: that it is linked in can be seen.
static WAITS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The moment that this thread waited for last, and which one that was by the monotonic clock, ns. Who is woken for nothing waits for the same
    /// moment again, and the wall clock may have been set meanwhile.
    static LAST: Cell<Option<(i128, i128)>> = const { Cell::new(None) };
}

unsafe extern "C" {
    /// pthread_cond_clockwait(3), POSIX.1-2024.
    fn pthread_cond_clockwait(cond: *mut c_void, mutex: *mut c_void, clock: clockid_t, until: *const timespec)
    -> c_int;
}

/// C11's `cnd_timedwait`, in place of libc's.
///
/// # Safety
///
/// As C11 has it: `cond` and `mutex` are initialised, this thread holds `mutex`, and `until` points to a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn cnd_timedwait(cond: *mut c_void, mutex: *mut c_void, until: *const timespec) -> c_int {
    WAITS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the caller's promise.
    let until = nanoseconds(unsafe { &*until });
    let deadline = deadline(until, LAST.get(), now(CLOCK_REALTIME), now(CLOCK_MONOTONIC));
    LAST.set(Some((until, deadline)));
    let time = time(deadline);
    // SAFETY: the caller's promise; these are the types that libc's own casts to (see above).
    match unsafe { pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &raw const time) } {
        0 => THRD_SUCCESS,
        libc::ETIMEDOUT => THRD_TIMEDOUT,
        _ => THRD_ERROR,
    }
}

/// Which moment of the monotonic clock `until` is, where `last` is what this thread waited for before.
fn deadline(until: i128, last: Option<(i128, i128)>, wall: i128, monotonic: i128) -> i128 {
    match last {
        Some((same, deadline)) if same == until => deadline,
        _ => (monotonic + until - wall).max(0),
    }
}

fn now(clock: clockid_t) -> i128 {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` lives through the call, which only writes into it. Both clocks are there on every Linux.
    let _always = unsafe { libc::clock_gettime(clock, &raw mut now) };
    nanoseconds(&now)
}

fn nanoseconds(time: &timespec) -> i128 {
    i128::from(time.tv_sec) * SECOND_NS + i128::from(time.tv_nsec)
}

fn time(nanoseconds: i128) -> timespec {
    let seconds = nanoseconds.div_euclid(SECOND_NS).try_into().unwrap_or(libc::time_t::MAX);
    timespec { tv_sec: seconds, tv_nsec: nanoseconds.rem_euclid(SECOND_NS).try_into().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::producer::BaseProducer;

    use super::*;

    const HOUR: i128 = 3_600 * SECOND_NS;

    #[test]
    fn librdkafka_waits_by_the_monotonic_clock() {
        let before = WAITS.load(Ordering::Relaxed);
        let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", "127.0.0.1:1").create().unwrap();
        producer.poll(Duration::from_millis(20));
        assert!(WAITS.load(Ordering::Relaxed) > before, "its waits still go to libc");
    }

    #[test]
    fn what_is_left_is_measured_at_the_first_wait_and_the_wall_clock_may_be_set_as_it_likes() {
        let (wall, monotonic) = (1_700_000 * HOUR, 5 * HOUR);
        let first = deadline(wall + 7, None, wall, monotonic);
        assert_eq!(first, monotonic + 7);
        let back = wall - 72 * HOUR;
        assert_eq!(
            deadline(wall + 7, Some((wall + 7, first)), back, monotonic + 3),
            first,
            "woken for nothing, and waits again"
        );
        assert_eq!(deadline(back + 9, Some((wall + 7, first)), back, monotonic + 3), monotonic + 12, "another moment");
        assert_eq!(deadline(0, None, wall, monotonic), 0, "long past");
    }

    #[test]
    fn nanoseconds_survive_the_way_there_and_back() {
        for moment in [0, 1, SECOND_NS - 1, SECOND_NS, 1_700_000 * HOUR + 123_456_789] {
            assert_eq!(nanoseconds(&time(moment)), moment);
        }
    }
}
