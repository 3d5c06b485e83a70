//! The command line.

use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The device to open; none makes a pseudo-terminal.
    pub(crate) port: Option<PathBuf>,
    /// A symbolic link to make to the pseudo-terminal.
    pub(crate) link: Option<PathBuf>,
    /// Where acknowledged readings are written.
    pub(crate) ledger: PathBuf,
    /// The device's name.
    pub(crate) device: String,
    /// How many readings to take and have acknowledged.
    pub(crate) readings: u64,
    /// Between two readings, in milliseconds.
    pub(crate) interval_ms: u32,
    /// Which life this is; 0 asks the gateway for a number.
    pub(crate) boot: u32,
    /// The seed of a bad line; none for a good one.
    pub(crate) garbage: Option<u64>,
    /// How long it may take.
    pub(crate) seconds: u64,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            port: None,
            link: None,
            ledger: PathBuf::new(),
            device: "node-1".to_owned(),
            readings: 100,
            interval_ms: 10,
            boot: 0,
            garbage: None,
            seconds: 120,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--port" => options.port = Some(value.into()),
                "--link" => options.link = Some(value.into()),
                "--ledger" => options.ledger = value.into(),
                "--device" => options.device = device(value)?,
                "--readings" => options.readings = number(&name, &value)?,
                "--interval-ms" => options.interval_ms = number(&name, &value)?,
                "--boot" => options.boot = number(&name, &value)?,
                "--garbage" => options.garbage = Some(number(&name, &value)?),
                "--seconds" => options.seconds = number(&name, &value)?,
                _ => return Err(format!("unknown option {name}; the head of this example lists them")),
            }
        }
        if options.ledger.as_os_str().is_empty() {
            return Err("--ledger FILE is needed: it is what this program is for".to_owned());
        }
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} needs a whole number, not {value:?}"))
}

/// The ledger is written without an escape, so the name must need none.
fn device(value: String) -> Result<String, String> {
    if value.contains(['"', '\\']) {
        Err(format!("--device can't hold quotes or backslashes: {value:?}"))
    } else {
        Ok(value)
    }
}
