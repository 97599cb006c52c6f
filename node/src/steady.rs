//! A clock that does not follow a jump. When the machine's clock is suddenly over five minutes ahead of what has passed,
//! this one goes on as it went: nothing ends, nothing is erased, and the trail's mark is not raised by a time that may be
//! wrong. The node is unready meanwhile, and says why. It is ready again when the clock is set right, or when two people
//! have decided that it is right now (see [`crate::changes::Command::AcceptClock`]).
//!
//! The processes of one node agree on it by a file beside its keys: a command that starts after the jump would see none.
//! After a restart of the machine nothing here knows what time it was before: then the witnesses' word for the first head that
//! this process shows them is what it is compared with, where there is a policy.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agreements::time::Instant;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Jump};
use crate::config::Config;
use crate::keyfile;

/// Further ahead than this is a jump, in microseconds.
pub const JUMP: i64 = 5 * Instant::MINUTE;
/// How often the line is drawn anew: within this, corrections add up.
const ANEW: i64 = Instant::HOUR;
/// A clock that is further behind than this was set back: the line stays.
const BEHIND: i64 = Instant::MINUTE;

/// Which time it was after so many ticks: time goes on from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    boot: String,
    at: Instant,
    ticks: i64,
}

impl Line {
    fn drawn(clock: &dyn Clock, boot: &str) -> Self {
        Self { boot: boot.to_owned(), at: clock.now(), ticks: clock.ticks() }
    }

    fn after(&self, ticks: i64) -> Instant {
        self.at.plus(ticks.saturating_sub(self.ticks).max(0))
    }

    /// The line that is kept, if it is of this start of the machine.
    fn read(file: &Path, boot: &str, ticks: i64) -> Option<Self> {
        let kept: Self = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        (kept.boot == boot && kept.ticks <= ticks).then_some(kept)
    }

    fn write(&self, file: &Path) -> Result<(), String> {
        let text = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        keyfile::replace(file, &text).map_err(|error| error.to_string())
    }
}

/// The node's clock.
#[derive(Debug)]
pub struct SteadyClock {
    machine: Arc<dyn Clock>,
    boot: String,
    file: PathBuf,
    line: Mutex<Line>,
    /// What the last reading came to.
    jumped: Mutex<Option<Jump>>,
}

impl SteadyClock {
    /// Over the machine's clock, with the line that this node's processes keep. A clock that is steady already, or has
    /// nothing to compare with, stays what it is.
    #[must_use]
    pub fn over(machine: Arc<dyn Clock>, config: &Config) -> Arc<dyn Clock> {
        let Some(boot) = machine.boot() else { return machine };
        let file = config.keys.folder.join("clock.json");
        let kept = Line::read(&file, &boot, machine.ticks());
        let is_new = kept.is_none();
        let line = kept.unwrap_or_else(|| Line::drawn(&*machine, &boot));
        let this = Self { machine, boot, file, line: Mutex::new(line), jumped: Mutex::default() };
        if is_new {
            this.keep(&this.line().clone());
        } else {
            this.follow();
        }
        Arc::new(this)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the machine's clock says, and what has passed.
    fn both(&self) -> Jump {
        let should = self.line().after(self.machine.ticks());
        Jump { says: self.machine.now(), should }
    }

    fn keep(&self, line: &Line) {
        if let Err(error) = line.write(&self.file) {
            tracing::warn!(%error, "what time it is could not be kept beside the keys; other processes may not see a jump");
        }
    }
}

impl Jump {
    fn ahead(&self) -> i64 {
        self.says.since(self.should)
    }
}

impl std::fmt::Display for Jump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { says, should } = self;
        write!(f, "the machine's clock says {says}, but by the time that has passed it is {should}")
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Instant {
        let both = self.both();
        let jump = Some(both).filter(|both| both.ahead() > JUMP);
        *self.jumped.lock().unwrap_or_else(PoisonError::into_inner) = jump;
        jump.map_or(both.says, |jump| jump.should)
    }

    fn ticks(&self) -> i64 {
        self.machine.ticks()
    }

    fn jump(&self) -> Option<Jump> {
        *self.jumped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self) {
        let ticks = self.machine.ticks();
        if let Some(kept) = Line::read(&self.file, &self.boot, ticks) {
            let mut line = self.line();
            if kept.ticks > line.ticks {
                *line = kept;
            }
        }
        let ahead = self.both().ahead();
        let mut line = self.line();
        if ticks.saturating_sub(line.ticks) > ANEW && (-BEHIND..=JUMP).contains(&ahead) {
            *line = Line::drawn(&*self.machine, &self.boot);
            self.keep(&line);
        }
    }

    fn hear(&self, at: Instant) {
        if self.machine.now().since(at) > JUMP {
            let line = Line { boot: self.boot.clone(), at, ticks: self.machine.ticks() };
            self.keep(&line);
            *self.line() = line;
        }
    }

    fn acceptable(&self, jump: Jump) -> Result<(), String> {
        let now = Some(self.both()).filter(|both| both.ahead() > JUMP);
        let now = now.ok_or("the clock is where it should be again: there is nothing to accept")?;
        if now.ahead().saturating_sub(jump.ahead()).unsigned_abs() > JUMP.unsigned_abs() {
            return Err(format!("the clock was set again since that was proposed: {now}. Propose it anew"));
        }
        Ok(())
    }

    fn accept(&self, jump: Jump) -> Result<(), String> {
        self.acceptable(jump)?;
        let line = Line::drawn(&*self.machine, &self.boot);
        line.write(&self.file)?;
        *self.line() = line;
        Ok(())
    }
}
