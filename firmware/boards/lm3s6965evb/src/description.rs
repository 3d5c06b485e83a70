//! What a node measures, for people.

use lamppost_node::Channel;
use lamppost_units::Decimal;

use crate::uart::Console;

/// Says on the console what the link's hello tells the gateway, a line for each measure.
pub fn say(channels: &[Channel<'_>], console: &mut Console) {
    for channel in channels {
        let Channel { name, unit, scale, range, interval_ms } = channel;
        match range {
            Some(range) => {
                let [low, high] = [range.low, range.high].map(|bound| Decimal::new(bound.0, scale.0));
                console.say(format_args!("measures: {name} in {unit}, {low} to {high}, every {interval_ms} ms"));
            }
            None => console.say(format_args!("measures: {name} in {unit}, every {interval_ms} ms")),
        }
    }
}
