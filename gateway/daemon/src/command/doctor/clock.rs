//! The clock: is it set, does something keep it right, and does it survive the power?

use lamppost_event::{ClockQuality, Now};

use super::finding::Finding;
use super::machine::Machine;
use crate::config::Battery;

/// How far the clock chip may be from a synchronised clock, seconds.
const CHIP_OFF_S_MAX: i64 = 60;

/// The clock chip (RTC), as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chip {
    name: String,
    /// What it says, seconds since 1970; none if the kernel can't make a time of it, as with an empty battery.
    unix_s: Option<i64>,
}

/// Looks at the clock. `battery`: the chip that the gateway is to read for itself.
pub(crate) fn look(machine: &Machine, now: Now, battery: Option<&Battery>) -> Vec<Finding> {
    let chips = machine.names("/sys/class/rtc").into_iter().map(|rtc| Chip {
        name: machine.read(format!("/sys/class/rtc/{rtc}/name")).unwrap_or_else(|| rtc.clone()),
        unix_s: machine.read(format!("/sys/class/rtc/{rtc}/since_epoch")).and_then(|text| text.parse().ok()),
    });
    let chips: Vec<Chip> = chips.collect();
    let keeper = ["systemd-timesyn", "chronyd", "ntpd"].into_iter().find(|name| machine.runs(name));
    let of_chip = match (battery, chips.first()) {
        (Some(battery), None) => judge_battery(battery, &chips),
        (_, chip) => judge_chip(now, chip),
    };
    let mut findings = vec![judge(now, keeper), of_chip];
    findings.extend(battery.filter(|_| !chips.is_empty()).map(|battery| judge_battery(battery, &chips)));
    findings
}

/// The kernel's drivers are named by bus and address, as in `rtc-ds1307 1-0068`.
fn judge_battery(battery: &Battery, chips: &[Chip]) -> Finding {
    let bus = battery.bus.to_string_lossy();
    let place = bus.rsplit_once("i2c-").map(|(_, number)| format!(" {number}-{:04x}", lamppost_i2c::Rtc::ADDRESS.0));
    let of_kernel = place.and_then(|place| chips.iter().find(|chip| chip.name.ends_with(&place)));
    if let Some(Chip { name, .. }) = of_kernel {
        return Finding::fail(
            "clock chip",
            format!("the kernel has {name}, which [clock] names too: the gateway can't open it"),
            "take [clock] out: the kernel sets the machine's clock by it before the gateway starts",
        );
    }
    Finding::ok("clock chip", format!("the gateway itself reads the one on {bus} ([clock])"))
}

fn judge(now: Now, keeper: Option<&str>) -> Finding {
    let unix_s = now.wall.0 / 1_000;
    match (now.quality, keeper) {
        (ClockQuality::Synced, _) => Finding::ok("clock", "set and synchronised"),
        (ClockQuality::Unset, _) => Finding::fail(
            "clock",
            format!("not set: it says second {unix_s} of 1970, before this program was made"),
            "give it a network with a time server (timedatectl set-ntp true), or set it: date -s 'YYYY-MM-DD HH:MM:SS'.\nUntil then \
             certificates look wrong, and events wait `clock_wait` before they go to the cluster",
        ),
        (ClockQuality::Holdover, None) => Finding::warn(
            "clock",
            "set, and nothing keeps it right: neither systemd-timesyncd, chronyd nor ntpd runs",
            "apt install systemd-timesyncd && timedatectl set-ntp true",
        ),
        (ClockQuality::Holdover, Some(keeper)) => Finding::warn(
            "clock",
            format!("set, and not synchronised yet, though {keeper} runs"),
            "does it reach a time server? timedatectl timesync-status, or chronyc sources; events say `holdover` meanwhile",
        ),
    }
}

fn judge_chip(now: Now, chip: Option<&Chip>) -> Finding {
    let Some(Chip { name, unix_s }) = chip else {
        return Finding::warn(
            "clock chip",
            "none: after a loss of power the clock starts wrong, until there is a time server",
            "add a DS3231 and its overlay (hardware/README.md), or on a Raspberry Pi 5 a battery at J5",
        );
    };
    let says = unix_s.unwrap_or(0);
    let off_s = now.wall.0 / 1_000 - says;
    if unix_s.is_none() || now.quality != ClockQuality::Unset && off_s > 365 * 86_400 {
        return Finding::warn(
            "clock chip",
            format!("{name} has lost its time"),
            "change its battery, then set it from the clock: hwclock --systohc",
        );
    }
    if now.quality == ClockQuality::Synced && off_s.abs() > CHIP_OFF_S_MAX {
        return Finding::warn(
            "clock chip",
            format!("{name} is {} s {}", off_s.abs(), if off_s > 0 { "behind" } else { "ahead" }),
            "set it from the clock: hwclock --systohc",
        );
    }
    Finding::ok("clock chip", format!("{name} keeps the time while the power is off"))
}

