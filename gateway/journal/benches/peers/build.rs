//! RocksDB is Debian's library, through its C interface: nothing of it is built here.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The compiler driver prints the whole path of a library that it finds, and just the name of one that it does not.
    let answer = Command::new("cc").arg("-print-file-name=librocksdb.so").output();
    let found = answer.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned()).unwrap_or_default();
    if !Path::new(&found).is_absolute() {
        println!("cargo:warning=librocksdb.so is not found; Debian's package librocksdb-dev brings it");
        std::process::exit(1);
    }
    println!("cargo:rustc-link-lib=dylib=rocksdb");
}
