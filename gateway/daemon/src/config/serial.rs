//! `[[serial]]`: what stands on serial ports.

mod modbus;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lamppost_event::DeviceId;
use lamppost_serial::{
    DustOptions, Factor, Field, FieldFrom, FieldKind, LineFormat, LinesOptions, ModbusOptions, NumberError, Parity,
    Pointer, PortSettings,
};
use serde::Deserialize;
use toml::Spanned;

use super::problem::Problem;
use super::value::{Size, Span, Text, Whole};

/// The most fields of one line.
const FIELDS_MAX: usize = 64;
/// The longest line that may be configured, bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// A serial port, and what is spoken on it.
#[derive(Debug, Clone)]
pub(crate) struct Serial {
    pub(crate) name: String,
    pub(crate) port: PortSettings,
    pub(crate) spoken: Spoken,
}

/// What is spoken on a serial port.
#[derive(Debug, Clone)]
pub(crate) enum Spoken {
    /// The link, with a node.
    Link,
    /// Lines, that a device writes by itself.
    Lines(LinesOptions),
    /// Modbus RTU, with the slaves of a bus.
    Modbus(ModbusOptions),
    /// Frames of a PMS5003.
    Dust(DustOptions),
}

/// The table, as serde reads it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) name: Spanned<Text<DeviceId>>,
    pub(super) port: Spanned<PathBuf>,
    baud: Option<Whole<300, 4_000_000>>,
    parity: Option<Spanned<WrittenParity>>,
    stop_bits: Option<Spanned<Whole<1, 2>>>,
    #[serde(default)]
    protocol: Protocol,
    format: Option<Spanned<Format>>,
    separator: Option<Spanned<String>>,
    device: Option<Spanned<Text<DeviceId>>>,
    device_from: Option<Spanned<Origin>>,
    skip: Option<Spanned<Vec<String>>>,
    line_max: Option<Spanned<Size>>,
    #[serde(default)]
    field: Vec<Spanned<WrittenField>>,
    timeout: Option<Spanned<Span>>,
    retries: Option<Spanned<Whole<0, 5>>>,
    turnaround: Option<Spanned<Span>>,
    every: Option<Spanned<Span>>,
    warm_up: Option<Spanned<Span>>,
    #[serde(default)]
    slave: Vec<Spanned<modbus::Slave>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    #[default]
    Link,
    Lines,
    Modbus,
    Pms5003,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenParity {
    None,
    Even,
    Odd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Delimited,
}

/// A JSON pointer, or a column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "neither a JSON pointer nor a column; write \"/a/b\", or a number from 1")]
enum Origin {
    Pointer(String),
    Column(i64),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenField {
    name: Spanned<String>,
    from: Spanned<Origin>,
    unit: Option<Spanned<String>>,
    scale: Option<Spanned<Scale>>,
    #[serde(default, rename = "type")]
    kind: WrittenKind,
    #[serde(default)]
    optional: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenKind {
    #[default]
    Number,
    Text,
}

/// A number as it was meant: TOML's floats are binary, and the shortest decimal that reads as the same float is what was written.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged, expecting = "not a number; write one as in 0.1")]
pub(super) enum Scale {
    Whole(i64),
    Float(f64),
}

impl Scale {
    pub(super) fn factor(self) -> Result<Factor, NumberError> {
        match self {
            Self::Whole(whole) => Factor::from_str(&whole.to_string()),
            Self::Float(float) => Factor::from_str(&float.to_string()),
        }
    }
}

fn says(written: Option<&Spanned<impl Sized>>) -> Option<Range<usize>> {
    written.map(Spanned::span)
}

/// A name or unit that goes into addresses and payloads.
pub(super) fn check_name(name: &Spanned<String>, problems: &mut Vec<Problem>) {
    let text = name.get_ref();
    let legal = |c: char| !c.is_control() && !matches!(c, '/' | '+' | '#');
    if text.is_empty() || text.len() > 64 || !text.chars().all(legal) {
        let remedy = "1 to 64 bytes, without '/', '+', '#' and control characters, as in \"pm2_5\"";
        problems.push(Problem::at(name.span(), format!("{text:?} can't be part of an address"), remedy));
    }
}

/// A device that is a part of addresses.
pub(super) fn check_device(device: &Spanned<Text<DeviceId>>, problems: &mut Vec<Problem>) {
    if device.get_ref().0.as_str().contains(['/', '+', '#']) {
        problems.push(Problem::at(device.span(), "can't be part of an address", "without '/', '+' and '#'"));
    }
}

pub(super) fn check_unit(unit: Option<&Spanned<String>>, problems: &mut Vec<Problem>) {
    if let Some(unit) = unit.filter(|unit| unit.get_ref().is_empty() || unit.get_ref().len() > 32) {
        problems.push(Problem::at(unit.span(), "not a unit", "1 to 32 bytes, as in \"ug/m3\", or remove this line"));
    }
}

pub(super) fn check_scale(scale: Option<&Spanned<Scale>>, problems: &mut Vec<Problem>) {
    if let Some(scale) = scale
        && let Err(error) = scale.get_ref().factor()
    {
        problems.push(Problem::at(scale.span(), format!("not a scale: {error}"), "a number but 0, as in 0.1"));
    }
}

/// Names stand once in their list.
pub(super) fn check_once<'a>(names: impl Iterator<Item = &'a Spanned<String>>, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.get_ref()) {
            let what = format!("a second value named {:?}", name.get_ref());
            problems.push(Problem::at(name.span(), what, "give each its own name"));
        }
    }
}

