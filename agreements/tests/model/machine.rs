//! Two nodes, two people's offices, clocks, and a network that loses, repeats and reorders: as a machine whose every step
//! calls the product.
//!
//! What a party said stands in its trail, so every event of it may reach the partner at any time, again and again, or
//! never: the network needs no state of its own but for questions and answers, which may come late and repeated too.

mod questions;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agreements::time::Instant;
use stateright::{Model, Property};

use super::product::{Line, Paper, Product, Says, Stands, Tick, View};
use super::spec::{self, Days};

/// The node whose reads are asked for, and the one that asks.
pub const OWNER: usize = 0;
pub const ASKER: usize = 1;

/// A promise that was broken in the step to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broken {
    OwnersView,
    AskersViewAsking,
    AskersViewShowing,
    Sunset,
    Signatures,
    Absorbed,
}

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seat {
    pub view: View,
    pub clock: Tick,
    /// The newest instant that its trail bears.
    pub mark: Tick,
}

/// A question on its way in the asker's node; gone when it crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asking {
    /// Whom to ask was looked up at a tick, and standing moved since or not.
    Targeted { paper: usize, at: Tick, moved: bool },
    /// It is in the trail and left.
    Asked { paper: usize, at: Tick, moved: bool },
}

/// A permit that the owner made, before its commit; gone when it crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prepared {
    paper: usize,
    at: Tick,
    moved: bool,
}

/// All of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub seats: [Seat; 2],
    pub asking: Option<Asking>,
    pub prepared: Option<Prepared>,
    /// Under which agreements a question, and an answer with reads, is in the network.
    pub asked: u8,
    pub answered: u8,
    /// Which agreements were superseded when both trails were past it and each knew all.
    pub superseded: u8,
    /// What people may still do, and how often a clock may still be set back.
    pub acts: u8,
    pub backs: u8,
    pub broken: Option<Broken>,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Says(usize, usize, Says),
    Finding(usize),
    Cleared(usize),
    ReviewOpened(usize),
    ReviewClosed(usize),
    Checked(usize),
    /// A document arrives.
    Offered(usize, usize),
    /// Event `n` of the other's stream arrives: pushed, pushed again, or pulled.
    Hears(usize, usize, u32),
    Tick(usize),
    Back(usize),
    Crash(usize),
    Targets,
    Asks,
    Decides(usize),
    Commits,
    Gets,
}

/// A node that leaves something out: the check must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// The owner's commit does not look again.
    CommitLooking,
    /// The question is recorded without looking at its term.
    RecordLooking,
    /// What came is shown without looking at the term.
    ShowLooking,
    /// A clock that was set back records.
    Mark,
    /// Events are taken in whatever order they come.
    Order,
}

/// What is checked: where it begins, who may do what, and how much of it.
pub struct Scope {
    pub name: &'static str,
    pub product: Product,
    pub days: Vec<Days>,
    pub first: State,
    pub people: Vec<Step>,
    /// Whether questions are asked: who only looks at where agreements stand gets further without.
    pub questions: bool,
    pub without: Option<Without>,
    pub tally: Arc<Tally>,
}

/// How often what should happen did, so that no promise is kept by nothing ever happening.
#[derive(Debug, Default)]
pub struct Tally {
    pub disclosed: AtomicUsize,
    pub withheld: AtomicUsize,
    pub shown: AtomicUsize,
    pub hidden: AtomicUsize,
    pub kept_back: AtomicUsize,
    pub refused: AtomicUsize,
}