#[cfg(test)]
mod tests {
    use lamppost_event::{BootId, Monotonic, WallTime};

    use super::super::finding::Level;
    use super::super::machine::model::Modelled;
    use super::*;

    const NOON_S: i64 = 1_790_000_000;

    fn now(unix_s: i64, quality: ClockQuality) -> Now {
        Now { wall: WallTime(unix_s * 1_000), monotonic: Monotonic(1), boot: BootId(1), quality }
    }

    fn levels(files: &[(&str, &str)], now: Now) -> (Level, Level, String) {
        let findings = look(&Modelled::new(files).machine(), now, None);
        let told = findings.iter().map(|it| format!("{} {:?}\n", it.found, it.remedy)).collect();
        (findings[0].level, findings[1].level, told)
    }

    const RTC: (&str, &str) = ("/sys/class/rtc/rtc0/name", "rtc-ds1307 1-0068\n");

    #[test]
    fn a_synchronised_clock_with_a_chip_that_agrees_is_right() {
        let files = [RTC, ("/sys/class/rtc/rtc0/since_epoch", "1790000031\n")];
        let (clock, chip, told) = levels(&files, now(NOON_S, ClockQuality::Synced));
        assert_eq!((clock, chip), (Level::Ok, Level::Ok));
        assert!(told.contains("rtc-ds1307 1-0068 keeps"), "{told}");
    }

    #[test]
    fn a_clock_that_was_never_set_fails_and_one_that_nobody_keeps_warns() {
        assert_eq!(levels(&[], now(12, ClockQuality::Unset)).0, Level::Fail);
        let (clock, chip, told) = levels(&[], now(NOON_S, ClockQuality::Holdover));
        assert_eq!((clock, chip), (Level::Warn, Level::Warn));
        assert!(told.contains("neither systemd-timesyncd") && told.contains("DS3231"), "{told}");
        let timesyncd = [("/proc/33/comm", "systemd-timesyn\n")];
        assert!(levels(&timesyncd, now(NOON_S, ClockQuality::Holdover)).2.contains("though systemd-timesyn runs"));
    }

    #[test]
    fn a_chip_of_the_gateways_own_counts_and_must_not_be_the_kernels() {
        let battery = Battery { bus: "/dev/i2c-1".into(), chip: lamppost_i2c::RtcChip::Ds3231 };
        let levels = |files: &[(&str, &str)]| {
            let findings = look(&Modelled::new(files).machine(), now(NOON_S, ClockQuality::Synced), Some(&battery));
            findings.iter().map(|it| it.level).collect::<Vec<_>>()
        };
        let epoch = ("/sys/class/rtc/rtc0/since_epoch", "1790000000");
        assert_eq!(levels(&[]), [Level::Ok, Level::Ok]);
        assert_eq!(levels(&[RTC, epoch]), [Level::Ok, Level::Ok, Level::Fail]);
        let elsewhere = ("/sys/class/rtc/rtc0/name", "rtc-ds1307 11-0068\n");
        assert_eq!(levels(&[elsewhere, epoch]), [Level::Ok, Level::Ok, Level::Ok]);
    }

    #[test]
    fn a_chip_with_an_empty_battery_or_far_off_is_told() {
        let synced = now(NOON_S, ClockQuality::Synced);
        let dead = levels(&[RTC], synced);
        assert!(dead.1 == Level::Warn && dead.2.contains("lost its time"), "{}", dead.2);
        let reset = levels(&[RTC, ("/sys/class/rtc/rtc0/since_epoch", "946684800")], synced);
        assert!(reset.1 == Level::Warn && reset.2.contains("battery"), "{}", reset.2);
        let late = levels(&[RTC, ("/sys/class/rtc/rtc0/since_epoch", "1789999900")], synced);
        assert!(late.1 == Level::Warn && late.2.contains("100 s behind"), "{}", late.2);
    }
}
