//! The commands: from arguments to what is to be done, and doing it on the database.
use crate::handshake::{self, Introduction};
use crate::resp::{Reply, parse_integer};
use crate::store::{self, Edit, KeysView, MAX_KEY_BYTES};

/// The plan of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestPlan {
    /// Known without the database.
    Answer(Reply),
    /// Say how the server is.
    Info,
    /// Note how to speak to the client, or what it calls itself.
    Introduce(Introduction),
    /// Look something up.
    Read(Lookup),
    /// Change something.
    Write(Write),
    /// Say that the server is there, with this text.
    Ping(Option<Vec<u8>>),
    /// Begin a transaction.
    Multi,
    /// Execute the transaction.
    Exec,
    /// Forget the transaction.
    Discard,
    /// Send what is published on these channels.
    Subscribe(Vec<Vec<u8>>),
    /// No longer; on none at all, if no channel is named.
    Unsubscribe(Vec<Vec<u8>>),
    /// Send a message to the subscribers of a channel.
    Publish(Vec<u8>, Vec<u8>),
    /// Answer, and close the connection.
    Quit(Reply),
}

/// The step that is done in one transaction, and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobStep {
    /// Look something up.
    Read(Lookup),
    /// Change something.
    Write(Write),
    /// Only answer.
    Answer(Reply),
}

/// A look at the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The value of a key.
    Get(Vec<u8>),
    /// The number of these keys that exist.
    Exists(Vec<Vec<u8>>),
    /// The number of keys.
    DbSize,
}

/// A change of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// Set a key to a value.
    Set(Vec<u8>, Vec<u8>),
    /// Delete keys.
    Del(Vec<Vec<u8>>),
    /// Add a number to a key's value.
    Add(Vec<u8>, i64),
}

/// Returns what `args` ask for. `args` are not empty.
pub(crate) fn plan(args: &[&[u8]]) -> RequestPlan {
    let Some((name, rest)) = args.split_first() else {
        return RequestPlan::Answer(Reply::error("empty command"));
    };
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    match (name.as_str(), rest) {
        ("get", [key]) => with_keys(&[key], || RequestPlan::Read(Lookup::Get(key.to_vec()))),
        ("set", [key, value]) => {
            with_keys(&[key], || RequestPlan::Write(Write::Set(key.to_vec(), value.to_vec())))
        }
        ("set", [_, _, ..]) => RequestPlan::Answer(Reply::error("syntax error")),
        ("incr", [key]) => add(key, Ok(1)),
        ("decr", [key]) => add(key, Ok(-1)),
        ("incrby", [key, by]) => add(key, parse_integer(by).ok_or(NOT_A_NUMBER)),
        ("decrby", [key, by]) => {
            let by = parse_integer(by).ok_or(NOT_A_NUMBER);
            add(key, by.and_then(|by| by.checked_neg().ok_or("decrement would overflow")))
        }
        ("del", [_, ..]) => with_keys(rest, || RequestPlan::Write(Write::Del(owned(rest)))),
        ("exists", [_, ..]) => with_keys(rest, || RequestPlan::Read(Lookup::Exists(owned(rest)))),
        ("dbsize", []) => RequestPlan::Read(Lookup::DbSize),
        ("ping", []) => RequestPlan::Ping(None),
        ("ping", [text]) => RequestPlan::Ping(Some(text.to_vec())),
        ("echo", [text]) => RequestPlan::Answer(Reply::Bulk(text.to_vec())),
        ("multi", []) => RequestPlan::Multi,
        ("exec", []) => RequestPlan::Exec,
        ("discard", []) => RequestPlan::Discard,
        ("watch", [_, ..]) => RequestPlan::Answer(Reply::error("WATCH is not supported")),
        ("unwatch", []) => RequestPlan::Answer(Reply::ok()),
        ("subscribe", [_, ..]) => with_channels(rest, || RequestPlan::Subscribe(owned(rest))),
        ("unsubscribe", _) => with_channels(rest, || RequestPlan::Unsubscribe(owned(rest))),
        ("publish", [channel, message]) => {
            with_channels(&[channel], || RequestPlan::Publish(channel.to_vec(), message.to_vec()))
        }
        ("info", _) => RequestPlan::Info,
        ("hello", _) => handshake::hello(rest),
        ("auth", [_, ..]) => handshake::auth(rest),
        ("client", [_, ..]) => handshake::client(rest),
        ("command", _) => RequestPlan::Answer(command(rest)),
        ("config", [sub, names @ ..]) if sub.eq_ignore_ascii_case(b"get") => {
            RequestPlan::Answer(config(names))
        }
        ("config", _) => RequestPlan::Answer(Reply::error("only CONFIG GET is supported")),
        ("select", [index]) => RequestPlan::Answer(select(index)),
        ("quit", _) => RequestPlan::Quit(Reply::ok()),
        (known, _) if KNOWN.contains(&known) => {
            RequestPlan::Answer(Reply::error(format_args!("wrong number of arguments for '{known}' command")))
        }
        (unknown, _) => {
            let shown: String = unknown.chars().take(128).collect();
            RequestPlan::Answer(Reply::error(format_args!("unknown command '{shown}'")))
        }
    }
}

