use std::fs;
use std::path::Path;

use bytes::Bytes;
use lamppost_event::{Address, BootId, SourceKind, WallTime};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::{BOOTS_MAX, Discarded, GATHER_BYTES_MAX, OpenError, Opened, PAYLOAD_BYTES_MAX, Recovered};

const EPOCH: Epoch = Epoch(7);
const BOOT: BootId = BootId(1);

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

fn mark(name: &str, sequence: u64) -> Change {
    Change::Mark { device: device(name), boot: 5, sequence }
}

fn seen(name: &str, at: i64, payload: &[u8]) -> Change {
    Change::Seen {
        device: device(name),
        at: WallTime(at),
        source: SourceKind::Mqtt,
        address: Address::new("city/air").unwrap(),
        payload: Bytes::copy_from_slice(payload),
        payload_bytes: payload.len() as u32,
    }
}

fn hold_at_most(views: &Views, devices: u32) {
    let set = |working: &mut Working| {
        working.gathered.devices_max = devices;
        Ok(())
    };
    views.guarded(set).unwrap();
}

fn journal(end: u64) -> Recovered {
    Recovered { epoch: EPOCH, continued: None, from: Commit(0), end: Commit(end), boot: BOOT }
}

fn open(dir: &Path, end: u64) -> Opened {
    Views::open(dir, journal(end)).unwrap()
}

fn overwrite(path: &Path, bytes: impl AsRef<[u8]>) {
    #[expect(clippy::disallowed_methods, reason = "the test damages a view's files")]
    fs::write(path, bytes).unwrap();
}

/// A closed view of 200 devices that has applied commit 10, whose sled file has several segments.
fn filled() -> TempDir {
    let dir = tempdir().unwrap();
    let Opened { views, applied, discarded } = open(dir.path(), 0);
    assert_eq!((applied, discarded), (None, None));
    views.rebuild(Commit(1), []).unwrap();
    for commit in 2..=10 {
        let changes: Vec<_> = (0..200)
            .flat_map(|n| [mark(&format!("d{n}"), commit * 10), seen(&format!("d{n}"), 1, &[b'x'; 500])])
            .collect();
        views.apply(Commit(commit), &changes).unwrap();
        views.settle().unwrap();
    }
    views.close().unwrap();
    dir
}

fn sled_folder(dir: &Path) -> PathBuf {
    let folders: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.is_dir()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

/// Copies the session line, and each of sled's files after `change`.
fn copy_view(from: &Path, to: &Path, mut change: impl FnMut(&mut Vec<u8>)) {
    fs::copy(from.join("session"), to.join("session")).unwrap();
    let folder = sled_folder(from);
    let copy = to.join(folder.file_name().unwrap());
    fs::create_dir(&copy).unwrap();
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|path| path.is_file()) {
        let mut bytes = fs::read(file).unwrap();
        change(&mut bytes);
        overwrite(&copy.join(file.file_name().unwrap()), bytes);
    }
}

/// Everything that [`filled`] had applied up to the commit that the view claims, and nothing else.
fn assert_whole(views: &Views) {
    let applied = views.applied().unwrap().expect("built").0;
    for n in 0..200 {
        let mark = (applied > 1).then_some(applied * 10);
        assert_eq!(views.high_water(&device(&format!("d{n}")), 5), Ok(mark), "d{n} at {applied}");
    }
    let devices = views.devices(None, DEVICES_PAGE_MAX).unwrap();
    assert_eq!(devices.len(), if applied > 1 { 200 } else { 0 });
    assert!(devices.iter().all(|device| device.count == applied - 1), "at {applied}");
}

#[test]
fn a_closed_view_opens_again_with_all_it_had_also_after_a_reboot() {
    let dir = filled();
    let Opened { views, applied, discarded } =
        Views::open(dir.path(), Recovered { boot: BootId(2), ..journal(10) }).unwrap();
    assert_eq!((applied, discarded), (Some(Commit(10)), None));
    assert_whole(&views);
}

