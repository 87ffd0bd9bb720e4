//! The setting of a process, besides its command: its user, its directory, its umask, its variables.
use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid};

use super::{SpawnRequest, c_string};
use crate::error::{Error, Result};
use crate::unix::context::Context;
use crate::unix::env::{
    FIRST_FD, HANDOFF_ROLE, HANDOFF_SOCK_FD, LISTEN_FDNAMES, LISTEN_FDS, NEVER_PASSED, RESERVED,
};

/// The setting of a process. By default as this one is; set what is to differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The user and the groups that it runs as; only root can change them.
    pub run_as: Option<RunAs>,
    /// The directory that it starts in, entered by this process before it changes the user: a user that may not enter it
    /// finds nothing by a relative path.
    pub working_dir: Option<PathBuf>,
    /// The permission bits that files which it creates lack (`umask(2)`).
    pub umask: Option<u32>,
    /// The variables of this process's environment that it gets; `None`: all of them. Those of
    /// [`NEVER_PASSED`](crate::unix::env::NEVER_PASSED) are never among them.
    pub pass_env: Option<Vec<OsString>>,
}

/// A user, a group, and the supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunAs {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
    /// The gids of the supplementary groups.
    pub groups: Vec<u32>,
    /// The variables that the user database gives for the user.
    account: Vec<(&'static str, OsString)>,
}

impl RunAs {
    /// Finds `user` (default: the effective one of this process) and `group` (default: the user's own), each a name or
    /// a number. The supplementary groups are those that the group database lists for the user, as `initgroups(3)`
    /// takes them.
    ///
    /// # Errors
    /// [`Error::Caller`] if there is no such user or group, or no group is known for a user that is in no database;
    /// [`Error::System`] if a database can't be read.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<RunAs> {
        let own = geteuid().to_string();
        let (uid, account) = find_user(user.unwrap_or(&own))?;
        let gid = match (group, &account) {
            (Some(group), _) => find_group(group)?,
            (None, Some(account)) => account.gid,
            (None, None) => {
                return Err(Error::Caller(format!(
                    "uid {uid} is in no user database: name its group as well"
                )));
            }
        };
        let groups = match &account {
            Some(account) => supplementary_groups(account, gid)?,
            None => vec![gid.as_raw()],
        };
        Ok(RunAs {
            uid: uid.as_raw(),
            gid: gid.as_raw(),
            groups,
            account: account.map(variables_of).unwrap_or_default(),
        })
    }

    /// Returns whether this process runs as that already. Its supplementary groups are left as they are then,
    /// because only root can change them.
    pub fn is_own(&self) -> bool {
        !geteuid().is_root() && geteuid().as_raw() == self.uid && getegid().as_raw() == self.gid
    }
}

impl Setting {
    /// The change of user that the new process has to make.
    pub(super) fn change(&self) -> Option<&RunAs> {
        self.run_as.as_ref().filter(|run_as| !run_as.is_own())
    }

    /// Returns whether a variable of this process is passed on.
    fn passes(&self, name: &OsStr) -> bool {
        let listed = self.pass_env.as_ref().is_none_or(|names| names.iter().any(|listed| listed == name));
        listed && !NEVER_PASSED.iter().any(|never| name == *never)
    }
}

fn find_user(user: &str) -> Result<(Uid, Option<User>)> {
    let found = match user.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)).map(|account| Some((Uid::from_raw(uid), account))),
        Err(_) => User::from_name(user).map(|account| account.map(|account| (account.uid, Some(account)))),
    };
    let found = found.context(|| format!("can't look up the user {user:?}"))?;
    found.ok_or_else(|| {
        Error::Caller(format!(
            "there is no user {user:?}: create it (useradd --system {user}), or name another"
        ))
    })
}

fn find_group(group: &str) -> Result<Gid> {
    if let Ok(gid) = group.parse() {
        return Ok(Gid::from_raw(gid));
    }
    let found = Group::from_name(group).context(|| format!("can't look up the group {group:?}"))?;
    found.map(|found| found.gid).ok_or_else(|| {
        Error::Caller(format!(
            "there is no group {group:?}: create it (groupadd --system {group}), or name another"
        ))
    })
}

