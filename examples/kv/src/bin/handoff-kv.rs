//! The key-value server as a binary of its own. What `HANDOFF_KV_BUILD_ID` is set to at compile time names the build;
//! it is looked at here and not in the library, so that another name means to compile this file alone.
use std::process::ExitCode;

fn main() -> ExitCode {
    handoff_kv::main_as(option_env!("HANDOFF_KV_BUILD_ID").unwrap_or(env!("CARGO_PKG_VERSION")))
}