#[test]
fn an_unclosed_view_is_used_in_the_same_boot_and_discarded_after_a_reboot() {
    let dir = filled();
    drop(open(dir.path(), 10));
    let opened = open(dir.path(), 10);
    assert_eq!((opened.applied, opened.discarded.as_ref()), (Some(Commit(10)), None));
    assert_whole(&opened.views);
    drop(opened);
    let opened = Views::open(dir.path(), Recovered { boot: BootId(2), ..journal(10) }).unwrap();
    assert_eq!((opened.applied, opened.discarded), (None, Some(Discarded::Unclosed)));
    sled_folder(dir.path());
}

#[test]
fn a_killed_view_is_as_it_was_last_settled() {
    let dir = filled();
    let Opened { views, .. } = open(dir.path(), 10);
    views.apply(Commit(11), &[mark("d1", 110)]).unwrap();
    views.settle().unwrap();
    views.apply(Commit(12), &[mark("d1", 120)]).unwrap();
    // What a SIGKILL now would leave behind: what the kernel has been given.
    let left = tempdir().unwrap();
    copy_view(dir.path(), left.path(), |_| {});
    drop(views);
    let opened = open(left.path(), 12);
    assert_eq!((opened.applied, opened.discarded), (Some(Commit(11)), None));
    assert_eq!(opened.views.high_water(&device("d1"), 5), Ok(Some(110)));
    assert_eq!(opened.views.high_water(&device("d2"), 5), Ok(Some(100)));
}

#[test]
fn a_view_of_the_epoch_that_the_journal_goes_on_from_is_used_and_names_the_new_one() {
    let dir = filled();
    let restarted = |epoch: u64| Recovered { epoch: Epoch(epoch), continued: Some(Epoch(epoch - 1)), ..journal(10) };
    // Nothing comes in any of these runs.
    for epoch in EPOCH.0 + 1..EPOCH.0 + 4 {
        let Opened { views, applied, discarded } = Views::open(dir.path(), restarted(epoch)).unwrap();
        assert_eq!((applied, discarded), (Some(Commit(10)), None), "epoch {epoch}");
        assert_whole(&views);
        views.settle().unwrap();
        drop(views);
    }
    let opened = Views::open(dir.path(), restarted(EPOCH.0 + 2)).unwrap();
    let found = Epoch(EPOCH.0 + 3);
    assert_eq!(
        opened.discarded,
        Some(Discarded::Epoch { found, epoch: Epoch(EPOCH.0 + 2) }),
        "an older copy of the journal"
    );
}

#[test]
fn a_view_that_does_not_fit_the_journal_is_discarded() {
    let dir = filled();
    let opened = Views::open(dir.path(), Recovered { epoch: Epoch(8), ..journal(10) }).unwrap();
    let other = Discarded::Epoch { found: EPOCH, epoch: Epoch(8) };
    assert_eq!((opened.applied, opened.discarded), (None, Some(other)));
    assert_eq!(opened.views.high_water(&device("d1"), 5), Err(ViewError::Unbuilt));

    let dir = filled();
    let opened = open(dir.path(), 9);
    let ahead = Discarded::Ahead { applied: Commit(10), end: Commit(9) };
    assert_eq!((opened.applied, opened.discarded), (None, Some(ahead)));

    let dir = filled();
    let opened = Views::open(dir.path(), Recovered { from: Commit(11), ..journal(20) }).unwrap();
    let behind = Discarded::Behind { applied: Commit(10), from: Commit(11) };
    assert_eq!((opened.applied, opened.discarded), (None, Some(behind)));
}

#[test]
fn an_opening_that_never_ended_is_not_tried_again() {
    let dir = filled();
    let line = fs::read_to_string(dir.path().join("session")).unwrap();
    overwrite(&dir.path().join("session"), line.replace("closed", "opening"));
    assert_eq!(open(dir.path(), 10).discarded, Some(Discarded::Interrupted));

    let dir = filled();
    fs::remove_file(dir.path().join("session")).unwrap();
    assert_eq!(open(dir.path(), 10).discarded, Some(Discarded::Foreign));
}

