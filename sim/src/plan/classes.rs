//! Classes of faults: what goes wrong, and with which process or thing. By them outages are counted, and what a sweep has met.
use handoff::node::daemon::HookName;

use crate::plan::{HitRole, Operation, What};

const WHO: [HitRole; 3] = [HitRole::Supervisor, HitRole::Incumbent, HitRole::Successor];

/// Every class that there is: a sweep of the usual size meets them all.
pub fn classes() -> Vec<String> {
    let of = |what: What| -> Vec<String> {
        let hooks = || HookName::ALL.iter().map(HookName::to_string).collect();
        let operations = || Operation::ALL.map(|operation| operation.to_string());
        let and = |more: &[&str]| more.iter().map(|place| (*place).to_string()).collect::<Vec<_>>();
        match what {
            What::Drop | What::Delay | What::Tear | What::Reset => {
                WHO.map(|who| format!("to {who}")).to_vec()
            }
            What::Slow | What::Fail => [hooks(), operations().to_vec(), and(&["spawn", "journal"])].concat(),
            What::Panic => hooks(),
            What::Hang => [hooks(), and(&["spawn"])].concat(),
            What::Unfit => and(&["drain", "open"]),
            What::Torn => and(&["journal", "incumbent", "successor"]),
            // It is the supervisor that notices.
            What::DieEarly | What::WrongPid | What::OtherVersion | What::NewerVersion => and(&["supervisor"]),
            What::OtherData => and(&["supervisor"]),
            What::PowerFailure | What::FullDisk | What::FsyncFails | What::Rival | What::Cancel => Vec::new(),
            What::Reload | What::Stranger | What::Swept | What::ReusedPids => Vec::new(),
            What::HalfRequest | What::UnreadReply => Vec::new(),
            What::Crash | What::CrashUnsent | What::CoreDump | What::Terminate | What::Stop => {
                WHO.map(|who| who.to_string()).to_vec()
            }
            What::NoDescriptors | What::ClockStep => WHO.map(|who| who.to_string()).to_vec(),
        }
    };
    let named = |what: What| match of(what) {
        places if places.is_empty() => vec![what.to_string()],
        places => places.iter().map(|place| format!("{what} {place}")).collect(),
    };
    What::ALL.into_iter().flat_map(named).collect()
}
