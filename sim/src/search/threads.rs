//! Work that is shared among threads. What comes of it does not depend on how many there are.
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// So many seeds are taken at a time.
const BATCH: u64 = 32;

/// As many as there are processors.
pub fn usual_jobs() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` for each of `numbers`, in order, on so many threads; each keeps what it finds in a part of its own. Where
/// `work` breaks off, what lies below is still done, and nothing above needs to be. `progress` is told how many are done.
pub(crate) fn share<P: Default + Send>(
    numbers: Range<u64>,
    jobs: usize,
    work: impl Fn(&mut P, u64) -> ControlFlow<()> + Sync,
    progress: impl Fn(u64) + Sync,
) -> Vec<P> {
    share_by(BATCH, numbers, jobs, work, progress)
}

/// Returns what `work` makes of each of `items`, in their order; each takes long. `done` is told of each when
/// it is.
pub fn map<'a, T: Sync, R: Send>(
    items: &'a [T],
    jobs: usize,
    work: impl Fn(&'a T) -> R + Sync,
    done: impl Fn(&R) + Sync,
) -> Vec<R> {
    let one = |part: &mut Vec<(u64, R)>, place: u64| {
        let result = work(&items[place as usize]);
        done(&result);
        part.push((place, result));
        ControlFlow::Continue(())
    };
    let mut results: Vec<_> =
        share_by(1, 0..items.len() as u64, jobs, one, |_| {}).into_iter().flatten().collect();
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

fn share_by<P: Default + Send>(
    batch: u64,
    numbers: Range<u64>,
    jobs: usize,
    work: impl Fn(&mut P, u64) -> ControlFlow<()> + Sync,
    progress: impl Fn(u64) + Sync,
) -> Vec<P> {
    let (next, end) = (AtomicU64::new(numbers.start), AtomicU64::new(numbers.end));
    let work = || {
        let mut part = P::default();
        loop {
            // Near the largest number there is, a sum that wraps around would begin anew for ever.
            let further = |from: u64| Some(from.saturating_add(batch));
            let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, further);
            let from = taken.unwrap_or(u64::MAX);
            let to = from.saturating_add(batch).min(end.load(Ordering::Relaxed));
            if from >= to {
                return part;
            }
            if let Some(last) = (from..to).find(|number| work(&mut part, *number).is_break()) {
                end.fetch_min(last, Ordering::Relaxed);
            }
            progress(to - from);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, P>| thread.join();
        // What a daemon's code panics with outside its hooks goes on to the caller.
        let joined = threads.into_iter().map(join);
        joined.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_largest_numbers_come_to_an_end_as_all_others_do() {
        let seen = Mutex::new(Vec::new());
        let work = |_: &mut (), number: u64| {
            seen.lock().map_or(ControlFlow::Break(()), |mut seen| {
                seen.push(number);
                // Begun anew, it would find no end.
                if seen.len() > 1000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        };
        share(u64::MAX - 40..u64::MAX, 2, work, |_| {});
        let mut seen = seen.into_inner().unwrap_or_default();
        seen.sort_unstable();
        assert_eq!(seen, (u64::MAX - 40..u64::MAX).collect::<Vec<_>>());
    }
}
