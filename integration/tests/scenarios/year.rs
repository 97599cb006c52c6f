//! A year of many agreements. The bench `year` has as many as a large agency has, optimised as a release is.

use std::time::Duration;

use integration::year::{self, Figures};

/// How many agreements, unless `CONCORDAT_YEAR` says otherwise.
const AGREEMENTS: usize = 150;
/// No longer for so many.
const BOUND: Duration = Duration::from_secs(60);

#[actix_web::test]
async fn a_year_of_agreements_goes_as_their_scripts_say() {
    let count = std::env::var("CONCORDAT_YEAR").map_or(AGREEMENTS, |count| count.parse().unwrap());
    let Figures { documents, entries, mails, set_up, took, .. } = year::goes_by(count).await;
    println!(
        "a year of {count} agreements ({documents} documents, {entries} entries, {mails} mails): set up in {set_up:.1?}, {took:.1?} in all"
    );
    assert!(count > AGREEMENTS || took < BOUND, "{took:?}");
}
