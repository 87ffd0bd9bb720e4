//! The state that there is to tell a service manager, and what of it is news.
use sd_notify::NotifyState;

/// The phase of the supervisor's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServicePhase {
    /// No daemon serves yet, or any more.
    Down,
    /// A daemon serves.
    Serving,
    /// A daemon serves, and is being replaced.
    Swapping,
    /// The daemon is told to stop.
    Stopping,
}

/// The state that there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceState {
    pub(crate) phase: ServicePhase,
    /// `true` if something is under way that this supervisor ends in time, and that the manager is to wait
    /// for.
    pub(crate) takes_time: bool,
    /// The task that is under way, or its result, for people.
    pub(crate) status: String,
}

impl ServiceState {
    /// Returns what is to be told after `told`, as lines of one message.
    pub(crate) fn news(&self, told: Option<&ServiceState>) -> Vec<String> {
        let mut states = Vec::new();
        let phase = told.map(|told| told.phase);
        if phase != Some(self.phase) {
            match self.phase {
                ServicePhase::Down => {}
                ServicePhase::Serving => states.push(NotifyState::Ready),
                ServicePhase::Swapping => {
                    states.push(NotifyState::Reloading);
                    states.extend(NotifyState::monotonic_usec_now().ok());
                }
                ServicePhase::Stopping => states.push(NotifyState::Stopping),
            }
        }
        let status = one_line(&self.status);
        if told.is_none_or(|told| told.status != self.status) {
            states.push(NotifyState::Status(&status));
        }
        states.iter().map(ToString::to_string).collect()
    }

    /// The same while a reload that was asked for has not begun.
    pub(crate) fn reloading(&self) -> ServiceState {
        match self.phase {
            ServicePhase::Serving => ServiceState { phase: ServicePhase::Swapping, ..self.clone() },
            _ => self.clone(),
        }
    }
}

/// A line of its own would be another message to the manager.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: ServicePhase, status: &str) -> ServiceState {
        ServiceState { phase, takes_time: false, status: status.into() }
    }

    #[test]
    fn ready_is_said_only_when_a_daemon_serves_and_once() {
        let down = state(ServicePhase::Down, "starting");
        assert_eq!(down.news(None), ["STATUS=starting"]);
        let serves = state(ServicePhase::Serving, "pid 7 serves");
        assert_eq!(serves.news(Some(&down)), ["READY=1", "STATUS=pid 7 serves"]);
        assert!(serves.news(Some(&serves)).is_empty());
        assert_eq!(state(ServicePhase::Down, "died").news(Some(&serves)), ["STATUS=died"]);
    }

    #[test]
    fn a_swap_is_a_reload_and_ends_with_ready() {
        let serves = state(ServicePhase::Serving, "serves");
        let swaps = state(ServicePhase::Swapping, "swapping");
        let news = swaps.news(Some(&serves));
        assert_eq!(news[0], "RELOADING=1");
        assert!(news[1].starts_with("MONOTONIC_USEC="), "{news:?}");
        assert_eq!(news[2..], ["STATUS=swapping"]);
        assert_eq!(serves.news(Some(&swaps)), ["READY=1", "STATUS=serves"]);
        assert_eq!(
            serves.news(Some(&serves.reloading())),
            ["READY=1"],
            "a reload that came to nothing is over"
        );
    }

    #[test]
    fn a_text_of_several_lines_is_one_message() {
        let odd = state(ServicePhase::Serving, "serves\nMAINPID=1");
        assert_eq!(odd.news(None), ["READY=1", "STATUS=serves MAINPID=1"]);
    }
}
