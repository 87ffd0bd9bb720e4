//! Shards of a sweep, put together by the program itself.
#![cfg(feature = "cli")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SEEDS: &str = "100..1103";
const SHARDS: u64 = 4;

fn simulator(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handoff-sim")).args(args).output().unwrap()
}

fn sweep(file: &Path, more: &[&str]) -> Output {
    simulator(&[&["sweep", "--seeds", SEEDS, "--json", file.to_str().unwrap()], more].concat())
}

fn shard(dir: &Path, k: u64) -> PathBuf {
    dir.join(format!("{k}.json"))
}

/// Puts the shards `there` together; the result goes to `whole.json`.
fn merge(dir: &Path, there: &[u64]) -> (Option<i32>, String, Option<Vec<u8>>) {
    let files: Vec<String> = there.iter().map(|k| shard(dir, *k).display().to_string()).collect();
    let whole = dir.join("whole.json");
    let _ = fs::remove_file(&whole);
    let mut args = vec!["merge", "--seeds", SEEDS, "--shards", "4", "--json", whole.to_str().unwrap()];
    args.extend(files.iter().map(String::as_str));
    let output = simulator(&args);
    (output.status.code(), String::from_utf8(output.stderr).unwrap(), fs::read(whole).ok())
}

#[test]
fn shards_put_together_are_the_bytes_of_one_sweep_and_what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let one = dir.join("one.json");
    assert!(sweep(&one, &["--jobs", "2"]).status.success());
    for k in 0..SHARDS {
        assert!(
            sweep(&shard(dir, k), &["--shard", &format!("{k}/{SHARDS}"), "--jobs", "1"]).status.success()
        );
    }
    let (code, said, whole) = merge(dir, &[2, 0, 3, 1]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(whole == Some(fs::read(&one).unwrap()), "the bytes of one sweep");

    let (code, said, whole) = merge(dir, &[0, 3]);
    assert_eq!((code, whole), (Some(1), None));
    assert!(said.contains("shard 1/4, 2/4 of the seeds 350..852 is missing"), "{said}");

    let (code, said, whole) = merge(dir, &[0, 1, 1, 2, 3]);
    assert_eq!((code, whole), (Some(2), None));
    assert!(said.contains("both have the seeds 350..601"), "{said}");

    // As of a process that was killed while it wrote.
    let text = fs::read_to_string(shard(dir, 2)).unwrap();
    fs::write(shard(dir, 2), &text[..text.len() / 2]).unwrap();
    let (code, said, _) = merge(dir, &[0, 1, 2, 3]);
    assert!(code == Some(2) && said.contains("2.json is no result of a sweep, or not a whole one"), "{said}");

    fs::write(shard(dir, 2), text.replace("\"twice_every\": 64", "\"twice_every\": 32")).unwrap();
    let (code, said, _) = merge(dir, &[0, 1, 2, 3]);
    assert!(
        code == Some(2) && said.contains("by different programs or with another --twice-every"),
        "{said}"
    );
}

#[test]
fn a_shard_that_has_failed_is_named_with_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let failures = dir.join("failures");
    for k in 0..SHARDS {
        let (part, failures) = (format!("{k}/{SHARDS}"), failures.to_str().unwrap());
        let broken = &["--shard", &part, "--failures", failures];
        let mut args = vec!["sweep", "--seeds", SEEDS, "--json"];
        let file = shard(dir, k).display().to_string();
        args.push(&file);
        args.extend(broken);
        // Seals lose writes in one of the shards.
        if k == 1 {
            args.splice(0..0, ["--canary", "seal"]);
        }
        assert_eq!(simulator(&args).status.code(), Some(i32::from(k == 1)));
    }
    let (code, said, whole) = merge(dir, &[0, 1, 2, 3]);
    assert!(code == Some(1) && said.contains("shard 1/4 has failed with seed "), "{said}");
    assert!(said.contains("nothing lost"), "{said}");
    assert!(String::from_utf8(whole.unwrap()).unwrap().contains("\"check\": \"nothing lost\""));
}
