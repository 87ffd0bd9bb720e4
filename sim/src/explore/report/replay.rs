//! A schedule that happens once more.
use super::story::ToldSchedule;
use crate::explore::model::Model;
use crate::explore::search::graph;
use crate::explore::search::schedule::Schedule;
use crate::mutant::Mutation;
use crate::trace::TraceEntry;

/// The end of a schedule.
#[derive(Debug)]
pub struct Replayed {
    /// The events, a step at a millisecond.
    pub trace: Vec<TraceEntry>,
    /// The violation of a rule, if there is one.
    pub violation: Option<String>,
}

impl Schedule {
    /// Lets it happen once more. If it is said to show something, and nothing is wrong in it, it is looked at what lies ahead.
    pub fn replay(&self, mutation: Option<&Mutation>) -> Replayed {
        let mut model = Model::new(self.faults, self.handoffs).with(self.clients, None);
        let mut story = ToldSchedule::default();
        for made in &self.moves {
            story.tell(&mut model, made, mutation);
        }
        let violation = model.violation.clone().or_else(|| self.ahead(&model, mutation));
        Replayed { trace: story.entries, violation }
    }

    /// Returns what is wrong with what lies ahead of `model`, its last state: what it is said to show, if
    /// that.
    fn ahead(&self, model: &Model, mutation: Option<&Mutation>) -> Option<String> {
        if self.why.is_empty() {
            return None;
        }
        let wrong = graph::lies_ahead(model, mutation);
        wrong.iter().find(|what| **what == self.why).or(wrong.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::{ExploreOptions, SMALL, explore};

    #[test]
    fn a_way_to_where_no_good_end_can_be_reached_fails_when_it_is_replayed() {
        let bound = &SMALL[0];
        let changes = explore(bound, ExploreOptions { changes: true, ..ExploreOptions::default() }).changes;
        let all = changes
            .into_iter()
            .flat_map(|(cell, changes)| changes.into_keys().map(move |change| Mutation { cell, change }));
        let found = all.into_iter().find_map(|mutation| {
            let options = ExploreOptions {
                mutation: Some(&mutation),
                most_states: 10_000,
                ..ExploreOptions::default()
            };
            let mut violations = explore(bound, options).violations.into_values();
            Some((mutation, violations.find(|way| way.why.contains("no step that must come"))?))
        });
        let (mutation, way) = found.expect("a mutant that hangs");
        assert_eq!(way.replay(Some(&mutation)).violation.as_ref(), Some(&way.why));
        assert_eq!(way.replay(None).violation, None);
    }
}
