//! Many partners without nodes of their own: each has its name, its ORI and its place in agreements; what they say is
//! sworn by one trail and sealed by one key, which all their descriptors name. So enrolment, verification, streams and
//! jobs of the node under test are the product's, while hundreds of doors and databases are not opened.

use std::sync::Arc;

use agreements::agreement::{Agreement, Renewal};
use agreements::entry::{Kind, Leaf};
use agreements::ids::{AgreementId, Digest, Ori};
use agreements::message::{Acknowledgement, Offer, PROTOCOL, PacketSent, StreamEvent, To};
use agreements::packet::Packet;
use agreements::party::Party;
use agreements::review::{Decided, Item, Verdict};
use agreements::status::Status;
use agreements::stream::Event;
use certs::jws;
use certs::key::SigningKey;
use concordat::exchange::partner::Partner;
use concordat::exchange::standing::{self, AGREEMENT_TYP, OFFICIAL_TYP, RESUMPTION_TYP};
use concordat::exchange::sworn::{self, Sworn};
use concordat::exchange::wire::{Bulk, Envelope};
use concordat::exchange::{descriptor, lifecycle};
use concordat::node::read_key;
use concordat::people;
use concordat::registry::agreements as documents;
use concordat::registry::exchanged::{self, Receipt};
use concordat::renewal::hearing::hear_packet;
use concordat::renewal::held::PACKET_TYP;
use concordat::renewal::review::{self, Decision};
use concordat::renewal::signing;

use crate::forge::Forger;
use crate::node::TestNode;
use crate::renewal::answers;

/// Partners of one node.
pub struct Counterparties {
    trail: Forger,
    seal: SigningKey,
    identity: SigningKey,
    official: SigningKey,
    model: Party,
    packet: Packet,
}

/// One of them.
#[derive(Clone)]
pub struct Counterparty {
    pub party: Party,
}

impl Counterparties {
    /// With the keys and the trail of `model`, which stops: nobody answers where they say that they are.
    pub async fn after(mut model: TestNode, folder: &std::path::Path) -> Self {
        let made = model.makes_packet_of(answers(&model)).await.unwrap();
        let trail = model.fork(folder);
        let (seal, identity) = (model.seal_key(), model.identity_key());
        let official = read_key(&model.settings().keys.folder.join("official.key")).unwrap();
        let party = Party::clone(&model.node().party());
        model.stop();
        Self { trail, seal, identity, official, model: party, packet: made.held.packet }
    }

    /// Their clock.
    pub fn clock(&self) -> &crate::TestClock {
        &self.trail.clock
    }

    /// The `n`th of them.
    pub fn nth(&self, n: usize) -> Counterparty {
        let mut party = self.model.clone();
        party.ori = format!("CA098{n:04}").parse().unwrap();
        party.legal_name = format!("Partner {n:03} Police");
        Counterparty { party }
    }

    /// Two people of `node` enrol it.
    pub async fn enrolled_by(&self, node: &TestNode, who: &Counterparty) {
        let file = descriptor::write(&who.party, &self.identity).unwrap();
        let (_, fingerprint) = descriptor::read(&file).unwrap();
        let (by, other) = (node.fiction.person("agreements"), node.fiction.person("custodian"));
        let spoken = descriptor::spoken(fingerprint);
        people::enrol(node.node().registry(), file, &spoken, &by, &other).await.unwrap();
    }

    fn partner(node: &TestNode, who: Ori) -> Arc<Partner> {
        Arc::clone(node.node().partners().find(who).expect("enrolled"))
    }

    /// It offers a document to `node`, which takes it.
    pub async fn offers(&self, node: &TestNode, who: &Counterparty, agreement: &Agreement) {
        let document = String::from_utf8(agreement.to_bytes().unwrap()).unwrap();
        let offer = Offer {
            v: PROTOCOL,
            to: vec![To { ori: node.ori(), agreement: agreement.id }],
            document: Digest::of(document.as_bytes()),
        };
        let message = agreements::json::canonical(&offer).unwrap();
        let bulk = Bulk::Document(&document);
        let (_, text) = self.trail.swears_bytes(Kind::AgreementOffered, None, message, bulk).await;
        let partner = Self::partner(node, who.party.ori);
        lifecycle::hear_offer(node.node(), &partner, text.as_bytes()).await.unwrap();
    }

