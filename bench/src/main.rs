//! A daemon with nothing to do, on this library or on the peer: one binary, so that size and start-up are equal.
//!
//! `idle-daemon ours|peer DATA_DIR CONTROL_SOCKET`, or `idle-daemon exit`, which leaves at once.
use std::env;
use std::error::Error;
use std::path::Path;

mod ours;
mod theirs;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = env::args_os().skip(1).collect();
    let words: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    match words[..] {
        ["exit"] => Ok(()),
        ["ours", data_dir, control] => ours::run(Path::new(data_dir), Path::new(control)),
        ["peer", data_dir, control] => theirs::run(Path::new(data_dir), Path::new(control)),
        _ => Err("usage: idle-daemon exit | idle-daemon ours|peer DATA_DIR CONTROL_SOCKET".into()),
    }
}