impl Written {
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        for (key, span, protocol) in self.keys_of_one_protocol() {
            let also = key == "device" && self.protocol == Protocol::Pms5003;
            if let Some(span) = span
                && protocol != self.protocol
                && !also
            {
                let mine = word(self.protocol);
                let what = format!("`{key}` means nothing to the protocol {mine}");
                problems.push(Problem::at(
                    span,
                    what,
                    format!("remove it, or write protocol = \"{}\"", word(protocol)),
                ));
            }
        }
        match self.protocol {
            Protocol::Link => self.check_form("link", "nodes use", problems),
            Protocol::Lines => self.check_lines(problems),
            Protocol::Modbus => self.check_modbus(problems),
            Protocol::Pms5003 => self.check_dust(problems),
        }
    }

    fn keys_of_one_protocol(&self) -> Vec<(&'static str, Option<Range<usize>>, Protocol)> {
        vec![
            ("format", says(self.format.as_ref()), Protocol::Lines),
            ("separator", says(self.separator.as_ref()), Protocol::Lines),
            ("device", says(self.device.as_ref()), Protocol::Lines),
            ("device_from", says(self.device_from.as_ref()), Protocol::Lines),
            ("skip", says(self.skip.as_ref()), Protocol::Lines),
            ("line_max", says(self.line_max.as_ref()), Protocol::Lines),
            ("field", says(self.field.first()), Protocol::Lines),
            ("timeout", says(self.timeout.as_ref()), Protocol::Modbus),
            ("retries", says(self.retries.as_ref()), Protocol::Modbus),
            ("turnaround", says(self.turnaround.as_ref()), Protocol::Modbus),
            ("slave", says(self.slave.first()), Protocol::Modbus),
            ("every", says(self.every.as_ref()), Protocol::Pms5003),
            ("warm_up", says(self.warm_up.as_ref()), Protocol::Pms5003),
        ]
    }

    /// Of what has its form by itself.
    fn check_form(&self, what: &str, who: &str, problems: &mut Vec<Problem>) {
        for (key, span) in [("parity", says(self.parity.as_ref())), ("stop_bits", says(self.stop_bits.as_ref()))] {
            if let Some(span) = span {
                let what = format!("`{key}` of a {what} can't be chosen");
                problems.push(Problem::at(span, what, format!("remove it: {who} 8 data bits, no parity, 1 stop bit")));
            }
        }
    }

    fn check_dust(&self, problems: &mut Vec<Problem>) {
        self.check_form("pms5003", "it uses", problems);
        check_device(self.device.as_ref().unwrap_or(&self.name), problems);
        let mut problem = |span, what: &str, remedy: &str| problems.push(Problem::at(span, what, remedy));
        let sane = Duration::from_secs(3)..=Duration::from_secs(3_600);
        if let Some(every) = self.every.as_ref().filter(|every| !sane.contains(&every.get_ref().0)) {
            problem(
                every.span(),
                "means over too short or too long a time",
                "from 3s, in which a reading comes, to 1h",
            );
        }
        if let Some(warm_up) = self.warm_up.as_ref().filter(|span| span.get_ref().0 > Duration::from_secs(600)) {
            problem(warm_up.span(), "warms up for too long", "up to 10min");
        }
    }

    fn check_lines(&self, problems: &mut Vec<Problem>) {
        let mut problem = |span, what: &str, remedy: &str| problems.push(Problem::at(span, what, remedy));
        let delimited = self.format.as_ref().is_some_and(|format| *format.get_ref() == Format::Delimited);
        if self.format.is_none() {
            problem(self.name.span(), "lines without a format", "add format = \"json\" or format = \"delimited\"");
        }
        if let Some(separator) = &self.separator {
            if !delimited {
                problem(
                    separator.span(),
                    "a separator, and lines of JSON",
                    "remove it, or write format = \"delimited\"",
                );
            }
            if separator.get_ref().is_empty() || separator.get_ref().len() > 8 {
                problem(separator.span(), "not a separator", "1 to 8 bytes, as in \",\"");
            }
        }
        if delimited && self.field.is_empty() {
            problem(self.name.span(), "delimited lines without fields", "add at least one [[serial.field]]");
        }
        if let Some(field) = self.field.get(FIELDS_MAX) {
            problem(field.span(), "too many fields", "at most 64");
        }
        if let Some(skip) = &self.skip
            && (skip.get_ref().len() > 16 || skip.get_ref().iter().any(String::is_empty))
        {
            problem(skip.span(), "an empty beginning would skip every line", "up to 16 beginnings, as in [\"#\"]");
        }
        if let Some(line_max) = &self.line_max
            && !(16..=LINE_BYTES_MAX).contains(&line_max.get_ref().0)
        {
            problem(line_max.span(), "lines too short or too long", "from 16B to 64KiB");
        }
        check_device(self.device.as_ref().unwrap_or(&self.name), problems);
        if let Some(from) = &self.device_from {
            check_from(from, delimited, problems);
        }
        for field in &self.field {
            let field = field.get_ref();
            check_name(&field.name, problems);
            check_unit(field.unit.as_ref(), problems);
            check_scale(field.scale.as_ref(), problems);
            check_from(&field.from, delimited, problems);
            if let (WrittenKind::Text, Some(scale)) = (field.kind, &field.scale) {
                problems.push(Problem::at(scale.span(), "a text can't be scaled", "remove `scale` or `type`"));
            }
        }
        check_once(self.field.iter().map(|field| &field.get_ref().name), problems);
    }

    fn check_modbus(&self, problems: &mut Vec<Problem>) {
        let mut problem = |span, what: &str, remedy: &str| problems.push(Problem::at(span, what, remedy));
        if self.slave.is_empty() {
            problem(self.name.span(), "a bus without slaves", "add at least one [[serial.slave]]");
        }
        if let Some(timeout) = &self.timeout
            && !(Duration::from_millis(10)..=Duration::from_secs(10)).contains(&timeout.get_ref().0)
        {
            problem(timeout.span(), "waits too short or too long", "from 10ms to 10s");
        }
        if let Some(turnaround) = self.turnaround.as_ref().filter(|span| span.get_ref().0 > Duration::from_secs(1)) {
            problem(turnaround.span(), "a silence too long", "up to 1s");
        }
        modbus::check(self.slave.iter().map(Spanned::get_ref), problems);
    }

    /// What was checked, as the sources want it.
    pub(super) fn convert(self) -> Serial {
        let name = self.name.get_ref().0.clone();
        let spoken = match self.protocol {
            Protocol::Link => Spoken::Link,
            Protocol::Lines => Spoken::Lines(self.lines(&name)),
            Protocol::Modbus => Spoken::Modbus(self.modbus()),
            Protocol::Pms5003 => Spoken::Dust(self.dust(&name)),
        };
        Serial { name: name.as_str().to_owned(), port: self.port_settings(), spoken }
    }

    fn port_settings(&self) -> PortSettings {
        let parity = match self.parity.as_ref().map(Spanned::get_ref) {
            Some(WrittenParity::Even) => Parity::Even,
            Some(WrittenParity::Odd) => Parity::Odd,
            Some(WrittenParity::None) | None => Parity::None,
        };
        let stop_bits = self.stop_bits.as_ref().map_or(1, |bits| bits.get_ref().to());
        let usual = if matches!(self.protocol, Protocol::Modbus | Protocol::Pms5003) { 9_600 } else { 115_200 };
        let baud = self.baud.map_or(usual, Whole::to);
        PortSettings { parity, stop_bits, ..PortSettings::new(self.port.get_ref(), baud) }
    }

    fn modbus(&self) -> ModbusOptions {
        let usual = ModbusOptions::default();
        ModbusOptions {
            timeout: self.timeout.as_ref().map_or(usual.timeout, |span| span.get_ref().0),
            retries: self.retries.as_ref().map_or(usual.retries, |retries| retries.get_ref().to()),
            turnaround: self.turnaround.as_ref().map_or(usual.turnaround, |span| span.get_ref().0),
            slaves: self.slave.iter().map(|slave| slave.get_ref().convert()).collect(),
        }
    }

    fn dust(&self, name: &DeviceId) -> DustOptions {
        let device = self.device.as_ref().map_or_else(|| name.clone(), |device| device.get_ref().0.clone());
        let usual = DustOptions::new(device);
        DustOptions {
            every: self.every.as_ref().map_or(usual.every, |span| span.get_ref().0),
            warm_up: self.warm_up.as_ref().map_or(usual.warm_up, |span| span.get_ref().0),
            ..usual
        }
    }

    fn lines(&self, name: &DeviceId) -> LinesOptions {
        let separator = self.separator.as_ref().map_or(",", |separator| separator.get_ref());
        let format = match self.format.as_ref().map(Spanned::get_ref) {
            Some(Format::Delimited) => LineFormat::Delimited { separator: separator.to_owned() },
            Some(Format::Json) | None => LineFormat::Json,
        };
        let device = self.device.as_ref().map_or_else(|| name.clone(), |device| device.get_ref().0.clone());
        let line_max = self.line_max.as_ref().and_then(|size| usize::try_from(size.get_ref().0).ok());
        LinesOptions {
            device_from: self.device_from.as_ref().and_then(|from| from.get_ref().parsed().ok()),
            fields: self.field.iter().filter_map(|field| field.get_ref().convert()).collect(),
            skip: self.skip.as_ref().map(|skip| skip.get_ref().clone()).unwrap_or_default(),
            line_bytes_max: line_max.unwrap_or(1024),
            ..LinesOptions::new(format, device)
        }
    }
}

const fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Link => "link",
        Protocol::Lines => "lines",
        Protocol::Modbus => "modbus",
        Protocol::Pms5003 => "pms5003",
    }
}

impl Origin {
    fn parsed(&self) -> Result<FieldFrom, String> {
        match self {
            Self::Pointer(text) => Pointer::from_str(text).map(FieldFrom::Pointer),
            Self::Column(column) => usize::try_from(*column)
                .ok()
                .filter(|column| (1..=256).contains(column))
                .map(FieldFrom::Column)
                .ok_or_else(|| format!("there is no column {column}; columns are counted from 1 to 256")),
        }
    }
}

fn check_from(from: &Spanned<Origin>, delimited: bool, problems: &mut Vec<Problem>) {
    match (from.get_ref().parsed(), delimited) {
        (Err(error), _) => {
            let (what, remedy) = error.split_once("; ").unwrap_or((&error, "write another"));
            problems.push(Problem::at(from.span(), what, remedy));
        }
        (Ok(FieldFrom::Pointer(_)), true) => {
            problems.push(Problem::at(from.span(), "a JSON pointer into delimited text", "a column, counted from 1"));
        }
        (Ok(FieldFrom::Column(_)), false) => {
            problems.push(Problem::at(from.span(), "a column of JSON", "a JSON pointer, as in \"/pm25\""));
        }
        _ => {}
    }
}

impl WrittenField {
    fn convert(&self) -> Option<Field> {
        Some(Field {
            name: self.name.get_ref().clone(),
            from: self.from.get_ref().parsed().ok()?,
            unit: self.unit.as_ref().map(|unit| unit.get_ref().clone()),
            scale: self.scale.as_ref().and_then(|scale| scale.get_ref().factor().ok()),
            kind: match self.kind {
                WrittenKind::Number => FieldKind::Number,
                WrittenKind::Text => FieldKind::Text,
            },
            optional: self.optional,
        })
    }
}

#[cfg(test)]
mod tests;
