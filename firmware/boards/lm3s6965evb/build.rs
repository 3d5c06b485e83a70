//! Tells the linker what this board needs: where its `memory.x` is, and the script of cortex-m-rt.

fn main() {
    println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rerun-if-changed=memory.x");
    // Clippy and an editor check this crate for the host, whose linker knows none of it.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        for argument in ["--nmagic", "-Tlink.x"] {
            println!("cargo::rustc-link-arg-bins={argument}");
            println!("cargo::rustc-link-arg-examples={argument}");
        }
    }
}
