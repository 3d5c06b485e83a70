use bytes::Bytes;
use lamppost_event::{BootId, ClockQuality, DeviceId, Monotonic, Now, WallTime};
use proptest::prelude::*;

use super::*;
use crate::codec::Qos;

/// Takes every note, and a clock that stands.
struct Still;

impl Notes for Still {
    fn put(&self, _: &[u8], _: Option<Bytes>) -> Result<Commit, NoteRefusal> {
        Ok(Commit(1))
    }
    fn bytes_max(&self) -> usize {
        usize::MAX
    }
    fn visit(&self, _: &[u8], _: &mut dyn FnMut(&[u8], &Bytes)) -> Result<(), NotesUnreadable> {
        Ok(())
    }
}

impl Clock for Still {
    fn now(&self) -> Now {
        Now { wall: WallTime(0), monotonic: Monotonic(0), boot: BootId(1), quality: ClockQuality::Synced }
    }
}

fn retained(topics: &[&str]) -> Retained {
    let still = Arc::new(Still);
    let retained = Retained::restore(Arc::default(), Arc::default(), still.clone(), still).unwrap();
    for topic in topics {
        retained.put(&message(topic, b"x"), Commit(1)).unwrap();
    }
    retained
}

fn message(topic: &str, payload: &'static [u8]) -> Message {
    Message {
        topic: Address::new(topic).unwrap(),
        payload: Bytes::from_static(payload),
        qos: Qos::AtLeastOnce,
        retain: true,
        publisher: DeviceId::new("d").unwrap(),
        expires: None,
        properties: Bytes::new(),
    }
}

/// All topics that are found, and in how many steps.
fn all(retained: &Retained, filter: &str, upto: Upto) -> (Vec<String>, usize) {
    let (mut found, mut steps, mut after) = (Vec::new(), 0, None);
    loop {
        steps += 1;
        match retained.next(filter, after.as_ref(), upto, Commit(1)) {
            Step::End => return (found, steps),
            Step::Looked(topic) => after = Some(topic),
            Step::Found(Found { message }) => {
                found.push(message.topic.as_str().to_owned());
                after = Some(message.topic.clone());
            }
        }
    }
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&["a", "b", "a!", "ab", ""][..]), 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("no topic is empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop::sample::select(&["a", "b", "ab", "", "+"][..]), 1..4);
    (levels, any::<bool>()).prop_map(|(levels, all)| levels.join("/") + if all { "/#" } else { "" })
}

proptest! {
    #[test]
    fn what_is_found_is_what_the_standard_says(topics in prop::collection::vec(topic(), 1..40), filter in filter()) {
        prop_assume!(!filter.is_empty());
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let retained = retained(&names);
        let mut expected: Vec<String> =
            topics.iter().filter(|name| topic::covers(&filter, name)).cloned().collect();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(all(&retained, &filter, retained.now().0).0, expected);
    }
}

#[test]
fn one_look_is_a_few_hundred_topics_and_none_that_begins_otherwise() {
    let topics: Vec<String> = (0..3_000).map(|number| format!("plant/{number}/state")).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).chain(["a/1", "z"]).collect();
    let retained = retained(&names);
    let steps = |filter: &str| all(&retained, filter, retained.now().0);
    let (found, looks) = steps("plant/+/nothing");
    assert_eq!((found.len(), looks), (0, 3_000_usize.div_ceil(LOOKED_AT_ONCE) + 1));
    assert_eq!(steps("plant/7/#"), (vec!["plant/7/state".into()], 2));
    assert_eq!(steps("plant/7/state"), (vec!["plant/7/state".into()], 2));
    assert_eq!(steps("a/+"), (vec!["a/1".into()], 2));
    assert_eq!(steps("z"), (vec!["z".into()], 2));
    assert_eq!(steps("plant"), (vec![], 1));
    assert_eq!(steps("#").0.len(), 3_002);
}

#[test]
fn what_was_retained_anew_is_not_what_was_there() {
    let retained = retained(&["a", "b", "c"]);
    let before = retained.now().0;
    retained.put(&message("b", b"new"), Commit(1)).unwrap();
    retained.put(&message("c", b""), Commit(1)).unwrap();
    assert_eq!(all(&retained, "#", before).0, ["a"]);
    assert_eq!(all(&retained, "#", retained.now().0).0, ["a", "b"]);
    assert_eq!(all(&retained, "#", Upto::on_disk_with(Commit(0))).0, [""; 0]);
}
