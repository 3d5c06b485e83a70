//! The state folder and the card below it: there, writable by the gateway's user, on a file system that keeps what is flushed, with
//! room for the quota, and how long a flush takes.

use std::fs::Metadata;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::machine::Machine;
use super::mounts::{self, Mount};
use super::people::User;
use crate::clock::monotonic_us;
use crate::config::value::Size;

/// Beside the journal: the views, notes of sessions, and what a recovery writes anew. Bytes.
const BESIDE_BYTES: u64 = 32 << 20;
/// Files of the journal's folder that are added up at most.
const FILES_MAX: usize = 65_536;
/// How often it is flushed to measure.
const FLUSHES: usize = 16;
/// The journal's own unit of writing, bytes.
const PAGE_BYTES: usize = 4096;
/// A median above this holds acknowledgements back noticeably, μs.
const FLUSH_US_MAX: u64 = 250_000;

/// Looks at the folder, its file system and its device. `root`: where the machine is, for its devices' attributes.
pub(crate) fn look(machine: &Machine, state_dir: &Path, quota: Size, user: &User) -> Vec<Finding> {
    let mut findings = vec![];
    let (exists, folder) = nearest(state_dir);
    findings.push(match std::fs::metadata(&folder) {
        Ok(meta) => judge_folder(state_dir, exists, &meta, user),
        Err(error) => {
            Finding::fail("card", format!("{}: {error}", folder.display()), "make it, or change [gateway] state_dir")
        }
    });
    if let Some(mount) = machine.read("/proc/self/mountinfo").and_then(|text| mounts::of(&text, &folder)) {
        findings.extend(mounts::judge(&mount));
        findings.extend(judge_device(machine, &mount));
    }
    match rustix::fs::statvfs(&folder) {
        Ok(system) => {
            let used = used(&folder.join("journal"));
            findings.push(judge_room(Room { free: system.f_bavail.saturating_mul(system.f_frsize), used }, quota));
        }
        Err(error) => findings.push(Finding::warn("card", format!("its free space is not known: {error}"), "df -h")),
    }
    findings.push(judge_flush(flush(&folder), &folder));
    findings
}

/// Looks at the folder of a sink of files, which the gateway makes where it may, and not before something is mounted at `mount_point`.
pub(crate) fn look_at_sink(name: &str, place: &Path, mount_point: Option<&Path>, user: &User) -> Finding {
    if let Some(mount_point) = mount_point
        && let Err(error) = lamppost_files::mounted(mount_point)
    {
        let point = mount_point.display();
        let found = format!("{name}: nothing is written before a file system is mounted at {point} ({error})");
        return Finding::fail("sink", found, format!("plug it in, and mount it there: mount {point}"));
    }
    let (exists, folder) = nearest(place);
    let (shown, own) = (place.display(), format!("install -d -o {0} -g {0} {1}", user.name, place.display()));
    match std::fs::metadata(&folder) {
        Err(error) => Finding::fail("sink", format!("{name}: {}: {error}", folder.display()), own),
        Ok(meta) if !meta.is_dir() => {
            let found = format!("{name}: {} is not a folder", folder.display());
            Finding::fail("sink", found, "change `folder` in [sink.files]")
        }
        Ok(meta) if !user.may(&meta, 0o7) => {
            let what = if exists { "be written" } else { "be made" };
            let remedy = if exists { format!("chown -R {}: {shown}", user.name) } else { own };
            Finding::fail("sink", format!("{name}: {shown} can't {what} by {}", user.name), remedy)
        }
        Ok(_) => Finding::ok("sink", format!("{name}: {} may write to {shown}", user.name)),
    }
}

/// Whether the folder is there, and it or the nearest folder above it that is; links are followed.
fn nearest(folder: &Path) -> (bool, PathBuf) {
    let there = folder.ancestors().find_map(|above| Some((above == folder, above.canonicalize().ok()?)));
    there.unwrap_or((false, PathBuf::from("/")))
}

fn judge_folder(state_dir: &Path, exists: bool, meta: &Metadata, user: &User) -> Finding {
    let place = state_dir.display();
    if !exists {
        return Finding::warn(
            "card",
            format!("{place} is not there yet"),
            format!("the service makes it at its start; by hand: install -d -m 750 -o {0} -g {0} {place}", user.name),
        );
    }
    if !meta.is_dir() {
        return Finding::fail("card", format!("{place} is not a folder"), "remove it, or change [gateway] state_dir");
    }
    if !user.may(meta, 0o7) {
        let (name, mode, owner) = (&user.name, meta.mode() & 0o777, meta.uid());
        return Finding::fail(
            "card",
            format!("{place} (mode {mode:o}, owner {owner}) can't be written by {name}"),
            format!("chown -R {name}: {place}"),
        );
    }
    Finding::ok("card", format!("{place} is there, and {} may write to it", user.name))
}

/// Bytes.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// That an ordinary user may still take.
    free: u64,
    /// That the journal has taken.
    used: u64,
}

/// What the files of the journal take. The folder has no folders in it.
fn used(journal: &Path) -> u64 {
    let files = std::fs::read_dir(journal).into_iter().flatten().flatten().take(FILES_MAX);
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks().saturating_mul(512)).sum()
}

