//! What a gateway starts without: a mistake in the entry of one source costs that source, and not the others.
//!
//! Only `[[serial]]`, its `[[serial.slave]]` and `[[i2c]]` are left out so, and only of a file that is TOML; any other mistake keeps the gateway
//! from starting. `lamppost check` and a reload refuse them all.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::problem::{Problem, Problems};
use super::{Config, parse, read};

/// The tables that are left out by themselves.
const SOURCES: [&[&str]; 3] = [&["i2c"], &["serial"], &["serial", "slave"]];

/// A source that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// Which: its table, and the line on which that begins.
    pub(crate) source: String,
    /// What is wrong with it, and where.
    pub(crate) why: String,
}

/// The text of one source's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: Vec<String>,
    at: Range<usize>,
}

/// Reads and parses a file, without the sources that are wrong: [`Config::refused`].
///
/// # Errors
/// All that is wrong, if any of it is not in a source's entry.
pub(crate) fn load_without_refused(path: &Path) -> Result<Config, Problems> {
    without_refused(path, &read(path)?)
}

fn without_refused(path: &Path, text: &str) -> Result<Config, Problems> {
    let mut refused = Vec::new();
    let mut left = text.to_owned();
    // Each round takes an entry away, and there are not endlessly many.
    loop {
        let problems = match parse(&left) {
            Ok(config) => return Ok(Config { refused, ..config }),
            Err(problems) => problems,
        };
        let Some(entry) = one_to_blame(&left, &problems) else {
            return Err(Problems::new(path, text, parse(text).err().unwrap_or(problems)));
        };
        let theirs = problems.into_iter().filter(|problem| entry.holds(problem)).collect();
        let line = text.get(..entry.at.start).unwrap_or_default().matches('\n').count() + 1;
        let source = format!("{} at line {line}", entry.path.join("."));
        refused.push(Refused { source, why: Problems::new(path, text, theirs).in_one_line() });
        // All that follows stays at its place.
        let blank = left.get(entry.at.clone()).unwrap_or_default();
        let blank: String = blank.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
        left.replace_range(entry.at, &blank);
    }
}

/// The first of the entries to which all problems belong; none, if one belongs to none.
fn one_to_blame(text: &str, problems: &[Problem]) -> Option<Entry> {
    text.parse::<toml::Table>().ok()?;
    let entries = entries(text);
    // The innermost one begins last.
    let blamed: Option<Vec<_>> =
        problems.iter().map(|problem| entries.iter().rfind(|entry| entry.holds(problem))).collect();
    blamed?.into_iter().min_by_key(|entry| entry.at.start).cloned()
}

/// The entries of sources, in their order. A line in a list or text of several lines may be taken for a table's header: what is left of the
/// file without its entry is no TOML then, and all is refused.
fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut open: Vec<Entry> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if let Some(path) = header(line) {
            while let Some(entry) =
                open.pop_if(|entry| !(path.len() > entry.path.len() && path.starts_with(&entry.path)))
            {
                entries.push(Entry { at: entry.at.start..at, ..entry });
            }
            if line.trim_start().starts_with("[[") && SOURCES.iter().any(|source| path == *source) {
                open.push(Entry { path, at: at..text.len() });
            }
        }
        at += line.len();
    }
    entries.append(&mut open);
    entries.sort_by_key(|entry| entry.at.start);
    entries
}

/// The names of the table whose header this line is.
fn header(line: &str) -> Option<Vec<String>> {
    let inner = line.trim_start().strip_prefix('[')?.trim_start_matches('[');
    let (inner, _) = inner.split_once(']')?;
    Some(inner.split('.').map(|name| name.trim().trim_matches(['"', '\'']).to_owned()).collect())
}

