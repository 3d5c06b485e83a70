//! What Eastron's SDM energy meters measure and where: their Modbus input registers (function 4).
//!
//! | model | connection | source |
//! |---|---|---|
//! | SDM120 | one phase, direct | "SDM120Modbus Protocol", section 1.2.1 |
//! | SDM630 | three phases, direct (also the MCT for transformers) | "SDM630Modbus V2 Protocol", section 1.2.1 |
//!
//! Each value is an IEEE 754 single in two registers, the higher half first. Eastron's register number 30001 is address 0x0000. A request
//! reads at most [`REGISTERS_MAX`] registers; one for an address that a meter does not have is answered with exception 2.
//!
//! A Modbus master reads by this map what it likes. Where there is none, [`Quantity::request`] is what to send for one value, and
//! [`Quantity::parse`] takes it from the answer.
//!
//! `examples/read_sdm.rs` is for Linux, `firmware/boards/lm3s6965evb/examples/sdm.rs` for a board.

#![no_std]
#![forbid(unsafe_code)]

mod modbus;

pub use modbus::{ANSWER_BYTES, AnswerError, REQUEST_BYTES, Wrong};

/// The most registers in one request: 40 values.
pub const REGISTERS_MAX: u16 = 80;

/// A kind of meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// One phase.
    Sdm120,
    /// Three phases.
    Sdm630,
}

/// One measured quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantity {
    /// The address of its first register.
    pub address: u16,
    /// What it is: `voltage`, `import_energy`; of one phase with `_l1` to `_l3`.
    pub name: &'static str,
    /// Its unit, as SenML writes it (RFC 8428 section 12.1, RFC 8798 section 4): `/` is a ratio, `/100` a percentage.
    pub unit: &'static str,
}

impl Quantity {
    const fn at(address: u16, name: &'static str, unit: &'static str) -> Self {
        Self { address, name, unit }
    }
}

impl Model {
    /// All that it measures, by rising address.
    #[must_use]
    pub const fn quantities(self) -> &'static [Quantity] {
        match self {
            Self::Sdm120 => SDM120,
            Self::Sdm630 => SDM630,
        }
    }

    /// The quantity of that name.
    #[must_use]
    pub fn quantity(self, name: &str) -> Option<&'static Quantity> {
        self.quantities().iter().find(|quantity| quantity.name == name)
    }
}

/// The value in two registers, the higher half first. May be no number at all; that is for the caller to judge.
#[must_use]
pub const fn value(registers: [u16; 2]) -> f32 {
    let [high, low] = registers;
    f32::from_bits(((high as u32) << 16) | low as u32)
}

const SDM120: &[Quantity] = &[
    Quantity::at(0x0000, "voltage", "V"),
    Quantity::at(0x0006, "current", "A"),
    Quantity::at(0x000c, "power", "W"),
    Quantity::at(0x0012, "apparent_power", "VA"),
    Quantity::at(0x0018, "reactive_power", "var"),
    Quantity::at(0x001e, "power_factor", "/"),
    Quantity::at(0x0024, "phase_angle", "deg"),
    Quantity::at(0x0046, "frequency", "Hz"),
    Quantity::at(0x0048, "import_energy", "kWh"),
    Quantity::at(0x004a, "export_energy", "kWh"),
    Quantity::at(0x004c, "import_reactive_energy", "kvarh"),
    Quantity::at(0x004e, "export_reactive_energy", "kvarh"),
    Quantity::at(0x0054, "power_demand", "W"),
    Quantity::at(0x0056, "power_demand_max", "W"),
    Quantity::at(0x0058, "import_power_demand", "W"),
    Quantity::at(0x005a, "import_power_demand_max", "W"),
    Quantity::at(0x005c, "export_power_demand", "W"),
    Quantity::at(0x005e, "export_power_demand_max", "W"),
    Quantity::at(0x0102, "current_demand", "A"),
    Quantity::at(0x0108, "current_demand_max", "A"),
    Quantity::at(0x0156, "energy", "kWh"),
    Quantity::at(0x0158, "reactive_energy", "kvarh"),
];

