//! Which test holds which normative statement: read from comments above the tests, `// MQTT 5.0: 3.1.0-1, 3.1.0-2`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One of the two standards.
pub(crate) struct Standard {
    pub(crate) name: &'static str,
    statements: &'static str,
    tag: &'static str,
}

pub(crate) const STANDARDS: [Standard; 2] = [
    Standard { name: "MQTT 5.0", statements: include_str!("mqtt-5.0.txt"), tag: "// MQTT 5.0: " },
    Standard { name: "MQTT 3.1.1", statements: include_str!("mqtt-3.1.1.txt"), tag: "// MQTT 3.1.1: " },
];

/// What other people's test suites say, written by hand.
const SUITES: &str = include_str!("suites.md");

/// A statement, in the order of the standard.
pub(crate) struct Statement {
    pub(crate) number: &'static str,
    pub(crate) whose: &'static str,
    pub(crate) gist: &'static str,
}

/// Of each statement the tests that hold it, as `path: test`.
pub(crate) type Held = BTreeMap<String, BTreeSet<String>>;

impl Standard {
    pub(crate) fn statements(&self) -> Vec<Statement> {
        let lines = self.statements.lines().filter(|line| !line.starts_with('#'));
        let read = |line: &'static str| {
            let mut fields = line.splitn(3, " | ");
            let mut field = || fields.next().unwrap_or_else(|| panic!("three fields: {line}"));
            Statement { number: field(), whose: field(), gist: field() }
        };
        lines.map(read).collect()
    }

    pub(crate) fn held(&self) -> Held {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut held = BTreeMap::new();
        let mut files = Vec::new();
        for folder in ["src", "tests"] {
            sources(&root.join(folder), &mut files);
        }
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let name = file.strip_prefix(root).unwrap().display().to_string();
            self.read_tags(&name, &text, &mut held);
        }
        held
    }

    /// A tag belongs to the next function, which has to be a test.
    fn read_tags(&self, file: &str, text: &str, held: &mut Held) {
        let (mut tags, mut is_test) = (Vec::new(), false);
        for line in text.lines().map(str::trim) {
            if let Some(numbers) = line.strip_prefix(self.tag) {
                tags.extend(numbers.split(", ").map(str::to_owned));
            } else if line == "#[test]" || line == "#[tokio::test]" || line.starts_with("#[tokio::test(") {
                is_test = true;
            } else if let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")) {
                let name = rest.split('(').next().unwrap_or(rest);
                assert!(tags.is_empty() || is_test, "{file}: {name} is tagged and is no test");
                for number in tags.drain(..) {
                    held.entry(number).or_default().insert(format!("`{file}`: {}", name.replace('_', " ")));
                }
                is_test = false;
            }
        }
        assert!(tags.is_empty(), "{file}: a tag at the end belongs to nothing");
    }

    fn write_table(&self, out: &mut String) {
        let (statements, held) = (self.statements(), self.held());
        let count = |of: fn(&Statement) -> bool| statements.iter().filter(|it| of(it)).count();
        let (server, client) = (count(|it| it.whose == "server"), count(|it| it.whose == "client"));
        let (all, not) = (statements.len(), statements.len() - server - client);
        writeln!(
            out,
            "\n## {}\n\n{all} statements: {server} apply and are held by tests, {client} are for clients only, {not} do \
             not apply.\n\n| statement | gist | held by |\n|---|---|---|",
            self.name
        )
        .unwrap();
        for Statement { number, whose, gist } in &statements {
            let by = match *whose {
                "server" => held
                    .get(*number)
                    .map_or_else(String::new, |tests| tests.iter().cloned().collect::<Vec<_>>().join("<br>")),
                "client" => "(for clients)".to_owned(),
                why => format!("({})", why.trim_start_matches("not: ")),
            };
            writeln!(out, "| MQTT-{number} | {gist} | {by} |").unwrap();
        }
    }
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("conformance/table.rs")
        {
            files.push(path);
        }
    }
}

/// The whole of `CONFORMANCE.md`.
pub(crate) fn table() -> String {
    let mut out = String::from(
        "# MQTT, statement by statement\n\nMade by `cargo run -p lamppost-mqtt --example conformance`; a test fails where this is \
         stale, or where a statement that applies is held by no test.\n",
    );
    STANDARDS.iter().for_each(|standard| standard.write_table(&mut out));
    out.push('\n');
    out.push_str(SUITES);
    out
}
