//! Signing, cut off between any two of its steps: what was recorded stands, and a repeat completes the rest.

use std::sync::Arc;

use agreements::entry::Kind;
use agreements::ids::AgreementId;
use agreements::status::Status;
use agreements::time::Instant;
use concordat::exchange::lifecycle::{self, Act};
use concordat::registry::agreements as documents;
use concordat::trail::search;
use integration::cut::{Cut, CutLine, Lost};
use integration::{Pair, Terms, TestNode};

/// Proposed by one, signed by both, on a line that is cut; whenever it was, both crash, start, and look for what is left.
struct Signing<'a> {
    nodes: [&'a mut TestNode; 2],
    cut: Arc<Cut>,
    crashed: bool,
}

impl Signing<'_> {
    async fn crash_if_cut(&mut self) {
        if self.cut.happened() && !self.crashed {
            self.crashed = true;
            for node in &mut self.nodes {
                node.restart();
            }
            self.repeat().await;
        }
    }

    /// Five minutes later, the jobs of both.
    async fn repeat(&mut self) {
        for node in &self.nodes {
            node.clock.forward(5 * Instant::MINUTE);
        }
        for node in &self.nodes {
            node.rings().await;
        }
    }

    async fn whole(&mut self, nth: usize) -> AgreementId {
        let document = Terms::default().between(&self.nodes[0].node().party(), &self.nodes[1].node().party());
        self.cut.arms(nth);
        let by = self.nodes[0].fiction.person("agreements");
        let bytes = document.to_bytes().unwrap();
        let (id, _) = lifecycle::propose(self.nodes[0].node(), bytes, &by).await.unwrap();
        self.crash_if_cut().await;
        for signer in 0..2 {
            self.nodes[signer].acts(id, Act::Sign).await.unwrap();
            self.crash_if_cut().await;
        }
        id
    }
}

/// How many entries a node has of what passes about agreements with the other.
fn said(node: &TestNode, partner: &TestNode) -> i64 {
    let kinds = [Kind::AgreementOffered, Kind::AgreementEvent, Kind::AgreementAcknowledged];
    kinds.into_iter().map(|kind| search::count(&mut node.conn(), kind, partner.ori(), "").unwrap()).sum()
}

/// Puts a line that is cut between both, and starts them anew on it.
async fn lines(alder: &mut TestNode, birch: &mut TestNode, cut: &Arc<Cut>) -> [CutLine; 2] {
    let lines = [CutLine::between(alder, birch, cut).await, CutLine::between(birch, alder, cut).await];
    let hosts = [birch.fiction.host(), alder.fiction.host()];
    for ((node, line), host) in [alder, birch].into_iter().zip(&lines).zip(hosts) {
        let address = line.address;
        node.restart_with(|config| {
            config.peer.hosts.insert(host, address);
        });
    }
    lines
}

#[actix_web::test]
async fn signing_cut_off_between_any_two_steps_leaves_what_a_repeat_completes() {
    let (mut cuts, mut recorded) = (0, None);
    for nth in 0.. {
        assert!(nth < 40, "signing once takes no more than some requests");
        let mut happened = false;
        for lost in [Lost::Request, Lost::Reply] {
            // Two that have signed nothing yet: who is in touch again brings all agreements together.
            let (_federation, mut alder, mut birch) = Pair::enrolled().await;
            let before = [said(&alder, &birch), said(&birch, &alder)];
            let cut = Cut::of(lost);
            let _lines = lines(&mut alder, &mut birch, &cut).await;
            let mut signing = Signing { nodes: [&mut alder, &mut birch], cut: Arc::clone(&cut), crashed: false };
            let id = signing.whole(nth).await;
            for _ in 0..2 {
                signing.repeat().await;
            }
            let what = format!("request {nth}, {lost:?} lost: {}", cut.happened());
            let both = [(&alder, &birch), (&birch, &alder)];
            for ((node, partner), before) in both.into_iter().zip(before) {
                assert!(matches!(node.status(id), Status::InForce { .. }), "{what}: {:?}", node.status(id));
                let left = documents::unacknowledged(&mut node.conn(), node.ori()).unwrap();
                assert!(left.is_empty(), "{what}: {} still sends {left:?}", node.fiction.word);
                assert!(node.trail_problems().is_empty(), "{what}");
                // An offer or its acknowledgement, own signature, and the partner's acknowledged: each once.
                let new = said(node, partner) - before;
                assert_eq!(*recorded.get_or_insert(new), new, "{what}: entries of {}", node.fiction.word);
            }
            happened |= cut.happened();
            cuts += usize::from(cut.happened());
        }
        if !happened {
            break;
        }
    }
    println!("signing was cut at {cuts} places");
    assert!(cuts >= 12, "propose, sign and sign are at least six requests: {cuts}");
    assert_eq!(recorded, Some(3));
}
