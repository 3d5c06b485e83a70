//! Writes inputs for the fuzzer to begin with into a folder, beside what is there, in a folder for each target:
//! `cargo run -p lamppost-mqtt --features fuzzing --example fuzz_seeds -- gateway/mqtt/fuzz/corpus`.
#![expect(clippy::disallowed_methods, reason = "a tool that writes plain files")]

use std::fs;
use std::io::Error;
use std::path::PathBuf;

fn main() -> Result<(), Error> {
    let corpus = PathBuf::from(std::env::args_os().nth(1).ok_or_else(|| Error::other("say where to: a folder"))?);
    for (number, (target, bytes)) in lamppost_mqtt::fuzzing::seeds().into_iter().enumerate() {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("seed-{number:04}")), bytes)?;
    }
    Ok(())
}