fn judge_room(Room { free, used }: Room, quota: Size) -> Finding {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let short = quota.0.saturating_sub(used);
    let found = format!("{} free, of a quota of {quota} {} are taken", mib(free), mib(used));
    if free < short {
        let remedy = format!(
            "make room (apt clean, journalctl --vacuum-size=50M), or lower [journal] quota: the journal stops when the card is full; \
             {} are missing",
            mib(short - free + (1 << 20) - 1)
        );
        return Finding::fail("card", found, remedy);
    }
    if free - short < BESIDE_BYTES {
        return Finding::warn("card", found, format!("leave {} beside the quota, or lower it", mib(BESIDE_BYTES)));
    }
    Finding::ok("card", found)
}

/// The device below: its write cache, whether it lets itself be written, and the errors that ext4 has counted.
fn judge_device(machine: &Machine, mount: &Mount) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = mount.source.strip_prefix("/dev/").unwrap_or_default();
    // What is mounted is called /dev/root or /dev/mapper/… as well; below /sys only the kernel's own name counts.
    let by_number = PathBuf::from(format!("/sys/dev/block/{}", mount.device));
    let kernels = machine.real(&by_number).and_then(|real| Some(real.file_name()?.to_string_lossy().into_owned()));
    let kernels = kernels.as_deref().or_else(|| name.rsplit('/').next()).unwrap_or_default();
    // A partition's queue is its disk's, one folder above; links lead there.
    let places = [by_number, PathBuf::from(format!("/sys/class/block/{kernels}"))];
    let read = |what: &str| places.iter().find_map(|place| machine.read(place.join(what)));
    let queue = |what: &str| read(&format!("queue/{what}")).or_else(|| read(&format!("../queue/{what}")));
    if read("ro").as_deref() == Some("1") {
        let remedy = "an SD card's lock, or a worn card that has shut itself: change it (hardware/CARD.md)";
        findings.push(Finding::fail("card", format!("{name} lets nothing be written"), remedy));
    }
    match queue("write_cache").as_deref() {
        Some("write back") => {
            findings.push(Finding::ok("card", format!("{name} has a write cache, and the kernel flushes it")));
        }
        Some("write through") => findings.push(Finding::ok(
            "card",
            format!(
                "{name} says that it has no write cache: what is written counts as kept, and the kernel flushes nothing"
            ),
        )),
        _ => {}
    }
    let lived = read("device/life_time").or_else(|| read("../device/life_time"));
    findings.extend(lived.and_then(|text| judge_life(name, &text)));
    let errors = machine.read(format!("/sys/fs/ext4/{kernels}/errors_count")).and_then(|text| text.parse::<u64>().ok());
    if let Some(errors) = errors.filter(|errors| *errors > 0) {
        findings.push(Finding::warn(
            "card",
            format!("ext4 has met {errors} errors on {name}"),
            "check it, unmounted: e2fsck -f; if they come again, change the card (hardware/CARD.md)",
        ));
    }
    findings
}

/// What an eMMC says of its own wear: two numbers, for its two kinds of cells, in tenths of its life begun (DEVICE_LIFE_TIME_EST of JEDEC
/// JESD84-B51, section 7.4.31 and 7.4.32; 0 is unknown, 11 is beyond). SD cards say nothing.
fn judge_life(name: &str, text: &str) -> Option<Finding> {
    let tenths = |word: &str| u8::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let worst = text.split_whitespace().filter_map(tenths).max().filter(|tenths| *tenths > 0)?;
    if worst >= 11 {
        return Some(Finding::fail(
            "card",
            format!("{name} is beyond the life that its maker gave it"),
            "change it (hardware/CARD.md)",
        ));
    }
    let found = format!("{name} says that up to {} % of its life are used", u16::from(worst) * 10);
    let soon = worst >= 9;
    Some(if soon {
        Finding::warn("card", found, "change it (hardware/CARD.md) before it ends")
    } else {
        Finding::ok("card", found)
    })
}

/// What flushes took, μs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flush {
    median_us: u64,
    longest_us: u64,
}

/// Overwrites a page that exists and flushes it, as the journal's commits do, in a file that is gone afterwards.
fn flush(folder: &Path) -> std::io::Result<Flush> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&[0; PAGE_BYTES])?;
    file.sync_all()?;
    let mut took = Vec::with_capacity(FLUSHES);
    for number in 0..FLUSHES {
        let begun = monotonic_us();
        file.write_all_at(&[u8::try_from(number).unwrap_or(1); PAGE_BYTES], 0)?;
        file.sync_data()?;
        took.push(monotonic_us().saturating_sub(begun));
    }
    took.sort_unstable();
    let at = |index: usize| took.get(index).copied().unwrap_or(0);
    Ok(Flush { median_us: at(FLUSHES / 2), longest_us: at(FLUSHES - 1) })
}

fn judge_flush(flush: std::io::Result<Flush>, folder: &Path) -> Finding {
    let ms = |us: u64| format!("{:.1} ms", us as f64 / 1_000.0);
    match flush {
        Err(error) => Finding::fail(
            "card",
            format!("{} can't be written: {error}", folder.display()),
            "run the doctor as the gateway's user or as root; if that is not it, see above and dmesg",
        ),
        Ok(Flush { median_us, longest_us }) => {
            let found = format!("a flush of 4 KiB takes {} ({} at most, of {FLUSHES})", ms(median_us), ms(longest_us));
            if median_us > FLUSH_US_MAX {
                let remedy = "every acknowledgement waits for one: a better card (\"high endurance\", A1 or A2), or a longer [journal] linger";
                return Finding::warn("card", found, remedy);
            }
            Finding::ok("card", found)
        }
    }
}

#[cfg(test)]
mod tests;
