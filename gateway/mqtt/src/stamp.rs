//! A moment that is compared with a later one across restarts and boots, on a machine whose clock may be unset. Its bytes:
//! `boot:u64 monotonic:u64 wall:i64 quality:u8`, little-endian.

use bytes::{Buf, BufMut};
use lamppost_event::{BootId, ClockQuality, Monotonic, Now, WallTime};

/// Whether it can be told what passed between `then` and `now`.
pub(crate) fn can_tell(then: Now, now: Now) -> bool {
    then.boot == now.boot || (then.quality != ClockQuality::Unset && now.quality != ClockQuality::Unset)
}

/// What passed between `then` and `now`, in milliseconds: by the monotonic clock within a boot, by the wall clock between boots where it
/// could be trusted at both ends. Where neither can tell it is 0: what waits is kept rather longer than shorter.
pub(crate) fn passed_ms(then: Now, now: Now) -> u64 {
    if then.boot == now.boot {
        return now.monotonic.0.saturating_sub(then.monotonic.0);
    }
    if !can_tell(then, now) {
        return 0;
    }
    u64::try_from(now.wall.0.saturating_sub(then.wall.0)).unwrap_or(0)
}

pub(crate) fn put(now: Now, out: &mut impl BufMut) {
    out.put_u64_le(now.boot.0);
    out.put_u64_le(now.monotonic.0);
    out.put_i64_le(now.wall.0);
    out.put_u8(match now.quality {
        ClockQuality::Unset => 0,
        ClockQuality::Holdover => 1,
        ClockQuality::Synced => 2,
    });
}

pub(crate) fn take(bytes: &mut impl Buf) -> Option<Now> {
    let (boot, monotonic) = (BootId(bytes.try_get_u64_le().ok()?), Monotonic(bytes.try_get_u64_le().ok()?));
    let wall = WallTime(bytes.try_get_i64_le().ok()?);
    let quality = match bytes.try_get_u8().ok()? {
        0 => ClockQuality::Unset,
        1 => ClockQuality::Holdover,
        2 => ClockQuality::Synced,
        _ => return None,
    };
    Some(Now { wall, monotonic, boot, quality })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: Now = Now {
        wall: WallTime(1_800_000_000_000),
        monotonic: Monotonic(9_000),
        boot: BootId(1),
        quality: ClockQuality::Synced,
    };

    #[test]
    fn within_a_boot_the_monotonic_clock_decides_and_between_boots_a_wall_clock_that_is_set() {
        let later = Now { wall: WallTime(5), monotonic: Monotonic(10_500), ..THEN };
        assert_eq!(passed_ms(THEN, later), 1_500);
        let booted = Now { wall: WallTime(THEN.wall.0 + 60_000), monotonic: Monotonic(1), boot: BootId(2), ..THEN };
        assert_eq!(passed_ms(THEN, booted), 60_000);
        assert_eq!(passed_ms(THEN, Now { quality: ClockQuality::Unset, ..booted }), 0);
        assert_eq!(passed_ms(Now { quality: ClockQuality::Unset, ..THEN }, booted), 0);
        assert_eq!(passed_ms(booted, THEN), 0, "a clock that was set back");
    }

    #[test]
    fn a_stamp_has_these_bytes() {
        let mut bytes = Vec::new();
        put(THEN, &mut bytes);
        assert_eq!(
            bytes,
            [&[1, 0, 0, 0, 0, 0, 0, 0, 0x28, 0x23, 0, 0, 0, 0, 0, 0], &[0, 0x50, 0x5c, 0x18, 0xa3, 1, 0, 0, 2][..]]
                .concat()
        );
        assert_eq!(take(&mut &bytes[..]), Some(THEN));
        assert_eq!(take(&mut &bytes[1..]), None);
    }
}
