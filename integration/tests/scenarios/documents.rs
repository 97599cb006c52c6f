//! Agreements as documents for people, over real nodes: what the head says, and which signatures are shown.

use agreements::ids::Digest;
use agreements::status::Status;
use certs::key::PublicKey;
use concordat::document::{self, Found, Standing, html, pdf, summary};
use concordat::exchange::descriptor::spoken;
use concordat::exchange::lifecycle::Act;
use integration::node::TestNode;
use integration::pair::Pair;

fn found(node: &TestNode, pair: &Pair) -> Found {
    document::read(&mut node.conn(), node.ori(), pair.id, node.node().now()).unwrap().unwrap()
}

#[actix_web::test]
async fn both_sides_render_the_same_signatures_and_the_head_says_whether_it_is_in_force() {
    let pair = Pair::in_force().await;
    let (here, there) = (found(&pair.alder, &pair), found(&pair.birch, &pair));
    assert_eq!((here.sha256, &here.streams), (there.sha256, &there.streams));
    let text = summary::readable(&here);
    assert!(text.notice().in_force && text.notice().text.starts_with("IN FORCE at "), "{}", text.notice().text);
    let page = html::render(&text).unwrap();
    for node in [&pair.alder, &pair.birch] {
        let key: PublicKey = node.node().party().node.seal_key.parse().unwrap();
        assert!(page.contains(&spoken(key.id())), "the fingerprint of the seal of {}", node.fiction.word);
    }
    assert_eq!(page.matches("&#34;typ&#34;:&#34;concordat-agreement+jws&#34;").count(), 2);
    let bytes = { concordat::registry::agreements::find(&mut pair.alder.conn(), pair.id).unwrap().unwrap().0 };
    assert!(page.contains(&Digest::of(&bytes).to_string()));
    assert!(pdf::render(&text).unwrap().starts_with(b"%PDF-1.7"));

    pair.birch.suspends(pair.id).await;
    let text = summary::readable(&found(&pair.alder, &pair));
    assert!(!text.notice().in_force);
    assert!(text.notice().text.contains(&format!("suspended by {}", pair.birch.ori())), "{}", text.notice().text);
    pair.birch.acts(pair.id, Act::Resume { reason: "the audit is closed".to_owned() }).await.unwrap();
    let resumed = found(&pair.alder, &pair);
    assert!(matches!(resumed.standing, Standing::Known(Status::InForce { .. })));
    assert!(summary::readable(&resumed).lines().iter().any(|line| line.contains("resumed: the audit is closed")));
}

#[actix_web::test]
async fn what_was_tampered_with_is_rendered_as_not_to_be_relied_on_and_without_a_signature() {
    let pair = Pair::in_force().await;
    let honest = summary::readable(&found(&pair.birch, &pair));
    let sql =
        "UPDATE agreement SET document = replace(CAST(document AS TEXT), '\"lookback_days\":7', '\"lookback_days\":9')";
    integration::tamper::run(&pair.birch.registry_file(), sql);
    let tampered = found(&pair.birch, &pair);
    let Standing::Changed(why) = &tampered.standing else { panic!("{:?}", tampered.standing) };
    let text = summary::readable(&tampered);
    assert!(!text.notice().in_force && text.notice().text.contains(why), "{}", text.notice().text);
    assert!(text.notice().text.starts_with("NOT IN FORCE, AND NOT TO BE RELIED ON"), "{}", text.notice().text);
    let seals = |text: &document::Readable| text.lines().iter().filter(|line| **line == "Seal").count();
    assert_eq!((seals(&honest), seals(&text)), (2, 0));
    assert!(text.foot().contains("NOT IN FORCE"));
}