const KNOWN: [&str; 27] = [
    "auth",
    "client",
    "command",
    "config",
    "dbsize",
    "decr",
    "decrby",
    "del",
    "discard",
    "echo",
    "exec",
    "exists",
    "get",
    "hello",
    "incr",
    "incrby",
    "info",
    "multi",
    "ping",
    "publish",
    "quit",
    "select",
    "set",
    "subscribe",
    "unsubscribe",
    "unwatch",
    "watch",
];

const NOT_A_NUMBER: &str = "value is not an integer or out of range";

fn add(key: &[u8], by: Result<i64, &str>) -> RequestPlan {
    with_keys(&[key], || match by {
        Ok(by) => RequestPlan::Write(Write::Add(key.to_vec(), by)),
        Err(wrong) => RequestPlan::Answer(Reply::error(wrong)),
    })
}

fn with_keys(keys: &[&[u8]], plan: impl FnOnce() -> RequestPlan) -> RequestPlan {
    with_names("a key", keys, plan)
}

fn with_channels(channels: &[&[u8]], plan: impl FnOnce() -> RequestPlan) -> RequestPlan {
    with_names("a channel", channels, plan)
}

fn with_names(what: &str, names: &[&[u8]], plan: impl FnOnce() -> RequestPlan) -> RequestPlan {
    if names.iter().all(|name| (1..=MAX_KEY_BYTES).contains(&name.len())) {
        plan()
    } else {
        RequestPlan::Answer(Reply::error(format_args!("{what} has 1 to {MAX_KEY_BYTES} bytes")))
    }
}

fn owned(keys: &[&[u8]]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| key.to_vec()).collect()
}

/// `COMMAND COUNT`, and no descriptions of the commands: clients that ask for them do without.
fn command(args: &[&[u8]]) -> Reply {
    match args {
        [sub] if sub.eq_ignore_ascii_case(b"count") => Reply::Integer(KNOWN.len() as i64),
        [sub, ..] if sub.eq_ignore_ascii_case(b"docs") => Reply::Map(Vec::new()),
        _ => Reply::Array(Vec::new()),
    }
}

/// The two parameters that benchmarks ask for, in terms of Redis: no snapshots, every write is logged and synced.
fn config(names: &[&[u8]]) -> Reply {
    let known = [("save", ""), ("appendonly", "yes"), ("appendfsync", "always")];
    let asked =
        known.iter().filter(|(name, _)| names.iter().any(|n| n.eq_ignore_ascii_case(name.as_bytes())));
    Reply::Map(asked.map(|(name, value)| (Reply::bulk(*name), Reply::bulk(*value))).collect())
}

fn select(index: &[u8]) -> Reply {
    match parse_integer(index) {
        Some(0) => Reply::ok(),
        Some(_) => Reply::error("DB index is out of range"),
        None => Reply::error("invalid DB index"),
    }
}