#[test]
fn a_rebuild_that_was_cut_short_starts_anew() {
    let dir = tempdir().unwrap();
    let opened = open(dir.path(), 9);
    let big = (0..u64::MAX).map(|n| {
        assert!(n < 2000, "cut");
        seen(&format!("d{n}"), 1, &[b'x'; PAYLOAD_BYTES_MAX])
    });
    let error = opened.views.rebuild(Commit(9), big).unwrap_err();
    assert!(matches!(&error, ViewError::Broken { reason } if reason.contains("cut")), "{error}");
    const { assert!(2000 * PAYLOAD_BYTES_MAX > GATHER_BYTES_MAX, "some of it was written") };
    // Also where the mark that it broke never reached the card.
    let line = fs::read_to_string(dir.path().join("session")).unwrap();
    overwrite(&dir.path().join("session"), line.replace("opening", "closed"));
    let opened = open(dir.path(), 9);
    assert!(
        matches!(&opened.discarded, Some(Discarded::Broken { reason }) if reason.contains("rebuilt")),
        "{opened:?}"
    );
    opened.views.rebuild(Commit(9), [mark("a", 3)]).unwrap();
    assert_eq!(opened.views.high_water(&device("a"), 5), Ok(Some(3)));
    assert_eq!(opened.views.rebuild(Commit(9), []), Err(ViewError::Built { applied: Commit(9) }));
}

#[test]
fn half_of_the_state_never_passes_for_all_of_it() {
    let dir = tempdir().unwrap();
    let opened = open(dir.path(), 9);
    let half = [Ok(mark("a", 3)), Err("the journal stopped".to_owned())];
    let error = opened.views.try_rebuild(Commit(9), half).unwrap_err();
    assert!(matches!(&error, ViewError::Broken { reason } if reason.contains("the journal stopped")), "{error}");
    drop(opened);
    assert_eq!(open(dir.path(), 9).applied, None);
}

#[test]
fn a_view_far_behind_catches_up_piece_by_piece_and_half_of_it_is_not_used() {
    let dir = tempdir().unwrap();
    let Opened { views, .. } = open(dir.path(), 0);
    let all = |upto: u64| (0..9_000).map(move |n| Ok(mark(&format!("d{n}"), upto)));
    assert_eq!(views.catch_up(Commit(1), all(1)), Err(ViewError::Unbuilt));
    views.rebuild(Commit(1), []).unwrap();
    let asked = all(7).inspect(|_| assert_eq!(views.applied(), Ok(Some(Commit(1))), "others are answered meanwhile"));
    views.catch_up(Commit(7), asked.chain([Ok(seen("d1", 3, b"on"))])).unwrap();
    assert_eq!((views.applied(), views.high_water(&device("d8999"), 5)), (Ok(Some(Commit(7))), Ok(Some(7))));
    assert_eq!(views.devices(None, 9).unwrap().len(), 1);
    drop(views);
    let Opened { views, applied, discarded } = open(dir.path(), 7);
    assert_eq!((applied, discarded), (Some(Commit(7)), None));

    let left = tempdir().unwrap();
    let killed = all(9).chain((0..1).map(|_| {
        copy_view(dir.path(), left.path(), |_| {});
        Err("the journal stopped".to_owned())
    }));
    let error = views.catch_up(Commit(9), killed).unwrap_err();
    assert!(matches!(&error, ViewError::Broken { reason } if reason.contains("the journal stopped")), "{error}");
    assert_eq!(open(left.path(), 9).discarded, Some(Discarded::Interrupted));
    drop(views);
    assert_eq!(open(dir.path(), 9).discarded, Some(Discarded::Interrupted));
}