impl Entry {
    fn holds(&self, problem: &Problem) -> bool {
        // A default that was not written has no place.
        problem.span.as_ref().is_some_and(|span| !span.is_empty() && self.at.contains(&span.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = r#"
[gateway]
id = "post-1"

[[i2c]]
name = "roof"
bus = "/dev/i2c-1"
chip = "bme280"
address = 0x76

[[serial]]
name = "meters"
port = "/dev/ttyS1"
protocol = "modbus"

[[serial.slave]]
device = "house"
id = 1
profile = "sdm630"

[[serial.slave]]
device = "lamp"
id = 2
profile = "sdm630"

[[i2c]]
name = "air"
bus = "/dev/i2c-1"
chip = "scd41"
address = 0x62

[http]
listen = "127.0.0.1:9100"
"#;

    fn started(text: &str) -> (Vec<String>, Vec<(String, String)>) {
        let config = without_refused(Path::new("x.toml"), text).unwrap_or_else(|problems| panic!("{problems}"));
        let mut sources: Vec<_> = config.i2c.iter().map(|i2c| i2c.name.clone()).collect();
        for serial in &config.serial {
            sources.push(serial.name.clone());
            if let crate::config::Spoken::Modbus(options) = &serial.spoken {
                sources.extend(options.slaves.iter().map(|slave| slave.device.to_string()));
            }
        }
        (sources, config.refused.into_iter().map(|refused| (refused.source, refused.why)).collect())
    }

    fn changed(from: &str, to: &str) -> String {
        assert!(RIGHT.contains(from), "{from}");
        RIGHT.replacen(from, to, 1)
    }

    #[test]
    fn of_a_right_file_nothing_is_left_out() {
        assert_eq!(started(RIGHT), (["roof", "air", "meters", "house", "lamp"].map(str::to_owned).into(), vec![]));
    }

    #[test]
    fn a_source_with_a_mistake_is_left_out_with_its_line_and_the_others_start() {
        let cases = [
            ("chip = \"bme280\"", "chip = \"bmp999\"", "i2c at line 5", "x.toml:8:8: unknown value `bmp999`"),
            ("address = 0x76", "address = 0x70", "i2c at line 5", "x.toml:9:11: a bme280 can't have the address 0x70"),
            ("address = 0x76", "adress = 0x76", "i2c at line 5", "x.toml:9:1: unknown key `adress`"),
            ("address = 0x76\n", "", "i2c at line 5", "missing key `address`"),
            ("address = 0x62", "address = \"0x62\"", "i2c at line 26", "x.toml:30:11: "),
            ("name = \"air\"", "name = \"roof\"", "i2c at line 26", "x.toml:27:8: a second source named \"roof\""),
            ("id = 2", "id = 1", "serial.slave at line 21", "x.toml:23:6: "),
            ("profile = \"sdm630\"", "profile = \"sdm631\"", "serial.slave at line 16", "x.toml:19:11: "),
            ("protocol = \"modbus\"", "protocol = \"modbuz\"", "serial at line 11", "x.toml:14:12: "),
        ];
        for (from, to, source, why) in cases {
            let (sources, refused) = started(&changed(from, to));
            let [(left_out, said)] = refused.as_slice() else { panic!("{to}: {refused:?}") };
            assert!(left_out == source && said.contains(why), "{to}: {left_out}: {said}");
            let expected = if source.starts_with("serial at") { 2 } else { 4 };
            assert_eq!(sources.len(), expected, "{to}: {sources:?}");
        }
    }

    #[test]
    fn of_two_chips_at_one_address_the_first_is_read() {
        let text = changed("chip = \"scd41\"\naddress = 0x62", "chip = \"bme280\"\naddress = 0x76");
        let (sources, refused) = started(&text);
        assert_eq!(sources, ["roof", "meters", "house", "lamp"]);
        assert!(refused[0].1.contains("a second chip at 0x76 of /dev/i2c-1"), "{refused:?}");
    }

    #[test]
    fn several_mistakes_are_each_told_and_a_port_without_its_only_slaves_is_none() {
        let text = changed("0x76", "0x70").replace("sdm630", "sdm631");
        let (sources, refused) = started(&text);
        assert_eq!(sources, ["air"]);
        let left_out: Vec<_> = refused.iter().map(|(source, _)| source.as_str()).collect();
        assert_eq!(
            left_out,
            ["serial.slave at line 16", "serial.slave at line 21", "i2c at line 5", "serial at line 11"]
        );
    }

    #[test]
    fn any_other_mistake_is_refused_with_all_that_is_wrong() {
        for (from, to) in [
            ("listen", "lisden"),
            ("[http]", "[[http"),
            ("id = \"post-1\"", "id = \"post/1\""),
            // No TOML, though within an entry.
            ("address = 0x76", "address = "),
        ] {
            let text = changed(from, to).replace("sdm630", "sdm631");
            let refused = without_refused(Path::new("x.toml"), &text).unwrap_err().to_string();
            let strict = Problems::new(Path::new("x.toml"), &text, parse(&text).unwrap_err()).to_string();
            assert_eq!(refused, strict);
        }
    }

    #[test]
    fn a_line_in_a_list_that_looks_like_a_header_takes_nothing_else_with_it() {
        let lists = "[[serial]]\nname = \"dust\"\nport = \"/dev/ttyS2\"\nprotocol = \"lines\"\nskip = [\n[\"a\"],\n]\n";
        let text = format!("{RIGHT}{lists}");
        let refused = without_refused(Path::new("x.toml"), &text).unwrap_err().to_string();
        assert!(refused.contains("x.toml:39:1"), "{refused}");
    }
}
