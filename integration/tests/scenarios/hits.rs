//! What a hit needs before anybody may act on it, and what a list needs before it gives one.

use concordat::hotlists::people::Looked;
use concordat::registry::hits::HitStatus;
use integration::pair::{Pair, Terms};
use integration::tamper;

const LIST: &str = "wanted";
const PLATE: &str = "7HIT337";
const OTHER: &str = "8OTH402";
const BOTH: Looked = Looked { image: true, status: true };

async fn granted() -> Pair {
    Pair::under(Terms { lists: vec![(LIST, vec!["stolen_vehicle"])], ..Terms::default() }).await
}

#[actix_web::test]
async fn a_hit_whose_entry_went_is_not_to_be_confirmed() {
    let pair = granted().await;
    pair.birch.lists(LIST, &[PLATE, OTHER]).await;
    pair.alder.accepts(&pair.birch, LIST).await;
    pair.alder.pulls().await.unwrap();
    for plate in [PLATE, OTHER] {
        pair.alder.sees(plate).await;
    }
    let hit = |plate: &str| pair.alder.hits(plate).remove(0).hit;
    assert!(hit(PLATE).image.is_some());
    pair.birch.lists(LIST, &[OTHER]).await;
    pair.alder.pulls().await.unwrap();
    let gone = pair.alder.verifies(hit(PLATE).id, HitStatus::Confirmed, BOTH).await.unwrap_err().to_string();
    assert!(gone.contains("not on the list any more"), "{gone}");
    assert!(!hit(PLATE).status.actionable());
    pair.alder.verifies(hit(OTHER).id, HitStatus::Confirmed, BOTH).await.unwrap();
    assert!(hit(OTHER).status.actionable());
    pair.alder.verifies(hit(PLATE).id, HitStatus::Misread, BOTH).await.unwrap();
}

#[actix_web::test]
async fn a_list_that_no_agreement_grants_is_not_accepted() {
    let pair = granted().await;
    let by = pair.alder.fiction.person("supervisor");
    let accepting = |list: &'static str| {
        concordat::hotlists::people::accept(pair.alder.node().registry(), pair.birch.ori(), list, &by)
    };
    let refused = accepting("stolen").await.unwrap_err().to_string();
    assert!(refused.contains("no agreement") && refused.contains("grants stolen"), "{refused}");
    accepting(LIST).await.unwrap();
}

#[actix_web::test]
async fn an_entry_of_an_own_list_that_was_edited_by_hand_matches_nothing() {
    let pair = granted().await;
    pair.birch.lists(LIST, &[PLATE]).await;
    let edit = format!(
        "UPDATE hotlist_entry SET plate = '{OTHER}', plate_key = '80TH402', body = replace(body, '{PLATE}', '{OTHER}')"
    );
    tamper::run(&pair.birch.registry_file(), &edit);
    let alarms = || integration::logs::captured().text().matches("an entry of a hotlist was changed").count();
    let before = alarms();
    pair.birch.sees(OTHER).await;
    assert!(pair.birch.hits(OTHER).is_empty());
    assert!(alarms() > before);
}
