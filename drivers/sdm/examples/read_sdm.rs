//! Reads an energy meter on a serial port of Linux, by tokio-modbus:
//! `cargo run -p lamppost-sdm --example read_sdm -- --port /dev/ttyUSB0 --slave 1 voltage power import_energy`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use std::time::Duration;

use clap::Parser;
use lamppost_sdm::{Model, value};
use tokio_modbus::client::{Reader, rtu};
use tokio_modbus::slave::Slave;
use tokio_serial::SerialStream;

/// A meter that is there answers within 200 ms.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Options {
    /// The port of the RS-485 adapter.
    #[arg(long, default_value = "/dev/ttyUSB0")]
    port: String,
    /// The line's speed; 8N1.
    #[arg(long, default_value_t = 9600)]
    baud: u32,
    /// The meter's address, 1 to 247.
    #[arg(long, default_value_t = 1)]
    slave: u8,
    /// It is an SDM630.
    #[arg(long)]
    sdm630: bool,
    /// What to read; all of it, if nothing is named.
    quantities: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let model = if options.sdm630 { Model::Sdm630 } else { Model::Sdm120 };
    let mut wanted = Vec::new();
    for name in &options.quantities {
        wanted.push(*model.quantity(name).ok_or_else(|| format!("a {model:?} has no quantity {name:?}"))?);
    }
    if wanted.is_empty() {
        wanted = model.quantities().to_vec();
    }
    let port = SerialStream::open(&tokio_serial::new(options.port, options.baud))?;
    let mut meter = rtu::attach_slave(port, Slave(options.slave));
    for quantity in wanted {
        let answer = tokio::time::timeout(PATIENCE, meter.read_input_registers(quantity.address, 2)).await;
        let words = answer.map_err(|_| format!("slave {} does not answer within {PATIENCE:?}", options.slave))???;
        let registers = words.try_into().map_err(|words| format!("{words:?} are no two registers"))?;
        println!("{}: {} {}", quantity.name, value(registers), quantity.unit);
    }
    Ok(())
}
