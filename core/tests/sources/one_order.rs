//! The rule that what is decided in one place is decided nowhere else: which event comes next, when `poll(2)`
//! is called, when a successor becomes an incumbent. Code that does so beside the nodes is code that no test
//! of theirs covers.

use crate::each_file;

/// The words that only few files may say, and what other code does instead.
struct OrderRule {
    says: &'static [&'static str],
    /// The folders and files, from the repository's root, in which the rule counts.
    within: &'static [&'static str],
    except: &'static [&'static str],
    remedy: &'static str,
}

const ALL: &[&str] = &["core/src", "tokio/src", "sim/src", "supervisor/src", "examples", "tests/src"];

const RULES: [OrderRule; 4] = [
    OrderRule {
        says: &[".promoted(", ".promote("],
        within: ALL,
        // The exploration takes frames in every order and therefore has no node; it shares the nodes' `DaemonMachine`.
        except: &["core/src/machine/", "core/src/node/", "sim/src/explore/moves/apply.rs"],
        remedy: "run a `node::daemon::DaemonNode`: after each step it makes an incumbent of a successor that serves",
    },
    OrderRule {
        says: &["drive::turn", "drive::{"],
        within: ALL,
        // The driver of mutants stands for the one driver.
        except: &["core/src/node/", "sim/src/mutant.rs"],
        remedy: "run a node: `NodeOn::next` says what comes next, `NodeOn::step` hands it to the machine",
    },
    OrderRule {
        says: &[".out()"],
        within: ALL,
        except: &["core/src/drive.rs", "sim/src/mutant.rs", "sim/src/explore/report/table.rs"],
        remedy: "run a node: a machine's effects are performed by `drive::turn`, gaps included",
    },
    OrderRule {
        says: &["poll(&mut", "poller::wait(", "wait_for("],
        within: &["core/src/unix"],
        // One look at a process that ends, a wait for a child, for one that checks itself, a question of its own, a client's connection in
        // a thread of the daemon's; `wake.rs` tests its descriptor.
        except: &[
            "core/src/unix/poller.rs",
            "core/src/unix/reactor.rs",
            "core/src/unix/pid.rs",
            "core/src/unix/wake.rs",
            "core/src/unix/connections/socket.rs",
            "core/src/unix/supervisor/check.rs",
            "core/src/unix/supervisor/child.rs",
            "core/src/unix/supervisor/query.rs",
        ],
        remedy: "let `unix::reactor` wait: implement `System` and `NodeOn`",
    },
];

/// The lines of a rule's places that say what it forbids; and the exceptions that are needed.
fn breaches(rule: &OrderRule) -> (Vec<String>, Vec<&'static str>) {
    let (mut found, mut needed) = (Vec::new(), Vec::new());
    for within in rule.within {
        each_file(within, &mut |name, text| {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if !rule.says.iter().any(|call| code.contains(call)) {
                    continue;
                }
                match rule.except.iter().find(|except| name.starts_with(**except)) {
                    Some(except) => needed.push(*except),
                    None => found.push(format!("{name}:{}: {}", number + 1, line.trim())),
                }
            }
        });
    }
    (found, needed)
}

#[test]
fn only_nodes_order_what_has_happened_and_promote_a_successor() {
    for rule in &RULES {
        let (found, needed) = breaches(rule);
        assert!(found.is_empty(), "{}\nInstead, {}.", found.join("\n"), rule.remedy);
        let idle: Vec<_> = rule.except.iter().filter(|except| !needed.contains(except)).collect();
        assert!(idle.is_empty(), "{idle:?} need no exception for {:?} any more: strike them out", rule.says);
    }
}
