//! What `/clients` shows: the MQTT front's clients in the words of `lamppost clients`.

use std::time::Duration;

use lamppost_mqtt::{ClientSeen, Clients, EndingSeen};

use crate::command::clients::{Answer, Client, Ending};

/// Of a gateway without MQTT.
pub(super) fn none() -> Answer {
    Answer { clients: Vec::new(), endings: Vec::new() }
}

pub(super) fn answer(clients: &Clients) -> Answer {
    Answer {
        clients: clients.connected().into_iter().map(client).collect(),
        endings: clients.endings().into_iter().map(ending).collect(),
    }
}

fn client(seen: ClientSeen) -> Client {
    Client {
        client: seen.device.as_str().to_owned(),
        user: seen.user.map(|user| user.as_ref().to_owned()),
        address: seen.peer,
        version: if seen.v5 { "5.0" } else { "3.1.1" }.to_owned(),
        connected_ms: ms(seen.connected),
        events: seen.events,
        in_flight: seen.in_flight,
        session_present: seen.session_present,
        session_expiry_s: seen.session_expiry.as_secs(),
        stalled: seen.stalled,
    }
}

fn ending(seen: EndingSeen) -> Ending {
    Ending {
        client: seen.device.into(),
        address: seen.peer,
        cause: seen.cause.as_str().to_owned(),
        reason: seen.reason.into(),
        ago_ms: ms(seen.ago),
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
