//! `[[serial.slave]]`: who is on a Modbus bus, and what is read of them.

use std::collections::BTreeMap;
use std::time::Duration;

use lamppost_event::DeviceId;
use lamppost_serial::{Order, REGISTERS_MAX, Register, SlaveOptions, Table, ValueType};
use serde::Deserialize;
use toml::Spanned;

use super::{Scale, check_device, check_name, check_once, check_scale, check_unit};
use crate::config::problem::Problem;
use crate::config::value::{Span, Text, Whole};

/// The most registers of one slave.
const REGISTERS_OF_SLAVE_MAX: usize = 512;

/// Meters of which a profile is known answer over so many addresses that hold nothing. Of others nobody knows.
const PROFILE_GAP: u16 = 8;

/// The table, as serde reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slave {
    id: Spanned<Whole<1, 247>>,
    device: Spanned<Text<DeviceId>>,
    every: Option<Spanned<Span>>,
    profile: Option<Profile>,
    measures: Option<Spanned<Vec<Spanned<String>>>>,
    gap: Option<Whole<0, 120>>,
    registers_max: Option<Whole<4, 125>>,
    #[serde(default)]
    register: Vec<WrittenRegister>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Profile {
    Sdm120,
    Sdm630,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRegister {
    name: Spanned<String>,
    register: Spanned<Whole<0, 65_535>>,
    #[serde(default)]
    kind: Kind,
    #[serde(rename = "type")]
    value_type: Option<Spanned<WrittenType>>,
    #[serde(default)]
    word_order: WrittenOrder,
    #[serde(default)]
    byte_order: WrittenOrder,
    scale: Option<Spanned<Scale>>,
    unit: Option<Spanned<String>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Holding,
    Input,
    Coil,
    Discrete,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenOrder {
    #[default]
    Big,
    Little,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenType {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

/// What concerns the slaves of one bus.
pub(super) fn check<'a>(slaves: impl Iterator<Item = &'a Slave>, problems: &mut Vec<Problem>) {
    let (mut ids, mut devices) = (BTreeMap::new(), BTreeMap::new());
    for slave in slaves {
        if ids.insert(slave.id.get_ref().0, ()).is_some() {
            let what = format!("a second slave with the address {}", slave.id.get_ref().0);
            problems.push(Problem::at(slave.id.span(), what, "slaves on one bus need different addresses"));
        }
        if devices.insert(slave.device.get_ref().0.as_str(), ()).is_some() {
            let what = format!("a second slave that reports as {:?}", slave.device.get_ref().0);
            problems.push(Problem::at(slave.device.span(), what, "give each slave its own `device`"));
        }
        slave.check(problems);
    }
}

impl Slave {
    fn check(&self, problems: &mut Vec<Problem>) {
        let mut problem = |span, what: String, remedy: &str| problems.push(Problem::at(span, what, remedy));
        if self.profile.is_none() && self.register.is_empty() {
            let remedy = "add [[serial.slave.register]], or profile = \"sdm120\" or \"sdm630\"";
            problem(self.id.span(), "a slave of which nothing is read".to_owned(), remedy);
        }
        if let Some(every) = self.every.as_ref().filter(|every| every.get_ref().0 < Duration::from_millis(100)) {
            problem(every.span(), "polled too often".to_owned(), "100ms or more");
        }
        if let Some(register) = self.register.get(REGISTERS_OF_SLAVE_MAX) {
            problem(register.name.span(), "too many registers".to_owned(), "at most 512");
        }
        if let Some(measures) = &self.measures {
            let known: Vec<_> = self.model().map(Register::of_sdm).unwrap_or_default();
            if self.profile.is_none() {
                problem(measures.span(), "measures of no profile".to_owned(), "add `profile`, or remove this line");
            }
            for measure in measures.get_ref() {
                if self.profile.is_some() && !known.iter().any(|register| register.name == *measure.get_ref()) {
                    let names: Vec<_> = known.iter().map(|register| format!("`{}`", register.name)).collect();
                    let what = format!("the profile has no measure {:?}", measure.get_ref());
                    problem(measure.span(), what, &format!("one of {}", names.join(", ")));
                }
            }
        }
        check_device(&self.device, problems);
        for register in &self.register {
            register.check(problems);
        }
        check_once(self.register.iter().map(|register| &register.name), problems);
        self.check_profile_names(problems);
    }

    /// A register may not have a name that the profile gives.
    fn check_profile_names(&self, problems: &mut Vec<Problem>) {
        let known = self.of_profile();
        for register in &self.register {
            if known.iter().any(|known| known.name == *register.name.get_ref()) {
                let what = format!("the profile has a value named {:?} already", register.name.get_ref());
                problems.push(Problem::at(register.name.span(), what, "give it another name"));
            }
        }
    }

    const fn model(&self) -> Option<lamppost_sdm::Model> {
        match self.profile {
            None => None,
            Some(Profile::Sdm120) => Some(lamppost_sdm::Model::Sdm120),
            Some(Profile::Sdm630) => Some(lamppost_sdm::Model::Sdm630),
        }
    }

    fn of_profile(&self) -> Vec<Register> {
        let mut registers = self.model().map(Register::of_sdm).unwrap_or_default();
        if let Some(measures) = &self.measures {
            registers.retain(|register| measures.get_ref().iter().any(|name| *name.get_ref() == register.name));
        }
        registers
    }

    /// What was checked, as the source wants it.
    pub(super) fn convert(&self) -> SlaveOptions {
        let usual = SlaveOptions::new(self.id.get_ref().to(), self.device.get_ref().0.clone());
        let profile_max = if self.profile.is_some() { lamppost_sdm::REGISTERS_MAX } else { REGISTERS_MAX };
        let profile_gap = if self.profile.is_some() { PROFILE_GAP } else { usual.gap };
        let own = self.register.iter().map(WrittenRegister::convert);
        SlaveOptions {
            every: self.every.as_ref().map_or(usual.every, |every| every.get_ref().0),
            gap: self.gap.map_or(profile_gap, Whole::to),
            registers_max: self.registers_max.map_or(profile_max, Whole::to),
            registers: self.of_profile().into_iter().chain(own).collect(),
            ..usual
        }
    }
}

impl WrittenRegister {
    fn check(&self, problems: &mut Vec<Problem>) {
        check_name(&self.name, problems);
        check_unit(self.unit.as_ref(), problems);
        check_scale(self.scale.as_ref(), problems);
        let bits = matches!(self.kind, Kind::Coil | Kind::Discrete);
        match &self.value_type {
            Some(value_type) if bits => {
                let what = "a bit has no type";
                problems.push(Problem::at(value_type.span(), what, "remove it: its value is true or false"));
            }
            None if !bits => {
                let what = format!("the register {:?} has no type", self.name.get_ref());
                let remedy = "add `type`: u16, i16, u32, i32, u64, i64, f32 or f64";
                problems.push(Problem::at(self.name.span(), what, remedy));
            }
            _ => {}
        }
        if let (true, Some(scale)) = (bits, &self.scale) {
            problems.push(Problem::at(scale.span(), "a bit can't be scaled", "remove it"));
        }
        if u32::from(self.register.get_ref().to::<u16>()) + u32::from(self.convert().width()) > 65_536 {
            let what = "the value would end behind the last register";
            problems.push(Problem::at(self.register.span(), what, "a lower register, or a smaller type"));
        }
    }

    fn convert(&self) -> Register {
        let table = match self.kind {
            Kind::Holding => Table::Holding,
            Kind::Input => Table::Input,
            Kind::Coil => Table::Coil,
            Kind::Discrete => Table::Discrete,
        };
        let value_type = match self.value_type.as_ref().map_or(WrittenType::U16, |written| *written.get_ref()) {
            WrittenType::U16 => ValueType::U16,
            WrittenType::I16 => ValueType::I16,
            WrittenType::U32 => ValueType::U32,
            WrittenType::I32 => ValueType::I32,
            WrittenType::U64 => ValueType::U64,
            WrittenType::I64 => ValueType::I64,
            WrittenType::F32 => ValueType::F32,
            WrittenType::F64 => ValueType::F64,
        };
        Register {
            word_order: self.word_order.into(),
            byte_order: self.byte_order.into(),
            scale: self.scale.as_ref().and_then(|scale| scale.get_ref().factor().ok()),
            unit: self.unit.as_ref().map(|unit| unit.get_ref().clone()),
            ..Register::new(self.name.get_ref(), table, self.register.get_ref().to(), value_type)
        }
    }
}

impl From<WrittenOrder> for Order {
    fn from(order: WrittenOrder) -> Self {
        match order {
            WrittenOrder::Big => Self::Big,
            WrittenOrder::Little => Self::Little,
        }
    }
}