const SDM630: &[Quantity] = &[
    Quantity::at(0x0000, "voltage_l1", "V"),
    Quantity::at(0x0002, "voltage_l2", "V"),
    Quantity::at(0x0004, "voltage_l3", "V"),
    Quantity::at(0x0006, "current_l1", "A"),
    Quantity::at(0x0008, "current_l2", "A"),
    Quantity::at(0x000a, "current_l3", "A"),
    Quantity::at(0x000c, "power_l1", "W"),
    Quantity::at(0x000e, "power_l2", "W"),
    Quantity::at(0x0010, "power_l3", "W"),
    Quantity::at(0x0012, "apparent_power_l1", "VA"),
    Quantity::at(0x0014, "apparent_power_l2", "VA"),
    Quantity::at(0x0016, "apparent_power_l3", "VA"),
    Quantity::at(0x0018, "reactive_power_l1", "var"),
    Quantity::at(0x001a, "reactive_power_l2", "var"),
    Quantity::at(0x001c, "reactive_power_l3", "var"),
    Quantity::at(0x001e, "power_factor_l1", "/"),
    Quantity::at(0x0020, "power_factor_l2", "/"),
    Quantity::at(0x0022, "power_factor_l3", "/"),
    Quantity::at(0x0024, "phase_angle_l1", "deg"),
    Quantity::at(0x0026, "phase_angle_l2", "deg"),
    Quantity::at(0x0028, "phase_angle_l3", "deg"),
    Quantity::at(0x002a, "voltage", "V"),
    Quantity::at(0x002e, "current", "A"),
    Quantity::at(0x0030, "current_sum", "A"),
    Quantity::at(0x0034, "power", "W"),
    Quantity::at(0x0038, "apparent_power", "VA"),
    Quantity::at(0x003c, "reactive_power", "var"),
    Quantity::at(0x003e, "power_factor", "/"),
    Quantity::at(0x0042, "phase_angle", "deg"),
    Quantity::at(0x0046, "frequency", "Hz"),
    Quantity::at(0x0048, "import_energy", "kWh"),
    Quantity::at(0x004a, "export_energy", "kWh"),
    Quantity::at(0x004c, "import_reactive_energy", "kvarh"),
    Quantity::at(0x004e, "export_reactive_energy", "kvarh"),
    Quantity::at(0x0050, "apparent_energy", "kVAh"),
    Quantity::at(0x0052, "charge", "Ah"),
    Quantity::at(0x0054, "power_demand", "W"),
    Quantity::at(0x0056, "power_demand_max", "W"),
    Quantity::at(0x0064, "apparent_power_demand", "VA"),
    Quantity::at(0x0066, "apparent_power_demand_max", "VA"),
    Quantity::at(0x0068, "neutral_current_demand", "A"),
    Quantity::at(0x006a, "neutral_current_demand_max", "A"),
    Quantity::at(0x00c8, "voltage_l1_l2", "V"),
    Quantity::at(0x00ca, "voltage_l2_l3", "V"),
    Quantity::at(0x00cc, "voltage_l3_l1", "V"),
    Quantity::at(0x00ce, "voltage_line_to_line", "V"),
    Quantity::at(0x00e0, "neutral_current", "A"),
    Quantity::at(0x00ea, "voltage_thd_l1", "/100"),
    Quantity::at(0x00ec, "voltage_thd_l2", "/100"),
    Quantity::at(0x00ee, "voltage_thd_l3", "/100"),
    Quantity::at(0x00f0, "current_thd_l1", "/100"),
    Quantity::at(0x00f2, "current_thd_l2", "/100"),
    Quantity::at(0x00f4, "current_thd_l3", "/100"),
    Quantity::at(0x00f8, "voltage_thd", "/100"),
    Quantity::at(0x00fa, "current_thd", "/100"),
    Quantity::at(0x0102, "current_demand_l1", "A"),
    Quantity::at(0x0104, "current_demand_l2", "A"),
    Quantity::at(0x0106, "current_demand_l3", "A"),
    Quantity::at(0x0108, "current_demand_max_l1", "A"),
    Quantity::at(0x010a, "current_demand_max_l2", "A"),
    Quantity::at(0x010c, "current_demand_max_l3", "A"),
    Quantity::at(0x0156, "energy", "kWh"),
    Quantity::at(0x0158, "reactive_energy", "kvarh"),
    Quantity::at(0x015a, "import_energy_l1", "kWh"),
    Quantity::at(0x015c, "import_energy_l2", "kWh"),
    Quantity::at(0x015e, "import_energy_l3", "kWh"),
    Quantity::at(0x0160, "export_energy_l1", "kWh"),
    Quantity::at(0x0162, "export_energy_l2", "kWh"),
    Quantity::at(0x0164, "export_energy_l3", "kWh"),
    Quantity::at(0x0166, "energy_l1", "kWh"),
    Quantity::at(0x0168, "energy_l2", "kWh"),
    Quantity::at(0x016a, "energy_l3", "kWh"),
    Quantity::at(0x016c, "import_reactive_energy_l1", "kvarh"),
    Quantity::at(0x016e, "import_reactive_energy_l2", "kvarh"),
    Quantity::at(0x0170, "import_reactive_energy_l3", "kvarh"),
    Quantity::at(0x0172, "export_reactive_energy_l1", "kvarh"),
    Quantity::at(0x0174, "export_reactive_energy_l2", "kvarh"),
    Quantity::at(0x0176, "export_reactive_energy_l3", "kvarh"),
    Quantity::at(0x0178, "reactive_energy_l1", "kvarh"),
    Quantity::at(0x017a, "reactive_energy_l2", "kvarh"),
    Quantity::at(0x017c, "reactive_energy_l3", "kvarh"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_documents_own_example_is_decoded() {
        // Their answer to a request for the volts of phase 1: 43 66 33 34.
        let volts = value([0x4366, 0x3334]);
        assert!((volts - 230.2).abs() < 0.001, "{volts}");
    }

    #[test]
    fn registers_rise_by_whole_values_and_each_name_stands_once() {
        for model in [Model::Sdm120, Model::Sdm630] {
            let quantities = model.quantities();
            for pair in quantities.windows(2) {
                assert!(pair[0].address + 2 <= pair[1].address, "{pair:?}");
            }
            for (at, quantity) in quantities.iter().enumerate() {
                assert!(quantity.address % 2 == 0 && !quantity.unit.is_empty(), "{quantity:?}");
                assert!(quantities[at + 1..].iter().all(|other| other.name != quantity.name), "{quantity:?}");
            }
        }
    }

    #[test]
    fn well_known_quantities_are_where_the_documents_say() {
        // Register numbers 30071, 30073, 30343 and, of the SDM630, 30053 and 30381.
        for model in [Model::Sdm120, Model::Sdm630] {
            let at = |name| model.quantity(name).map(|quantity| 30_001 + quantity.address);
            assert_eq!(
                (at("frequency"), at("import_energy"), at("energy")),
                (Some(30_071), Some(30_073), Some(30_343))
            );
        }
        let at = |name| Model::Sdm630.quantity(name).map(|quantity| 30_001 + quantity.address);
        assert_eq!((at("power"), at("reactive_energy_l3")), (Some(30_053), Some(30_381)));
        assert_eq!(Model::Sdm120.quantity("voltage_l2"), None);
    }
}
