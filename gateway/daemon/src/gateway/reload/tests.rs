#![expect(clippy::disallowed_methods, reason = "a test's own file")]

use std::cell::RefCell;

use super::*;

const BEFORE: &str = "[[route]]\nfrom = \"a/#\"\ntopic = \"air\"\n[topics.air]\n[topics.traffic]\n";

struct World {
    folder: tempfile::TempDir,
    started: Started,
    exchanged: RefCell<Vec<Routes>>,
    keys: Told,
}

impl World {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lamppost.toml");
        std::fs::write(&path, text).unwrap();
        let started = Started::new(&config::load(&path).unwrap(), &path);
        Self { folder, started, exchanged: RefCell::default(), keys: Told::default() }
    }

    fn reload(&self, text: &str) -> anyhow::Result<Reloaded> {
        let path = self.folder.path().join("lamppost.toml");
        std::fs::write(&path, text).unwrap();
        again(
            &self.started,
            &path,
            &Doors { routes: &|routes| self.exchanged.borrow_mut().push(routes), keys: &self.keys },
        )
    }
}

#[test]
fn new_routes_over_the_topics_that_there_are_are_taken() {
    let world = World::new(BEFORE);
    let reloaded = world.reload(&BEFORE.replace("topic = \"air\"", "topic = \"traffic\"")).unwrap();
    assert_eq!(reloaded, Reloaded::default());
    assert_eq!(world.exchanged.borrow().len(), 1);
}

#[test]
fn a_wrong_configuration_changes_nothing_and_says_why() {
    let world = World::new(BEFORE);
    for (text, why) in [
        (BEFORE.replace("topic = \"air\"", "topic = \"a/b\""), "lamppost.toml:3:"),
        (format!("{BEFORE}[journal]\nqouta = \"1GiB\"\n"), "did you mean `quota`?"),
        (
            format!("{BEFORE}[[mqtt.listener]]\nlisten = \"127.0.0.1:1\"\ncertificate = \"/none\"\nkey = \"/none\"\n"),
            "no TLS",
        ),
        // What the cluster is spoken to by waits for a restart, and makes `lamppost check` refuse the whole all the same.
        (
            format!("{BEFORE}[kafka]\nbootstrap = [\"k:1\"]\n[kafka.tls]\nca = \"/none\"\n"),
            "nothing is forwarded before it is right",
        ),
        (
            format!(
                "{BEFORE}[[broker]]\nname = \"b\"\nurl = \"mqtts://h\"\nsubscribe = [\"#\"]\nca_file = \"/none\"\n"
            ),
            "the broker is not connected before it can",
        ),
    ] {
        let error = format!("{:#}", world.reload(&text).unwrap_err());
        assert!(error.contains(why), "{error}");
    }
    std::fs::remove_file(world.folder.path().join("lamppost.toml")).unwrap();
    let path = world.folder.path().join("lamppost.toml");
    let gone = again(&world.started, &path, &Doors { routes: &|_| panic!("taken"), keys: &world.keys });
    assert!(gone.unwrap_err().to_string().contains("can't be read"));
    assert_eq!(world.exchanged.borrow().len(), 0);
}

#[test]
fn routes_to_new_topics_wait_all_together() {
    let world = World::new(BEFORE);
    let added = format!("[[route]]\nfrom = \"n/#\"\ntopic = \"noise\"\n{BEFORE}");
    let waits = world.reload(&added).unwrap().waits;
    assert_eq!(waits, ["route (leads to topics that are new, or have other partitions: noise)"]);
    let grown = BEFORE.replace("[topics.air]", "[topics.air]\npartitions = 9");
    let waits = world.reload(&grown).unwrap().waits;
    assert!(
        waits.contains(&"topics.air".to_owned()) && waits.iter().any(|it| it.ends_with("partitions: air)")),
        "{waits:?}"
    );
    assert_eq!(world.exchanged.borrow().len(), 0);
}

#[test]
fn what_needs_a_restart_is_named_by_section_and_key() {
    let old = "[journal]\nquota = \"256MiB\"\n[kafka]\nbootstrap = [\"a:1\"]\n[mqtt]\nlisten = \"127.0.0.1:1\"\nacl = [\"allow * both #\"]\n\
               [[mqtt.listener]]\nlisten = \"127.0.0.1:2\"\ncertificate = \"/a\"\nkey = \"/b\"\n";
    let differs = |text: &str| needs_restart(&old.parse().unwrap(), &text.parse().unwrap(), true);
    assert!(differs(old).is_empty());
    assert_eq!(differs(&old.replace("256MiB", "1GiB")), ["journal.quota"]);
    assert_eq!(differs(&old.replace("a:1", "b:1")), ["kafka.bootstrap"]);
    assert_eq!(
        differs(&format!("{old}[http]\nlisten = \"127.0.0.1:9\"\n[[i2c]]\nname = \"x\"\n")),
        ["http.listen", "i2c"]
    );
    assert_eq!(differs(&old.replace("127.0.0.1:2", "127.0.0.1:3")), ["mqtt.listener"]);
    let renewed = old.replace("\"/a\"", "\"/c\"").replace("allow * both #", "deny * both #");
    assert!(differs(&renewed).is_empty(), "certificates and rules are exchanged");
    let elsewhere = needs_restart(&old.parse().unwrap(), &renewed.parse().unwrap(), false);
    assert_eq!(elsewhere, ["mqtt.acl", "mqtt.listener"], "but not behind other doors");
    assert_eq!(differs(&format!("{old}client_ca = \"/ca\"\n")), ["mqtt.listener"], "who comes in is another question");
}

#[test]
fn other_files_behind_the_same_doors_are_looked_at_and_other_doors_wait() {
    let door = |listen: &str, acl: &str| format!("[mqtt]\nlisten = \"{listen}\"\nacl = [\"{acl}\"]\n");
    let world = World::new(&door("127.0.0.1:1", "allow * both #"));
    assert_eq!(world.reload(&door("127.0.0.1:1", "deny * both #")).unwrap(), Reloaded::default());
    assert!(world.keys.take().is_some(), "the new rules are looked at");
    let waits = world.reload(&door("127.0.0.1:2", "deny * both #")).unwrap().waits;
    assert_eq!(waits, ["mqtt.acl", "mqtt.listen"], "rules that are not taken are named, too");
    assert!(world.keys.take().is_none(), "they are for other doors");
}
