//! Topic names and filters (section 4.7 of both standards).

use crate::Limits;

/// Whether clients may publish to `topic`: not empty, no wildcards, not below `$` (which is the server's own,
/// section 4.7.2), within the limits.
pub(crate) fn check_name(topic: &str, limits: &Limits) -> Result<(), &'static str> {
    if topic.contains(['+', '#']) {
        return Err("a topic to publish to can't contain wildcards");
    }
    if topic.starts_with('$') {
        return Err("topics that begin with $ are the server's own");
    }
    check_size(topic, limits)
}

/// Whether `filter` can be subscribed to: `+` and `#` stand alone in their level, `#` in the last.
pub(crate) fn check_filter(filter: &str, limits: &Limits) -> Result<(), &'static str> {
    check_size(filter, limits)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.len() > 1 && level.contains(['+', '#']) {
            return Err("a wildcard has to stand alone in its level");
        }
        if level == "#" && levels.peek().is_some() {
            return Err("# has to be the last level");
        }
    }
    Ok(())
}

fn check_size(text: &str, limits: &Limits) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("a topic can't be empty");
    }
    if text.len() > limits.topic_bytes_max {
        return Err("the topic is longer than allowed");
    }
    if text.split('/').nth(limits.topic_levels_max).is_some() {
        return Err("the topic has more levels than allowed");
    }
    Ok(())
}

/// Whether `filter` covers `topic`. Both were checked.
pub(crate) fn covers(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match topic.next() {
            Some(name) if level == "+" || level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_dollar_and_sizes_are_refused_in_names() {
        let limits = Limits { topic_levels_max: 3, topic_bytes_max: 8, ..Limits::default() };
        for good in ["a", "/", "a/b/c", "é/ü", "a b"] {
            assert_eq!(check_name(good, &limits), Ok(()), "{good}");
        }
        for bad in ["", "a/+", "#", "$SYS/a", "a/b/c/d", "123456789"] {
            assert!(check_name(bad, &limits).is_err(), "{bad}");
        }
    }

    // MQTT 3.1.1: 4.7.1-2, 4.7.1-3
    // MQTT 5.0: 4.7.1-1, 4.7.1-2
    #[test]
    fn wildcards_stand_alone_in_filters() {
        let limits = Limits::default();
        for good in ["#", "+", "a/+/b", "a/#", "+/+", "/"] {
            assert_eq!(check_filter(good, &limits), Ok(()), "{good}");
        }
        for bad in ["", "a#", "a/#/b", "+a", "a/b+/c"] {
            assert!(check_filter(bad, &limits).is_err(), "{bad}");
        }
    }

    // MQTT 3.1.1: 4.7.2-1
    // MQTT 5.0: 4.7.2-1
    #[test]
    fn filters_cover_what_the_standard_says() {
        for (filter, topic) in
            [("a/#", "a"), ("a/#", "a/b/c"), ("+/b", "a/b"), ("+/+", "/b"), ("#", "x/y"), ("/+", "/b")]
        {
            assert!(covers(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in
            [("+", "/b"), ("a/+", "a"), ("a", "a/b"), ("#", "$SYS/x"), ("+/x", "$SYS/x"), ("a/b", "a")]
        {
            assert!(!covers(filter, topic), "{filter} {topic}");
        }
    }
}
