//! The steps, in their order, each with those that it needs.

mod agreement;
mod founding;
mod hotlist;
mod query;
mod reads;
mod refusals;
mod stranger;
mod sunset;
mod trails;

use futures_util::future::LocalBoxFuture;

use super::page::Page;
use super::stage::Stage;

/// What a step does: plays, checks, and says in one sentence what was shown.
type Act = for<'a, 'w> fn(&'a mut Stage, &'a mut Page<'w>) -> LocalBoxFuture<'a, anyhow::Result<String>>;

/// One step of the demo.
pub(super) struct Step {
    /// Its name in JSON.
    pub(super) name: &'static str,
    /// Its heading.
    pub(super) title: &'static str,
    /// Steps without which it cannot be shown.
    pub(super) needs: &'static [&'static str],
    /// What it does.
    pub(super) act: Act,
}

/// All of them.
pub(super) const STEPS: [Step; 11] = [
    Step {
        name: "founding",
        title: "An authority and three agencies: Alder, Birch, Cedar",
        needs: &[],
        act: |stage, page| Box::pin(founding::step(stage, page)),
    },
    Step {
        name: "reads",
        title: "Plate reads with their images",
        needs: &["founding"],
        act: |stage, page| Box::pin(reads::step(stage, page)),
    },
    Step {
        name: "agreement",
        title: "Alder and Birch agree; nobody agrees with Cedar",
        needs: &["founding"],
        act: |stage, page| Box::pin(agreement::step(stage, page)),
    },
    Step {
        name: "query",
        title: "A permitted query, and its receipt",
        needs: &["reads", "agreement"],
        act: |stage, page| Box::pin(query::step(stage, page)),
    },
    Step {
        name: "vague_reason",
        title: "A vague reason is refused, twice",
        needs: &["agreement"],
        act: |stage, page| Box::pin(refusals::vague(stage, page)),
    },
    Step {
        name: "sensitive_term",
        title: "A sensitive term goes to the custodian",
        needs: &["agreement"],
        act: |stage, page| Box::pin(refusals::sensitive(stage, page)),
    },
    Step {
        name: "stranger",
        title: "Silence for Cedar",
        needs: &["founding"],
        act: |stage, page| Box::pin(stranger::step(stage, page)),
    },
    Step {
        name: "hotlist",
        title: "A shared hotlist matches, and dies within a day",
        needs: &["agreement"],
        act: |stage, page| Box::pin(hotlist::step(stage, page)),
    },
    Step {
        name: "sunset",
        title: "Sunset is a wall",
        needs: &["reads", "agreement"],
        act: |stage, page| Box::pin(sunset::step(stage, page)),
    },
    Step {
        name: "trails",
        title: "Every trail recomputed",
        needs: &["founding"],
        act: |stage, page| Box::pin(async { trails::sound(stage, page) }),
    },
    Step {
        name: "edited_row",
        title: "An edited row is caught",
        needs: &["query"],
        act: |stage, page| Box::pin(async { trails::edited(stage, page) }),
    },
];
