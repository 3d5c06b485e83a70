//! Where a folder lies: the lines of `/proc/self/mountinfo` (proc_pid_mountinfo(5)), and what its kind of file system means for a log
//! that overwrites blocks it has already.

use std::path::{Path, PathBuf};

use super::finding::Finding;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Major and minor number, as `179:2`. Of a file system without one device (btrfs) a number that stands for none.
    pub(crate) device: String,
    pub(crate) point: PathBuf,
    pub(crate) kind: String,
    /// The device's name, or what is mounted.
    pub(crate) source: String,
    /// Those of the mount and those of the file system.
    pub(crate) options: Vec<String>,
}

impl Mount {
    /// One line; none if it has not the form of one.
    fn parse(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        let device = mount.nth(2)?;
        let point = mount.nth(1)?;
        let here = mount.next()?;
        let mut system = system.split(' ');
        let (kind, source, whole) = (system.next()?, system.next()?, system.next().unwrap_or_default());
        let options = here.split(',').chain(whole.split(',')).map(str::to_owned).collect();
        Some(Self {
            device: device.to_owned(),
            point: PathBuf::from(unescape(point)),
            kind: kind.to_owned(),
            source: unescape(source),
            options,
        })
    }

    /// The value of `name=value`, or "" of a plain `name`.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        let rest = self.options.iter().filter_map(|option| option.strip_prefix(name));
        rest.filter_map(|rest| if rest.is_empty() { Some("") } else { rest.strip_prefix('=') }).next()
    }
}

/// White space and backslashes stand there as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// The mount that `path` (absolute, without links) lies in. Of several at one place the last hides the others.
pub(crate) fn of(mountinfo: &str, path: &Path) -> Option<Mount> {
    let holds = mountinfo.lines().filter_map(Mount::parse).filter(|mount| path.starts_with(&mount.point));
    // `max_by_key` takes the last of equals.
    holds.max_by_key(|mount| mount.point.components().count())
}

/// What the kind and the options mean.
pub(crate) fn judge(mount: &Mount) -> Vec<Finding> {
    let mut findings = vec![judge_kind(mount)];
    let place = mount.point.display();
    if mount.option("ro").is_some() {
        findings.push(Finding::fail(
            "card",
            format!("{place} is read-only"),
            format!(
                "if it was not made so (/etc/fstab), the kernel did it after an error: dmesg | grep -i {}.\nThen \
                     check the file system (e2fsck -f, unmounted) and rather change the card",
                mount.kind
            ),
        ));
    }
    let unflushed = mount.option("nobarrier").is_some() || mount.option("barrier") == Some("0");
    if unflushed {
        findings.push(Finding::fail(
            "card",
            format!("{place} is mounted without write barriers: a flush does not reach the card, and what was acknowledged can be lost"),
            "take `nobarrier` or `barrier=0` out of /etc/fstab, then restart",
        ));
    }
    if mount.option("sync").is_some() {
        findings.push(Finding::warn(
            "card",
            format!("{place} is mounted `sync`: each write is flushed twice, and the card wears for nothing"),
            "take `sync` out of /etc/fstab: the journal flushes by itself",
        ));
    }
    if mount.option("discard").is_some() {
        findings.push(Finding::warn(
            "card",
            format!("{place} is mounted `discard`: some cards stop for seconds at each piece that is freed"),
            "take `discard` out of /etc/fstab; fstrim.timer does it once a week",
        ));
    }
    findings
}

