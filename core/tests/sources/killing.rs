//! A process is ended in one place (`unix/kill.rs`), which asks for a `MayBeKilled`: no other code sends a signal to a process that
//! it names by a number or a descriptor.
use crate::each_file;

/// The folders that stand on real processes: the rest of the core makes no system call.
const SOURCES: [&str; 2] = ["core/src/unix", "supervisor/src"];

/// The places where a signal is sent, and why no other process can be meant.
const ALLOWED: [(&str, &str); 4] = [
    ("core/src/unix/kill.rs", "the one place"),
    ("core/src/unix/daemon/host.rs", "a daemon that ends itself"),
    ("core/src/unix/probe.rs", "a process that ends or stops itself, for tests"),
    ("core/src/unix/spawn/after_fork.rs", "a child that strikes its parent, for tests"),
];

/// The calls by which a line sends a signal.
const SENDS: [&str; 7] = ["kill(", "killpg(", "raise(", "pidfd_send_signal", "sigqueue", "tgkill", "tkill"];

#[test]
fn no_other_place_ends_a_process() {
    let mut found = Vec::new();
    for source in SOURCES {
        each_file(source, &mut |file, text| {
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            for line in code.lines().filter(|line| sends(line)) {
                found.push((file.to_owned(), line.trim().to_owned()));
            }
        });
    }
    let allowed = |file: &str| ALLOWED.iter().any(|(allowed, _)| *allowed == file);
    let others: Vec<_> = found.iter().filter(|(file, _)| !allowed(file)).collect();
    assert!(
        others.is_empty(),
        "make a MayBeKilled (handoff::unix::kill) and let it end the process: {others:#?}"
    );
    let is_stale = |file: &&str| !found.iter().any(|(other, _)| other == file);
    let stale: Vec<&str> = ALLOWED.map(|(file, _)| file).into_iter().filter(is_stale).collect();
    assert!(stale.is_empty(), "these send no signal any more: {stale:?}");
}

/// Returns whether a line of code sends a signal: not a method, a function's own name, a word of a comment,
/// or the null signal, which only asks whether the process is there.
fn sends(line: &str) -> bool {
    let line = line.trim_start();
    let calls = |name: &str| {
        line.match_indices(name).any(|(at, _)| {
            let before = &line[..at];
            let is_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            !is_word && !before.ends_with('.') && !before.ends_with("fn ")
        })
    };
    !line.starts_with("//") && !line.contains(", None)") && SENDS.iter().any(|name| calls(name))
}
