//! What must hold, said anew over the model's small types: nothing here is the product's.

use agreements::time::Instant;

use super::product::{AGREEMENTS, Line, Says, Tick, View};

/// The days of an agreement in a scope: the first tick at which it can be in force, and the first at which it cannot.
#[derive(Clone, Copy, Debug)]
pub struct Days {
    pub effective: Tick,
    pub sunset: Tick,
    pub renews: bool,
}

pub fn signed(line: Line) -> Option<Tick> {
    line.iter().find(|(says, _)| *says == Says::Signed).map(|(_, at)| at)
}

pub fn ended(line: Line) -> Option<Tick> {
    line.iter().find(|(says, _)| says.absorbs()).map(|(_, at)| at)
}

fn suspended(line: Line) -> bool {
    line.iter().fold(false, |before, (says, _)| match says {
        Says::Suspended => true,
        Says::Resumed => false,
        _ => before,
    })
}

/// Since when an agreement took, or will take, the place of others: from its day on, once both had signed, unless one
/// ended it first.
pub fn began(lines: [Line; 2], days: Days) -> Option<Tick> {
    let from = days.effective.max(signed(lines[0])?).max(signed(lines[1])?);
    let before = lines.into_iter().filter_map(ended).any(|end| end <= from);
    (!before && from < days.sunset).then_some(from)
}

/// The tick from which on another agreement has this one's place, as far as a view knows.
pub fn replaced(view: &View, days: &[Days], paper: usize) -> Option<Tick> {
    let heir = |other: usize| {
        let renews = paper == 0 && days[other].renews;
        let crossed = days[paper].renews && days[other].renews && other < paper;
        (other != paper && other < AGREEMENTS && view.known[other] && (renews || crossed))
            .then(|| began(view.lines[other], days[other]))?
    };
    (0..days.len()).filter_map(heir).min()
}

/// Whether an agreement is in force at `now` for whoever has this view.
pub fn in_force(view: &View, days: &[Days], paper: usize, instants: &[Instant], now: Tick) -> bool {
    let lines = view.lines[paper];
    let time = |tick: Tick| instants[usize::from(tick)];
    let both = lines.into_iter().all(|line| signed(line).is_some_and(|at| at <= now));
    let fresh = view.checked <= now && time(now).since(time(view.checked)) < 90 * Instant::DAY;
    view.known[paper]
        && both
        && lines.into_iter().all(|line| ended(line).is_none() && !suspended(line))
        && (days[paper].effective..days[paper].sunset).contains(&now)
        && !view.adverse
        && fresh
        && replaced(view, days, paper).is_none_or(|at| at > now)
}

/// Whether an owner that has this view may let its reads flow: its own early review of the partner holds its own grants.
pub fn discloses(view: &View, days: &[Days], paper: usize, instants: &[Instant], now: Tick) -> bool {
    in_force(view, days, paper, instants, now) && view.review.is_none_or(|since| since > now)
}
