//! The pressure of the air, from a barometer to a chip that needs it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lamppost_units::Pascals;
use tokio::time::Instant;

/// A pressure that is older says nothing any more: a storm brings 3 hPa an hour.
const AGE_MAX: Duration = Duration::from_secs(600);

/// The pressure of the air at a place. Clones are the same air.
#[derive(Debug, Clone, Default)]
pub struct Air(Arc<Mutex<Option<(Pascals, Instant)>>>);

impl Air {
    /// Air whose pressure is not known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn tell(&self, pressure: Pascals, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((pressure, now));
    }

    pub(crate) fn pressure(&self, now: Instant) -> Option<Pascals> {
        let told = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.filter(|(_, at)| now.saturating_duration_since(*at) <= AGE_MAX).map(|(pressure, _)| pressure)
    }
}

/// What a chip has to do with the air's pressure.
#[derive(Debug, Clone, Default)]
pub(crate) enum AirUse {
    #[default]
    Nothing,
    /// A barometer, that tells it.
    Tells(Air),
    /// An SCD41, that is told it.
    IsTold(Air),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_is_known_for_ten_minutes() {
        let (air, now) = (Air::new(), Instant::now());
        assert_eq!(air.clone().pressure(now), None);
        let pressure = Pascals::from_milli(101_325_000);
        air.clone().tell(pressure, now);
        assert_eq!(air.pressure(now + AGE_MAX), Some(pressure));
        assert_eq!(air.pressure(now + AGE_MAX + Duration::from_millis(1)), None);
    }
}