fn once(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl State {
    pub fn new(papers: &[Days], lines: &[[Line; 2]], known: [[bool; 3]; 2], acts: u8, backs: u8) -> Self {
        let mut all = [[Line::default(); 2]; 3];
        all[..lines.len()].copy_from_slice(lines);
        assert!(papers.len() <= 3);
        let seat = |known| Seat {
            view: View { lines: all, known, adverse: false, review: None, checked: 0 },
            clock: 0,
            mark: 0,
        };
        Self {
            seats: known.map(seat),
            asking: None,
            prepared: None,
            asked: 0,
            answered: 0,
            superseded: 0,
            acts,
            backs,
            broken: None,
        }
    }

    /// What both said, all of it.
    fn whole(&self) -> View {
        let [one, other] = &self.seats;
        let mut whole = one.view;
        for (lines, theirs) in whole.lines.iter_mut().zip(&other.view.lines) {
            lines[ASKER] = theirs[ASKER];
        }
        for (known, theirs) in whole.known.iter_mut().zip(other.view.known) {
            *known |= theirs;
        }
        View { adverse: false, review: None, checked: 0, ..whole }
    }

    fn knows_all(&self, who: usize) -> bool {
        let (whole, view) = (self.whole(), &self.seats[who].view);
        whole.lines == view.lines && whole.known == view.known
    }

    /// Something that decisions stand on is another at a node from here on: its epoch moves.
    fn moves(&mut self, who: usize) {
        if who == OWNER {
            if let Some(prepared) = &mut self.prepared {
                prepared.moved = true;
            }
        } else if let Some(Asking::Targeted { moved, .. } | Asking::Asked { moved, .. }) = &mut self.asking {
            *moved = true;
        }
    }
}

impl Scope {
    /// Days of an agreement by the ticks of a scope.
    pub fn product(papers: &[Paper], instants: Vec<Instant>) -> (Product, Vec<Days>) {
        let tick = |date| {
            let start = Instant::start_of(date).unwrap();
            Tick::try_from(instants.iter().position(|at| *at >= start).unwrap_or(instants.len())).unwrap()
        };
        let days = papers
            .iter()
            .map(|paper| Days { effective: tick(paper.effective), sunset: tick(paper.sunset), renews: paper.renews })
            .collect();
        (Product::new(papers, instants), days)
    }

    /// The instant at which a node records, which its trail then bears; none while its clock is behind that.
    fn records(&self, seat: &mut Seat) -> Option<Tick> {
        if seat.clock < seat.mark && self.without != Some(Without::Mark) {
            return None;
        }
        seat.mark = seat.mark.max(seat.clock);
        Some(seat.clock)
    }

    /// A person's act, or what a person enters.
    fn does(&self, state: &mut State, step: Step) -> Option<()> {
        state.acts = state.acts.checked_sub(1)?;
        let (Step::Says(who, ..)
        | Step::Finding(who)
        | Step::Cleared(who)
        | Step::ReviewOpened(who)
        | Step::ReviewClosed(who)
        | Step::Checked(who)) = step
        else {
            return None;
        };
        let seat = &mut state.seats[who];
        let before = seat.view;
        let now = self.records(seat)?;
        let view = &mut seat.view;
        match step {
            Step::Says(_, paper, says) => {
                let line = view.lines[paper][who];
                let sayable = view.known[paper] && line.len() < super::product::EVENTS;
                if !sayable || !self.product.may_say(view, who, paper, says, now) {
                    return None;
                }
                view.lines[paper][who] = line.and(says, now);
            }
            Step::Finding(_) => view.adverse = true,
            Step::Cleared(_) => view.adverse = false,
            Step::ReviewOpened(_) => view.review = view.review.or(Some(now)),
            Step::ReviewClosed(_) => view.review = None,
            Step::Checked(_) => view.checked = now,
            _ => return None,
        }
        if seat.view == before {
            return None;
        }
        state.moves(who);
        Some(())
    }

    fn hears(&self, state: &mut State, who: usize, paper: usize, n: u32) -> Option<()> {
        let (from, line) = (1 - who, state.seats[1 - who].view.lines[paper][1 - who]);
        let seat = &mut state.seats[who];
        if !seat.view.known[paper] {
            return None;
        }
        let heard = seat.view.lines[paper][from];
        let Some(more) = self.product.take(heard, line, n) else {
            once(&self.tally.refused);
            if self.without == Some(Without::Order) && n > heard.len() {
                let one = line.iter().nth(n as usize - 1)?;
                seat.view.lines[paper][from] = heard.and(one.0, one.1);
                state.moves(who);
                return Some(());
            }
            return None;
        };
        self.records(seat)?;
        seat.view.lines[paper][from] = more;
        state.moves(who);
        Some(())
    }

    /// Whom to ask: looked up, not yet recorded.
    fn targets(&self, state: &mut State) -> Option<()> {
        let seat = &state.seats[ASKER];
        let (paper, _) = self.product.says(&seat.view, ASKER, seat.clock).asking?;
        if state.asking.is_some() {
            return None;
        }
        state.asking = Some(Asking::Targeted { paper, at: seat.clock, moved: false });
        Some(())
    }

    fn clock(&self, state: &mut State, who: usize, on: bool) -> Option<()> {
        let others = state.seats[1 - who].clock;
        let last = Tick::try_from(self.product.instants.len() - 1).ok()?;
        let clock = &mut state.seats[who].clock;
        if on {
            *clock = (*clock < last && *clock <= others).then_some(*clock + 1)?;
        } else {
            state.backs = state.backs.checked_sub(1)?;
            *clock = clock.checked_sub(1)?;
        }
        Some(())
    }

    /// Where an agreement stands at a node, once both trails are past its supersession and it knows all that was said.
    fn note_superseded(&self, state: &mut State) {
        let whole = state.whole();
        for paper in 0..self.days.len() {
            let at = spec::replaced(&whole, &self.days, paper);
            let past = at.is_some_and(|at| state.seats.iter().all(|seat| seat.mark > at));
            let seen = (0..2).any(|who| state.knows_all(who) && self.stands(state, who)[paper] == Stands::Superseded);
            if past && seen {
                state.superseded |= 1 << paper;
            }
        }
    }

    fn stands(&self, state: &State, who: usize) -> [Stands; 3] {
        let seat = &state.seats[who];
        self.product.says(&seat.view, who, seat.clock).stands
    }
}

impl Model for Scope {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.first]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.broken.is_some() {
            return;
        }
        if state.acts > 0 {
            steps.extend(&self.people);
        }
        for who in 0..2 {
            for paper in 0..self.days.len() {
                steps.push(Step::Offered(who, paper));
                let said = state.seats[1 - who].view.lines[paper][1 - who].len();
                steps.extend((1..=said).map(|n| Step::Hears(who, paper, n)));
            }
            steps.extend([Step::Tick(who), Step::Back(who), Step::Crash(who)]);
        }
        if self.questions {
            steps.extend([Step::Targets, Step::Asks, Step::Commits, Step::Gets]);
            steps.extend((0..self.days.len()).map(Step::Decides));
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = *last;
        let next = &mut state;
        match step {
            Step::Offered(who, paper) => {
                let new = next.seats[1 - who].view.known[paper] && !next.seats[who].view.known[paper];
                new.then(|| self.records(&mut next.seats[who]))??;
                next.seats[who].view.known[paper] = true;
                next.moves(who);
                Some(())
            }
            Step::Hears(who, paper, n) => self.hears(next, who, paper, n),
            Step::Tick(who) => self.clock(next, who, true),
            Step::Back(who) => self.clock(next, who, false),
            Step::Crash(OWNER) => next.prepared.take().map(drop),
            Step::Crash(_) => next.asking.take().map(drop),
            Step::Targets => self.targets(next),
            Step::Asks => self.asks(next),
            Step::Decides(paper) => self.decides(next, paper),
            Step::Commits => self.commits(next),
            Step::Gets => self.gets(next),
            person => self.does(next, person),
        }?;
        for seat in &mut next.seats {
            // No clock goes back any more: what is recorded from here on bears this tick or a later one.
            if next.backs == 0 {
                seat.mark = seat.mark.max(seat.clock);
            }
        }
        if self.days.len() > 1 {
            self.note_superseded(next);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("an owner discloses only what its own view permits then", |_, state: &State| {
                state.broken != Some(Broken::OwnersView)
            }),
            Property::always("a question leaves only while its asker's own view permits", |_, state: &State| {
                state.broken != Some(Broken::AskersViewAsking)
            }),
            Property::always("an answer is shown only while its asker's own view permits", |_, state: &State| {
                state.broken != Some(Broken::AskersViewShowing)
            }),
            Property::always("nothing flows at or after sunset", |_, state: &State| {
                state.broken != Some(Broken::Sunset)
            }),
            Property::always("nothing flows without both signatures", |_, state: &State| {
                state.broken != Some(Broken::Signatures)
            }),
            Property::always("nothing is disclosed by who ended it", |_, state: &State| {
                state.broken != Some(Broken::Absorbed)
            }),
            Property::always(
                "of agreements that replace each other at most one is in force",
                |scope: &Self, state: &State| {
                    let in_force = |who| {
                        scope.stands(state, who).into_iter().filter(|stands| *stands == Stands::InForce).count() <= 1
                    };
                    scope.days.len() == 1 || (0..2).all(in_force)
                },
            ),
            Property::always("what was superseded does not come back", |scope: &Self, state: &State| {
                let stays = |who: usize| {
                    let seat = &state.seats[who];
                    let stands = scope.stands(state, who);
                    seat.clock < seat.mark
                        || !state.knows_all(who)
                        || (0..scope.days.len()).all(|paper| {
                            state.superseded & (1 << paper) == 0
                                || matches!(stands[paper], Stands::Superseded | Stands::Over)
                        })
                };
                state.superseded == 0 || (0..2).all(stays)
            }),
            Property::always(
                "what was said, delivered, makes both sides see the same",
                |scope: &Self, state: &State| {
                    scope.product.settles(&state.whole(), [&state.seats[0].view, &state.seats[1].view])
                },
            ),
        ]
    }
}
