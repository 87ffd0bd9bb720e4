//! The check that all is well after a call has failed: as a client, the kernel and the files say, and the
//! reports beside them.
use std::time::Duration;

use handoff_tests::{ok_within, processes};

use crate::story::{AskedSwap, COMMAND, CallRole, CallsScene, Story, Told};

/// The longest time until one process serves: longer than the times of the configuration, one after the
/// other.
const BOUND: Duration = Duration::from_secs(60);

/// The exit status of a command that does not know which daemon serves, or that had no answer.
const UNCONFIRMED: i32 = 3;

/// The finding of one cell.
#[derive(Debug, Default)]
pub(crate) struct CellVerdict {
    pub(crate) wrong: Vec<String>,
    /// The finding that is well only in a cell that a list names.
    pub(crate) doubt: Option<Doubt>,
    /// The remarks of the cell besides.
    pub(crate) notes: Vec<String>,
}

/// A finding that is well in some cells, and would hide a fault in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The command does not know, or could not learn, which daemon serves.
    Unknown,
    /// A supervisor has ended at its start.
    RefusedStart,
}

impl Doubt {
    pub(crate) const ALL: [Doubt; 2] = [Doubt::Unknown, Doubt::RefusedStart];

    /// The list that names the cells.
    pub(crate) fn list(self) -> &'static str {
        match self {
            Doubt::Unknown => "unknown.txt",
            Doubt::RefusedStart => "refused-starts.txt",
        }
    }
}

pub(crate) fn of(scene: &CallsScene, role: CallRole, story: Story, told: &Told) -> CellVerdict {
    let mut verdict = CellVerdict::default();
    let CellVerdict { wrong, doubt, notes } = &mut verdict;
    match &told.answer {
        Some((0 | 1, _)) => {}
        Some((code, printed)) => {
            notes.push(format!("exit {code}: {}", printed.trim()));
            *doubt = (*code == UNCONFIRMED).then_some(Doubt::Unknown);
        }
        None if story != Story::TakeOver => wrong.push("the command did not answer".into()),
        None => {}
    }
    if let Some(ended) = scene.reference.try_wait() {
        // The calls of a start end a supervisor that can't start; it is started again, as a service manager would.
        let is_refused_start = story == Story::TakeOver
            && role == CallRole::Supervisor
            && ended.code().is_some_and(|code| code != 101);
        *doubt = is_refused_start.then_some(Doubt::RefusedStart);
        if is_refused_start { notes } else { &mut *wrong }.push(format!("the supervisor ended: {ended}"));
        scene.reference.launch();
    }
    match serves(scene) {
        Err(why) => wrong.push(why),
        Ok(serving) => {
            wrong.extend(untrue(scene, told, serving));
            wrong.extend(next_swap(scene));
        }
    }
    wrong.extend(scene.writer.history().failures.first().map(|failure| format!("a client saw: {failure}")));
    verdict
}

/// The process that serves, once one alone does, and no request of a client that it has not executed is lost.
fn serves(scene: &CallsScene) -> Result<u32, String> {
    let supervisor = scene.reference.pid().unwrap();
    let serving =
        ok_within(BOUND, || scene.world.who_serves(&[supervisor])).map_err(|why| why.to_string())?;
    let is_watching = || scene.reference.is_watching().then_some(()).ok_or("the supervisor does not watch");
    ok_within(BOUND, is_watching)?;
    let before = scene.writer.count();
    let is_written = || {
        let history = scene.writer.history();
        history.acknowledged.len() > before && history.last_pid == Some(serving)
    };
    ok_within(BOUND, || is_written().then_some(()).ok_or(format!("{serving} acknowledges nothing")))?;
    match scene.world.lost(&scene.writer)[..] {
        [] => Ok(serving),
        ref lost => Err(lost.join(", ")),
    }
}

/// Names a report that is not true.
fn untrue(scene: &CallsScene, told: &Told, serving: u32) -> Option<String> {
    let is_old = serving == scene.incumbent;
    let Some((code, printed)) = &told.answer else {
        let why = || format!("{serving} serves, and {} was to be taken over", scene.incumbent);
        return (!is_old).then(why);
    };
    let is_true = match code {
        0 => !is_old && printed.contains(&format!("\"pid\":{serving},")),
        // True of any daemon: a list has the cells in which it may be said.
        &UNCONFIRMED => true,
        1 | 65 | 66 | 69 | 71 | 73 | 75 | 76 | 77 | 78 => is_old,
        4 => !processes::lives(scene.incumbent),
        _ => false,
    };
    (!is_true)
        .then(|| format!("exit {code} is not so, {serving} serves, which was {}: {printed}", scene.incumbent))
}

/// Returns what is wrong with the swap that comes next.
fn next_swap(scene: &CallsScene) -> Vec<String> {
    scene.reference.configure_build(&scene.world.build());
    match AskedSwap::swap(&scene.reference).answer(COMMAND) {
        Some((0, _)) => serves(scene).err().into_iter().collect(),
        other => vec![format!("the next swap did not commit: {other:?}")],
    }
}
