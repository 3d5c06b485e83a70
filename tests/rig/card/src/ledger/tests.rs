use super::*;

fn owing(words: &[Word]) -> Ledger {
    Ledger::default().at_cut(&heard(words), usize::MAX)
}

fn heard(words: &[Word]) -> Vec<Heard> {
    words.iter().map(|word| (0, word.clone())).collect()
}

fn judge(owed: &[Word], found: &[Word]) -> Verdict {
    owing(owed).judge(&heard(found))
}

const A: Word = Word::Acknowledged(1, 0, 10);
const B: Word = Word::Acknowledged(1, 1, 11);

#[test]
fn what_was_acknowledged_and_is_there_is_well() {
    let more = Word::Kept(1, 2, 12);
    assert!(judge(&[A, B], &[Word::First(1, 0), Word::Kept(1, 0, 10), Word::Kept(1, 1, 11), more]).is_clean());
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_lost() {
    assert_eq!(judge(&[A, B], &[Word::First(1, 0), Word::Kept(1, 0, 10)]), Verdict { lost: 1, ..Verdict::default() });
    assert_eq!(judge(&[A, B], &[]).lost, 2);
}

#[test]
fn what_was_heard_later_than_the_cut_is_not_owed() {
    let ledger = Ledger::default().at_cut(&[(4, A), (5, B)], 4);
    assert_eq!(ledger.owed(), 1);
    assert!(ledger.judge(&heard(&[Word::First(1, 0), Word::Kept(1, 0, 10)])).is_clean());
}

#[test]
fn what_was_served_after_a_recovery_is_owed_from_then_on() {
    assert_eq!(judge(&[Word::Kept(0, 0, 1)], &[Word::First(0, 0)]).lost, 1);
}

#[test]
fn another_event_at_an_owed_offset_is_a_reused_offset() {
    let verdict = judge(&[A], &[Word::First(1, 0), Word::Kept(1, 0, 12)]);
    assert_eq!(verdict, Verdict { offset_reused: 1, ..Verdict::default() });
}

#[test]
fn what_was_given_up_may_go_and_nothing_else() {
    let recycled = [Word::First(1, 1), Word::Kept(1, 1, 11)];
    assert_eq!(judge(&[A, B], &recycled).lost, 1);
    assert!(judge(&[A, B, Word::Asking(1, 1)], &recycled).is_clean());
    assert_eq!(judge(&[A, B, Word::Asking(1, 1)], &[Word::First(1, 2)]).lost, 1);
    // Given up, and said to be kept: then it must be there.
    assert_eq!(judge(&[A, Word::Asking(1, 1)], &[Word::First(1, 0)]).lost, 1);
}

#[test]
fn an_event_twice_or_before_its_turn_or_behind_a_hole_is_out_of_order() {
    let first = Word::First(1, 0);
    for found in [
        [Word::Kept(1, 0, 11), Word::Kept(1, 1, 10)],
        [Word::Kept(1, 0, 11), Word::Kept(1, 1, 11)],
        [Word::Kept(1, 0, 11), Word::Kept(1, 0, 12)],
        [Word::Kept(1, 0, 11), Word::Kept(1, 2, 12)],
    ] {
        let [one, two] = found;
        assert_eq!(judge(&[], &[first.clone(), one, two]).out_of_order, 1);
    }
    assert_eq!(judge(&[], &[first, Word::Kept(1, 1, 11)]).out_of_order, 1);
}

#[test]
fn damage_that_is_none_and_bytes_that_never_were_are_counted() {
    let verdict = judge(&[], &[Word::First(1, 4), Word::Gap(1, 0, 4), Word::Gap(1, 4, 6), Word::Damage(2)]);
    assert_eq!(verdict, Verdict { false_damage: 3, ..Verdict::default() });
    assert_eq!(judge(&[], &[Word::Garbled(1, 4)]).garbled, 1);
    // What lies behind a gap that is told of is in order.
    let told = judge(&[], &[Word::First(1, 0), Word::Kept(1, 0, 10), Word::Gap(1, 1, 3), Word::Kept(1, 3, 13)]);
    assert_eq!(told, Verdict { false_damage: 1, ..Verdict::default() });
}

#[test]
fn a_mark_that_is_not_that_of_the_newest_event_is_wrong() {
    let events = [Word::First(1, 0), Word::Kept(1, 0, 10), Word::Kept(1, 1, 11)];
    let with = |mark| judge(&[A], &[&events[..], &[Word::Mark(1, mark)]].concat()).marks_wrong;
    assert_eq!((with(10), with(11), with(12)), (1, 0, 1));
    // Everything is recycled: the mark must still know what was acknowledged.
    let empty = |mark| judge(&[A, Word::Asking(1, 1)], &[Word::First(1, 1), Word::Mark(1, mark)]);
    assert_eq!((empty(9).marks_wrong, empty(10)), (1, Verdict::default()));
}
