//! A package, so that `cargo insta` finds the golden traces that lie here; `golden.rs` is the test that compares them.
