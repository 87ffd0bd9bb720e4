//! The rule that what is built to be run has no crash points: nothing but a dev-dependency turns them on, and
//! those don't count there.
use std::process::Command;

/// The features of everything that `package` is built from, as `edges` see it.
fn features(package: &str, edges: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--locked", "--package", package, "--edges", edges, "--prefix", "none"]);
    let told = cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap()
}

#[test]
fn only_a_dev_dependency_turns_crash_points_on() {
    for package in ["handoff-supervisor", "handoff-kv", "handoff-demo", "handoff-sim", "handoff-tests"] {
        let built = features(package, "features,no-dev");
        assert!(built.contains("handoff-core feature"), "{package}: {built}");
        assert!(!built.contains("crash-points"), "{package} has crash points: {built}");
    }
    assert!(features("handoff-tests", "features").contains("handoff-core feature \"crash-points\""));
}
