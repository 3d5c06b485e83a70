//! The mean of what came in an interval.

use lamppost_pms5003::Masses;
use lamppost_units::{MicrogramsPerCubicMetre, Quantity};

/// What is measured, in the order of the means.
pub(super) const MEASURES: [&str; 3] = ["pm1", "pm2_5", "pm10"];

/// Readings of an interval.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    sums: [i64; 3],
    count: u32,
}

impl Gathering {
    pub(super) fn add(&mut self, masses: &Masses) {
        for (sum, mass) in self.sums.iter_mut().zip([masses.pm1, masses.pm2_5, masses.pm10]) {
            *sum = sum.saturating_add(mass.mantissa().into());
        }
        self.count = self.count.saturating_add(1);
    }

    /// The means, to the nearest ng/m³, and a new beginning; none if nothing came.
    pub(super) fn take(&mut self) -> Option<[MicrogramsPerCubicMetre; 3]> {
        let Self { sums, count } = std::mem::take(self);
        let count = (count > 0).then_some(i64::from(count))?;
        // A mean of what fits fits.
        Some(sums.map(|sum| {
            MicrogramsPerCubicMetre::from_milli(i32::try_from((sum + count / 2) / count).unwrap_or(i32::MAX))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masses(micrograms: [i32; 3]) -> Masses {
        let [pm1, pm2_5, pm10] = micrograms.map(|mass| MicrogramsPerCubicMetre::from_milli(mass * 1_000));
        Masses { pm1, pm2_5, pm10 }
    }

    #[test]
    fn a_mean_is_of_one_interval_and_exact_to_the_nanogram() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.take(), None);
        for reading in [[1, 10, 65_535], [2, 10, 65_535], [2, 11, 65_535]] {
            gathering.add(&masses(reading));
        }
        let means = gathering.take().unwrap().map(|mean| mean.decimal().to_string());
        assert_eq!(means, ["1.667", "10.333", "65535"]);
        gathering.add(&masses([7, 0, 3]));
        assert_eq!(gathering.take().unwrap().map(|mean| mean.decimal().to_string()), ["7", "0", "3"]);
    }
}
