//! Lengths of time that no plan chooses. A pure function of the plan's number, the process, and how often it was asked, so
//! that a fault more or less changes nothing before it, and little after it.
use super::Micros;
use crate::plan::Delays;

/// The operation that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LengthOf {
    /// A frame on its way.
    Wire,
    /// From something to read to the process that reads it.
    Wake,
    /// From fork to the process's first turn.
    Exec,
    /// From a process's death until its lock is free.
    Teardown,
    /// From there until it has ended.
    End,
    /// A request or its answer on its way.
    Request,
    /// A client between two requests.
    Think,
    /// An operation of the system whose answer is awaited.
    Operation,
    /// A hook.
    Hook,
    /// Nothing: a choice.
    Choice,
    /// From a process's death until its links are closed.
    Closing,
    /// The operator's word that a handoff is called off, on its way to the supervisor.
    Order,
}

impl LengthOf {
    pub(crate) const COUNT: usize = 12;

    /// Usual, least, most; and the most on a machine with far too much to do.
    fn range(self) -> (Micros, Micros, Micros, Micros) {
        match self {
            LengthOf::Wire => (100, 20, 400, 20_000),
            LengthOf::Wake => (20, 5, 100, 10_000),
            LengthOf::Exec => (1000, 400, 3000, 30_000),
            LengthOf::Teardown => (300, 0, 9000, 50_000),
            LengthOf::End => (100, 0, 1000, 10_000),
            LengthOf::Request => (200, 50, 600, 5_000),
            LengthOf::Think => (4000, 1000, 12_000, 20_000),
            LengthOf::Operation => (200, 50, 2000, 30_000),
            LengthOf::Hook => (2000, 200, 8000, 60_000),
            LengthOf::Closing => (0, 0, 3000, 20_000),
            LengthOf::Order => (0, 0, 400, 20_000),
            LengthOf::Choice => (0, 0, u64::MAX / 2, u64::MAX / 2),
        }
    }
}

/// The source of the lengths of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    pub seed: u64,
    pub delays: Delays,
}

impl Noise {
    /// The `nth` length of a `kind` for `process`.
    pub(crate) fn length(self, kind: LengthOf, process: u32, nth: u32) -> Micros {
        let (usual, least, most, too_long) = kind.range();
        let bits = self.bits(kind, process, nth);
        let between = |least: Micros, most: Micros| least + (bits >> 8) % (most - least + 1);
        match self.delays {
            Delays::Fixed => usual,
            Delays::Usual => between(least, most),
            // Mostly as usual: what is always slow is merely slow.
            Delays::Long if bits.is_multiple_of(16) => between(most, too_long),
            Delays::Long => between(least, most),
        }
    }

    /// The `nth` choice among `options` for `process`; the first if nothing varies.
    pub(crate) fn choice(self, options: u64, process: u32, nth: u32) -> u64 {
        match self.delays {
            Delays::Fixed => 0,
            _ => (self.bits(LengthOf::Choice, process, nth) >> 8) % options.max(1),
        }
    }

    /// SplitMix64's finalizer (Steele, Lea, Flood 2014) over all that tells one draw from another.
    fn bits(self, kind: LengthOf, process: u32, nth: u32) -> u64 {
        let mut z = self.seed ^ (kind as u64) << 56 ^ u64::from(process) << 32 ^ u64::from(nth);
        for _ in 0..2 {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
        }
        z
    }
}
