use std::collections::BTreeMap;

use super::*;
use crate::config::parse;

/// A folder with the files that a configuration names.
struct Place {
    folder: tempfile::TempDir,
    mqtt: config::Mqtt,
}

#[expect(clippy::disallowed_methods, reason = "files of the test")]
fn write(folder: &Path, files: &BTreeMap<&str, String>) {
    for (name, contents) in files {
        std::fs::write(folder.join(name), contents).unwrap();
    }
}

fn place(files: &BTreeMap<&str, String>) -> Place {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    let path = |name: &str| folder.path().join(name);
    let text = format!(
        "[mqtt]\npasswords = {:?}\nacl_file = {:?}\nlisten = \"127.0.0.1:0\"\n",
        path("passwords"),
        path("acl")
    );
    let mqtt = parse(&text).unwrap().mqtt.unwrap();
    Place { folder, mqtt }
}

fn files(password: &str, acl: &str) -> BTreeMap<&'static str, String> {
    let entry = Passwords::entry("anna", password.as_bytes()).unwrap();
    BTreeMap::from([("passwords", entry), ("acl", acl.to_owned())])
}

async fn watch(place: &Place) -> Watch {
    struct Nothing;
    impl lamppost_event::Intake for Nothing {
        fn offer(&self, _: lamppost_event::Arrival) -> Result<lamppost_event::Commit, lamppost_event::Refusal> {
            Ok(lamppost_event::Commit(0))
        }
        fn offer_dead(
            &self,
            _: lamppost_event::Arrival,
            _: &str,
        ) -> Result<lamppost_event::Commit, lamppost_event::Refusal> {
            Ok(lamppost_event::Commit(0))
        }
        fn room(&self) -> lamppost_event::Waiting<'_, ()> {
            Box::pin(std::future::ready(()))
        }
        fn durable(&self) -> Result<lamppost_event::Commit, lamppost_event::JournalStopped> {
            Ok(lamppost_event::Commit(0))
        }
        fn durable_after(
            &self,
            _: lamppost_event::Commit,
        ) -> lamppost_event::Waiting<'_, Result<lamppost_event::Commit, lamppost_event::JournalStopped>> {
            Box::pin(std::future::pending())
        }
        fn high_water(&self, _: &lamppost_event::DeviceId, _: u64) -> Option<u64> {
            None
        }
    }
    impl lamppost_event::Notes for Nothing {
        fn put(
            &self,
            _: &[u8],
            _: Option<bytes::Bytes>,
        ) -> Result<lamppost_event::Commit, lamppost_event::NoteRefusal> {
            Ok(lamppost_event::Commit(0))
        }
        fn bytes_max(&self) -> usize {
            0
        }
        fn visit(
            &self,
            _: &[u8],
            _: &mut dyn FnMut(&[u8], &bytes::Bytes),
        ) -> Result<(), lamppost_event::NotesUnreadable> {
            Ok(())
        }
    }
    let clock = Arc::new(crate::clock::MachineClock::new());
    let ground = lamppost_mqtt::Ground { intake: Arc::new(Nothing), notes: Arc::new(Nothing), clock };
    let (listeners, rules) = (listeners(&place.mqtt).unwrap(), rules(&place.mqtt).unwrap());
    let limits = lamppost_mqtt::Limits::default();
    let front = lamppost_mqtt::Front::bind(listeners, rules, limits, ground, Arc::default()).await.unwrap();
    Watch::new(place.mqtt.clone(), front.keys())
}

#[tokio::test]
async fn what_changed_is_read_and_what_can_not_be_used_is_refused() {
    let place = place(&files("first", "allow * both #"));
    let mut watch = watch(&place).await;
    let before = watch.keys.rules();
    watch.look(false);
    assert!(Arc::ptr_eq(&before, &watch.keys.rules()), "nothing had changed");
    watch.look(true);
    assert!(!Arc::ptr_eq(&before, &watch.keys.rules()), "SIGHUP was not heeded");

    write(place.folder.path(), &files("second", "deny * both a\nallow * both #"));
    watch.look(false);
    let second = watch.keys.rules();
    assert_eq!(second.acl.len(), 2);
    for bad in [files("third", "allow"), files("third", ""), BTreeMap::from([("passwords", "anna:third".to_owned())])] {
        write(place.folder.path(), &bad);
        watch.look(false);
        assert!(Arc::ptr_eq(&second, &watch.keys.rules()), "{bad:?}");
    }
}

#[test]
fn a_file_that_can_not_be_used_is_named() {
    let mut given = files("first", "allow * both #");
    for (name, contents, says) in
        [("acl", "allow * both", "line 1"), ("acl", "", "allow * both #"), ("passwords", "anna", "line 1")]
    {
        let before = given.insert(name, contents.to_owned()).unwrap();
        let place = place(&given);
        let error = format!("{:#}", rules(&place.mqtt).unwrap_err());
        assert!(error.contains(&place.folder.path().join(name).display().to_string()), "{error}");
        assert!(error.contains(says), "{error}");
        given.insert(name, before);
    }
}

#[test]
fn what_may_surprise_is_said() {
    let of = |text: &str| warnings(&parse(text).unwrap().mqtt.unwrap()).join("\n");
    let open = of("[mqtt]\nlisten = \"0.0.0.0:1883\"\nanonymous = true\n");
    assert!(open.contains("0.0.0.0:1883") && open.contains("anyone") && open.contains("no acl"), "{open}");
    let readable = of("[mqtt]\nlisten = \"0.0.0.0:1883\"\npasswords = \"/p\"\nacl = [\"allow * both #\"]\n");
    assert!(readable.contains("not encrypted") && !readable.contains("no acl"), "{readable}");
    assert_eq!(of("[mqtt]\n"), "");
}
