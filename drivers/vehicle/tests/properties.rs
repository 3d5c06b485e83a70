//! What holds for any samples at any times.

use lamppost_units::Microtesla;
use lamppost_vehicle::{Detector, Event, Field, Lengths, Millis, Sample, Settings};
use proptest::prelude::*;

fn component() -> impl Strategy<Value = i32> {
    prop_oneof![4 => -60_000..60_000_i32, 1 => any::<i32>()]
}

fn sample() -> impl Strategy<Value = Sample> {
    let field = (component(), component(), component()).prop_map(|(x, y, z)| {
        let [x, y, z] = [x, y, z].map(Microtesla::from_nanotesla);
        Sample::Field(Field::new(x, y, z))
    });
    prop_oneof![8 => field, 1 => Just(Sample::Saturated)]
}

/// Runs of equal samples, so that something is learnt, detected and parked; times that stand still, step back and leap.
fn steps() -> impl Strategy<Value = Vec<(i64, usize, Sample)>> {
    let ms = prop_oneof![8 => 1..200_i64, 1 => -500..1_i64, 1 => 0..400_000_i64, 1 => any::<i32>().prop_map(i64::from)];
    prop::collection::vec((ms, 1..60_usize, sample()), 1..80)
}

fn settings() -> impl Strategy<Value = Settings> {
    let times = (0..500_u32, 1..500_u32, 1_000..20_000_u32, 100..3_000_u32, 1_000..100_000_u32);
    (2..20_000_i32, 1..20_000_i32, times, 1..500_u32).prop_map(|(enter, below, times, silence)| {
        let (presence_ms_min, gap_ms_min, presence_ms_max, learn_ms, baseline_ms) = times;
        Settings {
            enter: Microtesla::from_nanotesla(enter),
            leave: Microtesla::from_nanotesla((enter - below).max(1)),
            presence_ms_min,
            gap_ms_min,
            presence_ms_max,
            learn_ms,
            baseline_ms,
            silence_ms_max: silence.min(gap_ms_min),
        }
    })
}

proptest! {
    #[test]
    fn nothing_panics_no_count_falls_and_no_time_is_counted_twice(settings in settings(), steps in steps()) {
        let mut detector = Detector::new(settings).unwrap();
        let mut lengths = Lengths::default();
        let (mut now, mut first, mut told, mut last_end) = (1_000_000_u64, None, 0_u64, None);
        let (mut known_ms, mut summed) = (0_u64, 0_u64);
        for (ms, repeat, sample) in steps {
            for _ in 0..repeat {
                now = now.saturating_add_signed(ms);
                let latest = first.get_or_insert((now, now));
                latest.1 = latest.1.max(now);
                let before = detector.count();
                let event = detector.observe(Millis(now), sample);
                if let Some(Event::Passed(passage)) = event {
                    told += 1;
                    prop_assert!(passage.from <= passage.to);
                    prop_assert!(last_end.is_none_or(|end| passage.from >= end), "passages overlap");
                    prop_assert!(passage.duration_ms() >= u64::from(settings.presence_ms_min));
                    let ms_max = u64::from(settings.presence_ms_max) + u64::from(settings.silence_ms_max);
                    prop_assert!(passage.duration_ms() <= ms_max, "{passage:?}");
                    last_end = Some(passage.to);
                    lengths.classify(&passage);
                }
                prop_assert_eq!(detector.count(), before + u64::from(matches!(event, Some(Event::Passed(_)))));
            }
            let summary = detector.summarize(Millis(now));
            prop_assert!(summary.occupancy().is_none_or(|share| share.get() <= 1_000));
            known_ms += summary.occupied_ms + summary.free_ms;
            summed += u64::from(summary.count);
        }
        prop_assert_eq!((told, summed), (detector.count(), detector.count()));
        let (begin, end) = first.unwrap();
        prop_assert!(known_ms <= end - begin, "{known_ms} ms known of {}", end - begin);
    }
}
