use proptest::prelude::*;

use super::*;

const LAMP: Guest<'_> = Guest { client: "lamp-7", user: Some("anna") };

fn acl(text: &str) -> Acl {
    Acl::parse(text).unwrap()
}

fn publishes(text: &str, guest: Guest<'_>, topic: &str) -> bool {
    acl(text).allows(Action::Publish, guest, topic)
}

fn subscribes(text: &str, guest: Guest<'_>, filter: &str) -> bool {
    acl(text).allows(Action::Subscribe, guest, filter)
}

#[test]
fn without_rules_everything_is_allowed_and_with_one_only_what_it_says() {
    assert!(publishes("# nothing\n\n", LAMP, "a"));
    assert!(publishes("allow * publish a", LAMP, "a"));
    assert!(!publishes("allow * publish a", LAMP, "b"));
    assert!(!subscribes("allow * publish a", LAMP, "a"));
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = "deny * both a/secret\nallow * both a/#\ndeny * both a/b";
    assert!(!publishes(rules, LAMP, "a/secret"));
    assert!(publishes(rules, LAMP, "a/b"));
}

#[test]
fn rules_concern_whom_they_name() {
    let nobody = Guest { client: "lamp-7", user: None };
    for (who, lamp, anonymous) in [
        ("*", true, true),
        ("anonymous", false, true),
        ("user:anna", true, false),
        ("user:bert", false, false),
        ("client:lamp-7", true, true),
        ("client:lamp-8", false, false),
    ] {
        let rules = format!("allow {who} publish a");
        assert_eq!(publishes(&rules, LAMP, "a"), lamp, "{who}");
        assert_eq!(publishes(&rules, nobody, "a"), anonymous, "{who}");
    }
}

#[test]
fn placeholders_stand_for_the_names_also_within_a_level() {
    let rules = "allow * publish city/%c/%u/x-%c-%u%%/#";
    assert!(publishes(rules, LAMP, "city/lamp-7/anna/x-lamp-7-anna%"));
    assert!(publishes(rules, LAMP, "city/lamp-7/anna/x-lamp-7-anna%/deep/er"));
    assert!(!publishes(rules, LAMP, "city/lamp-8/anna/x-lamp-7-anna%"));
    assert!(!publishes(rules, LAMP, "city/lamp-7/anna/x-lamp-7-anna%more"));
    assert!(!publishes(rules, Guest { user: None, ..LAMP }, "city/lamp-7//x-lamp-7-%"));
}

#[test]
fn a_client_id_with_wildcards_or_levels_does_not_widen_a_filter() {
    for client in ["+", "#", "a/b", "a/#", "/", "", "+/+", "$SYS"] {
        let guest = Guest { client, user: Some("u") };
        for topic in ["city/x", "city/a/b", "city/+", "city/#", "city/", "city//", "city/$SYS", "city"] {
            assert!(!subscribes("allow * both city/%c", guest, topic), "{client:?} {topic}");
            assert!(!publishes("allow * both city/%c/#", guest, topic), "{client:?} {topic}");
        }
        assert!(!publishes("deny * publish %c/x\nallow * publish #", guest, "y"), "{client:?} escapes a deny");
    }
}

#[test]
fn an_allowed_subscription_is_covered_whole() {
    let rules = "allow * subscribe city/+/air/#";
    for filter in ["city/a/air/#", "city/+/air/#", "city/+/air", "city/a/air/b/+", "city/a/air/b/#"] {
        assert!(subscribes(rules, LAMP, filter), "{filter}");
    }
    for filter in ["#", "city/#", "city/+/+", "city/a", "+/+/air/#", "city/a/airy"] {
        assert!(!subscribes(rules, LAMP, filter), "{filter}");
    }
}

#[test]
fn what_is_denied_can_not_be_had_by_asking_for_more() {
    let rules = "deny * subscribe city/vault/+\nallow * subscribe #";
    for filter in ["#", "city/#", "+/+/+", "city/vault/#", "city/+/door", "city/vault/door"] {
        assert!(!subscribes(rules, LAMP, filter), "{filter}");
    }
    for filter in ["city/vault", "city/park/#", "city/vault/a/b", "town/#", "+/+"] {
        assert!(subscribes(rules, LAMP, filter), "{filter}");
    }
}

#[test]
fn wildcards_leave_out_what_is_the_servers_own() {
    assert!(!subscribes("allow * subscribe #", LAMP, "$SYS/#"));
    assert!(subscribes("allow * subscribe $SYS/#", LAMP, "$SYS/#"));
}

#[test]
fn a_line_that_is_not_a_rule_is_named_with_its_number() {
    for (line, what) in [
        ("permit * publish a", "neither \"allow\""),
        ("allow anna publish a", "user:NAME"),
        ("allow user: publish a", "user:NAME"),
        ("allow * write a", "neither \"publish\""),
        ("allow * publish", "missing"),
        ("allow * publish a/#/b", "last level"),
        ("allow * publish a/b+", "alone"),
        ("allow * publish a/%d", "after %"),
        ("allow * publish a/%", "after %"),
    ] {
        let error = Acl::parse(&format!("# first\n{line}\n")).unwrap_err();
        assert_eq!(error.line, 2, "{line}");
        assert!(error.what.contains(what), "{line}: {error}");
    }
}

#[test]
fn a_filter_may_contain_spaces() {
    assert!(publishes("allow  *   publish  a b/c", LAMP, "a b/c"));
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("+"), Just("%c"), Just("x%u")].prop_map(str::to_owned)
}

fn filter(level: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (proptest::collection::vec(level, 1..4), any::<bool>()).prop_map(|(levels, rest)| {
        let filter = levels.join("/");
        if rest { format!("{filter}/#") } else { filter }
    })
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("xu"), Just("+"), Just("a/b"), Just("#")].prop_map(str::to_owned)
}

proptest! {
    /// A subscription that is allowed brings no topic whose own subscription is refused: the model is the list of all topics.
    #[test]
    fn no_subscription_brings_what_may_not_be_subscribed_to_by_name(
        rules in proptest::collection::vec((any::<bool>(), filter(level())), 1..5),
        asked in filter(prop_oneof![Just("a"), Just("b"), Just("c"), Just("xu"), Just("+")].prop_map(str::to_owned)),
        client in any_name(),
        topic in proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("xu")], 1..5),
    ) {
        let lines: Vec<_> = rules.iter().map(|(allow, filter)| {
            format!("{} * both {filter}", if *allow { "allow" } else { "deny" })
        }).collect();
        let acl = acl(&lines.join("\n"));
        let guest = Guest { client: &client, user: Some("u") };
        let topic = topic.join("/");
        if acl.allows(Action::Subscribe, guest, &asked) && crate::topic::covers(&asked, &topic) {
            prop_assert!(acl.allows(Action::Subscribe, guest, &topic), "{lines:?} {asked} {topic}");
            prop_assert!(acl.allows(Action::Publish, guest, &topic), "{lines:?} {asked} {topic}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), line in "(allow|deny) [*a-z:]{0,9} (both|publish) [%cu+#/a-z]{0,12}") {
        drop(Acl::parse(&text));
        if let Ok(acl) = Acl::parse(&line) {
            acl.allows(Action::Publish, LAMP, &text);
            acl.allows(Action::Subscribe, LAMP, &text);
        }
    }
}
