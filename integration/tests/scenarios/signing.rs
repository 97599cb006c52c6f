//! What must be there before somebody signs: approvals of that document, and the official's own hand.

use agreements::approval::ApprovalKind;
use agreements::entry::Kind;
use agreements::ids::Digest;
use agreements::message::{PROTOCOL, StreamEvent, To};
use agreements::status::Status;
use agreements::stream::Event;
use certs::jws;
use concordat::changes::Command;
use concordat::demo::agency::{ALDER, BIRCH};
use concordat::exchange::lifecycle::Act;
use concordat::exchange::standing::{AGREEMENT_TYP, OFFICIAL_TYP};
use concordat::renewal::approvals::{self, Approval};
use integration::Federation;
use integration::node::{SIGNING, TestNode};
use integration::pair::{Pair, Terms, days_from_start};

use super::renewal::{offers, says, why};

#[actix_web::test]
async fn a_signature_needs_each_approval_of_this_document_and_the_officials_own_hand() {
    let (_federation, alder, birch) = Pair::enrolled().await;
    let document = Terms::default().between(&alder.node().party(), &birch.node().party());
    let id = offers(&alder, &document).await;
    let other = offers(&alder, &Terms::default().between(&alder.node().party(), &birch.node().party())).await;
    let sign = || alder.proposes(Command::Sign { agreement: id }, SIGNING);
    let all = why(sign().await);
    says(
        &all,
        &["counsel has not approved", "1798.90.55(a)", "what empowers the official", "own signature is missing"],
    );
    says(&all, &[&format!("agreement approve {id} --kind counsel"), &format!("agreement sign {id} --official-key")]);

    let (db, us) = (alder.node().registry(), alder.ori());
    let approval = |kind| Approval {
        kind,
        by: "County Counsel".to_owned(),
        reference: "memo 26-118".to_owned(),
        on: days_from_start(-3),
    };
    let (clerk, custodian) = (alder.fiction.person("agreements"), alder.fiction.person("custodian"));
    // Those of another document do not count for this one.
    for kind in ApprovalKind::ALL {
        assert!(approvals::approve(db, us, other, approval(kind), &custodian).await.unwrap());
    }
    assert_eq!(why(sign().await), all);
    for (by, kind, refused) in [
        (&alder.fiction.person("investigator"), ApprovalKind::Counsel, "does not allow"),
        (&clerk, ApprovalKind::SigningAuthority, "does not allow"),
    ] {
        says(&why(approvals::approve(db, us, id, approval(kind), by).await), &[refused]);
    }
    for kind in ApprovalKind::ALL {
        let future = Approval { on: days_from_start(1), ..approval(kind) };
        says(&why(approvals::approve(db, us, id, future, &custodian).await), &["still to come", "today is"]);
    }
    let blank = Approval { reference: " ".to_owned(), ..approval(ApprovalKind::Counsel) };
    says(&why(approvals::approve(db, us, id, blank, &clerk).await), &["--reference"]);
    for (kind, by) in [
        (ApprovalKind::Counsel, &clerk),
        (ApprovalKind::PublicMeeting, &clerk),
        (ApprovalKind::SigningAuthority, &custodian),
    ] {
        let before = why(sign().await);
        assert!(before.contains(&format!("--kind {kind}")), "{before}");
        assert!(approvals::approve(db, us, id, approval(kind), by).await.unwrap());
        assert!(!approvals::approve(db, us, id, approval(kind), by).await.unwrap(), "the same once");
        let another = Approval { reference: "memo 26-119".to_owned(), ..approval(kind) };
        let refused = why(approvals::approve(db, us, id, another, by).await);
        says(&refused, &[&format!("of the kind {kind} was entered already"), "memo 26-118"]);
    }
    let left = why(sign().await);
    assert!(left.contains("own signature is missing") && left.lines().count() == 1, "{left}");

    // Another's hand, the node's own seal, the official's under another document: none is this official's of this one.
    let signs = approvals::to_sign(&mut alder.conn(), us, id).unwrap().unwrap();
    let own =
        certs::key::SigningKey::from_pem(&std::fs::read(alder.settings().keys.folder.join("official.key")).unwrap())
            .unwrap();
    let elsewhere = approvals::to_sign(&mut alder.conn(), us, other).unwrap().unwrap().document;
    for (key, document) in [(&alder.seal_key(), &signs.document), (&own, &elsewhere)] {
        let seal = jws::sign(document, OFFICIAL_TYP, key, None).unwrap();
        says(&why(approvals::signed_by_official(db, us, id, seal, &clerk).await), &["the official's signature"]);
    }
    // As a smart card does it: over the bytes that it is given.
    let input = jws::to_sign(&signs.document, OFFICIAL_TYP, &signs.key).unwrap();
    let card = own.sign(&input).unwrap();
    let seal = jws::signed_elsewhere(&signs.document, OFFICIAL_TYP, &signs.key, &card).unwrap();
    assert!(approvals::signed_by_official(db, us, id, seal, &clerk).await.unwrap());
    let change = sign().await.unwrap();
    alder.approves(change).await.unwrap();
    assert_eq!(birch.status(id), Status::Unsigned { missing: vec![birch.ori()] }, "Birch has verified both signatures");
}

#[actix_web::test]
async fn a_partners_signature_without_its_officials_own_is_none() {
    let (_federation, alder, birch) = Pair::enrolled().await;
    let agreement = Terms::default().between(&alder.node().party(), &birch.node().party());
    let id = offers(&alder, &agreement).await;
    let document = agreement.to_bytes().unwrap();
    let seal = |typ: &str| jws::sign(&document, typ, &alder.seal_key(), None).unwrap();
    let path = format!("/peer/v1/agreements/{id}/events");
    for (official, expected) in [
        (None, "the signature of Chief Executive is missing"),
        (Some(seal(OFFICIAL_TYP)), "the signature of Chief Executive"),
    ] {
        let event = StreamEvent {
            v: PROTOCOL,
            to: vec![To { ori: birch.ori(), agreement: id }],
            document: Digest::of(&document),
            n: 1,
            seen: None,
            event: Event::Signed { seal: seal(AGREEMENT_TYP), official },
        };
        let (_, text) = alder.forger().swears(Kind::AgreementEvent, None, &event).await;
        let detail = alder.calls(&birch).post(&path, text).await.problem(422, "unacceptable");
        assert!(detail.contains(expected), "{detail}");
        assert_eq!(birch.status(id), Status::Unsigned { missing: vec![alder.ori(), birch.ori()] });
    }
}

#[actix_web::test]
async fn a_party_whose_official_has_no_key_cannot_be_signed_with() {
    let federation = Federation::found();
    let alder = TestNode::found(&federation, ALDER).await;
    let mut birch = TestNode::found(&federation, BIRCH).await;
    birch.restart_with(|config| config.agency.official_key = String::new());
    alder.enrols(&birch).await;
    birch.enrols(&alder).await;
    let id = offers(&alder, &Terms::default().between(&alder.node().party(), &birch.node().party())).await;
    for node in [&alder, &birch] {
        says(&why(node.acts(id, Act::Sign).await), &["CA0990100: no key is named", "concordat official enroll"]);
    }
}
