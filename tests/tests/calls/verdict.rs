//! The check that all is well after a call has failed: as a client, the kernel and the files say, and the
//! reports beside them.
use std::time::Duration;

use handoff_tests::{ok_within, processes};

use crate::story::{AskedSwap, COMMAND, CallRole, CallsScene, Story, Told};

/// The longest time until one process serves: longer than the times of the configuration, one after the
/// other.
const BOUND: Duration = Duration::from_secs(60);

/// Returns what is wrong; `notes` are what the cell says besides.
pub(crate) fn wrong_with(
    scene: &CallsScene,
    role: CallRole,
    story: Story,
    told: &Told,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    match &told.answer {
        Some((0 | 1, _)) => {}
        Some((code, printed)) => notes.push(format!("exit {code}: {}", printed.trim())),
        None if story != Story::TakeOver => wrong.push("the command did not answer".into()),
        None => {}
    }
    if let Some(ended) = scene.reference.try_wait() {
        // The calls of a start end a supervisor that can't start; it is started again, as a service manager would.
        let is_refused_start = story == Story::TakeOver
            && role == CallRole::Supervisor
            && ended.code().is_some_and(|code| code != 101);
        if is_refused_start { notes } else { &mut wrong }.push(format!("the supervisor ended: {ended}"));
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
    wrong
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

/// Names a report that is not true. The report that the serving process is not known is always true.
fn untrue(scene: &CallsScene, told: &Told, serving: u32) -> Option<String> {
    let is_old = serving == scene.incumbent;
    let Some((code, printed)) = &told.answer else {
        let why = || format!("{serving} serves, and {} was to be taken over", scene.incumbent);
        return (!is_old).then(why);
    };
    let is_true = match code {
        0 => !is_old && printed.contains(&format!("\"pid\":{serving},")),
        // Not known, or the answer was lost.
        3 | 65 => true,
        69 if printed.contains("supervisor") => true,
        1 | 66 | 69 | 71 | 73 | 75 | 76 | 77 | 78 => is_old,
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
