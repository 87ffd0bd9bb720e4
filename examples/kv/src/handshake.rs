//! The facts that a client tells of itself when it connects (`HELLO`, `AUTH`, `CLIENT`), and the version in
//! which it is answered.
//!
//! There are no passwords: as in Redis without a configuration, the user `default` gets in with any, and no other user.
use crate::client_state::ClientState;
use crate::command::RequestPlan;
use crate::resp::{Reply, RespVersion, parse_integer};

/// The longest name of a client or a library, in bytes: a name is kept as long as its connection.
const MAX_NAME_BYTES: usize = 256;

/// The facts that a client tells of itself, or asks about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Introduction {
    /// `HELLO`.
    Hello { version: Option<RespVersion>, name: Option<Vec<u8>> },
    /// `CLIENT SETNAME`.
    Name(Vec<u8>),
    /// `CLIENT GETNAME`.
    WhatName,
    /// `CLIENT ID`.
    WhatId,
}

impl ClientState {
    /// Notes what the client says, and answers what it asks. `new_id` numbers a client that was not told its number yet.
    pub(crate) fn meet(&mut self, introduction: Introduction, new_id: impl FnOnce() -> u64) -> Reply {
        match introduction {
            Introduction::Hello { version, name } => {
                self.version = version.unwrap_or(self.version);
                self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
                self.hello(new_id)
            }
            Introduction::Name(name) => {
                self.name = name;
                Reply::ok()
            }
            Introduction::WhatName if self.name.is_empty() => Reply::Nil,
            Introduction::WhatName => Reply::Bulk(self.name.clone()),
            Introduction::WhatId => self.id(new_id),
        }
    }

    fn id(&mut self, new_id: impl FnOnce() -> u64) -> Reply {
        let id = *self.id.get_or_insert_with(new_id);
        Reply::Integer(i64::try_from(id).unwrap_or(i64::MAX))
    }

