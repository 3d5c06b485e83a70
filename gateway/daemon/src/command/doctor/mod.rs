//! `lamppost doctor`: what on this machine is in the gateway's way, and what to do about it.
//!
//! Each file looks at one thing: a `look` reads the machine, and judges by pure functions over what was read.

mod card;
mod certificates;
mod clock;
mod cluster;
mod device;
mod finding;
mod listening;
mod machine;
mod mounts;
mod people;
mod readable;
mod service;

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write};
use std::path::Path;

use lamppost_event::{Clock as _, Now};

use crate::cli;
use crate::clock::MachineClock;
use crate::config::{self, Config, Files, SinkTo};
use device::Kind;
use finding::{Finding, Report};
use machine::Machine;
use people::User;

/// Looks at everything, prints it, and returns the exit status: 0 all is well, 1 something may surprise, 2 something does not work.
pub(crate) fn run(args: &cli::Doctor, out: &mut impl Write) -> anyhow::Result<u8> {
    let machine = Machine::at("/");
    let report = Report::new(examine(&machine, args, MachineClock::new().now()));
    if args.json {
        writeln!(out, "{}", report.json()?)?;
    } else {
        report.show(std::io::stdout().is_terminal(), out)?;
    }
    Ok(report.status())
}

fn examine(machine: &Machine, args: &cli::Doctor, now: Now) -> Vec<Finding> {
    let user = User::of_the_gateway(machine);
    let loaded = config::load(&args.config);
    let battery = loaded.as_ref().ok().and_then(|config| config.battery.as_ref());
    let mut findings = clock::look(machine, now, battery);
    match loaded {
        Err(problems) => {
            let found = problems.to_string().trim_end().to_owned();
            // The package's folder is closed to others: its files can hold secrets.
            let may_look =
                rustix::fs::access(&args.config, rustix::fs::Access::READ_OK) != Err(rustix::io::Errno::ACCESS);
            let remedy = if may_look {
                "lamppost check shows it too; until then ports, brokers and certificates can't be looked at"
            } else {
                "run the doctor as root (sudo lamppost doctor), or as the user lamppost"
            };
            findings.push(Finding::fail("configuration", found, remedy));
        }
        Ok(config) => {
            findings.extend(configuration(&args.config, &config));
            findings.extend(readable::look(machine, &args.config, &config, &user));
            findings.extend(card::look(machine, &config.state_dir, config.journal.quota, &user));
            findings.extend(folders(&config, &user));
            findings.extend(devices(machine, &config, &user));
            findings.extend(ports(machine, &config));
            findings.extend(certificates::look(machine, &config, now.wall.0 / 1_000));
            if !args.offline {
                findings.extend(cluster::look_at_sources(&config));
                findings.extend(cluster::look(&config));
            }
        }
    }
    findings.extend(service::look(machine));
    findings
}

fn configuration(path: &Path, config: &Config) -> Vec<Finding> {
    let fits = crate::gateway::fits(config).map_err(|error| format!("{error:#}"));
    let files =
        config::look_at_files(path, super::check::now()).map_err(|problems| problems.to_string().trim_end().to_owned());
    let wrong = [fits.err(), files.err()].into_iter().flatten();
    let mut findings: Vec<_> = wrong
        .map(|found| Finding::fail("configuration", found, "lamppost check, as the gateway's user or as root"))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("configuration", format!("{} is right", path.display())));
    }
    let notes = super::check::warnings(config).into_iter();
    findings.extend(notes.map(|note| Finding::warn("configuration", note, "leave it if you want it so")));
    findings
}

fn folders(config: &Config, user: &User) -> Vec<Finding> {
    let folders = config.sinks.iter().filter_map(|sink| match &sink.to {
        SinkTo::Files(files) => Some((sink.name.as_str(), files)),
        SinkTo::Kafka(_) => None,
    });
    let look =
        |(name, files): (&str, &Files)| card::look_at_sink(name, &files.folder, files.mount_point.as_deref(), user);
    folders.map(look).collect()
}

fn devices(machine: &Machine, config: &Config, user: &User) -> Vec<Finding> {
    let ports = config.serial.iter().map(|it| (Kind::Serial, it.name.as_str(), it.port.path.as_path()));
    let mut seen = BTreeSet::new();
    let chips = config.i2c.iter().map(|it| (Kind::I2c, it.name.as_str(), it.bus.as_path()));
    let clock = config.battery.iter().map(|it| (Kind::I2c, "clock", it.bus.as_path()));
    let buses = chips.chain(clock).filter(|(_, _, bus)| seen.insert(*bus));
    ports.chain(buses).flat_map(|(kind, name, path)| device::look(machine, kind, name, path, user)).collect()
}

fn ports(machine: &Machine, config: &Config) -> Vec<Finding> {
    let listeners = config.mqtt.iter().flat_map(|mqtt| &mqtt.listeners).map(|listener| ("mqtt", listener.listen));
    listeners.chain([("http", config.http)]).map(|(what, address)| listening::look(machine, what, address)).collect()
}

#[cfg(test)]
mod tests {
    use lamppost_event::{BootId, ClockQuality, Monotonic, WallTime};

    use super::machine::model::Modelled;
    use super::*;

    fn examined(text: &str) -> Vec<Finding> {
        let modelled = Modelled::new(&[("/lamppost.toml", text)]);
        let config = modelled.machine().path(Path::new("/lamppost.toml"));
        let args = cli::Doctor { config, offline: true, json: false };
        let now = Now { wall: WallTime(1), monotonic: Monotonic(1), boot: BootId(1), quality: ClockQuality::Unset };
        examine(&modelled.machine(), &args, now)
    }

    #[test]
    fn a_wrong_configuration_is_shown_and_the_rest_is_looked_at_all_the_same() {
        let findings = examined("[journal]\nqouta = \"1GiB\"\n");
        let areas: Vec<_> = findings.iter().map(|it| it.area).collect();
        assert_eq!(areas, ["clock", "clock chip", "configuration"]);
        assert!(findings[2].found.contains("did you mean `quota`?"), "{findings:?}");
    }

    #[test]
    fn every_port_bus_and_listener_of_the_configuration_is_looked_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[gateway]\nstate_dir = {0:?}\n[mqtt]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [[serial]]\nname = \"node\"\nport = \"/dev/none\"\n\
             [[i2c]]\nname = \"a\"\nbus = \"/dev/i2c-1\"\nchip = \"tmp105\"\naddress = 0x48\n\
             [[i2c]]\nname = \"b\"\nbus = \"/dev/i2c-1\"\nchip = \"tmp105\"\naddress = 0x49\n\
             [clock]\nbus = \"/dev/i2c-2\"\nchip = \"ds3231\"\n\
             [[sink]]\nname = \"disk\"\n[sink.files]\nfolder = {0:?}\n\
             [[sink]]\nname = \"gone\"\n[sink.files]\nfolder = \"/no/such\"\n",
            folder.path()
        );
        let findings = examined(&text);
        let count = |area: &str| findings.iter().filter(|it| it.area == area).count();
        let counted = ["serial port", "i2c bus", "listen", "sink"].map(count);
        assert_eq!(counted, [1, 2, 2, 2], "{findings:?}");
        assert!(count("card") >= 3, "{findings:?}");
    }
}
