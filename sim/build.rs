//! Says what to do when madsim's flag is missing, before madsim itself fails to build for want of it.
use std::process::exit;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_MADSIM").is_none() {
        eprintln!(
            "handoff-sim needs `--cfg madsim`: put these lines into .cargo/config.toml of your workspace\n\n\
             [target.'cfg(all())']\nrustflags = [\"--cfg\", \"madsim\"]\n\n[build]\nrustdocflags = [\"--cfg\", \"madsim\"]\n\n\
             (a RUSTFLAGS in the environment replaces them: add the flag there, too)"
        );
        exit(1);
    }
}
