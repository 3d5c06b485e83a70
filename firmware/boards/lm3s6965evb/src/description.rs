//! What a node measures, and what becomes of it, for people.

use core::fmt;

use lamppost_node::{Channel, Policy};
use lamppost_units::Decimal;

use crate::uart::Console;

/// Says on the console what the link's hello tells the gateway, and which samples become readings: two lines for each measure.
pub fn say(channels: &[Channel<'_>], policies: &[Policy], console: &mut Console) {
    for (channel, policy) in channels.iter().zip(policies) {
        let Channel { name, unit, scale, range, interval_ms } = channel;
        match range {
            Some(range) => {
                let [low, high] = [range.low, range.high].map(|bound| Decimal::new(bound.0, scale.0));
                console.say(format_args!("measures: {name} in {unit}, {low} to {high}, every {interval_ms} ms"));
            }
            None => console.say(format_args!("measures: {name} in {unit}, every {interval_ms} ms")),
        }
        console.say(format_args!("keeps: {name}, {}", Kept { channel, policy }));
    }
}

struct Kept<'a> {
    channel: &'a Channel<'a>,
    policy: &'a Policy,
}

impl fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Policy { alarm, deadband, at_least_every_ms, aggregate, .. } = self.policy;
        match deadband {
            0 => f.write_str("each")?,
            _ => write!(f, "moved by {}", Decimal::new(i64::from(*deadband), self.channel.scale.0))?,
        }
        if *deadband > 0 && *at_least_every_ms > 0 {
            write!(f, " or after {at_least_every_ms} ms")?;
        }
        if *alarm {
            f.write_str(", before all others")?;
        }
        if *aggregate > 1 {
            write!(f, ", means of {aggregate} where room is short")?;
        }
        Ok(())
    }
}