#[cfg(not(target_vendor = "apple"))]
fn supplementary_groups(account: &User, gid: Gid) -> Result<Vec<u32>> {
    let name = c_string(OsStr::new(&account.name), "the name of a user")?;
    let groups = nix::unistd::getgrouplist(&name, gid);
    let groups = groups.context(|| format!("can't tell the groups of the user {:?}", account.name))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(target_vendor = "apple")]
fn supplementary_groups(_account: &User, gid: Gid) -> Result<Vec<u32>> {
    Ok(vec![gid.as_raw()])
}

/// Returns what a login would set; the values of the user before are wrong for this one.
fn variables_of(account: User) -> Vec<(&'static str, OsString)> {
    let name = OsString::from(account.name);
    vec![
        ("HOME", account.dir.into()),
        ("LOGNAME", name.clone()),
        ("SHELL", account.shell.into()),
        ("USER", name),
    ]
}

/// All of the environment but `LISTEN_PID`.
pub(super) fn environment(request: &SpawnRequest<'_>) -> Result<Vec<CString>> {
    let names: Vec<&str> = request.listeners.iter().map(|(name, _)| name.as_str()).collect();
    let count = names.len();
    let ours = [
        (LISTEN_FDS, count.to_string()),
        (LISTEN_FDNAMES, names.join(":")),
        (HANDOFF_ROLE, request.role.to_string()),
        (HANDOFF_SOCK_FD, (FIRST_FD as usize + count).to_string()),
    ];
    let setting = request.setting;
    let mut variables: BTreeMap<OsString, OsString> =
        env::vars_os().filter(|(name, _)| setting.passes(name)).collect();
    let account = setting.run_as.iter().flat_map(|run_as| run_as.account.iter().cloned());
    variables.extend(account.map(|(name, value)| (name.into(), value)));
    variables.extend(request.env.iter().cloned());
    variables.retain(|name, _| !RESERVED.iter().any(|reserved| name == reserved));
    variables.extend(ours.map(|(name, value)| (name.into(), value.into())));
    variables.iter().map(|(name, value)| variable(name, value)).collect()
}

fn variable(name: &OsStr, value: &OsStr) -> Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(Error::Caller(format!("{name:?} can't be the name of an environment variable")));
    }
    let mut entry = name.to_owned();
    entry.push("=");
    entry.push(value);
    c_string(&entry, "an environment variable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_found_by_name_and_by_number() {
        let root = RunAs::find(Some("root"), None).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0) && root.account.contains(&("USER", "root".into())));
        let number = RunAs::find(Some("65533"), Some("65532")).unwrap();
        assert_eq!((number.uid, number.gid, &number.groups[..]), (65_533, 65_532, &[65_532][..]));
        let own = RunAs::find(None, Some("7")).unwrap();
        assert_eq!((own.uid, own.gid), (geteuid().as_raw(), 7));
    }

    #[test]
    fn what_can_not_be_found_is_named_with_what_helps() {
        let complaint = |user, group| RunAs::find(user, group).unwrap_err().to_string();
        assert!(complaint(Some("no-such-user"), None).contains("useradd --system no-such-user"));
        assert!(complaint(Some("root"), Some("no-such-group")).contains("groupadd --system no-such-group"));
        assert!(complaint(Some("65533"), None).contains("name its group"));
    }

    #[test]
    fn what_systemd_gave_this_process_is_never_passed_on() {
        let all = Setting::default();
        assert!(all.passes(OsStr::new("PATH")) && !all.passes(OsStr::new("NOTIFY_SOCKET")));
        let some =
            Setting { pass_env: Some(vec!["PATH".into(), "NOTIFY_SOCKET".into()]), ..Setting::default() };
        assert!(some.passes(OsStr::new("PATH")) && !some.passes(OsStr::new("NOTIFY_SOCKET")));
        assert!(!some.passes(OsStr::new("HOME")));
    }
}
