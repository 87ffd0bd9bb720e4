//! Points in time, as people and programs read them: RFC 3339, in UTC, to the second.
use std::time::{Duration, SystemTime};

/// `time` as it is shown.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// Now, as it is shown.
pub(crate) fn now() -> String {
    rfc3339(SystemTime::now())
}

/// `since` ago.
pub(crate) fn ago(since: Duration) -> SystemTime {
    SystemTime::now().checked_sub(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The time since `shown`, in seconds; 0 if that is in the future, `None` if it is no point in time.
pub(crate) fn secs_since(shown: &str) -> Option<f64> {
    let then = humantime::parse_rfc3339(shown).ok()?;
    Some(SystemTime::now().duration_since(then).unwrap_or_default().as_secs_f64())
}

/// The seconds from the Unix epoch to `shown`; `None` if that is no point in time.
pub(crate) fn unix_secs(shown: &str) -> Option<u64> {
    let then = humantime::parse_rfc3339(shown).ok()?;
    then.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_shown_in_utc_and_read_again() {
        let shown = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(1_773_500_966));
        assert_eq!(shown, "2026-03-14T15:09:26Z");
        assert!(
            secs_since(&rfc3339(ago(Duration::from_secs(90))))
                .is_some_and(|secs| (89.0..120.0).contains(&secs))
        );
        assert_eq!((unix_secs(&shown), unix_secs("")), (Some(1_773_500_966), None));
        assert_eq!(secs_since("yesterday"), None);
        assert_eq!(secs_since("2926-03-14T15:09:26Z"), Some(0.0), "a clock that was set back");
    }
}