    fn hello(&mut self, new_id: impl FnOnce() -> u64) -> Reply {
        let proto = match self.version {
            RespVersion::Two => 2,
            RespVersion::Three => 3,
        };
        let entries = [
            ("server", Reply::bulk("handoff-kv")),
            ("version", Reply::bulk(env!("CARGO_PKG_VERSION"))),
            ("proto", Reply::Integer(proto)),
            ("id", self.id(new_id)),
            ("mode", Reply::bulk("standalone")),
            ("role", Reply::bulk("master")),
            ("modules", Reply::Array(Vec::new())),
        ];
        Reply::Map(entries.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
    }
}

/// Plans `HELLO [protover [AUTH user password] [SETNAME name]]`. An error changes nothing.
pub(crate) fn hello(args: &[&[u8]]) -> RequestPlan {
    planned(parse_hello(args))
}

fn parse_hello(args: &[&[u8]]) -> Result<Introduction, Reply> {
    let Some((version, mut options)) = args.split_first() else {
        return Ok(Introduction::Hello { version: None, name: None });
    };
    let version = match parse_integer(version) {
        None => return Err(Reply::error("Protocol version is not an integer or out of range")),
        Some(2) => RespVersion::Two,
        Some(3) => RespVersion::Three,
        Some(_) => return Err(Reply::error_of("NOPROTO", "unsupported protocol version")),
    };
    let mut name = None;
    while let [option, rest @ ..] = options {
        options = match rest {
            [user, _, rest @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                let_in(user)?;
                rest
            }
            [called, rest @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                name = Some(plain("Client names", called)?);
                rest
            }
            _ => {
                let option = String::from_utf8_lossy(&option[..option.len().min(MAX_NAME_BYTES)]);
                return Err(Reply::error(format_args!("Syntax error in HELLO option '{option}'")));
            }
        };
    }
    Ok(Introduction::Hello { version: Some(version), name })
}

/// Plans `AUTH [user] password`.
pub(crate) fn auth(args: &[&[u8]]) -> RequestPlan {
    RequestPlan::Answer(match args {
        [user, _] => let_in(user).map_or_else(|refused| refused, |()| Reply::ok()),
        [_] => Reply::error(
            "AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ),
        _ => Reply::error("syntax error"),
    })
}

fn let_in(user: &[u8]) -> Result<(), Reply> {
    if user == b"default" {
        return Ok(());
    }
    Err(Reply::error_of("WRONGPASS", "invalid username-password pair or user is disabled."))
}

/// Plans `CLIENT`, as far as clients use it when they connect.
pub(crate) fn client(args: &[&[u8]]) -> RequestPlan {
    let Some((sub, rest)) = args.split_first() else {
        return RequestPlan::Answer(Reply::error("no subcommand"));
    };
    let sub = String::from_utf8_lossy(&sub[..sub.len().min(MAX_NAME_BYTES)]).to_ascii_lowercase();
    planned(match (sub.as_str(), rest) {
        ("id", []) => Ok(Introduction::WhatId),
        ("getname", []) => Ok(Introduction::WhatName),
        ("setname", [name]) => plain("Client names", name).map(Introduction::Name),
        ("setinfo", [option, value]) => return RequestPlan::Answer(set_info(option, value)),
        ("id" | "getname" | "setname" | "setinfo", _) => {
            Err(Reply::error(format_args!("wrong number of arguments for 'client|{sub}' command")))
        }
        _ => Err(Reply::error(format_args!("unknown subcommand '{sub}'"))),
    })
}

/// Returns what library a client is. It is not asked for here, so it is not kept.
fn set_info(option: &[u8], value: &[u8]) -> Reply {
    let Some(known) =
        ["lib-name", "lib-ver"].into_iter().find(|known| option.eq_ignore_ascii_case(known.as_bytes()))
    else {
        return Reply::error("Unrecognized option of CLIENT SETINFO");
    };
    plain(known, value).map_or_else(|wrong| wrong, |_| Reply::ok())
}

/// `name` if it can be shown in a list of clients.
fn plain(what: &str, name: &[u8]) -> Result<Vec<u8>, Reply> {
    if name.len() > MAX_NAME_BYTES {
        return Err(Reply::error(format_args!("{what} have at most {MAX_NAME_BYTES} bytes")));
    }
    if !name.iter().all(u8::is_ascii_graphic) {
        return Err(Reply::error(format_args!(
            "{what} cannot contain spaces, newlines or special characters."
        )));
    }
    Ok(name.to_vec())
}

fn planned(introduction: Result<Introduction, Reply>) -> RequestPlan {
    introduction.map_or_else(RequestPlan::Answer, RequestPlan::Introduce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(peer: &mut ClientState, request: &str) -> Reply {
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        match crate::command::plan(&args) {
            RequestPlan::Introduce(introduction) => peer.meet(introduction, || 7),
            RequestPlan::Answer(reply) => reply,
            other => panic!("{request}: {other:?}"),
        }
    }

    fn error(peer: &mut ClientState, request: &str) -> String {
        match answer(peer, request) {
            Reply::Error(text) => text,
            other => panic!("{request}: {other:?}"),
        }
    }

    #[test]
    fn hello_says_who_is_there_in_the_version_asked_for() {
        let mut peer = ClientState::default();
        for (request, version, proto) in [
            ("HELLO", RespVersion::Two, 2),
            ("HELLO 3", RespVersion::Three, 3),
            ("HELLO", RespVersion::Three, 3),
            ("HELLO 2 AUTH default any SETNAME me", RespVersion::Two, 2),
            ("hello 3 setname you auth default any", RespVersion::Three, 3),
        ] {
            let Reply::Map(entries) = answer(&mut peer, request) else { panic!("{request}: not a map") };
            assert_eq!(peer.version, version, "{request}");
            for (name, value) in [("proto", proto), ("id", 7)] {
                assert!(
                    entries.contains(&(Reply::bulk(name), Reply::Integer(value))),
                    "{request}: {entries:?}"
                );
            }
        }
        assert_eq!(answer(&mut peer, "CLIENT GETNAME"), Reply::bulk("you"));
    }

    #[test]
    fn a_hello_that_fails_changes_nothing() {
        let mut peer = ClientState::default();
        for (request, wrong) in [
            ("HELLO 4", "NOPROTO unsupported protocol version"),
            ("HELLO 1", "NOPROTO unsupported protocol version"),
            ("HELLO x", "ERR Protocol version is not an integer or out of range"),
            ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
            ("HELLO 3 SETNAME me AUTH default", "ERR Syntax error in HELLO option 'AUTH'"),
            ("HELLO 3 NONE", "ERR Syntax error in HELLO option 'NONE'"),
            (
                "HELLO 3 SETNAME me AUTH root any",
                "WRONGPASS invalid username-password pair or user is disabled.",
            ),
        ] {
            assert_eq!(error(&mut peer, request), wrong, "{request}");
        }
        assert_eq!((peer.version, answer(&mut peer, "CLIENT GETNAME")), (RespVersion::Two, Reply::Nil));
    }

    #[test]
    fn a_client_may_name_itself_and_its_library() {
        let mut peer = ClientState::default();
        assert_eq!(answer(&mut peer, "CLIENT SETNAME me"), Reply::ok());
        assert_eq!(answer(&mut peer, "CLIENT GETNAME"), Reply::bulk("me"));
        assert_eq!(answer(&mut peer, "CLIENT ID"), Reply::Integer(7));
        assert_eq!(answer(&mut peer, "CLIENT SETINFO LIB-NAME redis-py"), Reply::ok());
        assert_eq!(answer(&mut peer, "CLIENT SETINFO lib-ver 8.0"), Reply::ok());
        assert!(error(&mut peer, "CLIENT SETINFO colour red").contains("Unrecognized option"));
        assert!(error(&mut peer, "CLIENT SETNAME a\nb").contains("cannot contain"));
        assert!(error(&mut peer, &format!("CLIENT SETNAME {}", "a".repeat(257))).contains("at most 256"));
        assert!(error(&mut peer, "CLIENT SETNAME").contains("wrong number of arguments"));
        assert!(error(&mut peer, "CLIENT NONE").contains("unknown subcommand 'none'"));
        assert!(error(&mut peer, "AUTH secret").contains("without any password configured"));
        assert_eq!(answer(&mut peer, "AUTH default secret"), Reply::ok());
    }
}
