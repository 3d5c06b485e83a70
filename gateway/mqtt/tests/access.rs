//! Who comes in, and what they may do, byte for byte.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lamppost_mqtt::{Acl, Cause, Entry, Limits, Listener, Passwords, Rules};
use support::raw::{A_WHILE, Raw, connect_as, publish_v4, publish_v5, subscribe_v4, subscribe_v5};
use support::{ANY_PORT, HandIntake, Running};
use tokio::time::sleep;

const ASKS: Entry = Entry { anonymous: false, password: true, ..Entry::OPEN };

/// Users anna (secret) and bert (hidden).
fn passwords() -> Option<Arc<Passwords>> {
    let text =
        [("anna", "secret"), ("bert", "hidden")].map(|(user, word)| Passwords::entry(user, word.as_bytes()).unwrap());
    Some(Arc::new(Passwords::parse(&text.join("\n")).unwrap()))
}

fn acl(rules: &str) -> Arc<Acl> {
    Arc::new(Acl::parse(rules).unwrap())
}

async fn front(entry: Entry, passwords: Option<Arc<Passwords>>, rules: &str) -> Running {
    let listeners = vec![Listener { entry, ..Listener::open(ANY_PORT) }];
    let rules = Rules { passwords, acl: acl(rules) };
    Running::start_with(listeners, rules, HandIntake::automatic(), Limits::default()).await
}

/// Connects, and returns the return or reason code of the CONNACK.
async fn connack(front: &Running, connect: &[u8]) -> (u8, Raw) {
    let mut client = Raw::open(front.address).await;
    client.send(connect).await;
    let answer = client.receive().await;
    assert_eq!(answer[0], 0x20);
    (answer[3], client)
}

async fn let_in(front: &Running, version: u8, client_id: &str, user: &str) -> Raw {
    let password = if user == "anna" { "secret" } else { "hidden" };
    let (code, client) = connack(front, &connect_as(version, client_id, Some(user), Some(password), None)).await;
    assert_eq!(code, 0);
    client
}

// MQTT 5.0: 3.1.4-2, 3.2.2-7, 4.12.0-4
#[tokio::test]
async fn the_right_password_lets_in_and_all_else_is_refused_alike() {
    let front = front(ASKS, passwords(), "").await;
    for (version, refused) in [(4, 4), (5, 0x86)] {
        drop(let_in(&front, version, "d", "anna").await);
        for (user, password) in [
            (Some("anna"), Some("Secret")),
            (Some("anna"), Some("hidden")),
            (Some("nobody"), Some("secret")),
            (Some("anna"), Some("")),
            (Some(""), Some("secret")),
            (Some("anna"), None),
            (None, None),
        ] {
            let (code, mut client) = connack(&front, &connect_as(version, "d", user, password, None)).await;
            assert_eq!(code, refused, "{user:?} {password:?}");
            client.expect_end().await;
        }
    }
    assert_eq!(front.counters.refusals(Cause::Credentials), 14);
}

