//! The program `lamppost`.
fn main() {}
