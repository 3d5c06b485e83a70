//! What was measured, and how an arrival says it.

use bytes::Bytes;
use lamppost_units::{Decimal, Unit};

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    /// A plain word without quotes or control characters.
    pub(crate) measure: &'static str,
    pub(crate) value: Decimal,
    pub(crate) unit: Unit,
}

impl Measured {
    /// `{"measure":"temperature","value":21.5,"unit":"Cel"}`: the value as an exact decimal, the unit as SenML's symbol
    /// (RFC 8428 section 12.1). None of the three can need escaping.
    pub(crate) fn payload(&self) -> Bytes {
        let Self { measure, value, unit } = self;
        Bytes::from(format!(r#"{{"measure":"{measure}","value":{value},"unit":"{}"}}"#, unit.senml()))
    }
}

#[cfg(test)]
mod tests {
    use lamppost_units::{Celsius, Quantity, RelativeHumidity};

    use super::*;

    #[test]
    fn a_payload_is_json_with_the_exact_value_and_its_unit() {
        let cold = Measured {
            measure: "temperature",
            value: Celsius::from_ten_thousandths(-104_375).decimal(),
            unit: Celsius::UNIT,
        };
        assert_eq!(cold.payload(), r#"{"measure":"temperature","value":-10.4375,"unit":"Cel"}"#);
        let humid = Measured { measure: "humidity", value: RelativeHumidity::from_milli(45_000).decimal(), ..cold };
        let humid = Measured { unit: RelativeHumidity::UNIT, ..humid };
        let parsed: serde_json::Value = serde_json::from_slice(&humid.payload()).unwrap();
        assert_eq!(parsed, serde_json::json!({"measure": "humidity", "value": 45, "unit": "%RH"}));
    }
}
