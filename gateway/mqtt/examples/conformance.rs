//! Prints `CONFORMANCE.md`: `cargo run -p lamppost-mqtt --example conformance > gateway/mqtt/CONFORMANCE.md`

#![expect(clippy::print_stdout, reason = "its table is its purpose")]
#![expect(clippy::unwrap_used, reason = "it is run by hand, in the tree")]

#[path = "../tests/conformance/table.rs"]
mod table;

fn main() {
    print!("{}", table::table());
}
