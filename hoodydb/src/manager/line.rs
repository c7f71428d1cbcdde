//! The parked calls of one database, in the order in which they may go.
//!
//! Nothing here decides: [`super::queue`] has the rules. What they ask of all waiters at once is kept beside the waiters, so that
//! no call's cost grows with the length of the line.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use serde::{Deserialize, Serialize, Serializer};

use crate::lock::LockKind;

use super::budget::Hold;
use super::database::{Domain, Side};
use super::history::Intent;
use super::{LockCall, Ticket, Timestamp};

/// A parked call.
///
/// # Layout
/// 152 bytes, about 120 in the line and about 150 in the wait graph.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) call: LockCall,
    pub(super) kind: LockKind,
    pub(super) domain: Domain,
    pub(super) want: Want,
    pub(super) arrived: Timestamp,
    /// Refused then, whatever happens; `None` for `F_SETLKW`.
    pub(super) deadline: Option<Timestamp>,
    /// What it waited for when its deadline was set.
    pub(super) behind: Option<Hold>,
    /// Came back with a claim: stands before those without.
    pub(super) claimed: bool,
}

/// How a call is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Want {
    /// A read start: queues for the turn, unless its process only reads.
    ReadStart(Intent),
    /// WRITE by a domain that holds no read mark: recovery, restarting checkpoints, builds that lock before they read.
    FirstWrite,
    /// PENDING or EXCLUSIVE of the RESERVED owner: waits for readers to go.
    Drain,
    /// RESERVED or WRITE under SHARED or a mark: waits only while the turn's owner may still write first.
    Upgrade,
    /// A plain record that may be waited for (`F_SETLKW`, unix-excl).
    Record,
    /// Answered at once by the records.
    Immediate,
    /// A lock that only a process which forked away from its connection asks for: it holds nothing of what it believes.
    Orphan,
}

impl Want {
    pub(super) fn takes_turn(self) -> bool {
        matches!(self, Want::ReadStart(Intent::Unknown | Intent::Writer) | Want::FirstWrite)
    }
}

/// A place in the line: claims first, then by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    unclaimed: bool,
    arrival: u64,
}

/// Waiters that the rules look for by what they want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// A read start in WAL mode that may turn out to be a reader's.
    MayRead,
    Drain,
    Upgrade,
}

impl Waiter {
    fn class(&self) -> Option<Class> {
        match (self.want, self.domain.side) {
            (Want::ReadStart(Intent::Unknown), Side::Index) => Some(Class::MayRead),
            (Want::Drain, _) => Some(Class::Drain),
            (Want::Upgrade, _) => Some(Class::Upgrade),
            _ => None,
        }
    }
}

/// The line.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Vec<Waiter>")]
pub(super) struct Line {
    waiting: BTreeMap<Place, Box<Waiter>>,
    of_ticket: BTreeMap<Ticket, Place>,
    of_class: BTreeSet<(Class, Place)>,
    deadlines: BTreeSet<(Timestamp, Place)>,
    arrivals: u64,
    /// Waiters for the turn: with a claim, and without.
    claimed_takers: u32,
    takers: u32,
    /// Waiters on the WAL index.
    on_index: u32,
}

impl From<Vec<Waiter>> for Line {
    fn from(waiters: Vec<Waiter>) -> Self {
        let mut line = Self::default();
        waiters.into_iter().for_each(|waiter| line.join(waiter));
        line
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Every waiter, first come first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Waiter> {
        self.waiting.values().map(|waiter| &**waiter)
    }

    pub(super) fn of_ticket(&self, ticket: Ticket) -> Option<&Waiter> {
        self.waiting.get(self.of_ticket.get(&ticket)?).map(|waiter| &**waiter)
    }

    /// The first waiter behind a place, or of all.
    pub(super) fn behind(&self, place: Option<Place>) -> Option<(Place, Waiter)> {
        let from = place.map_or(Unbounded, Excluded);
        self.waiting.range((from, Unbounded)).next().map(|(place, waiter)| (*place, **waiter))
    }

    /// Takes its place: behind everyone with a claim, if it has one, else behind everyone.
    pub(super) fn join(&mut self, waiter: Waiter) {
        let place = Place { unclaimed: !waiter.claimed, arrival: self.arrivals };
        self.arrivals += 1;
        self.count(&waiter, 1);
        self.of_ticket.insert(waiter.ticket, place);
        self.of_class.extend(waiter.class().map(|class| (class, place)));
        self.deadlines.extend(waiter.deadline.map(|at| (at, place)));
        self.waiting.insert(place, Box::new(waiter));
    }

    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let place = self.of_ticket.remove(&ticket)?;
        let waiter = *self.waiting.remove(&place)?;
        self.count(&waiter, -1);
        if let Some(class) = waiter.class() {
            self.of_class.remove(&(class, place));
        }
        if let Some(at) = waiter.deadline {
            self.deadlines.remove(&(at, place));
        }
        Some(waiter)
    }

    fn count(&mut self, waiter: &Waiter, by: i32) {
        let add = |count: &mut u32, counts: bool| *count = count.wrapping_add_signed(by * i32::from(counts));
        add(&mut self.claimed_takers, waiter.want.takes_turn() && waiter.claimed);
        add(&mut self.takers, waiter.want.takes_turn() && !waiter.claimed);
        add(&mut self.on_index, waiter.domain.side == Side::Index);
    }

    /// It waits behind another hold than the one that its deadline was set for.
    pub(super) fn postpone(&mut self, place: Place, behind: Option<Hold>, deadline: Timestamp) {
        let Some(waiter) = self.waiting.get_mut(&place) else { return };
        if let Some(before) = waiter.deadline.replace(deadline) {
            self.deadlines.remove(&(before, place));
        }
        self.deadlines.insert((deadline, place));
        waiter.behind = behind;
    }

    /// Changes what everyone wants.
    pub(super) fn change_wants(&mut self, want: impl Fn(&Waiter) -> Want) {
        let waiters: Vec<Waiter> = self.iter().map(|waiter| Waiter { want: want(waiter), ..*waiter }).collect();
        *self = waiters.into();
    }

    /// Whether a newcomer, with or without a claim, finds somebody before it who waits for the turn.
    pub(super) fn takers_before(&self, claimed: bool) -> bool {
        self.claimed_takers > 0 || !claimed && self.takers > 0
    }

    /// Whether everyone waits for the turn, and on the same side.
    pub(super) fn is_uniform(&self) -> bool {
        let all = self.waiting.len();
        (self.claimed_takers + self.takers) as usize == all && (self.on_index == 0 || self.on_index as usize == all)
    }

    pub(super) fn first_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Read starts in WAL mode that may turn out to be readers', first come first.
    pub(super) fn may_read(&self) -> impl Iterator<Item = &Waiter> {
        self.class(Class::MayRead)
    }

    /// Owners of RESERVED that wait for readers to go.
    pub(super) fn drains(&self) -> impl Iterator<Item = &Waiter> {
        self.class(Class::Drain)
    }

    /// Readers that wait to become writers, first come first.
    pub(super) fn upgrades(&self) -> impl Iterator<Item = &Waiter> {
        self.class(Class::Upgrade)
    }

    fn class(&self, class: Class) -> impl Iterator<Item = &Waiter> {
        let first = Place { unclaimed: false, arrival: 0 };
        let of_class = self.of_class.range((class, first)..).take_while(move |(other, _)| *other == class);
        of_class.filter_map(|(_, place)| self.waiting.get(place)).map(|waiter| &**waiter)
    }
}
