//! Questions and their answers: asked, decided, committed, shown; and which promise it breaks when something flows.

use agreements::commit::{Term, Upheld, uphold};
use agreements::time::Instant;

use super::super::product::{Line, Says, Tick, View};
use super::super::spec;
use super::{ASKER, Asking, Broken, OWNER, Prepared, Scope, Seat, State, Without, once};

impl Scope {
    /// The term as it was when the targets were looked up. Where standing moved since, only its epoch counts.
    fn term(&self, state: &State, at: Tick, moved: bool) -> (Term, i64) {
        let until = self.product.says(&state.seats[ASKER].view, ASKER, at).asking.map(|(_, until)| until);
        let until = until.unwrap_or(Instant::from_micros(i64::MAX));
        (Term { epoch: 0, since: self.product.at(at), until }, i64::from(moved))
    }

    pub(super) fn asks(&self, state: &mut State) -> Option<()> {
        let Some(Asking::Targeted { paper, at, moved }) = state.asking else { return None };
        let (term, epoch) = self.term(state, at, moved);
        state.asking = None;
        let seat = &mut state.seats[ASKER];
        let Some(now) = self.records(seat) else { return Some(()) };
        if term.over(epoch, self.product.at(now)) && self.without != Some(Without::RecordLooking) {
            once(&self.tally.kept_back);
            return Some(());
        }
        let (view, mark) = (seat.view, seat.mark);
        state.asked |= 1 << paper;
        state.asking = Some(Asking::Asked { paper, at, moved });
        state.broken = self.flaw(&view, paper, now, mark, Broken::AskersViewAsking);
        Some(())
    }

    /// Which promise it breaks when something flows at a node that knows `view`.
    fn flaw(&self, view: &View, paper: usize, now: Tick, mark: Tick, general: Broken) -> Option<Broken> {
        if mark.max(now) >= self.days[paper].sunset {
            Some(Broken::Sunset)
        } else if view.lines[paper].iter().any(|line| spec::signed(*line).is_none()) {
            Some(Broken::Signatures)
        } else {
            let permits = if general == Broken::OwnersView { spec::discloses } else { spec::in_force };
            (!permits(view, &self.days, paper, &self.product.instants, now)).then_some(general)
        }
    }

    pub(super) fn decides(&self, state: &mut State, paper: usize) -> Option<()> {
        let seat = &state.seats[OWNER];
        if state.prepared.is_some() || state.asked & (1 << paper) == 0 {
            return None;
        }
        self.product.permit(&seat.view, paper, seat.clock)?;
        state.prepared = Some(Prepared { paper, at: seat.clock, moved: false });
        Some(())
    }

    /// The owner's commit: what was searched leaves, or not.
    pub(super) fn commits(&self, state: &mut State) -> Option<()> {
        let Prepared { paper, at, moved } = state.prepared.take()?;
        let seat = &mut state.seats[OWNER];
        let Some(now) = self.records(seat) else { return Some(()) };
        let (view, mark, epoch) = (seat.view, seat.mark, i64::from(moved));
        // Where standing moved, all that counts of the earlier permit is what it let search, which is the same each time.
        let earlier =
            if moved { self.product.permit(&self.pristine(paper), paper, self.days[paper].effective) } else { None };
        let permit = if moved { earlier } else { self.product.permit(&view, paper, at) };
        let permit = permit.expect("it was made");
        let at_commit = self.product.at(now);
        let leaves = permit.stands(epoch, 0, at_commit) || {
            let standing = self.product.standing(&view, paper, epoch);
            let upheld = uphold(&permit, &self.product.question(), &standing, 0, at_commit);
            matches!(upheld, Upheld::Stands)
        };
        if !leaves && self.without != Some(Without::CommitLooking) {
            once(&self.tally.withheld);
            return Some(());
        }
        once(&self.tally.disclosed);
        state.answered |= 1 << paper;
        state.broken = self.flaw(&view, paper, now, mark, Broken::OwnersView);
        if spec::ended(view.lines[paper][OWNER]).is_some() {
            state.broken = Some(Broken::Absorbed);
        }
        if state
            .seats
            .iter()
            .zip(0..)
            .any(|(seat, who): (&Seat, usize)| spec::signed(seat.view.lines[paper][who]).is_none())
        {
            state.broken = Some(Broken::Signatures);
        }
        Some(())
    }

    /// A view in which an agreement is in force from its day on, and there is no other.
    fn pristine(&self, paper: usize) -> View {
        let mut view = self.first.seats[OWNER].view;
        view.lines[paper] = [Line::of(&[(Says::Signed, 0)]); 2];
        view.known = [false; 3];
        view.known[paper] = true;
        view
    }

    /// An answer with reads arrives, and is shown or not.
    pub(super) fn gets(&self, state: &mut State) -> Option<()> {
        let Some(Asking::Asked { paper, at, moved }) = state.asking else { return None };
        if state.answered & (1 << paper) == 0 {
            return None;
        }
        let (term, epoch) = self.term(state, at, moved);
        state.asking = None;
        let seat = &mut state.seats[ASKER];
        let Some(now) = self.records(seat) else { return Some(()) };
        let (view, mark) = (seat.view, seat.mark);
        let over = term.over(epoch, self.product.at(now));
        if over && !self.product.holds(&view, ASKER, paper, now) && self.without != Some(Without::ShowLooking) {
            once(&self.tally.hidden);
            return Some(());
        }
        once(&self.tally.shown);
        state.broken = self.flaw(&view, paper, now, mark, Broken::AskersViewShowing);
        Some(())
    }
}