#[test]
fn applying_is_monotone_and_a_commit_counts_once() {
    let dir = tempdir().unwrap();
    let Opened { views, .. } = open(dir.path(), 0);
    assert_eq!(views.apply(Commit(1), &[mark("a", 1)]), Err(ViewError::Unbuilt));
    views.rebuild(Commit(0), []).unwrap();
    views.apply(Commit(3), &[mark("a", 8), seen("a", 30, b"three")]).unwrap();
    views.apply(Commit(3), &[mark("a", 9), seen("a", 31, b"again")]).unwrap();
    views.apply(Commit(2), &[mark("a", 9), seen("a", 20, b"two")]).unwrap();
    views.apply(Commit(4), &[mark("a", 4), seen("a", 40, b"four")]).unwrap();
    assert_eq!(views.applied(), Ok(Some(Commit(4))));
    assert_eq!(views.high_water(&device("a"), 5), Ok(Some(8)));
    assert_eq!(views.high_water(&device("a"), 6), Ok(None));
    assert_eq!(views.high_water(&device("b"), 5), Ok(None));
    let latest = views.devices(None, 10).unwrap().remove(0);
    assert_eq!((latest.seen, latest.count, &*latest.payload), (WallTime(40), 2, b"four".as_slice()));
}

#[test]
fn what_is_gathered_and_what_is_written_read_as_one() {
    let dir = tempdir().unwrap();
    let Opened { views, .. } = open(dir.path(), 0);
    views.rebuild(Commit(0), [seen("b", 1, b"old"), seen("d", 1, b"old"), seen("e", 1, b"old")]).unwrap();
    views.apply(Commit(1), &[seen("c", 2, b"new"), seen("d", 2, b"new")]).unwrap();
    let page = |after: Option<&str>, limit| {
        let page = views.devices(after.map(device).as_ref(), limit).unwrap();
        page.into_iter().map(|view| format!("{}={}", view.device, view.payload.escape_ascii())).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3), ["b=old", "c=new", "d=new"]);
    assert_eq!(page(Some("c"), 9), ["d=new", "e=old"]);
    assert_eq!(page(Some("e"), 9), Vec::<String>::new());
    views.settle().unwrap();
    assert_eq!(page(None, 9), ["b=old", "c=new", "d=new", "e=old"]);
}

#[test]
fn payloads_and_boots_are_bounded_and_a_dropped_mark_is_not_none() {
    let dir = tempdir().unwrap();
    let Opened { views, .. } = open(dir.path(), 0);
    let boots = (0..=BOOTS_MAX as u64).map(|boot| Change::Mark { device: device("a"), boot, sequence: 1 });
    views.rebuild(Commit(0), boots.chain([seen("a", 1, &[b'x'; 5000])])).unwrap();
    assert_eq!(views.high_water(&device("a"), 0), Err(ViewError::NotKept { device: device("a") }));
    assert_eq!(views.high_water(&device("a"), BOOTS_MAX as u64), Ok(Some(1)));
    let latest = views.devices(None, 1).unwrap().remove(0);
    assert_eq!((latest.payload.len(), latest.payload_bytes), (PAYLOAD_BYTES_MAX, 5000));
}

#[test]
fn who_makes_devices_up_fills_no_card_and_hides_no_device_that_goes_on_reporting() {
    let dir = tempdir().unwrap();
    let Opened { views, .. } = open(dir.path(), 0);
    hold_at_most(&views, 100);
    views.rebuild(Commit(0), []).unwrap();
    for commit in 1..=100 {
        let made_up = (0..10).map(|n| seen(&format!("x{commit}-{n}"), commit, b"flood"));
        let changes: Vec<_> = made_up.chain([seen("lamp", commit, b"on"), mark("lamp", commit as u64)]).collect();
        views.apply(Commit(commit as u64), &changes).unwrap();
        views.settle().unwrap();
        let names: Vec<_> = views.devices(None, 1000).unwrap().into_iter().map(|view| view.device).collect();
        assert!(names.len() <= 100 && names.contains(&device("lamp")), "commit {commit}: {}", names.len());
    }
    let left = views.devices(None, 1000).unwrap();
    let lamp = left.iter().find(|view| view.device == device("lamp")).unwrap();
    assert_eq!((lamp.count, lamp.seen), (100, WallTime(100)));
    let oldest = left.iter().map(|view| view.seen.0).min().unwrap();
    assert!(oldest >= 100 - 10, "the newest of those made up are left: {oldest}");
    assert_eq!(views.devices_forgotten(), Ok(1001 - left.len() as u64));
    assert_eq!(views.high_water(&device("lamp"), 5), Ok(Some(100)));
    views.close().unwrap();
    let opened = open(dir.path(), 100);
    assert_eq!((opened.applied, opened.discarded), (Some(Commit(100)), None), "what is left is whole");
    assert_eq!(opened.views.devices(None, 1000).unwrap(), left);
}