/// Some kinds can't keep the promise, others keep it and wear the card.
fn judge_kind(mount: &Mount) -> Finding {
    const A_PARTITION: &str =
        "make a partition of its own for it, ext4, and mount it at the state folder (hardware/CARD.md)";
    let (place, kind) = (mount.point.display(), mount.kind.as_str());
    let found = |why: &str| format!("{place} is {kind}: {why}");
    let fail = |why: &str| Finding::fail("card", found(why), A_PARTITION);
    let warn = |why: &str| Finding::warn("card", found(why), A_PARTITION);
    match kind {
        "ext4" | "ext3" | "xfs" => {
            Finding::ok("card", format!("{place} is {kind}: blocks that exist are overwritten in place"))
        }
        "ext2" => warn(
            "without a journal of its own, it has to be checked after each loss of power, and may lose whole files",
        ),
        "vfat" | "exfat" | "msdos" | "ntfs3" | "ntfs" | "fuseblk" => {
            warn("made for exchange: no journal of its own, no permissions; a loss of power can cost whole files")
        }
        "btrfs" | "zfs" | "bcachefs" | "nilfs2" => warn(
            "it never overwrites: each commit of the journal goes to a new place and drags the file system's trees with it, which \
             wears the card several times over and can find the disk full in the middle of a segment (for btrfs, chattr +C on the \
             empty folder helps; its own checksums are lost with it)",
        ),
        "f2fs" | "jffs2" | "ubifs" | "yaffs2" => warn(
            "it never overwrites: what the journal takes for blocks that exist already is written to a new place, with the \
             addresses beside it, and cleaned up later; flushes take longer and room can run out in the middle of a segment",
        ),
        "tmpfs" | "ramfs" | "rootfs" => fail("memory, gone with the power: nothing that is acknowledged would be kept"),
        "overlay" | "overlayfs" | "aufs" => fail(
            "a read-only system with a layer above it, which mostly is memory and gone with the power (raspi-config's overlay file \
             system, a container's own folder)",
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" => {
            fail("another machine's disk: a link that breaks stops the journal, which is there for when links break")
        }
        "squashfs" | "erofs" | "iso9660" | "cramfs" | "romfs" => fail("it can only be read"),
        _ => warn("it is not known here whether it overwrites in place and flushes down to the device; ext4 does"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    /// A Raspberry Pi with its overlay turned on and a partition for the state folder, and some others.
    const PI: &str = "\
21 26 0:20 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
26 1 0:24 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work
30 26 179:1 / /boot/firmware ro,relatime shared:30 - vfat /dev/mmcblk0p1 ro,fmask=0022
31 26 179:3 / /var/lib/lamppost rw,noatime shared:31 - ext4 /dev/mmcblk0p3 rw,barrier=0
32 26 0:40 / /mnt/the\\040nas rw,relatime - nfs4 nas:/volume rw,vers=4.2
33 31 0:41 / /var/lib/lamppost/journal rw - tmpfs tmpfs rw,size=1024k
34 31 0:42 /@ /var/lib/lamppost/journal rw,discard - btrfs /dev/sda1 rw,sync,ssd
a line that is none
";

    fn at(path: &str) -> Mount {
        of(PI, Path::new(path)).unwrap()
    }

    #[test]
    fn the_deepest_mount_holds_a_path_and_of_two_at_one_place_the_later() {
        assert_eq!(at("/etc/lamppost").kind, "overlay");
        assert_eq!(at("/var/lib/lamppostage").kind, "overlay");
        let card = at("/var/lib/lamppost/views");
        assert_eq!((card.device.as_str(), card.source.as_str()), ("179:3", "/dev/mmcblk0p3"));
        assert_eq!(at("/var/lib/lamppost/journal/x").kind, "btrfs");
        assert_eq!(at("/mnt/the nas/x").source, "nas:/volume");
        assert_eq!(of("", Path::new("/")), None);
    }

    #[test]
    fn options_are_read_of_the_mount_and_of_the_file_system() {
        assert_eq!(at("/var/lib/lamppost").option("barrier"), Some("0"));
        assert_eq!(at("/boot/firmware").option("ro"), Some(""));
        assert_eq!(at("/var/lib/lamppost").option("ro"), None);
    }

    fn told(path: &str) -> Vec<(Level, String)> {
        judge(&at(path)).into_iter().map(|finding| (finding.level, finding.found)).collect()
    }

    #[test]
    fn what_can_not_keep_the_promise_fails() {
        for (path, word) in
            [("/home", "layer above"), ("/mnt/the nas", "another machine"), ("/var/lib/lamppost", "barriers")]
        {
            let told = told(path);
            assert!(
                told.iter().any(|(level, found)| *level == Level::Fail && found.contains(word)),
                "{path}: {told:?}"
            );
        }
        assert!(
            told("/boot/firmware").iter().any(|(level, found)| *level == Level::Fail && found.contains("read-only"))
        );
    }

    #[test]
    fn file_systems_that_defeat_overwriting_in_place_are_named_with_why() {
        let told = told("/var/lib/lamppost/journal");
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told.iter().all(|(level, _)| *level == Level::Warn), "{told:?}");
        assert!(told[0].1.contains("btrfs: it never overwrites"), "{told:?}");
        assert!(told[1].1.contains("flushed twice") && told[2].1.contains("discard"), "{told:?}");
        let f2fs = Mount { kind: "f2fs".to_owned(), options: Vec::new(), ..at("/") };
        assert!(judge(&f2fs)[0].found.contains("it never overwrites"));
    }

    #[test]
    fn every_kind_is_judged_and_only_those_known_to_overwrite_are_right() {
        let level = |kind: &str| judge_kind(&Mount { kind: kind.to_owned(), ..at("/") }).level;
        assert_eq!(["ext4", "ext3", "xfs"].map(level), [Level::Ok; 3]);
        assert_eq!(["ext2", "vfat", "zfs", "newfs"].map(level), [Level::Warn; 4]);
        assert_eq!(["tmpfs", "cifs", "squashfs"].map(level), [Level::Fail; 3]);
    }
}
