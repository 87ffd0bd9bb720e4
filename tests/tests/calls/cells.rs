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
use crate::verdict::{self, CellVerdict, Doubt};

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
    pub(crate) verdict: CellVerdict,
}

impl CellResult {
    /// The faults of the cell that are in no list.
    fn unexcused(&self, lists: &CellLists) -> Vec<String> {
        let CellVerdict { wrong, doubt, .. } = &self.verdict;
        let is_excused = lists.excused.contains_key(&self.cell.kind());
        let mut unexcused = if is_excused { Vec::new() } else { wrong.clone() };
        let unlisted = doubt.filter(|doubt| lists.name_of(*doubt, &self.cell).is_none());
        unexcused.extend(unlisted.map(|doubt| format!("{doubt:?}, and {} does not have it", doubt.list())));
        unexcused
    }

    /// Returns whether the call came, and was made to fail.
    pub(crate) fn came(&self) -> bool {
        self.injected > 0 && !self.is_impossible
    }
}

impl fmt::Display for CellResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.injected, &self.verdict.wrong[..]) {
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
            self.verdict.notes.join(", ")
        )?;
        self.verdict.doubt.iter().try_for_each(|doubt| write!(f, " [{doubt:?}]"))?;
        self.verdict.wrong.iter().try_for_each(|wrong| write!(f, "\n    {wrong}"))
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
            let verdict = CellVerdict { wrong: vec![why], ..CellVerdict::default() };
            CellResult { cell: cell.clone(), injected: 0, is_impossible: false, verdict }
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
    let is_possible = |line: &String| errors::possible(call, line).contains(error);
    let is_impossible = !told.trace.injected.iter().all(is_possible);
    let mut verdict =
        if is_impossible { CellVerdict::default() } else { verdict::of(&scene, *role, *story, &told) };
    verdict.notes.extend(told.trace.injected.iter().map(|line| line.chars().take(LINE).collect()));
    if !verdict.wrong.is_empty() {
        verdict.notes.push(keep(cell, &scene));
    }
    CellResult { cell: cell.clone(), injected, is_impossible, verdict }
}

/// Keeps what the processes of a cell have logged. Says where.
fn keep(cell: &CallCell, scene: &CallsScene) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("calls");
    let path = folder.join(cell.to_string().replace('/', "-")).with_extension("txt");
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, scene.world.output()));
    written.map_or_else(|error| error.to_string(), |()| path.display().to_string())
}

/// The lists of cells that are judged otherwise, with the reasons.
pub(crate) struct CellLists {
    excused: BTreeMap<String, String>,
    doubts: [BTreeMap<String, String>; Doubt::ALL.len()],
}

impl CellLists {
    pub(crate) fn read() -> CellLists {
        let doubts = Doubt::ALL.map(|doubt| errors::listed(doubt.list()));
        CellLists { excused: errors::listed("excused.txt"), doubts }
    }

    /// The name of `cell` in the list of `doubt`, if it is there: with the error, or without it, which says that of every error but EINTR.
    fn name_of(&self, doubt: Doubt, cell: &CallCell) -> Option<String> {
        let kind = cell.kind();
        let (call, error) = kind.rsplit_once('/')?;
        let names = [Some(kind.as_str()), (error != "EINTR").then_some(call)];
        let list = &self.doubts[doubt as usize];
        names.into_iter().flatten().find(|name| list.contains_key(*name)).map(String::from)
    }

    /// The faults that are in no list.
    pub(crate) fn unexcused(&self, results: &[CellResult]) -> Vec<String> {
        let said = |result: &CellResult| {
            let wrong = result.unexcused(self);
            (!wrong.is_empty()).then(|| format!("{result}\n    {}", wrong.join("\n    ")))
        };
        results.iter().filter_map(said).collect()
    }

    /// The entries of the lists that did not come about.
    pub(crate) fn needless(&self, results: &[CellResult]) -> Vec<String> {
        let wrong = results.iter().filter(|result| !result.verdict.wrong.is_empty());
        let mut used: BTreeSet<String> = wrong.map(|result| result.cell.kind()).collect();
        let doubted = |result: &CellResult| self.name_of(result.verdict.doubt?, &result.cell);
        used.extend(results.iter().filter_map(doubted));
        let listed = self.excused.keys().chain(self.doubts.iter().flat_map(BTreeMap::keys));
        let needless = listed.filter(|name| !used.contains(*name));
        needless.map(|name| format!("{name} is listed, and nothing of that kind came about")).collect()
    }
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
