//! Serial ports and I2C buses of the configuration: there, to be opened by the gateway's user, and nobody else's.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::finding::Finding;
use super::machine::{Holder, Machine};
use super::people::{self, User};

/// What kind of device is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Serial,
    I2c,
}

impl Kind {
    fn area(self) -> &'static str {
        match self {
            Self::Serial => "serial port",
            Self::I2c => "i2c bus",
        }
    }

    /// The group that the udev rules give it to.
    fn group(self) -> &'static str {
        match self {
            Self::Serial => "dialout",
            Self::I2c => "i2c",
        }
    }
}

/// Looks at one device, that the source `name` is to open.
pub(crate) fn look(machine: &Machine, kind: Kind, name: &str, path: &Path, user: &User) -> Vec<Finding> {
    let area = kind.area();
    let here = machine.path(path);
    let meta = match std::fs::metadata(&here) {
        Ok(meta) => meta,
        Err(_) => return vec![absent(machine, kind, name, path)],
    };
    if !meta.file_type().is_char_device() {
        let found = format!("{name}: {} is no device", path.display());
        return vec![Finding::fail(area, found, "name the device, as ls -l /dev/serial/by-id /dev/i2c-* shows it")];
    }
    let mut findings = vec![];
    if !user.may(&meta, 0o6) {
        let group = people::group_name(machine, meta.gid());
        findings.push(forbidden(kind, name, path, meta.mode() & 0o777, &group, &user.name));
    }
    if kind == Kind::Serial {
        let device = here.canonicalize().unwrap_or(here);
        let device = device.to_string_lossy();
        findings.extend(machine.holder(&device).and_then(|holder| held(name, &device, &holder)));
        let console = machine.read("/proc/cmdline").unwrap_or_default();
        findings.extend(console_finding(name, &device, &console));
        findings.extend(unstable(name, path));
        let is_usb = ["ttyUSB", "ttyACM"].iter().any(|kind| device.contains(kind));
        if is_usb && machine.runs("ModemManager") {
            findings.push(Finding::warn(
                area,
                format!("{name}: ModemManager runs, and talks to each serial adapter that is plugged in"),
                "apt purge modemmanager; where a modem needs it, an udev rule with ENV{ID_MM_DEVICE_IGNORE}=\"1\" for the adapter",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(area, format!("{name}: {} is there, and {} may open it", path.display(), user.name)));
    }
    findings
}

fn absent(machine: &Machine, kind: Kind, name: &str, path: &Path) -> Finding {
    let shown = path.display().to_string();
    let list = |folder: &str, begins: &[&str]| {
        let names = machine.names(folder).into_iter().filter(|name| begins.iter().any(|begin| name.starts_with(begin)));
        names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>().join(" ")
    };
    let there = match kind {
        Kind::Serial if shown.contains("/by-id/") => list("/dev/serial/by-id", &[""]),
        Kind::Serial => list("/dev", &["ttyAMA", "ttyUSB", "ttyACM", "ttyS"]),
        Kind::I2c => list("/dev", &["i2c-"]),
    };
    let there = if there.is_empty() { "none of its kind is".to_owned() } else { format!("there is: {there}") };
    let remedy = match kind {
        Kind::I2c => {
            "load i2c-dev (echo i2c-dev > /etc/modules-load.d/lamppost.conf; modprobe i2c-dev) and turn the bus on: on a \
             Raspberry Pi dtparam=i2c_arm=on in /boot/firmware/config.txt, elsewhere the overlay in hardware/"
        }
        Kind::Serial if shown.contains("/by-id/") || shown.contains("ttyUSB") || shown.contains("ttyACM") => {
            "plug the adapter in; dmesg | tail says whether the kernel has seen it. It is opened as soon as it is there"
        }
        Kind::Serial => {
            "turn the port on: on a Raspberry Pi enable_uart=1 in /boot/firmware/config.txt (and dtoverlay=disable-bt for \
             /dev/ttyAMA0 before the Pi 5), elsewhere the overlay in hardware/"
        }
    };
    Finding::fail(kind.area(), format!("{name}: {shown} is not there; {there}"), remedy)
}

fn forbidden(kind: Kind, name: &str, path: &Path, mode: u32, group: &str, user: &str) -> Finding {
    let found = format!("{name}: {user} may not open {} (mode {mode:o}, group {group})", path.display());
    let remedy = if group == kind.group() {
        format!("usermod -aG {group} {user}, then restart the service")
    } else {
        format!(
            "install 60-lamppost.rules, which gives it to the group {}, then: udevadm control --reload; udevadm trigger",
            kind.group()
        )
    };
    Finding::fail(kind.area(), found, remedy)
}

/// Somebody else has the port open.
fn held(name: &str, device: &str, holder: &Holder) -> Option<Finding> {
    if holder.is_gateway() {
        return None;
    }
    let tty = device.rsplit('/').next().unwrap_or(device);
    let remedy = match holder.name.as_str() {
        "agetty" | "getty" | "login" | "bash" | "sh" => {
            format!(
                "systemctl mask --now serial-getty@{tty}, and take console={tty} (or serial0) out of /boot/firmware/cmdline.txt"
            )
        }
        "ModemManager" => "apt purge modemmanager, or an udev rule with ENV{ID_MM_DEVICE_IGNORE}=\"1\"".to_owned(),
        "hciattach" | "btattach" => "dtoverlay=disable-bt in /boot/firmware/config.txt, then restart".to_owned(),
        "gpsd" | "brltty" | "upsd" => format!("take the port from {0}, or apt purge {0}", holder.name),
        other => format!("stop {other}, or give it another port: a port has one user"),
    };
    let found = format!("{name}: {device} is in use by {} (process {})", holder.name, holder.pid);
    Some(Finding::fail("serial port", found, remedy))
}

/// The kernel writes its messages there, into whatever is spoken.
fn console_finding(name: &str, device: &str, cmdline: &str) -> Option<Finding> {
    let tty = device.rsplit('/').next()?;
    let is_console = |word: &str| {
        let on = word.strip_prefix("console=").and_then(|value| value.split(',').next());
        on == Some(tty)
    };
    cmdline.split_whitespace().any(is_console).then(|| {
        Finding::fail(
            "serial port",
            format!("{name}: {device} is the kernel's console"),
            format!(
                "take console={tty},… (it may be written as serial0) out of /boot/firmware/cmdline.txt, then restart"
            ),
        )
    })
}

/// A name that depends on what was plugged in first.
fn unstable(name: &str, path: &Path) -> Option<Finding> {
    let path = path.to_string_lossy();
    let counted = ["/dev/ttyUSB", "/dev/ttyACM"].iter().any(|begin| path.starts_with(begin));
    counted.then(|| {
        Finding::warn(
            "serial port",
            format!("{name}: {path} is named by the order of plugging in"),
            "name it as ls -l /dev/serial/by-id shows it (two adapters without serial numbers: /dev/serial/by-path)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::machine::model::Modelled;
    use super::*;

    fn user() -> User {
        User { name: "lamppost".to_owned(), uid: 4_000_000, gids: vec![4_000_000] }
    }

    fn told(findings: &[Finding]) -> String {
        findings.iter().map(|it| format!("{:?} {} -> {:?}\n", it.level, it.found, it.remedy)).collect()
    }

    #[test]
    fn a_device_that_is_absent_is_told_with_those_that_are_there() {
        let modelled =
            Modelled::new(&[("/dev/i2c-20", ""), ("/dev/ttyS0", ""), ("/dev/serial/by-id/usb-FTDI-if00", "")]);
        let machine = modelled.machine();
        for (kind, path, there, remedy) in [
            (Kind::I2c, "/dev/i2c-1", "there is: /dev/i2c-20", "i2c_arm=on"),
            (Kind::Serial, "/dev/ttyAMA0", "there is: /dev/ttyS0", "enable_uart=1"),
            (Kind::Serial, "/dev/serial/by-id/usb-X", "by-id/usb-FTDI-if00", "plug the adapter in"),
        ] {
            let findings = look(&machine, kind, "air", Path::new(path), &user());
            let told = told(&findings);
            assert!(findings[0].level == Level::Fail && told.contains(there) && told.contains(remedy), "{told}");
        }
    }

    #[test]
    fn a_file_is_no_device() {
        let modelled = Modelled::new(&[("/dev/ttyAMA0", "")]);
        let findings = look(&modelled.machine(), Kind::Serial, "node", Path::new("/dev/ttyAMA0"), &user());
        assert!(findings[0].level == Level::Fail && findings[0].found.contains("is no device"), "{findings:?}");
    }

    #[test]
    fn a_real_device_that_everybody_may_open_is_right() {
        let findings = look(&Machine::at("/"), Kind::I2c, "air", Path::new("/dev/null"), &user());
        assert_eq!(findings.iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Ok], "{}", told(&findings));
    }

    #[test]
    fn who_may_not_open_it_is_told_the_group_or_the_rule_that_is_missing() {
        let dialout = forbidden(Kind::Serial, "node", Path::new("/dev/ttyAMA0"), 0o660, "dialout", "lamppost");
        assert!(dialout.remedy.unwrap().starts_with("usermod -aG dialout lamppost"));
        let root = forbidden(Kind::I2c, "air", Path::new("/dev/i2c-1"), 0o600, "root", "lamppost");
        assert!(root.found.contains("mode 600") && root.remedy.unwrap().contains("60-lamppost.rules"));
    }

    #[test]
    fn a_login_a_modem_manager_and_others_on_the_port_are_named_with_what_to_do() {
        let by = |name: &str| held("node", "/dev/ttyAMA0", &Holder { pid: 7, name: name.to_owned() });
        assert_eq!(by("lamppost"), None);
        for (name, remedy) in [
            ("agetty", "serial-getty@ttyAMA0"),
            ("ModemManager", "purge"),
            ("hciattach", "disable-bt"),
            ("minicom", "stop minicom"),
        ] {
            let told = by(name).unwrap();
            assert!(told.found.contains(name) && told.remedy.as_ref().unwrap().contains(remedy), "{told:?}");
        }
    }

    #[test]
    fn the_kernels_console_is_recognised_by_its_whole_name() {
        let on = |cmdline: &str| console_finding("node", "/dev/ttyS1", cmdline).is_some();
        assert!(on("root=/dev/sda1 console=ttyS1,115200 quiet") && on("console=ttyS1"));
        assert!(!on("console=ttyS11,115200") && !on("console=tty1") && !on(""));
    }

    #[test]
    fn a_name_by_the_order_of_plugging_warns() {
        assert!(unstable("air", Path::new("/dev/ttyUSB0")).is_some());
        assert!(unstable("air", Path::new("/dev/serial/by-id/usb-FTDI-if00")).is_none());
        assert!(unstable("air", Path::new("/dev/ttyAMA0")).is_none());
    }
}
