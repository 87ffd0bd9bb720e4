//! The cells of the matrix: which there are, and what each came to.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;

use crate::errors;
use crate::story::{self, CallRole, CallsScene, Story};
use crate::tracer::{Injection, Trace};
use crate::verdict;

/// The number of worlds at once: each has five processes, some of which wait.
const AT_ONCE: usize = 10;

/// As much of what strace writes of a call is printed.
const LINE: usize = 100;

/// The calls that a role makes in a story.
pub(crate) struct Recorded {
    role: CallRole,
    story: Story,
    pub(crate) trace: Trace,
}

/// One call that fails once.
#[derive(Clone, Debug)]
pub(crate) struct CallCell {
    pub(crate) role: CallRole,
    pub(crate) story: Story,
    pub(crate) call: String,
    pub(crate) nth: u32,
    pub(crate) error: &'static str,
}

impl fmt::Display for CallCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}/{}", self.role, self.story, self.call, self.nth, self.error)
    }
}

/// The outcome of the cell.
pub(crate) struct CellResult {
    pub(crate) cell: CallCell,
    /// The number of calls that were made to fail: more than one if several threads make it.
    pub(crate) injected: usize,
    /// `true` if one of them can't fail so: it came where another call was expected. Nothing is judged then.
    pub(crate) is_impossible: bool,
    pub(crate) notes: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

impl CellResult {
    /// Returns whether the call came, and was made to fail.
    pub(crate) fn came(&self) -> bool {
        self.injected > 0 && !self.is_impossible
    }
}

impl fmt::Display for CellResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.injected, &self.wrong[..]) {
            _ if self.is_impossible => "can't be",
            (0, []) => "did not come",
            (_, []) => "well",
            _ => "WRONG",
        };
        write!(
            f,
            "{:<56} {:>2}x {verdict:<12} {}",
            self.cell.to_string(),
            self.injected,
            self.notes.join(", ")
        )?;
        self.wrong.iter().try_for_each(|wrong| write!(f, "\n    {wrong}"))
    }
}

/// Lets each story happen once for each role, with nothing that fails: once for all tests.
pub(crate) fn record_all() -> &'static [Recorded] {
    static RECORDED: OnceLock<Vec<Recorded>> = OnceLock::new();
    RECORDED.get_or_init(|| {
        at_once(&story::ALL, |(role, story)| {
            let trace = CallsScene::new().tell(*role, *story, None).trace;
            Recorded { role: *role, story: *story, trace }
        })
    })
}

/// All cells, by role, story, call, occurrence and error.
pub(crate) fn all_cells(records: &[Recorded]) -> Vec<CallCell> {
    let mut cells = Vec::new();
    for Recorded { role, story, trace } in records {
        for (call, occurrences) in &trace.calls {
            for (nth, lines) in (1..).zip(occurrences) {
                let errors: BTreeSet<_> =
                    lines.iter().flat_map(|line| errors::possible(call, line)).collect();
                let cell = |error| CallCell { role: *role, story: *story, call: call.clone(), nth, error };
                cells.extend(errors.into_iter().map(cell));
            }
        }
    }
    cells
}

/// Returns one cell for each call of each role: the same ones in each run, other stories, occurrences and
/// errors for other calls.
pub(crate) fn sample(all: &[CallCell]) -> Vec<CallCell> {
    let mut by_call = BTreeMap::<String, Vec<&CallCell>>::new();
    // How often a call comes after that differs from run to run.
    for cell in all.iter().filter(|cell| cell.nth <= 2) {
        by_call.entry(format!("{}/{}", cell.role, cell.call)).or_default().push(cell);
    }
    let number =
        |name: &str| name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
    by_call.iter().map(|(name, cells)| cells[number(name) % cells.len()].clone()).collect()
}

/// Returns what the environment asks for.
pub(crate) fn selected(all: &[CallCell]) -> Vec<CallCell> {
    let wanted = std::env::var("HANDOFF_CELLS").unwrap_or_default();
    let part = std::env::var("HANDOFF_PART").unwrap_or_else(|_| "1/1".into());
    let (part, of) = part.split_once('/').expect("HANDOFF_PART is K/N");
    let (part, of): (usize, usize) = (part.parse().unwrap(), of.parse().unwrap());
    let named = all.iter().filter(|cell| cell.to_string().contains(&wanted));
    named.enumerate().filter(|(at, _)| at % of + 1 == part).map(|(_, cell)| cell.clone()).collect()
}

/// Runs them, several at once, and prints each as it ends.
pub(crate) fn run_all(cells: &[CallCell]) -> Vec<CellResult> {
    at_once(cells, |cell| {
        let result = catch_unwind(AssertUnwindSafe(|| run(cell))).unwrap_or_else(|panic| {
            let why = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into());
            CellResult {
                cell: cell.clone(),
                injected: 0,
                is_impossible: false,
                notes: Vec::new(),
                wrong: vec![why],
            }
        });
        println!("{result}");
        result
    })
}

fn run(cell: &CallCell) -> CellResult {
    let CallCell { role, story, call, nth, error } = cell;
    let injection = Injection { call: call.clone(), error: (*error).into(), nth: *nth };
    let scene = CallsScene::new();
    let told = scene.tell(*role, *story, Some(&injection));
    let injected = told.trace.injected.len();
    let (mut notes, mut wrong) = (Vec::new(), Vec::new());
    let is_possible = |line: &String| errors::possible(call, line).contains(error);
    let is_impossible = !told.trace.injected.iter().all(is_possible);
    if !is_impossible {
        wrong = verdict::wrong_with(&scene, *role, *story, &told, &mut notes);
    }
    notes.extend(told.trace.injected.iter().map(|line| line.chars().take(LINE).collect()));
    if !wrong.is_empty() {
        notes.push(keep(cell, &scene));
    }
    CellResult { cell: cell.clone(), injected, is_impossible, notes, wrong }
}

/// Keeps what the processes of a cell have logged. Says where.
fn keep(cell: &CallCell, scene: &CallsScene) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calls");
    let path = folder.join(cell.to_string().replace('/', "-")).with_extension("txt");
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, scene.world.output()));
    written.map_or_else(|error| error.to_string(), |()| path.display().to_string())
}

/// Returns what went wrong and has no reason in the list.
pub(crate) fn unexcused(results: &[CellResult]) -> Vec<&CellResult> {
    let excused = errors::listed("excused.txt");
    let is_fault =
        |result: &&CellResult| !result.wrong.is_empty() && !excused.contains_key(&result.cell.kind());
    results.iter().filter(is_fault).collect()
}

/// Returns what is listed though nothing went wrong.
pub(crate) fn needlessly_excused(results: &[CellResult]) -> Vec<String> {
    let wrong: BTreeSet<String> =
        results.iter().filter(|result| !result.wrong.is_empty()).map(|result| result.cell.kind()).collect();
    let needless = errors::listed("excused.txt").into_keys().filter(|listed| !wrong.contains(listed));
    needless.map(|listed| format!("{listed} is listed in excused.txt, and nothing goes wrong")).collect()
}

/// Does `work` for all `items`, some at once; what each came to, in order.
fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, R>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    done.lock().unwrap().insert(at, result);
                }
            });
        }
    });
    done.into_inner().unwrap().into_values().collect()
}
