//! The flaws that the carrying of connections could have: each of these a check must notice.
use handoff::carry::{CarryHook, CarryStep};

/// One thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CarryFlaw {
    /// A successor reads as soon as all has come.
    ReadsEarly,
    /// An incumbent reads after it has ended.
    ReadsLate,
    /// The output that could not be sent to a client is not among what is carried.
    DropsOutput,
    /// An incumbent that retires shuts its connections down.
    ShutsDown,
    /// An incumbent does not compare what its successor has.
    ComparesNothing,
    /// A build that writes another layout of states calls it by the same version.
    KeepsVersion,
    /// An incumbent does not say that it goes on.
    RevokesNothing,
    /// An incumbent takes its connections back after it has gone on with them.
    TakesBackLate,
    /// A successor goes on with connections, and does not say so.
    AdoptsSilently,
    /// A successor goes on with connections before it serves.
    AdoptsEarly,
    /// An incumbent goes on with connections although its successor has served.
    AbandonsNothing,
    /// An incumbent leaves it to its luck whether its successor has all.
    ConfirmsNothing,
    /// An incumbent says that it has ended before its successor has received what comes before that.
    EndsAtOnce,
}

impl CarryFlaw {
    /// All of them.
    pub const ALL: [CarryFlaw; 13] = [
        CarryFlaw::ReadsEarly,
        CarryFlaw::ReadsLate,
        CarryFlaw::DropsOutput,
        CarryFlaw::ShutsDown,
        CarryFlaw::ComparesNothing,
        CarryFlaw::KeepsVersion,
        CarryFlaw::RevokesNothing,
        CarryFlaw::TakesBackLate,
        CarryFlaw::AdoptsSilently,
        CarryFlaw::AdoptsEarly,
        CarryFlaw::AbandonsNothing,
        CarryFlaw::ConfirmsNothing,
        CarryFlaw::EndsAtOnce,
    ];

    /// Returns what is done before a hook and after it, if this is wrong.
    pub(crate) fn parts(
        self,
        course: CarryHook,
        before: Vec<CarryStep>,
        after: Vec<CarryStep>,
    ) -> (Vec<CarryStep>, Vec<CarryStep>) {
        let without = |parts: Vec<CarryStep>, left_out: CarryStep| {
            parts.into_iter().filter(|part| *part != left_out).collect()
        };
        match (self, course) {
            (CarryFlaw::ConfirmsNothing, _) => (before, without(after, CarryStep::Confirm)),
            (CarryFlaw::TakesBackLate, CarryHook::Resume) => (after, before),
            (CarryFlaw::AdoptsEarly, CarryHook::Serve) => (after, before),
            _ => (before, after),
        }
    }
}
