//! Tries again what may have failed for a reason that passes, where to give up would cost the service.
use std::fmt::Display;
use std::io;
use std::thread;
use std::time::Duration;

/// The first pause; each is twice as long as the one before it.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// Makes `call` until it succeeds, with pauses of less than `bound` in all. The last error is the caller's.
pub(crate) fn again<T, E: Display>(
    bound: Duration,
    what: &str,
    mut call: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut pause = FIRST_PAUSE;
    // The sum of the pauses so far is less than the next one.
    while 2 * pause <= bound {
        match call() {
            Err(error) => tracing::warn!(target: "handoff", %error, "{what}: trying again in {pause:?}"),
            done => return done,
        }
        thread::sleep(pause);
        pause *= 2;
    }
    call()
}

/// Makes `call` until no signal interrupts it.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries_until(success: u32) -> (u32, Result<(), &'static str>) {
        let mut tries = 0;
        let result = again(Duration::from_millis(8), "a test", || {
            tries += 1;
            if tries < success { Err("not yet") } else { Ok(()) }
        });
        (tries, result)
    }

    #[test]
    fn what_passes_is_waited_out_and_what_stays_is_told() {
        assert_eq!(tries_until(1), (1, Ok(())));
        assert_eq!(tries_until(3), (3, Ok(())));
        assert_eq!(tries_until(99), (4, Err("not yet")), "after 1, 2 and 4 milliseconds");
    }

    #[test]
    fn what_is_interrupted_is_made_again_and_what_fails_is_told() {
        let mut results =
            [Err(io::ErrorKind::Interrupted.into()), Ok(1), Err(io::ErrorKind::NotFound.into())].into_iter();
        let mut call = || uninterrupted(|| results.next().unwrap());
        assert_eq!(call().unwrap(), 1);
        assert_eq!(call().map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
    }
}
