//! The figures, as text.
use std::time::Duration;

use handoff::{Phase, Phases};

use super::arm::Sample;

/// An arm's samples.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) samples: Vec<Sample>,
}

impl Series {
    fn quantile_ms(&self, quantile: f64, of: impl Fn(&Sample) -> Duration) -> f64 {
        let mut sorted: Vec<_> = self.samples.iter().map(of).collect();
        sorted.sort_unstable();
        // Nearest rank: a value that was measured.
        let rank = (quantile * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    fn complete_ms(&self) -> f64 {
        self.quantile_ms(0.5, |sample| sample.complete)
    }
}

/// Prints all tables.
pub(crate) fn print(series: &[Series]) {
    println!("\n{:14}{:>22}{:>22}", "", "returned, ms", "complete, ms");
    println!("{:14}{:>11}{:>11}{:>11}{:>11}", "", "median", "p99", "median", "p99");
    for arm in series {
        let [returned, returned_p99] = [0.5, 0.99].map(|q| arm.quantile_ms(q, |sample| sample.returned));
        let [complete, complete_p99] = [0.5, 0.99].map(|q| arm.quantile_ms(q, |sample| sample.complete));
        let name = &arm.name;
        println!("{name:14}{returned:>11.2}{returned_p99:>11.2}{complete:>11.2}{complete_p99:>11.2}");
    }
    print_ratios(series);
    print_phases(series);
}

/// Of the medians until complete.
fn print_ratios(series: &[Series]) {
    println!("\nratios (complete, medians)");
    for ours in series.iter().filter(|arm| arm.name.starts_with("ours")) {
        for other in series.iter().filter(|arm| !arm.name.starts_with("ours")) {
            let ratio = ours.complete_ms() / other.complete_ms();
            println!("  {:13}/ {:13}{ratio:>6.2}", ours.name, other.name);
        }
    }
}

/// Phase by phase, the medians.
fn print_phases(series: &[Series]) {
    // None of them was rolled back.
    let passed: Vec<Phase> = Phase::ALL.iter().copied().filter(|phase| *phase != Phase::RollBack).collect();
    println!("\nphases, ms (medians)");
    let names: String = passed.iter().map(|phase| format!("{phase:>9}")).collect();
    println!("{:14}{names}{:>9}", "", "total");
    for arm in series.iter().filter(|arm| arm.samples.iter().any(|sample| sample.phases.is_some())) {
        let median = |part: &dyn Fn(&Phases) -> Duration| {
            let of = |sample: &Sample| sample.phases.as_ref().map_or(Duration::ZERO, part);
            format!("{:>9.3}", arm.quantile_ms(0.5, of))
        };
        let took: String = passed.iter().map(|phase| median(&|phases| phases.took(*phase))).collect();
        println!("{:14}{took}{}", arm.name, median(&|phases| phases.total));
    }
}
