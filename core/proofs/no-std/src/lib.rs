//! Links the core without std, and uses enough of it that nothing is left out.
#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};

use handoff::frame::{Decoder, encode};
use handoff::machine::{Batch, Machine, Reason, SupervisorMachine, supervisor};
use handoff::message::Message;
use handoff::time::{Duration, Time};

struct NoMemory;

// SAFETY: it never hands out memory, which an allocator may.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Returns what a host without an operating system would begin with.
#[unsafe(no_mangle)]
pub extern "C" fn one_event() -> usize {
    let second = Duration::from_secs(1);
    let limits = supervisor::Limits {
        liveness: second,
        deadline: second,
        drain_grace: second,
        hook_limit: second,
        retire_limit: second,
    };
    let mut machine = SupervisorMachine::new(limits);
    let mut batch = Batch::new();
    machine.handle(Time::ZERO, supervisor::Event::Cancel(Reason::Cancelled), batch.out());
    let frame = encode(1, &Message::Busy).unwrap_or_default();
    let mut decoder = Decoder::default();
    decoder.push(&frame);
    batch.effects.len() + usize::from(decoder.next().is_ok())
}
