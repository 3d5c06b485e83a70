use proptest::prelude::*;

use super::*;

fn filter(text: &str) -> Filter {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn captured<'a>(pattern: &str, address: &'a str) -> Option<Vec<&'a str>> {
    filter(pattern).matches(address).map(|captures| captures.as_slice().to_vec())
}

/// The examples of MQTT 5.0, sections 4.7.1.2, 4.7.1.3 and 4.7.2.
#[test]
fn the_examples_of_the_mqtt_standard_hold() {
    let cases = [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/#", "sport", true),
        ("#", "sport/tennis", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/broker", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("{x}/monitor/Clients", "$SYS/monitor/Clients", false),
        ("{x...}", "$SYS/monitor", false),
        ("$SYS/#", "$SYS/broker", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
    ];
    for (pattern, address, fits) in cases {
        assert_eq!(filter(pattern).matches(address).is_some(), fits, "{pattern} on {address}");
    }
}

#[test]
fn captures_hold_what_their_levels_matched() {
    assert_eq!(captured("city/{district}/air/{device}/#", "city/north/air/17/pm"), Some(vec!["north", "17"]));
    assert_eq!(captured("a/{rest...}", "a/b/c/"), Some(vec!["b/c/"]));
    assert_eq!(captured("a/{rest...}", "a"), Some(vec![""]));
    assert_eq!(captured("{x}/+/{y}", "1/2/3"), Some(vec!["1", "3"]));
    assert_eq!(captured("{x}/b", "1/c"), None);
}

#[test]
fn each_mistake_names_the_level_and_the_remedy() {
    let many = (0..=CAPTURES_MAX).map(|n| format!("{{c{n}}}")).collect::<Vec<_>>().join("/");
    let cases = [
        ("", "write \"#\""),
        ("a/b+/c", "level 2 (\"b+\")"),
        ("a/#b", "level 2 (\"#b\")"),
        ("a/x{b}", "level 2 (\"x{b}\")"),
        ("a/#/c", "level 2 (\"#\") matches the rest and must be the last"),
        ("{rest...}/c", "level 1 (\"{rest...}\") matches the rest"),
        ("{x}/y/{x}", "level 3 captures \"x\" a second time"),
        ("{}/y", "level 1 (\"{}\") is not a capture"),
        ("{X}/y", "lower-case"),
        ("{a}{b}", "level 1 (\"{a}{b}\")"),
        ("a/{address}", "choose another name"),
        ("a/b\u{7}", "level 2 contains the control character"),
        (&many, "level 17 is capture number 17"),
    ];
    for (text, part) in cases {
        let error = text.parse::<Filter>().expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(matches!("a".repeat(1025).parse::<Filter>(), Err(FilterError::TooLong { bytes: 1025 })));
}

#[test]
fn a_filter_prints_as_it_was_written() {
    let text = "city/{district}/+/{rest...}";
    assert_eq!(filter(text).as_str(), text);
    assert_eq!(filter(text).names().collect::<Vec<_>>(), ["district", "rest"]);
}

/// The standard's rules by recursion over split levels: slow, and written without a look at the parser.
fn reference(pattern: &[&str], address: &[&str]) -> bool {
    match (pattern.split_first(), address.split_first()) {
        (Some((&"#", _)), _) => true,
        (None, None) => true,
        (Some((&"+", pattern)), Some((_, address))) => reference(pattern, address),
        (Some((text, pattern)), Some((level, address))) => text == level && reference(pattern, address),
        _ => false,
    }
}

fn reference_matches(pattern: &str, address: &str) -> bool {
    if address.starts_with('$') && (pattern.starts_with('+') || pattern.starts_with('#')) {
        return false;
    }
    reference(&pattern.split('/').collect::<Vec<_>>(), &address.split('/').collect::<Vec<_>>())
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just(""), Just("$x")]
}

fn pattern() -> impl Strategy<Value = String> {
    let inner = prop::collection::vec(prop_oneof![3 => level(), 2 => Just("+")], 1..5);
    (inner, any::<bool>()).prop_map(|(mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        levels.join("/")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn matching_agrees_with_a_naive_reference(
        pattern in pattern().prop_filter("a lone empty level is no filter", |text| !text.is_empty()),
        address in prop::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/")),
    ) {
        prop_assert_eq!(filter(&pattern).matches(&address).is_some(), reference_matches(&pattern, &address));
    }

    #[test]
    fn named_wildcards_match_as_plain_ones_and_give_the_address_back(
        levels in prop::collection::vec("[ab]{0,2}", 1..6),
        kept in 1_usize..6,
    ) {
        let address = levels.join("/");
        let kept = kept.min(levels.len());
        let mut names: Vec<String> = (0..kept).map(|n| format!("{{c{n}}}")).collect();
        names.push("{rest...}".to_owned());
        let pattern = filter(&names.join("/"));
        let captures = pattern.matches(&address).expect("wildcards match all levels");
        let values = captures.as_slice();
        let mut back = values[..kept].join("/");
        if kept < levels.len() {
            back = format!("{back}/{}", values[kept]);
        }
        prop_assert_eq!(back, address);
    }

    #[test]
    fn no_text_makes_the_parser_or_the_matcher_panic(text in "\\PC{0,40}|[a{}+#./]{0,20}", address in "\\PC{0,40}") {
        if let Ok(filter) = text.parse::<Filter>() {
            prop_assert_eq!(filter.as_str(), &text);
            let captured = filter.matches(&address).map_or(0, |captures| captures.as_slice().len());
            prop_assert!(captured <= filter.names().len());
        }
    }
}
