//! A successor that is no user of the library: `rogue MISDEED`.
fn main() {}
