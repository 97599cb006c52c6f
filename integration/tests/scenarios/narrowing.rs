//! What closes an agreement closes the renewals of it that the same agency signed: a signature of the partner that is on its
//! way opens nothing again.

use agreements::ids::AgreementId;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::exchange::ask::Gave;
use concordat::exchange::lifecycle::{Act, ActError};
use integration::pair::Pair;
use integration::renewal::reviewed_if_not_the_first;
use integration::unruly::Fault;

const PLATE: &str = "7NAR314";

/// What ends an agreement for good, and how its status calls that.
fn endings() -> [(Act, &'static str); 2] {
    let reason = || "the board took its approval back".to_owned();
    [(Act::Withdraw { reason: reason() }, "withdrawn"), (Act::Terminate { reason: reason() }, "terminated")]
}

/// Under an agreement in force, with a renewal of it from today on that nobody has signed.
async fn with_a_renewal() -> (Pair, AgreementId) {
    let pair = Pair::in_force().await;
    pair.birch_saw(PLATE).await;
    reviewed_if_not_the_first(&pair.alder, &pair.birch).await;
    let new = pair.alder.renews_today(pair.id).await.unwrap();
    (pair, new)
}

fn ended(pair: &Pair, how: &str) -> Status {
    Status::Ended { by: pair.alder.ori(), how: how.to_owned() }
}

async fn nothing_flows(pair: &Pair, id: AgreementId, what: &str) {
    let gave = pair.birch.queries(&pair.alder, PLATE).await;
    assert!(matches!(gave, Gave::NotAsked { .. }), "{what}: {gave:?}");
    let touched = pair.birch.touches();
    let text = pair.alder.forger().asks(&pair.alder.question(&pair.birch, id, PLATE)).await;
    let reply = pair.alder.posts_query(&pair.birch, &text).await;
    assert_eq!(reply.status, 403, "{what}: {}", reply.text());
    assert_eq!(pair.birch.touches(), touched, "{what}");
}

#[actix_web::test]
async fn what_ends_an_agreement_ends_its_renewals_that_we_signed() {
    for (act, how) in endings() {
        let (pair, new) = with_a_renewal().await;
        pair.alder.signs(new).await;
        pair.alder.acts(pair.id, act).await.unwrap();
        for node in [&pair.alder, &pair.birch] {
            for id in [pair.id, new] {
                assert_eq!(node.status(id), ended(&pair, how), "{how}, at {}", node.fiction.word);
            }
        }
        let late = pair.birch.tries_to_sign(new).await;
        // It may be signed for the record; nothing comes of it.
        assert!(matches!(late, Ok(_) | Err(ActError::Refused(_))), "{how}: {late:?}");
        assert_eq!(pair.birch.status(new), ended(&pair, how));
        nothing_flows(&pair, new, how).await;
    }
}

#[actix_web::test]
async fn a_signature_on_its_way_opens_nothing_again_that_was_ended_meanwhile() {
    for (act, how) in endings() {
        let (mut pair, new) = with_a_renewal().await;
        pair.alder.signs(new).await;
        let lines = pair.over_unruly_lines().await;
        lines.become_(Fault::Cut);
        pair.birch.signs(new).await;
        assert!(matches!(pair.birch.status(new), Status::InForce { .. }), "{how}: it knows both signatures");
        pair.alder.acts(pair.id, act).await.unwrap();
        assert_eq!(pair.alder.status(new), ended(&pair, how), "{how}: at once where it was said");
        // What arrives after that is heard, and changes nothing.
        lines.become_(Fault::None);
        for node in [&pair.alder, &pair.birch] {
            node.clock.forward(5 * Instant::MINUTE);
            node.rings().await;
        }
        for id in [pair.id, new] {
            pair.come_to(id, &ended(&pair, how)).await;
        }
        assert!(pair.same_streams(new), "{how}");
        nothing_flows(&pair, new, how).await;
    }
}

#[actix_web::test]
async fn a_renewal_that_only_the_partner_signed_is_no_act_of_ours_and_stays() {
    for (act, how) in endings() {
        let (pair, new) = with_a_renewal().await;
        pair.birch.signs(new).await;
        pair.alder.acts(pair.id, act).await.unwrap();
        let unsigned = Status::Unsigned { missing: vec![pair.alder.ori()] };
        for node in [&pair.alder, &pair.birch] {
            assert_eq!(node.status(pair.id), ended(&pair, how));
            assert_eq!(node.status(new), unsigned, "{how}: it takes two people here to sign it");
        }
        nothing_flows(&pair, new, how).await;
    }
}

#[actix_web::test]
async fn a_renewal_of_a_renewal_ends_as_well() {
    for (act, how) in endings() {
        let (pair, new) = with_a_renewal().await;
        pair.alder.signs(new).await;
        pair.birch.signs(new).await;
        pair.come_into_force(new).await;
        let newer = pair.alder.renews_today(new).await.unwrap();
        pair.alder.signs(newer).await;
        pair.alder.acts(pair.id, act).await.unwrap();
        for node in [&pair.alder, &pair.birch] {
            for id in [new, newer] {
                assert_eq!(node.status(id), ended(&pair, how), "{how}, at {}", node.fiction.word);
            }
        }
        nothing_flows(&pair, newer, how).await;
    }
}
