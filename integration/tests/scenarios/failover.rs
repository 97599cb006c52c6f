//! S38: a database server that fails over and loses its last commits, under a running node.

use concordat::demo::agency::{ALDER, BIRCH};
use concordat::trail::head;
use integration::database::Store;
use integration::federation::Federation;
use integration::node::TestNode;
use integration::pair::{self, Pair, Terms};
use integration::postgres::ThrowawayCluster;

const PLATE: &str = "7FOV038";

fn size(url: &str) -> u64 {
    head::extent(&mut Store { url: url.to_owned() }.conn()).unwrap().0
}

#[actix_web::test]
async fn s38_a_failover_that_lost_commits_is_refused_at_the_next_batch_and_overwrites_nothing() {
    let Some(primary) = ThrowawayCluster::start(&[]) else { return };
    let name = primary.database().rsplit('/').next().unwrap().to_owned();
    let standby = primary.standby();
    let federation = Federation::found();
    let reads = format!("sqlite:{}", federation.folder().join("birch-reads.db").display());
    let stores = [primary.url_with(&standby, &name), reads];
    let alder = TestNode::found(&federation, ALDER).await;
    let birch = TestNode::found_with(&federation, BIRCH, Some(stores)).await;
    alder.enrols(&birch).await;
    birch.enrols(&alder).await;
    let id = pair::agree(&alder, &birch, &Terms::default()).await.unwrap();
    let pair = Pair { alder, birch, id, federation };
    pair.birch_saw(PLATE).await;

    // Answered while the standby streams: it will know of this one.
    let text = pair.question_text(PLATE).await;
    assert_eq!(pair.alder.posts_query(&pair.birch, &text).await.status, 200);
    let streamed = pair.birch.trail_size();
    for _ in 0..200 {
        if size(&standby.url(&name)) == streamed {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert_eq!(size(&standby.url(&name)), streamed, "the standby streams");

    // The standby is cut off; what is disclosed now it never hears of.
    standby.stop("INT");
    let mut lost = Vec::new();
    for _ in 0..3 {
        let text = pair.question_text(PLATE).await;
        let reply = pair.alder.posts_query(&pair.birch, &text).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        lost.push(reply);
    }
    assert_eq!(pair.birch.trail_size(), streamed + 3);
    primary.stop("QUIT");
    standby.resume();
    standby.promote();

    let mut replies = 0;
    while pair.birch.fatal.lock().unwrap().is_empty() {
        let text = pair.question_text(PLATE).await;
        let reply = pair.alder.posts_query(&pair.birch, &text).await;
        reply.problem(503, "unavailable");
        assert!(!reply.text().contains(PLATE));
        replies += 1;
        assert!(replies < 20, "the node does not notice that commits are lost");
    }
    let fatal = pair.birch.fatal.lock().unwrap().clone();
    assert!(fatal.len() == 1 && fatal[0].contains("rolled back"), "{fatal:?}");
    // Nothing took the place of what was disclosed, and nothing more is said.
    let text = pair.question_text(PLATE).await;
    pair.alder.posts_query(&pair.birch, &text).await.problem(503, "unavailable");
    assert_eq!(size(&standby.url(&name)), streamed);
    let newest = standby.cell(&name, "SELECT max(idx)::text AS cell FROM leaf");
    assert_eq!(newest, (streamed - 1).to_string(), "no index was given a second time");
    // The asker holds what was lost: entries with proofs under a head that the owner signed.
    let vkey = concordat::node::log_vkey(pair.birch.settings()).unwrap();
    for reply in lost {
        let proof = reply.json()["proof"].as_str().unwrap().to_owned();
        let included = concordat::trail::proof::verify(&proof, reply.raw("leaf").as_bytes(), &vkey).unwrap();
        assert!(included.index >= streamed && included.checkpoint.size > streamed);
    }
}