#[test]
fn of_devices_heard_of_at_one_time_as_many_go_as_must() {
    let dir = tempdir().unwrap();
    let Opened { views, .. } = open(dir.path(), 0);
    hold_at_most(&views, 8);
    let old = seen("z", -1, b"");
    views.rebuild(Commit(1), (0..9).map(|n| seen(&format!("d{n}"), 5, b"")).chain([old])).unwrap();
    let names: Vec<_> = views.devices(None, 99).unwrap().into_iter().map(|view| view.device.to_string()).collect();
    assert_eq!(names, ["d3", "d4", "d5", "d6", "d7", "d8"]);
}

/// A number that looks random; one seed gives one run.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn garbage_anywhere_in_sleds_files_gives_the_state_of_the_commit_it_claims_or_none() {
    let pristine = filled();
    let (mut whole, mut older, mut thrown) = (0, 0, 0);
    for round in 1..=40_u64 {
        let mut seed = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let dir = tempdir().unwrap();
        copy_view(pristine.path(), dir.path(), |bytes| {
            let length = bytes.len();
            for _ in 0..next(&mut seed) % 4 {
                let at = next(&mut seed) as usize % length.max(1);
                let count = 1 + next(&mut seed) as usize % 300;
                bytes.iter_mut().skip(at).take(count).for_each(|byte| *byte = next(&mut seed) as u8);
            }
            if round % 5 == 0 {
                bytes.truncate(next(&mut seed) as usize % (length + 1));
            }
        });
        let opened = open(dir.path(), 10);
        match opened.applied {
            Some(applied) => {
                assert_whole(&opened.views);
                *(if applied == Commit(10) { &mut whole } else { &mut older }) += 1;
            }
            None => {
                opened.views.rebuild(Commit(10), [mark("a", 3)]).unwrap();
                assert_eq!(opened.views.high_water(&device("a"), 5), Ok(Some(3)), "round {round}");
                thrown += 1;
            }
        }
    }
    let outcome = format!("{whole} whole, {older} older, {thrown} thrown away");
    println!("{outcome}");
    assert!(whole > 0 && thrown > 0, "{outcome}: the instrument proves nothing");
}

#[test]
fn a_panic_breaks_the_view_for_good_and_the_next_start_replaces_it() {
    let dir = filled();
    let Opened { views, .. } = open(dir.path(), 10);
    let error = views.guarded::<()>(|_| panic!("sled's page is gone")).unwrap_err();
    assert_eq!(error, ViewError::Broken { reason: "panic: sled's page is gone".to_owned() });
    assert_eq!(views.high_water(&device("d1"), 5), Err(error.clone()));
    assert_eq!(views.apply(Commit(11), &[]), Err(error.clone()));
    assert_eq!(views.devices(None, 1), Err(error));
    drop(views);
    let opened = open(dir.path(), 10);
    assert_eq!((opened.applied, opened.discarded), (None, Some(Discarded::Interrupted)));
}

#[test]
fn a_folder_that_cannot_be_is_an_error_that_names_it() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    overwrite(&file, "");
    let error = Views::open(&file.join("views"), journal(0)).unwrap_err();
    assert!(matches!(error, OpenError::Folder { .. }) && error.to_string().contains("file/views"), "{error}");
}
