//! The states and steps of an exploration by themselves, for a search that is not this one (`sim/proofs/cross-check`).
use crate::explore::bounds::Bound;
use crate::explore::model::Model;
use crate::explore::model::watch::Observer;
use crate::explore::moves::apply::Move;

/// A state within a bound, as opaque as a search needs it: it can be told from others, and steps lead on from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Walk(Model);

/// A step, and the gap of it in which the process that acts dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stride(Move);

impl Walk {
    /// Returns where an exploration of `bound` begins.
    pub fn new(bound: &Bound) -> Walk {
        Walk(Model::new(bound.faults, bound.handoffs).with(bound.clients, None))
    }

    /// All that can happen next. Nothing after a violation: an exploration does not go on there either.
    pub fn strides(&self) -> Vec<Stride> {
        if self.is_violated() {
            return Vec::new();
        }
        let mut strides = Vec::new();
        for step in self.0.steps() {
            let mut watch = Observer::default();
            self.0.clone().apply(&step, &mut watch);
            let gaps = if self.0.faults.crashes > 0 { watch.gaps.len() } else { 0 };
            let deaths = (0..gaps).map(|n| Some(n as u8));
            for dies in [None].into_iter().chain(deaths) {
                strides.push(Stride(Move { step: step.clone(), dies }));
            }
        }
        strides
    }

    /// Returns what it leads to.
    #[must_use]
    pub fn after(&self, stride: &Stride) -> Walk {
        let mut model = self.0.clone();
        stride.0.happen(&mut model, &mut Observer::default());
        Walk(model)
    }

    /// Returns whether a check fails here.
    pub fn is_violated(&self) -> bool {
        self.0.violation.is_some()
    }
}
