//! Makes the UF2 file of a firmware: what is dragged onto the drive that a board's boot ROM shows. `firmware/build` runs it.
//!
//! ```text
//! lamppost-uf2 ELF UF2 FAMILY        FAMILY: which microcontroller, as 0x and 8 digits
//! ```
#![expect(clippy::print_stderr, reason = "a program for people")]
#![expect(clippy::disallowed_methods, reason = "its files are its own edge")]

mod elf;
mod uf2;

use std::process::ExitCode;

fn run(arguments: &[String]) -> Result<(), String> {
    let [elf_path, uf2_path, family] = arguments else {
        return Err("usage: lamppost-uf2 ELF UF2 FAMILY".to_owned());
    };
    let digits = family.strip_prefix("0x").unwrap_or_default();
    let family = u32::from_str_radix(digits, 16).map_err(|_| format!("{family:?} is not 0x and 8 digits"))?;
    let elf = std::fs::read(elf_path).map_err(|error| format!("{elf_path}: {error}"))?;
    let segments = elf::segments(&elf).map_err(|error| format!("{elf_path}: {error}"))?;
    std::fs::write(uf2_path, uf2::file(&segments, family)).map_err(|error| format!("{uf2_path}: {error}"))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lamppost-uf2: {error}");
            ExitCode::FAILURE
        }
    }
}
