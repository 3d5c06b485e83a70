//! `[kafka] live_first`: which topics go live first after an outage, with their backlog beside them.

use std::time::Duration;

use lamppost_event::Interest;
use lamppost_forward::{Delivery, LiveFirst};

use super::{Problem, file};

/// How old the oldest event has to be if nothing is said.
const AFTER: Duration = Duration::from_secs(60);
/// Less is no outage, and each split takes a second producer.
const AFTER_MIN: Duration = Duration::from_secs(1);
const AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What does not fit.
pub(super) fn check(kafka: &file::Kafka, problems: &mut Vec<Problem>) {
    let mut problem = |span, what: String, remedy: &str| problems.push(Problem::at(span, what, remedy));
    if let Some(after) = &kafka.live_first_after {
        if kafka.live_first.is_none() {
            let remedy = "remove this line, or name topics, as in live_first = [\"city-*\"]";
            problem(after.span(), "no topic goes live first".to_owned(), remedy);
        } else if !(AFTER_MIN..=AFTER_MAX).contains(&after.get_ref().0) {
            problem(after.span(), "live first too early, or never".to_owned(), "from 1s to 7d; 1min serves most");
        }
    }
    let Some(topics) = &kafka.live_first else { return };
    if let Err(error) = Interest::new(topics.get_ref().iter().map(String::as_str)) {
        let remedy = "names or patterns, as in [\"air-quality\", \"city-*\"]; leave it out for strict order";
        problem(topics.span(), error.to_string(), remedy);
    }
    if kafka.delivery == Delivery::ExactlyOnce {
        let what = "live first and exactly once don't go together".to_owned();
        problem(topics.span(), what, "remove this line for strict order, or `delivery = \"exactly-once\"`");
    }
}

/// After [`check`] has found nothing.
pub(super) fn live_first(kafka: &file::Kafka) -> Option<LiveFirst> {
    let topics = Interest::new(kafka.live_first.as_ref()?.get_ref().iter().map(String::as_str)).ok()?;
    let after = kafka.live_first_after.as_ref().map_or(AFTER, |after| after.get_ref().0);
    Some(LiveFirst { topics, after })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Problems, parse};
    use super::*;

    const KAFKA: &str = "[kafka]\nbootstrap = [\"k:1\"]\n";

    #[test]
    fn topics_go_live_first_a_minute_after_unless_another_time_is_said_and_else_none_does() {
        let of = |text: &str| parse(&format!("{KAFKA}{text}")).unwrap().kafka.unwrap().live_first;
        let topics = Interest::new(["air", "city-*"]).unwrap();
        let minute = LiveFirst { topics: topics.clone(), after: Duration::from_secs(60) };
        assert_eq!(of("live_first = [\"air\", \"city-*\"]\n"), Some(minute));
        let said = of("live_first = [\"air\", \"city-*\"]\nlive_first_after = \"5min\"\n");
        assert_eq!(said, Some(LiveFirst { topics, after: Duration::from_secs(300) }));
        assert_eq!(of(""), None);
    }

    #[test]
    fn what_does_not_fit_is_shown_where_it_stands() {
        for (text, place, remedy) in [
            ("live_first = []\n", ":3:14: ", "for strict order"),
            ("live_first = [\"a b\"]\n", ":3:14: ", "patterns"),
            ("live_first_after = \"5min\"\n", ":3:20: ", "name topics"),
            ("live_first = [\"*\"]\nlive_first_after = \"1ms\"\n", ":4:20: ", "from 1s"),
            ("live_first = [\"*\"]\ndelivery = \"exactly-once\"\n", ":3:14: ", "remove this line"),
        ] {
            let text = format!("{KAFKA}{text}");
            let shown = Problems::new(Path::new("x.toml"), &text, parse(&text).expect_err(&text)).to_string();
            assert!(shown.contains(&format!("x.toml{place}")) && shown.contains(remedy), "{text}\n{shown}");
        }
    }
}
