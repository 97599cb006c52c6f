//! A server that goes away and comes back, in the middle of what was going on.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agreements::time::Instant;
use concordat::clock::SetClock;
use concordat::db::RecordError;
use concordat::demo::agency::{ALDER, BIRCH};
use concordat::exchange::ask::Gave;
use concordat::reads::images::Images;
use concordat::reads::ingest::{Options, ingest};
use concordat::reads::keep::Keeper;
use concordat::reads::source::JsonLines;
use concordat::reads::store::ReadsDb;
use diesel::prelude::*;
use integration::database::Backend;
use integration::federation::{Federation, start};
use integration::feeding::rekor;
use integration::node::TestNode;
use integration::pair::{self, Terms};
use integration::postgres::ThrowawayCluster;
use integration::registry::{TestRegistry, append, block_on, draft};

const PLATE: &str = "7OUT402";

/// Ends the connection that says it.
const DIE: &str = "SELECT pg_terminate_backend(pg_backend_pid())";

#[test]
fn the_writer_goes_on_after_the_server_was_restarted_and_loses_nothing_that_it_told() {
    let Some(server) = ThrowawayCluster::start(&[]) else { return };
    let url = server.database();
    let registry = TestRegistry::on(Backend::Sqlite);
    let db = registry.try_open_at(&url).unwrap();
    block_on(async {
        append(&db, 2).await.unwrap();
        server.restart(&[]);
        assert_eq!(append(&db, 1).await.unwrap().entries()[0].index(), 2, "at once: nothing was done on the dead line");
        db.write("nothing", |_| Ok(())).await.unwrap();

        // As if the machine had lost its power.
        server.stop("QUIT");
        for _ in 0..2 {
            let refused = append(&db, 1).await.unwrap_err();
            assert!(matches!(refused, RecordError::Database(_)), "{refused}");
            assert!(refused.to_string().contains("start the server"), "{refused}");
        }
        server.resume();
        assert_eq!(append(&db, 1).await.unwrap().entries()[0].index(), 3);
    });
    assert_eq!(registry.fatal(), Vec::<String>::new());
}

#[test]
fn a_line_that_breaks_in_a_job_fails_its_batch_alone_and_one_that_breaks_at_commit_is_fatal() {
    let Some(server) = integration::postgres::shared() else { return };
    let url = server.database();
    let registry = TestRegistry::on(Backend::Sqlite);
    let db = registry.try_open_at(&url).unwrap();
    block_on(async {
        append(&db, 1).await.unwrap();
        let cut = db.record(|tx| {
            tx.append(draft(tx.now(), 1))?;
            diesel::sql_query(DIE).execute(tx.conn())
        });
        let (cut, beside) = tokio::join!(cut, append(&db, 1));
        assert!(matches!(cut.unwrap_err(), RecordError::Database(_)));
        drop(beside); // In the same batch or the next.
        let next = append(&db, 1).await.unwrap().entries()[0].index();
        assert!((1..3).contains(&next), "{next}");
        assert_eq!(registry.fatal(), Vec::<String>::new());

        // The line breaks while the server works on the COMMIT: nobody can know what came of it.
        let made = "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); RETURN NULL; END'; \
             CREATE TABLE fuse (n BIGINT); CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON fuse \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die()";
        db.write("make", move |conn| diesel::connection::SimpleConnection::batch_execute(conn, made)).await.unwrap();
        let unknown = db.record(|tx| {
            tx.append(draft(tx.now(), 1))?;
            diesel::sql_query("INSERT INTO fuse VALUES (1)").execute(tx.conn())
        });
        assert!(matches!(unknown.await.unwrap_err(), RecordError::Stopped));
        assert!(matches!(append(&db, 1).await.unwrap_err(), RecordError::Stopped));
    });
    drop(db);
    let fatal = registry.fatal();
    assert!(fatal.len() == 1 && fatal[0].contains("cannot be known"), "{fatal:?}");
}

#[test]
fn an_ingest_goes_on_after_the_server_was_restarted() {
    let Some(server) = ThrowawayCluster::start(&[]) else { return };
    let db = Arc::new(ReadsDb::open(&server.database()).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let images = Images::in_folder(&folder.path().join("images")).unwrap();
    let options = Options { batch: 10, ..Options::reporting_to(folder.path().join("rejected")) };
    let clock = Arc::new(SetClock::at(start()));
    let source: String = (1..=40).map(|n| rekor("7OUT401", start().plus(-n * Instant::SECOND))).collect();
    let mut restarts = 0;
    let mut progress = |progress: concordat::reads::ingest::Progress| {
        if progress.kept >= 20 && restarts == 0 {
            restarts += 1;
            server.restart(&[]);
        }
    };
    let keeper = Keeper { reads: Arc::clone(&db), images, clock: Arc::clone(&clock) as _ };
    let (mut lines, go_on) = (JsonLines::new(source.as_bytes(), &options), AtomicBool::new(false));
    let summary = block_on(ingest(&mut lines, &keeper, &options, clock.as_ref(), &mut progress, &go_on)).unwrap();
    assert_eq!((restarts, summary.kept, summary.rejected), (1, 40, 0));
    let mut reader = db.reader().unwrap();
    assert_eq!(reader.count().unwrap(), 40);
    server.run("DROP TABLE IF EXISTS nothing");
}

#[actix_web::test]
async fn a_node_answers_after_its_server_was_restarted_with_no_restart_of_its_own() {
    let Some(server) = ThrowawayCluster::start(&[]) else { return };
    let federation = Federation::found();
    let alder = TestNode::found(&federation, ALDER).await;
    let stores = [server.database(), server.database()];
    let birch = TestNode::found_with(&federation, BIRCH, Some(stores)).await;
    alder.enrols(&birch).await;
    birch.enrols(&alder).await;
    pair::agree(&alder, &birch, &Terms::default()).await.unwrap();
    birch.ingests(PLATE, start().plus(-Instant::HOUR)).await;
    for restarted in [false, true, true] {
        if restarted {
            server.restart(&[]);
        }
        match alder.queries(&birch, PLATE).await {
            Gave::Reads { reads, .. } => assert_eq!(reads.len(), 1),
            other => panic!("restarted {restarted}: {other:?}"),
        }
        // A load balancer asks for nothing else: the connection that broke must not be kept for it.
        let mut asked = [0; 3];
        for status in &mut asked {
            *status = integration::wire::plain_get(birch.console(), "/readyz").await.status;
        }
        assert_eq!(asked[1..], [200, 200], "restarted {restarted}");
    }
    server.stop("INT");
    let gave = alder.queries(&birch, PLATE).await;
    assert!(!matches!(gave, Gave::Reads { .. }), "{gave:?}");
    server.resume();
    assert!(matches!(alder.queries(&birch, PLATE).await, Gave::Reads { .. }));
    assert_eq!(birch.trail_problems(), []);
    assert_eq!(birch.fatal.lock().unwrap().len(), 0);
}
