//! Single events for those who watch. Called when a call ends and when a lock ends; costs nothing while nobody watches.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use hoodydb_ebpf::{Event, count};

use crate::atomic;
use crate::maps::{COUNTS, EVENTS, SWITCH, count_one};

/// Whether somebody watches.
#[inline(always)]
pub(crate) fn are_wanted() -> bool {
    // SAFETY: one word that only the daemon writes.
    SWITCH.get(0).is_some_and(|switch| unsafe { core::ptr::read_volatile(switch) } == 1)
}

/// Tells an event. Whoever reads looks from time to time: to be woken by each event would cost more than the event.
#[inline(always)]
pub(crate) fn tell(event: Event) {
    let Some(number) = COUNTS.get_ptr_mut(count::EVENTS) else { return };
    // SAFETY: a value of the map.
    let number = unsafe { atomic::next(number, 1) };
    match EVENTS.reserve::<Event>(0) {
        Some(mut place) => {
            place.write(Event { number, ..event });
            place.submit(BPF_RB_NO_WAKEUP.into());
        }
        None => count_one(count::LOST_EVENTS),
    }
}
