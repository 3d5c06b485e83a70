//! A node's hello, parsed once: valid names, and all that its readings need to become arrivals.

use bytes::Bytes;
use lamppost_event::{Address, Arrival, ContentType, DeviceId, NameError, Origin, SourceKind};
use lamppost_wire::{Boot, Capabilities, Hello, Reading, Scale};

use crate::ConnectedNode;
use crate::ages::Age;
use crate::decimal::decimal;

/// Why a hello is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("the node's device name {name:?} is not valid: {error}")]
    Device { name: String, error: NameError },
    #[error("the node's device name {name:?} holds {character:?}, which addresses and filters use")]
    Separator { name: String, character: char },
    #[error("the node's measure {name:?} can't be part of an address: {error}")]
    Measure { name: String, error: NameError },
}

/// One measure: where its readings come in, and the parts of their payload that never change, as JSON.
#[derive(Debug, Clone)]
struct Described {
    address: Address,
    name_json: String,
    unit_json: Option<String>,
    scale: Scale,
}

/// A node that has introduced itself.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) device: DeviceId,
    /// Of its last hello.
    pub(crate) boot: Boot,
    pub(crate) capabilities: Capabilities,
    measures: Vec<Described>,
    content_type: ContentType,
}

impl Node {
    pub(crate) fn parse(hello: &Hello) -> Result<Self, HelloError> {
        let name = hello.device.as_str();
        let device = DeviceId::new(name).map_err(|error| HelloError::Device { name: name.to_owned(), error })?;
        if let Some(character) = name.chars().find(|c| matches!(c, '/' | '+' | '#')) {
            return Err(HelloError::Separator { name: name.to_owned(), character });
        }
        let mut measures: Vec<Described> = Vec::new();
        for (index, measure) in hello.measures.iter().enumerate() {
            let doubled = hello.measures.iter().take(index).any(|other| other.name == measure.name);
            let usable = !measure.name.is_empty() && !measure.name.contains(['/', '+', '#']) && !doubled;
            let name = if usable { measure.name.as_str().to_owned() } else { nameless(index) };
            measures.push(Described::new(&device, &name, measure.unit.as_str(), measure.scale)?);
        }
        let content_type = ContentType::new("application/json")
            .map_err(|error| HelloError::Device { name: name.to_owned(), error })?;
        Ok(Self { device, boot: hello.boot, capabilities: hello.capabilities, measures, content_type })
    }

    /// The arrival that a reading becomes. A reading of a measure that the hello did not describe keeps its number for a
    /// name and its integer for a value, rather than being lost.
    /// `age`: how long ago it was measured, where that is known.
    pub(crate) fn arrival(&self, reading: &Reading, age: Option<Age>) -> Result<Arrival, HelloError> {
        let index = usize::from(reading.measure.0);
        let nameless_one;
        let measure = match self.measures.get(index) {
            Some(measure) => measure,
            None => {
                nameless_one = Described::new(&self.device, &nameless(index), "", Scale(0))?;
                &nameless_one
            }
        };
        Ok(Arrival {
            source: SourceKind::Serial,
            device: self.device.clone(),
            address: measure.address.clone(),
            origin: Origin::Sequence { boot: u64::from(reading.boot.0), sequence: reading.sequence.0 },
            device_time: None,
            content_type: Some(self.content_type.clone()),
            payload: measure.payload(reading, age),
            refused: false,
        })
    }
}

impl Described {
    fn new(device: &DeviceId, name: &str, unit: &str, scale: Scale) -> Result<Self, HelloError> {
        let address = Address::new(&format!("link/{device}/{name}"))
            .map_err(|error| HelloError::Measure { name: name.to_owned(), error })?;
        let unit_json = (!unit.is_empty()).then(|| json_text(unit));
        Ok(Self { address, name_json: json_text(name), unit_json, scale })
    }

    fn payload(&self, reading: &Reading, age: Option<Age>) -> Bytes {
        let value = decimal(reading.value, self.scale);
        let unit = self.unit_json.as_ref().map(|unit| format!(",\"unit\":{unit}")).unwrap_or_default();
        let uptime_ms = reading.uptime.0;
        let age =
            age.map(|age| format!(",\"age_ms\":{},\"age_error_ms\":{}", age.ms, age.error_ms)).unwrap_or_default();
        Bytes::from(format!(
            "{{\"measure\":{},\"value\":{value}{unit},\"uptime_ms\":{uptime_ms}{age}}}",
            self.name_json
        ))
    }
}

