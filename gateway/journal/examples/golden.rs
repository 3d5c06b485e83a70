//! Makes the golden files of the format version that this program writes. Read by `tests/golden.rs` for ever afterwards.
//!
//! `cargo run -p lamppost-journal --example golden -- FOLDER`, where FOLDER is new: nothing is ever overwritten.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a tool that writes files and says so")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the histories are a test's; this tool may panic as it may"
)]
#![allow(dead_code, reason = "the test uses the other part")]

#[path = "../tests/golden/gateway.rs"]
mod gateway;
#[path = "../tests/golden/history.rs"]
mod history;
#[path = "../tests/golden/ledger.rs"]
mod ledger;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: golden FOLDER (a new one, such as gateway/journal/tests/golden/v2)";
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or(usage)?);
    // Fails if it is there.
    fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut ledgers = BTreeMap::new();
    for (name, made) in history::all() {
        fs::create_dir(folder.join(&name))?;
        for (file, bytes) in &made.files {
            fs::write(folder.join(&name).join(file), bytes)?;
        }
        println!("{name}: {} files", made.files.len());
        ledgers.insert(name, made.ledger);
    }
    fs::write(folder.join("expected.json"), ledger::to_text(&ledgers))?;
    Ok(())
}