impl Lookup {
    /// Looks it up in a snapshot.
    pub(crate) fn run(&self, view: &KeysView<'_>) -> store::StoreResult<Reply> {
        Ok(match self {
            Lookup::Get(key) => view.get(key)?.map_or(Reply::Nil, |value| Reply::Bulk(value.to_vec())),
            Lookup::DbSize => Reply::Integer(view.len()? as i64),
            Lookup::Exists(keys) => {
                let mut found = 0;
                for key in keys {
                    found += i64::from(view.get(key)?.is_some());
                }
                Reply::Integer(found)
            }
        })
    }
}

impl JobStep {
    /// Does it within a transaction. An error is one of the transaction.
    pub(crate) fn run(&self, edit: &mut Edit<'_>) -> store::StoreResult<Reply> {
        match self {
            JobStep::Read(lookup) => lookup.run(&edit.view()),
            JobStep::Write(write) => write.run(edit),
            JobStep::Answer(reply) => Ok(reply.clone()),
        }
    }

    /// Roughly how many bytes it writes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            JobStep::Write(write) => write.bytes(),
            JobStep::Read(_) | JobStep::Answer(_) => 0,
        }
    }
}

impl Write {
    /// Applies it within a transaction. An error is one of the transaction; what is wrong with this write alone is
    /// said in the reply, and changes nothing.
    pub(crate) fn run(&self, edit: &mut Edit<'_>) -> store::StoreResult<Reply> {
        Ok(match self {
            Write::Set(key, value) => {
                edit.put(key, value)?;
                Reply::ok()
            }
            Write::Del(keys) => Reply::Integer(edit.delete(keys)? as i64),
            Write::Add(key, by) => match edit.get(key)?.map_or(Some(0), parse_integer) {
                None => Reply::error(NOT_A_NUMBER),
                Some(old) => match old.checked_add(*by) {
                    None => Reply::error("increment or decrement would overflow"),
                    Some(new) => {
                        edit.put(key, new.to_string().as_bytes())?;
                        Reply::Integer(new)
                    }
                },
            },
        })
    }

    /// Roughly how many bytes it writes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Write::Set(key, value) => key.len() + value.len(),
            Write::Del(keys) => keys.iter().map(Vec::len).sum(),
            Write::Add(key, _) => key.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(args: &[&[u8]]) -> String {
        match plan(args) {
            RequestPlan::Answer(Reply::Error(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_is_known_in_any_case() {
        assert_eq!(plan(&[b"gEt", b"k"]), RequestPlan::Read(Lookup::Get(b"k".to_vec())));
        assert_eq!(plan(&[b"SET", b"k", b"V"]), RequestPlan::Write(Write::Set(b"k".to_vec(), b"V".to_vec())));
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        assert_eq!(error_of(&[b"FLUSHALL"]), "ERR unknown command 'flushall'");
        assert_eq!(error_of(&[b"GET"]), "ERR wrong number of arguments for 'get' command");
        assert_eq!(error_of(&[b"SET", b"k", b"v", b"NX"]), "ERR syntax error");
        assert_eq!(error_of(&[b"SET", &[b'k'; MAX_KEY_BYTES + 1], b"v"]), "ERR a key has 1 to 511 bytes");
        assert_eq!(error_of(&[b"DEL", b"k", b""]), "ERR a key has 1 to 511 bytes");
        assert_eq!(error_of(&[b"SELECT", b"1"]), "ERR DB index is out of range");
        assert_eq!(error_of(&[b"INCRBY", b"n", b"one"]), "ERR value is not an integer or out of range");
        let lowest = i64::MIN.to_string();
        assert_eq!(error_of(&[b"DECRBY", b"n", lowest.as_bytes()]), "ERR decrement would overflow");
    }

    #[test]
    fn every_command_that_is_called_known_is() {
        for name in KNOWN {
            for args in
                [vec![name.as_bytes()], vec![name.as_bytes(), b"0"], vec![name.as_bytes(), b"k", b"v"]]
            {
                let plan = format!("{:?}", plan(&args));
                assert!(!plan.contains("unknown command"), "{name}: {plan}");
            }
        }
    }
}
