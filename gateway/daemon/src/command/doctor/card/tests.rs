use super::super::finding::Level;
use super::super::machine::model::Modelled;
use super::*;

const MIB: u64 = 1 << 20;

fn mount(kind: &str, device: &str, source: &str) -> Mount {
    let line = format!("31 26 {device} / / rw - {kind} {source} rw");
    mounts::of(&line, Path::new("/x")).unwrap()
}

#[test]
fn the_quota_has_to_fit_with_something_beside_it() {
    let quota = Size(256 * MIB);
    let level = |free: u64, used: u64| judge_room(Room { free: free * MIB, used: used * MIB }, quota).level;
    assert_eq!(level(1000, 0), Level::Ok);
    assert_eq!(level(270, 0), Level::Warn);
    assert_eq!(level(255, 0), Level::Fail);
    assert_eq!(level(100, 200), Level::Ok, "what is taken already is not needed again");
    assert_eq!(level(0, 256), Level::Warn);
    let told = judge_room(Room { free: 56 * MIB, used: 100 * MIB }, quota);
    assert!(told.remedy.as_deref().unwrap().contains("100 MiB are missing"), "{told:?}");
}

#[test]
fn the_write_cache_is_that_of_the_partitions_disk() {
    let modelled = Modelled::new(&[
        ("/sys/devices/mmcblk0/queue/write_cache", "write back\n"),
        ("/sys/devices/mmcblk0/mmcblk0p2/ro", "0\n"),
        ("/sys/fs/ext4/mmcblk0p2/errors_count", "3\n"),
        ("/sys/dev/block/none", ""),
    ]);
    let links = modelled.machine().path(Path::new("/sys/dev/block/179:2"));
    std::os::unix::fs::symlink("../../devices/mmcblk0/mmcblk0p2", links).unwrap();
    let findings = judge_device(&modelled.machine(), &mount("ext4", "179:2", "/dev/mmcblk0p2"));
    assert_eq!(findings.iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Ok, Level::Warn], "{findings:?}");
    assert!(findings[0].found.contains("mmcblk0p2 has a write cache"), "{findings:?}");
    assert!(findings[1].found.contains("3 errors"), "{findings:?}");
}

#[test]
fn the_errors_that_ext4_has_counted_are_found_whatever_the_device_is_called() {
    let modelled = Modelled::new(&[
        ("/sys/devices/mmcblk0/mmcblk0p2/ro", "0\n"),
        ("/sys/fs/ext4/mmcblk0p2/errors_count", "3\n"),
        ("/sys/dev/block/none", ""),
    ]);
    let links = modelled.machine().path(Path::new("/sys/dev/block/179:2"));
    std::os::unix::fs::symlink("../../devices/mmcblk0/mmcblk0p2", links).unwrap();
    for source in ["/dev/mmcblk0p2", "/dev/root", "/dev/mapper/state"] {
        let findings = judge_device(&modelled.machine(), &mount("ext4", "179:2", source));
        assert!(matches!(findings.as_slice(), [one] if one.found.contains("3 errors")), "{source}: {findings:?}");
    }
}

#[test]
fn a_device_that_shut_itself_fails_also_below_btrfs_which_has_no_number() {
    let modelled = Modelled::new(&[
        ("/sys/class/block/sda/ro", "1\n"),
        ("/sys/class/block/sda/queue/write_cache", "write through\n"),
    ]);
    let findings = judge_device(&modelled.machine(), &mount("btrfs", "0:42", "/dev/sda"));
    assert_eq!(findings.iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Fail, Level::Ok], "{findings:?}");
    assert!(findings[1].found.contains("no write cache"), "{findings:?}");
}

#[test]
fn an_emmc_tells_how_much_of_its_life_is_used() {
    let level = |text: &str| judge_life("mmcblk0", text).map(|it| (it.level, it.found));
    assert_eq!(level("0x00 0x00"), None);
    assert_eq!(level("nonsense"), None);
    let used = level("0x01 0x03").unwrap();
    assert!(used.0 == Level::Ok && used.1.contains("up to 30 %"), "{used:?}");
    assert_eq!(level("0x01 0x09").unwrap().0, Level::Warn);
    assert_eq!(level("0x0b 0x01").unwrap().0, Level::Fail);
    let modelled = Modelled::new(&[("/sys/class/block/mmcblk0/device/life_time", "0x0a 0x02\n")]);
    let findings = judge_device(&modelled.machine(), &mount("ext4", "0:0", "/dev/mmcblk0"));
    assert_eq!(findings.iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Warn], "{findings:?}");
}

#[test]
fn a_flush_is_really_made_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let measured = flush(folder.path()).unwrap();
    assert!(measured.median_us <= measured.longest_us && measured.longest_us > 0, "{measured:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(judge_flush(flush(Path::new("/proc")), Path::new("/proc")).level, Level::Fail);
    let slow = judge_flush(Ok(Flush { median_us: 300_000, longest_us: 900_000 }), Path::new("/x"));
    assert!(slow.level == Level::Warn && slow.found.contains("300.0 ms (900.0 ms"), "{slow:?}");
}

#[test]
fn a_folder_that_is_not_there_is_looked_for_above_and_one_that_is_not_ours_fails() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = folder.path().join("a/b");
    let (exists, above) = nearest(&wanted);
    assert_eq!((exists, above.as_path()), (false, folder.path().canonicalize().unwrap().as_path()));
    let meta = std::fs::metadata(folder.path()).unwrap();
    let owner = User { name: "lamppost".to_owned(), uid: meta.uid(), gids: vec![] };
    assert_eq!(judge_folder(&wanted, false, &meta, &owner).level, Level::Warn);
    assert_eq!(judge_folder(folder.path(), true, &meta, &owner).level, Level::Ok);
    let other = User { uid: meta.uid().wrapping_add(1000), ..owner };
    let told = judge_folder(folder.path(), true, &meta, &other);
    assert!(told.level == Level::Fail && told.remedy.unwrap().starts_with("chown -R lamppost:"), "{}", told.found);
}

#[test]
fn a_sinks_folder_is_to_be_made_or_written_by_the_gateways_user() {
    let folder = tempfile::tempdir().unwrap();
    let owner =
        User { name: "lamppost".to_owned(), uid: std::fs::metadata(folder.path()).unwrap().uid(), gids: vec![] };
    let other = User { uid: 4_000_000, gids: vec![4_000_000], ..owner.clone() };
    let within = folder.path().join("a/b");
    let level = |place: &Path, user: &User| look_at_sink("disk", place, None, user).level;
    assert_eq!([folder.path(), &within].map(|place| level(place, &owner)), [Level::Ok, Level::Ok]);
    assert_eq!([folder.path(), &within].map(|place| level(place, &other)), [Level::Fail, Level::Fail]);
    let made = look_at_sink("disk", &within, None, &other);
    assert!(made.found.contains("can't be made by lamppost") && made.remedy.unwrap().starts_with("install -d"));
    assert_eq!(level(Path::new("/dev/null"), &owner), Level::Fail);
    let unmounted = look_at_sink("stick", &within, Some(folder.path()), &owner);
    assert!(unmounted.level == Level::Fail && unmounted.found.contains("is mounted at"), "{unmounted:?}");
}