    /// It says `event` as number `n` of its stream.
    pub async fn says(&self, node: &TestNode, who: &Counterparty, agreement: &Agreement, n: u32, event: Event) {
        let said = StreamEvent {
            v: PROTOCOL,
            to: vec![To { ori: node.ori(), agreement: agreement.id }],
            document: Digest::of(&agreement.to_bytes().unwrap()),
            n,
            seen: None,
            event,
        };
        let (_, text) = self.trail.swears(Kind::AgreementEvent, None, &said).await;
        let partner = Self::partner(node, who.party.ori);
        lifecycle::hear_event(node.node(), &partner, Some(agreement.id), text.as_bytes()).await.unwrap();
    }

    /// Its signature.
    pub fn signed(&self, agreement: &Agreement) -> Event {
        let document = agreement.to_bytes().unwrap();
        let sign = |typ, key| jws::sign(&document, typ, key, None).unwrap();
        Event::Signed { seal: sign(AGREEMENT_TYP, &self.seal), official: Some(sign(OFFICIAL_TYP, &self.official)) }
    }

    /// It applies for renewal: its packet of today arrives, and `node` reviews it, all ok. What a renewal can stand on then.
    pub async fn applies(&self, node: &TestNode, who: &Counterparty, under: AgreementId) -> Renewal {
        let now = node.clock_now();
        let Party { ori, legal_name, .. } = who.party.clone();
        let payload = Packet { ori, legal_name, made_at: now, ..self.packet.clone() }.to_bytes().unwrap();
        let seal = jws::sign(&payload, PACKET_TYP, &self.seal, None).unwrap();
        let sealed = String::from_utf8(jws::flatten(&payload, &seal).unwrap()).unwrap();
        let packet = Digest::of(&payload);
        let sent = PacketSent { v: PROTOCOL, to: vec![To { ori: node.ori(), agreement: under }], packet };
        let message = agreements::json::canonical(&sent).unwrap();
        let (_, text) = self.trail.swears_bytes(Kind::PacketSent, None, message, Bulk::Document(&sealed)).await;
        let partner = Self::partner(node, ori);
        hear_packet(node.node(), &partner, under, text.as_bytes()).await.unwrap();
        let ok = |item| Decided { item, verdict: Verdict::Ok, note: String::new(), evidence: None };
        let decision = Decision { partner: ori, packet, items: Item::ALL.map(ok).to_vec() };
        review::submit(node.node(), decision, &node.fiction.person("agreements")).await.unwrap();
        let basis = signing::basis(&mut node.conn(), ori, now).unwrap().unwrap();
        Renewal { packet_sha256: basis.packet, review_sha256: basis.review, ag_check_sha256: basis.ag_check }
    }

    /// Its lifting of its own suspension, as event `n`.
    pub fn resumed(&self, who: &Counterparty, agreement: &Agreement, n: u32) -> Event {
        let reason = "the audit is closed".to_owned();
        let document = agreement.to_bytes().unwrap();
        let statement = standing::resumption(agreement, &document, who.party.ori, n, &reason).unwrap();
        Event::Resumed { seal: jws::sign(&statement, RESUMPTION_TYP, &self.seal, None).unwrap(), reason }
    }

    /// It acknowledges all that `node` said under an agreement and has no receipt for: verified and kept as the product
    /// keeps what comes over the wire.
    pub async fn acknowledges(&self, node: &TestNode, who: &Counterparty, id: AgreementId, status: &Status) {
        let partner = Self::partner(node, who.party.ori);
        let said = documents::stream(&mut node.conn(), id, node.ori()).unwrap();
        for kept in said {
            if !exchanged::receipts(&mut node.conn(), Some(kept.rid), 1).unwrap().is_empty() {
                continue;
            }
            let message = Acknowledgement {
                v: PROTOCOL,
                to: vec![To { ori: node.ori(), agreement: id }],
                of: Leaf::hash_of(&kept.leaf),
                status: status.clone(),
            };
            let (_, text) = self.trail.swears(Kind::AgreementAcknowledged, None, &message).await;
            let envelope = Envelope::parse(text.as_bytes()).unwrap();
            let cache = node.node().checkpoints();
            let sworn: Sworn<Acknowledgement> =
                sworn::verify(&envelope, Kind::AgreementAcknowledged, &partner, node.ori(), cache).unwrap();
            let (_, evidence) = sworn.into_parts();
            let of = kept.rid;
            let keep = move |tx: &mut concordat::db::Tx<'_>| {
                let now = tx.now();
                let receipt = Receipt {
                    origin: evidence.origin,
                    of,
                    leaf_hash: evidence.leaf_hash,
                    leaf: evidence.leaf,
                    message: evidence.message,
                    salt: evidence.salt,
                    proof: evidence.proof,
                };
                exchanged::keep(tx.conn(), &receipt, now)
            };
            node.node().registry().record(keep).await.unwrap();
        }
    }
}
