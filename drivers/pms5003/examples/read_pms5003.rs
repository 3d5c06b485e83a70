//! Reads a PMS5003 on a serial port of Linux, which `stty` sets before:
//! `stty -F /dev/serial0 9600 raw && cargo run -p lamppost-pms5003 --example read_pms5003 -- --port /dev/serial0`

#![expect(clippy::print_stdout, reason = "an example shows what it has read")]

use std::io::{BufReader, Read};

use clap::Parser as _;
use lamppost_pms5003::{Frame, Parser};

#[derive(clap::Parser)]
struct Options {
    /// The serial port.
    #[arg(long, default_value = "/dev/serial0")]
    port: std::path::PathBuf,
    /// How many readings.
    #[arg(long, default_value_t = 1)]
    count: u32,
}

#[expect(clippy::disallowed_methods, reason = "the file is a serial port")]
fn main() -> Result<(), Box<dyn core::error::Error>> {
    let options = Options::parse();
    let port = BufReader::new(std::fs::File::open(options.port)?);
    let mut parser = Parser::new();
    let mut left = options.count;
    for byte in port.bytes() {
        if left == 0 {
            return Ok(());
        }
        match parser.push(byte?) {
            Ok(Some(Frame::Reading(found))) => {
                let masses = found.atmospheric;
                println!("PM1 {}, PM2.5 {}, PM10 {}", masses.pm1, masses.pm2_5, masses.pm10);
                left -= 1;
            }
            Ok(_) => {}
            Err(error) => println!("{error}"),
        }
    }
    Err("the port has ended".into())
}