#[tokio::test]
async fn a_wrong_user_and_a_wrong_password_are_answered_with_the_same_words() {
    let front = front(ASKS, passwords(), "").await;
    let mut answers = Vec::new();
    for user in ["anna", "nina"] {
        let mut client = Raw::open(front.address).await;
        client.send(&connect_as(5, "d", Some(user), Some("wrong"), None)).await;
        answers.push(String::from_utf8_lossy(&client.receive().await).replace(user, "USER"));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn where_anonymous_clients_come_in_a_given_user_is_still_to_be_proven() {
    let entry = Entry { anonymous: true, ..ASKS };
    let front = front(entry, passwords(), "allow user:anna publish a\nallow anonymous publish b").await;
    assert_eq!(connack(&front, &connect_as(4, "d", Some("anna"), Some("wrong"), None)).await.0, 4);
    let mut nobody = Raw::v5(front.address, "n").await;
    for (topic, answer) in [("a", &[0x40, 3, 0, 1, 0x87][..]), ("b", &[0x40, 2, 0, 1])] {
        nobody.send(&publish_v5(topic, 1, &[], b"x")).await;
        assert_eq!(nobody.receive().await, answer, "{topic}");
    }
}

#[tokio::test]
async fn without_a_password_file_nobody_comes_in_by_password() {
    let front = front(ASKS, None, "").await;
    assert_eq!(connack(&front, &connect_as(4, "d", Some("anna"), Some("secret"), None)).await.0, 4);
}

#[tokio::test]
async fn where_client_ids_are_user_names_nobody_takes_over_another_users_session() {
    let front = front(Entry { client_id_is_user: true, ..ASKS }, passwords(), "").await;
    let mut anna = let_in(&front, 5, "anna", "anna").await;
    for (version, refused) in [(4, 5), (5, 0x87)] {
        let connect = connect_as(version, "anna", Some("bert"), Some("hidden"), None);
        assert_eq!(connack(&front, &connect).await.0, refused);
    }
    anna.send(&[0xC0, 0]).await;
    assert_eq!(anna.receive().await, [0xD0, 0]);
    // An empty client id is given the user's.
    let mut bert = Raw::open(front.address).await;
    bert.send(&connect_as(5, "", Some("bert"), Some("hidden"), None)).await;
    assert!(bert.receive().await.windows(7).any(|window| window == b"\x12\0\x04bert"));
    assert_eq!(front.counters.refusals(Cause::Identity), 2);
}

// MQTT 5.0: 3.1.2-29, 3.4.2-1, 3.4.2-2, 3.4.2-3
#[tokio::test]
async fn a_v5_publish_that_is_not_allowed_is_refused_in_its_turn_and_not_stored() {
    let front = {
        let listeners = vec![Listener::open(ANY_PORT)];
        let rules = Rules { passwords: None, acl: acl("allow * publish own/%c/#") };
        Running::start_with(listeners, rules, HandIntake::by_hand(), Limits::default()).await
    };
    let mut client = Raw::v5(front.address, "d").await;
    client.send(&publish_v5("own/e", 7, &[], b"x")).await;
    assert_eq!(client.receive().await, [0x40, 3, 0, 7, 0x87]);
    client.send(&publish_v5("own/d", 1, &[], b"x")).await;
    client.send(&publish_v5("own/e", 2, &[], b"x")).await;
    client.send(&publish_v5("own/e", 0, &[], b"x")).await;
    client.send(&publish_v5("own/d/e", 3, &[], b"x")).await;
    front.intake.arrived(2).await;
    // The refusal waits for the acknowledgement before it.
    client.expect_silence().await;
    front.intake.release(2);
    assert_eq!(client.receive().await, [0x40, 2, 0, 1]);
    assert_eq!(client.receive().await, [0x40, 3, 0, 2, 0x87]);
    assert_eq!(client.receive().await, [0x40, 2, 0, 3]);
    let topics: Vec<_> = front.intake.arrivals().iter().map(|it| it.address.as_str().to_owned()).collect();
    assert_eq!(topics, ["own/d", "own/d/e"]);
    assert_eq!((front.counters.publishes_denied.load(Relaxed), front.counters.pubacks.load(Relaxed)), (3, 2));
}

#[tokio::test]
async fn a_topic_alias_does_not_get_round_the_rules() {
    let front = front(Entry::OPEN, None, "allow * publish a").await;
    let mut client = Raw::v5(front.address, "d").await;
    client.send(&publish_v5("b", 1, &[35, 0, 1], b"x")).await;
    client.send(&publish_v5("", 2, &[35, 0, 1], b"x")).await;
    for packet_id in [1, 2] {
        assert_eq!(client.receive().await, [0x40, 3, 0, packet_id, 0x87]);
    }
    assert!(front.intake.arrivals().is_empty());
}

// MQTT 3.1.1: 3.3.5-2
#[tokio::test]
async fn a_v4_publish_that_is_not_allowed_ends_the_connection_and_is_not_stored() {
    let front = front(Entry::OPEN, None, "allow * publish a").await;
    for packet_id in [0, 1] {
        let mut client = Raw::v4(front.address, "d").await;
        client.send(&publish_v4("a", 9, b"x")).await;
        assert_eq!(client.receive().await, [0x40, 2, 0, 9]);
        client.send(&publish_v4("b", packet_id, b"x")).await;
        client.expect_end().await;
    }
    assert_eq!(front.intake.arrivals().len(), 2);
    assert_eq!(front.counters.refusals(Cause::NotAuthorized), 2);
}

#[tokio::test]
async fn subscriptions_are_refused_filter_by_filter() {
    let front = front(Entry::OPEN, None, "deny * subscribe city/vault/#\nallow * subscribe city/#").await;
    let mut v4 = Raw::v4(front.address, "d4").await;
    let mut v5 = Raw::v5(front.address, "d5").await;
    for (filter, allowed) in [
        ("city/a", true),
        ("city/#", false),
        ("#", false),
        ("city/a/+", true),
        ("city/+", false),
        ("city/vault/x", false),
    ] {
        v4.send(&subscribe_v4(1, filter, 1)).await;
        assert_eq!(v4.receive().await, [0x90, 3, 0, 1, if allowed { 1 } else { 0x80 }], "{filter}");
        v5.send(&subscribe_v5(1, filter, 1)).await;
        assert_eq!(v5.receive().await, [0x90, 4, 0, 1, 0, if allowed { 1 } else { 0x87 }], "{filter}");
    }
    assert_eq!(front.counters.subscriptions_denied.load(Relaxed), 8);
}

#[tokio::test]
async fn a_will_that_could_not_be_published_is_refused_at_connect() {
    let front = front(Entry::OPEN, None, "allow * publish ok").await;
    for (version, refused) in [(4, 5), (5, 0x87)] {
        assert_eq!(connack(&front, &connect_as(version, "d", None, None, Some("no"))).await.0, refused);
        assert_eq!(connack(&front, &connect_as(version, "d", None, None, Some("ok"))).await.0, 0);
    }
}

#[tokio::test]
async fn a_will_is_not_published_by_who_may_not_any_more() {
    for (taken_away, stored) in [("nothing", 1), ("the rule", 0), ("the password", 0)] {
        let front = front(ASKS, passwords(), "allow * publish ok").await;
        let connect = connect_as(4, "a", Some("anna"), Some("secret"), Some("ok"));
        let (code, anna) = connack(&front, &connect).await;
        assert_eq!(code, 0);
        let rules = match taken_away {
            "the rule" => Rules { passwords: Some(unchanged(&front)), acl: acl("allow * publish other") },
            "the password" => Rules { passwords: passwords(), acl: acl("allow * publish ok") },
            _ => Rules { passwords: Some(unchanged(&front)), acl: acl("allow * publish ok") },
        };
        front.keys.set_rules(rules);
        sleep(A_WHILE).await;
        drop(anna);
        sleep(A_WHILE).await;
        assert_eq!(front.intake.arrivals().len(), stored, "{taken_away} was taken away");
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_by_who_may_not_have_its_subscriptions() {
    let front = front(ASKS, passwords(), "allow user:anna subscribe #\nallow * publish #").await;
    let keep = |user: &str, word: &str| {
        let mut connect = connect_as(4, "d", Some(user), Some(word), None);
        connect[9] &= !2;
        connect
    };
    let (code, mut anna) = connack(&front, &keep("anna", "secret")).await;
    assert_eq!(code, 0);
    anna.send(&subscribe_v4(1, "vault", 1)).await;
    anna.receive().await;
    drop(anna);
    let mut bert = Raw::open(front.address).await;
    bert.send(&keep("bert", "hidden")).await;
    assert_eq!(bert.receive().await, [0x20, 2, 0, 0], "the session was resumed");
    bert.send(&publish_v4("vault", 1, b"x")).await;
    assert_eq!(bert.receive().await, [0x40, 2, 0, 1]);
    bert.expect_silence().await;
}

#[tokio::test]
async fn changed_rules_count_at_once_and_end_who_they_do_not_allow() {
    let front = front(ASKS, passwords(), "").await;
    let mut anna = let_in(&front, 5, "a", "anna").await;
    let mut bert = let_in(&front, 5, "b", "bert").await;
    bert.send(&subscribe_v5(1, "vault/#", 0)).await;
    bert.receive().await;
    let same = front.keys.clone();
    same.set_rules(Rules { passwords: passwords().map(|_| unchanged(&front)), acl: acl("allow * both open/#") });
    bert.expect_disconnect(0x87).await;
    anna.send(&publish_v5("vault/x", 1, &[], b"x")).await;
    assert_eq!(anna.receive().await, [0x40, 3, 0, 1, 0x87]);
    // Another hash of the same password is another entry: who came by the old one has to prove it again.
    same.set_rules(Rules { passwords: passwords(), acl: acl("") });
    anna.expect_disconnect(0x87).await;
    drop(let_in(&front, 5, "a", "anna").await);
}

/// The passwords that the front has now.
fn unchanged(front: &Running) -> Arc<Passwords> {
    front.keys.rules().passwords.clone().unwrap()
}

#[tokio::test]
async fn where_users_are_bound_to_client_ids_nobody_has_them_by_another_listener() {
    let entry = Passwords::entry("anna", b"secret").unwrap();
    let rules = Rules { passwords: Some(Arc::new(Passwords::parse(&entry).unwrap())), ..Rules::default() };
    let bound = Entry { anonymous: false, password: true, client_id_is_user: true, ..Entry::OPEN };
    let listeners = vec![Listener { entry: bound, ..Listener::open(ANY_PORT) }, Listener::open(ANY_PORT)];
    let front = Running::start_with(listeners, rules, HandIntake::automatic(), Limits::default()).await;
    let mut thief = Raw::open(front.addresses[1]).await;
    thief.send(&connect_as(4, "anna", None, None, None)).await;
    assert_eq!(thief.receive().await, [0x20, 2, 0, 5]);
    thief.expect_end().await;
    let mut other = Raw::open(front.addresses[1]).await;
    other.send(&connect_as(4, "lamp-7", None, None, None)).await;
    assert_eq!(other.receive().await, [0x20, 2, 0, 0]);
    let mut anna = Raw::open(front.addresses[0]).await;
    anna.send(&connect_as(4, "anna", Some("anna"), Some("secret"), None)).await;
    assert_eq!(anna.receive().await, [0x20, 2, 0, 0]);
}