/// What an operator is shown of a hello.
pub(crate) fn shown(hello: &Hello) -> ConnectedNode {
    ConnectedNode {
        device: hello.device.as_str().to_owned(),
        boot: hello.boot.0,
        firmware: hello.firmware.as_str().to_owned(),
        version: hello.version,
        capabilities: hello.capabilities,
        measures: hello
            .measures
            .iter()
            .map(|measure| (measure.name.as_str().to_owned(), measure.unit.as_str().to_owned()))
            .collect(),
    }
}

fn nameless(index: usize) -> String {
    format!("measure-{index}")
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamppost_wire::{Boot, Capabilities, Measure, MeasureIndex, Millis, Sequence, Value, text};

    fn hello(device: &str, measures: &[(&str, &str, i8)]) -> Hello {
        Hello {
            version: 1,
            nonce: 1,
            device: text(device).unwrap(),
            boot: Boot(3),
            sent: Sequence::NONE,
            firmware: text("f").unwrap(),
            capabilities: Capabilities(0),
            measures: measures
                .iter()
                .map(|(name, unit, scale)| Measure {
                    name: text(name).unwrap(),
                    unit: text(unit).unwrap(),
                    scale: Scale(*scale),
                    range: None,
                })
                .collect(),
        }
    }

    fn reading(measure: u8, value: i64) -> Reading {
        Reading {
            boot: Boot(3),
            sequence: Sequence(9),
            measure: MeasureIndex(measure),
            uptime: Millis(1234),
            value: Value(value),
        }
    }

    #[test]
    fn a_reading_becomes_an_arrival_with_its_unit_and_exact_value() {
        let node = Node::parse(&hello("node-7", &[("temperature", "Cel", -3)])).unwrap();
        let arrival = node.arrival(&reading(0, 21_500), None).unwrap();
        assert_eq!(arrival.address.as_str(), "link/node-7/temperature");
        assert_eq!(arrival.origin, Origin::Sequence { boot: 3, sequence: 9 });
        let payload = r#"{"measure":"temperature","value":21.5,"unit":"Cel","uptime_ms":1234}"#;
        assert_eq!(arrival.payload, payload);
        assert_eq!(arrival.content_type.unwrap().as_str(), "application/json");
    }

    #[test]
    fn a_known_age_goes_along() {
        let node = Node::parse(&hello("n", &[("a", "W", 0)])).unwrap();
        let arrival = node.arrival(&reading(0, 5), Some(Age { ms: 86_400_000, error_ms: 21_602 })).unwrap();
        let payload = r#"{"measure":"a","value":5,"unit":"W","uptime_ms":1234,"age_ms":86400000,"age_error_ms":21602}"#;
        assert_eq!(arrival.payload, payload);
    }

    #[test]
    fn a_measure_that_can_not_be_named_keeps_its_number_and_loses_no_reading() {
        let node = Node::parse(&hello("n", &[("a", "W", 0), ("a", "V", 0), ("b/c", "", 0)])).unwrap();
        for (index, address) in
            [(0, "link/n/a"), (1, "link/n/measure-1"), (2, "link/n/measure-2"), (9, "link/n/measure-9")]
        {
            let arrival = node.arrival(&reading(index, 5), None).unwrap();
            assert_eq!(arrival.address.as_str(), address);
        }
        assert_eq!(
            node.arrival(&reading(9, 5), None).unwrap().payload,
            r#"{"measure":"measure-9","value":5,"uptime_ms":1234}"#
        );
    }

    #[test]
    fn a_name_from_the_line_is_escaped_in_the_payload() {
        let node = Node::parse(&hello("n", &[("a\"b\\", "W\"", 0)])).unwrap();
        let arrival = node.arrival(&reading(0, 5), None).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&arrival.payload).unwrap();
        assert_eq!((json["measure"].as_str(), json["unit"].as_str()), (Some("a\"b\\"), Some("W\"")));
    }

    #[test]
    fn a_device_name_that_is_none_is_refused_with_the_reason() {
        for (name, part) in [("", "empty"), ("a\u{1}", "control"), ("a/b", "'/'"), ("a#", "'#'")] {
            let error = Node::parse(&hello(name, &[])).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(Node::parse(&hello("n", &[("a\n", "", 0)])).is_err());
    }
}
