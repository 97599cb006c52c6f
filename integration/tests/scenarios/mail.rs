//! Mail: nothing that was queued is lost, and nothing is sent twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use agreements::time::Instant;
use certs::ca::{Authority, NodeRequest};
use certs::key::SigningKey;
use certs::serial::Serial;
use concordat::clock::{Clock as _, SystemClock};
use concordat::config::{Config, MailAddress, MailBackend, MailTls, Secret};
use concordat::exchange::lifecycle::Act;
use concordat::jobs;
use concordat::keyfile;
use concordat::mail::{self, Audience, Notice};
use concordat::registry::outbox::{self, State};
use concordat::renewal::renew::Options;
use integration::federation::address;
use integration::mail::{Aiosmtpd, Fault, Sink};
use integration::node::CASE;
use integration::pair::days_from_start;
use integration::{Federation, Pair, TestNode};

const PEOPLE: [&str; 3] = ["one@alder.example", "two@alder.example", "custodian@alder.example"];
/// Those, and both agencies' contacts: who hears of an agreement that ends.
const EVERYBODY: [&str; 5] =
    [PEOPLE[0], PEOPLE[1], PEOPLE[2], "alpr-agreements@alder.test", "alpr-agreements@birch.test"];

/// Mail over a server at `at`, to three people.
fn through(at: SocketAddr) -> impl FnOnce(&mut Config) {
    move |config| {
        config.mail.backend = MailBackend::Smtp;
        (config.mail.host, config.mail.port) = (at.ip().to_string(), at.port());
        config.mail.tls = MailTls::None;
        config.mail.from = Some("alpr@alder.example".parse().unwrap());
        let [one, two, custodian] = PEOPLE.map(|address| address.parse().unwrap());
        (config.mail.administrators, config.mail.custodians) = (vec![one, two], vec![custodian]);
    }
}

/// A node that sends over a server at `at`.
async fn alder(federation: &Federation, at: SocketAddr) -> TestNode {
    let mut alder = TestNode::found(federation, concordat::demo::agency::ALDER).await;
    alder.restart_with(through(at));
    alder
}

/// Queues a mail to one person; its id.
async fn queues(node: &TestNode, what: &str) -> String {
    let to: Vec<MailAddress> = vec![PEOPLE[0].parse().unwrap()];
    let notice = Notice {
        dedup: what.to_owned(),
        audience: Audience::Agreements,
        subject: what.to_owned(),
        body: format!("{what}.\n"),
    };
    let now = node.clock_now();
    let queued = node.node().registry().write("a test", move |conn| mail::queue(conn, &to, &notice, now)).await;
    assert_eq!(queued.unwrap(), 1);
    node.mails().pop().unwrap().id
}

fn state(node: &TestNode, id: &str) -> State {
    outbox::find(&mut node.conn(), id).unwrap().unwrap().state
}

#[actix_web::test]
async fn a_mail_server_that_is_down_for_a_day_loses_no_mail_and_gets_none_twice() {
    let mut pair = Pair::in_force().await;
    let server = address();
    pair.alder.restart_with(through(server));
    // The agreement ends in 29 days: a digest to everybody. The server is not there.
    pair.alder.clock.forward(Instant::DAY);
    pair.alder.works_it_off().await;
    let queued = pair.alder.mails();
    assert_eq!(queued.iter().map(|mail| mail.recipient.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(EVERYBODY));
    for half_hour in 0..48 {
        pair.alder.clock.forward(30 * Instant::MINUTE);
        if half_hour % 16 == 7 {
            pair.alder.restart();
        }
        pair.alder.works_it_off().await;
    }
    let waiting = pair.alder.mails();
    assert_eq!(waiting.len(), EVERYBODY.len(), "nothing new to say, and nothing gone: {waiting:?}");
    for mail in &waiting {
        assert_eq!((mail.state, mail.doubtful), (State::Waiting, 0));
        assert!(mail.attempts >= 12, "tried all day: {mail:?}");
        assert!(mail.last_error.as_ref().unwrap().contains("refused"), "{mail:?}");
    }

    let sink = Sink::open(server);
    for _ in 0..12 {
        pair.alder.clock.forward(30 * Instant::MINUTE);
        pair.alder.works_it_off().await;
    }
    pair.alder.restart();
    pair.alder.works_it_off().await;
    let taken = sink.taken();
    assert_eq!(taken.len(), EVERYBODY.len(), "each once: {taken:?}");
    assert_eq!(taken.iter().map(|mail| mail.recipient.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(EVERYBODY));
    for mail in &taken {
        let queued = queued.iter().find(|queued| queued.recipient == mail.recipient).unwrap();
        assert_eq!(mail.message_id(), format!("<{}@alder.example>", queued.id));
        assert!(mail.text.contains("2026-12-23") && mail.text.contains("concordat agreement show"), "{}", mail.text);
        assert!(!mail.text.contains(CASE));
    }
    assert!(pair.alder.mails().iter().all(|mail| mail.state == State::Sent));
}

#[actix_web::test]
async fn whatever_a_mail_server_does_short_of_silence_each_mail_is_taken_once() {
    let federation = Federation::found();
    let server = address();
    let alder = alder(&federation, server).await;
    alder.works_it_off().await;
    let sink = Sink::open(server);
    for fault in
        [Fault::Busy, Fault::SilentEnd, Fault::Sender, Fault::Recipient, Fault::EndBeforeData, Fault::Data, Fault::Text]
    {
        let before = sink.taken().len();
        let id = queues(&alder, &format!("{fault:?}")).await;
        sink.will(&[fault]);
        alder.works_it_off().await;
        assert_eq!((state(&alder, &id), sink.taken().len()), (State::Waiting, before), "{fault:?}");
        let calls = sink.connections();
        alder.clock.forward(30 * 1_000_000);
        alder.works_it_off().await;
        assert_eq!(sink.connections(), calls, "{fault:?}: not before its time");
        alder.clock.forward(Instant::MINUTE);
        alder.works_it_off().await;
        alder.clock.forward(Instant::DAY);
        alder.works_it_off().await;
        assert_eq!((state(&alder, &id), sink.taken().len()), (State::Sent, before + 1), "{fault:?}");
    }
}

#[actix_web::test]
async fn a_mail_refused_for_good_is_given_up_and_can_be_tried_again_by_hand() {
    let federation = Federation::found();
    let server = address();
    let alder = alder(&federation, server).await;
    let sink = Sink::open(server);
    for fault in [Fault::NoSuchRecipient, Fault::RefusedText] {
        let before = sink.taken().len();
        let id = queues(&alder, &format!("{fault:?}")).await;
        sink.will(&[fault]);
        alder.works_it_off().await;
        assert_eq!(state(&alder, &id), State::GivenUp);
        alder.clock.forward(2 * Instant::DAY);
        alder.works_it_off().await;
        assert_eq!(sink.taken().len(), before, "it is not tried any more");
        let (mail, now) = (id.clone(), alder.clock_now());
        let retry = move |conn: &mut _| outbox::retry(conn, &mail, now, now.plus(mail::MAX_AGE));
        assert!(alder.node().registry().write("a test", retry).await.unwrap());
        alder.works_it_off().await;
        assert_eq!((state(&alder, &id), sink.taken().len()), (State::Sent, before + 1));
    }
}

#[actix_web::test]
async fn a_mail_that_no_server_takes_for_two_weeks_is_given_up_and_the_node_says_so() {
    let federation = Federation::found();
    let alder = alder(&federation, address()).await;
    let id = queues(&alder, "nobody is there").await;
    alder.works_it_off().await;
    alder.clock.forward(14 * Instant::DAY - 1);
    alder.works_it_off().await;
    assert_eq!(state(&alder, &id), State::Waiting);
    alder.clock.forward(1);
    // Its wait after the last attempt must be over as well.
    alder.clock.forward(2 * Instant::HOUR);
    alder.works_it_off().await;
    assert_eq!(state(&alder, &id), State::GivenUp);
    let said = mail::standing(&mut alder.conn(), true).unwrap().says();
    assert!(said.contains("1 given up"), "{said}");
}

/// The one window: the text was handed over, and no reply came.
#[actix_web::test]
async fn a_mail_that_was_perhaps_taken_is_sent_again_after_an_hour_as_the_same_mail() {
    let federation = Federation::found();
    let server = address();
    let alder = alder(&federation, server).await;
    alder.works_it_off().await;
    let sink = Sink::open(server);
    for (fault, times) in [(Fault::EndBeforeReply, 2), (Fault::EndInText, 1)] {
        let before = sink.taken().len();
        let id = queues(&alder, &format!("{fault:?}")).await;
        sink.will(&[fault]);
        alder.works_it_off().await;
        assert_eq!(state(&alder, &id), State::Unknown, "{fault:?}");
        alder.clock.forward(Instant::HOUR - 1);
        alder.works_it_off().await;
        assert_eq!(state(&alder, &id), State::Unknown, "{fault:?}: not yet");
        alder.clock.forward(1);
        alder.works_it_off().await;
        alder.clock.forward(Instant::DAY);
        alder.works_it_off().await;
        let mail = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
        assert_eq!((mail.state, mail.doubtful), (State::Sent, 1), "{fault:?}");
        let taken = sink.taken().split_off(before);
        assert_eq!(taken.len(), times, "{fault:?}");
        assert_eq!(taken.iter().map(|mail| mail.text.clone()).collect::<BTreeSet<_>>().len(), 1, "the same bytes");
    }
}

/// A server that takes every mail and never says so.
#[actix_web::test]
async fn a_mail_is_handed_over_at_most_twice_and_a_person_may_try_it_once_more() {
    let federation = Federation::found();
    let server = address();
    let alder = alder(&federation, server).await;
    alder.works_it_off().await;
    let sink = Sink::open(server);
    sink.will(&[Fault::EndBeforeReply; 50]);
    let id = queues(&alder, "taken, and never said so").await;
    for _ in 0..48 {
        alder.works_it_off().await;
        alder.clock.forward(30 * Instant::MINUTE);
    }
    let mail = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
    assert_eq!((mail.state, mail.doubtful, mail.attempts), (State::GivenUp, 2, 2));
    let why = mail.last_error.unwrap();
    assert!(why.contains("handed over 2 times") && why.contains("ask its recipient"), "{why}");
    let taken = sink.taken();
    assert_eq!((taken.len(), taken[0].text == taken[1].text), (2, true), "the same mail again, once");

    let (again, now) = (id.clone(), alder.clock_now());
    let retry = move |conn: &mut _| outbox::retry(conn, &again, now, now.plus(mail::MAX_AGE));
    assert!(alder.node().registry().write("a test", retry).await.unwrap());
    for _ in 0..10 {
        alder.works_it_off().await;
        alder.clock.forward(Instant::HOUR);
    }
    let mail = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
    assert_eq!((mail.state, mail.doubtful, sink.taken().len()), (State::GivenUp, 3, 3), "once for each time asked");
}

#[actix_web::test]
async fn a_server_that_is_silent_to_one_mail_is_not_offered_the_others_in_the_same_run() {
    let federation = Federation::found();
    let server = address();
    let alder = alder(&federation, server).await;
    alder.works_it_off().await;
    let sink = Sink::open(server);
    sink.will(&[Fault::EndInText]);
    for what in ["one", "two", "three"] {
        queues(&alder, what).await;
    }
    let one_run = jobs::driver(alder.node()).ring(&BTreeSet::from([jobs::MAIL])).await.unwrap();
    assert_eq!(one_run.len(), 1, "{one_run:?}");
    let states = || alder.mails().into_iter().map(|mail| mail.state).collect::<Vec<_>>();
    assert_eq!(states().iter().filter(|state| **state == State::Unknown).count(), 1, "{:?}", states());
    assert_eq!((sink.connections(), sink.taken().len()), (1, 0), "the others wait");
    alder.clock.forward(Instant::MINUTE);
    alder.works_it_off().await;
    assert_eq!(sink.taken().len(), 2);
    alder.clock.forward(Instant::HOUR);
    alder.works_it_off().await;
    assert_eq!((states(), sink.taken().len()), (vec![State::Sent; 3], 3));
}

/// A process that dies each time at the same point: the third is not let near it.
#[actix_web::test]
async fn a_mail_at_which_two_processes_died_is_given_up() {
    let federation = Federation::found();
    let server = address();
    let alder = alder(&federation, server).await;
    alder.works_it_off().await;
    let id = queues(&alder, "two processes died").await;
    for _ in 0..2 {
        let seen = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
        let until = alder.clock_now().plus(mail::CLAIM);
        let dies = move |conn: &mut _| {
            assert!(outbox::claim(conn, &seen, "a process that died", until)?);
            outbox::hand_over(conn, &seen.id, "a process that died", until)
        };
        assert!(alder.node().registry().write("a test", dies).await.unwrap());
        alder.clock.set(until);
    }
    let sink = Sink::open(server);
    alder.works_it_off().await;
    let mail = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
    assert_eq!((mail.state, mail.doubtful, sink.connections()), (State::GivenUp, 2, 0));
    assert!(mail.last_error.unwrap().contains("handed over 2 times"));
}

/// A process dies while it sends: before the text nothing was sent; while it hands over, nobody knows.
#[actix_web::test]
async fn a_mail_whose_sender_died_is_sent_by_the_next_one() {
    let federation = Federation::found();
    let server = address();
    let alder = alder(&federation, server).await;
    alder.works_it_off().await;
    for (handed_over, doubtful) in [(false, 0), (true, 1)] {
        let id = queues(&alder, &format!("handed over: {handed_over}")).await;
        let seen = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
        let until = alder.clock_now().plus(mail::CLAIM);
        let dies = move |conn: &mut _| {
            assert!(outbox::claim(conn, &seen, "a process that died", until)?);
            assert!(!outbox::claim(conn, &seen, "another", until)?, "claimed once");
            if handed_over {
                assert!(outbox::hand_over(conn, &seen.id, "a process that died", until)?);
            }
            Ok(())
        };
        alder.node().registry().write("a test", dies).await.unwrap();
        let sink = Sink::open(server);
        alder.clock.set(until.plus(-1));
        alder.rings().await;
        assert_eq!(sink.taken().len(), 0, "it may still be sending");
        alder.clock.set(until);
        alder.works_it_off().await;
        assert_eq!(sink.taken().len(), 1);
        let mail = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
        assert_eq!((mail.state, mail.doubtful, mail.attempts), (State::Sent, doubtful, 2));
    }
}

/// The same in a real node that is cut off between the text and the reply, and what is written before.
#[actix_web::test]
async fn a_node_that_stops_while_a_mail_is_handed_over_knows_afterwards_that_it_may_have_been_taken() {
    let federation = Federation::found();
    let server = address();
    let mut alder = alder(&federation, server).await;
    alder.works_it_off().await;
    let sink = Sink::open(server);
    sink.will(&[Fault::LateReply]);
    let id = queues(&alder, "cut off").await;
    alder.node().bell().ring_for(jobs::MAIL);
    for _ in 0..1000 {
        if !sink.taken().is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(state(&alder, &id), State::HandedOver, "written before the text");
    alder.restart();
    sink.replies();
    alder.rings().await;
    assert_eq!((state(&alder, &id), sink.taken().len()), (State::HandedOver, 1), "another process may be at it");
    alder.clock.forward(mail::CLAIM);
    alder.works_it_off().await;
    let mail = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
    assert_eq!((mail.state, mail.doubtful), (State::Sent, 1));
    let taken = sink.taken();
    assert_eq!((taken.len(), taken[0].text == taken[1].text), (2, true), "the same mail again");
}

#[actix_web::test]
async fn reminders_come_once_each_over_restarts_until_a_successor_is_signed() {
    let mut pair = Pair::in_force().await;
    let into_memory = |config: &mut Config| {
        through(address())(config);
        config.mail.backend = MailBackend::Memory;
    };
    pair.alder.restart_with(into_memory);
    for day in 0..32 {
        pair.alder.clock.set(Instant::start_of(days_from_start(day)).unwrap().plus(20 * Instant::HOUR));
        if day % 3 == 1 {
            pair.alder.restart();
        }
        pair.alder.works_it_off().await;
        pair.alder.works_it_off().await;
    }
    let to_one: Vec<String> = pair
        .alder
        .mails()
        .into_iter()
        .filter(|mail| mail.recipient == PEOPLE[0] && mail.dedup.starts_with("renewal"))
        .map(|mail| mail.dedup.split(" to ").next().unwrap().to_owned())
        .collect();
    let id = pair.id;
    // From Monday 2026-11-23; the agreement ends on 2026-12-23, and the digest has it until the 15th.
    let weeks = ["48", "49", "50", "51"].map(|week| format!("renewals:2026-W{week}"));
    let singly = ["7", "3", "1"].map(|days| format!("renewal:{id}:{days}"));
    assert_eq!(to_one, [&weeks[..], &singly[..]].concat());
    assert!(pair.alder.mails().iter().all(|mail| mail.state == State::Sent));
}

#[actix_web::test]
async fn an_agreement_with_a_signed_successor_is_not_reminded_of_and_one_that_half_signed_is() {
    let mut pair = Pair::in_force().await;
    let (alder, birch) = (&pair.alder, &pair.birch);
    for (of, by) in [(alder, birch), (birch, alder)] {
        of.makes_packet().await;
        by.reviews(of, None).await.unwrap();
    }
    let options = Options { effective_on: Some(days_from_start(20)), ..Options::default() };
    let id = alder.renews(pair.id, options).await.unwrap().id;
    alder.acts(id, Act::Sign).await.unwrap();
    pair.alder.restart_with(|config| {
        through(address())(config);
        config.mail.backend = MailBackend::Memory;
    });
    pair.alder.clock.forward(Instant::DAY);
    pair.alder.works_it_off().await;
    // Birch's clock stands still, so it has no day for Alder to reconcile: that is told as well.
    let count = |pair: &Pair| pair.alder.mails().iter().filter(|mail| mail.dedup.starts_with("renewals:")).count();
    assert_eq!(count(&pair), EVERYBODY.len(), "signed by one is not renewed");
    let told = &pair.alder.mails()[0].body;
    assert!(told.contains(&format!("renewal offered: {id}")), "{told}");

    pair.birch.acts(id, Act::Sign).await.unwrap();
    for day in 2..32 {
        // Signing needs a check of the last 30 days, being in force one of the last 90.
        pair.alder.clock.set(Instant::start_of(days_from_start(day)).unwrap().plus(20 * Instant::HOUR));
        pair.alder.works_it_off().await;
    }
    let said: BTreeSet<String> = pair.alder.mails().into_iter().map(|mail| mail.dedup).collect();
    assert_eq!(count(&pair), EVERYBODY.len(), "{said:?}");
}

#[actix_web::test]
async fn a_mail_server_of_another_implementation_reads_ours_over_starttls_with_a_login() {
    let federation = Federation::found();
    let folder = federation.folder();
    // The mail server's certificate is checked by the machine's clock, whatever the node's says.
    let now = SystemClock.now();
    let authority = Authority::create("Mail CA", now.plus(-Instant::DAY), now.plus(30 * Instant::DAY)).unwrap();
    let key = SigningKey::generate_p256().unwrap();
    let request = NodeRequest {
        ori: "CA0190000".parse().unwrap(),
        public: key.public(),
        hosts: &["localhost".parse().unwrap()],
        not_before: now.plus(-Instant::HOUR),
        not_after: now.plus(9 * Instant::DAY),
        serial: Serial::random().unwrap(),
    };
    let path = |name: &str| folder.join(name);
    std::fs::write(path("mail.pem"), authority.issue_node(&request).unwrap()).unwrap();
    keyfile::write_secret(&path("mail.key"), &key.to_pem().unwrap()).unwrap();
    std::fs::write(path("mail-ca.pem"), authority.certificate_pem().unwrap()).unwrap();
    keyfile::write_secret(&path("password"), format!("{}\n", Aiosmtpd::PASSWORD).as_bytes()).unwrap();
    keyfile::write_secret(&path("wrong"), b"guess\n").unwrap();
    let Some(server) = Aiosmtpd::start(&path("mail.pem"), &path("mail.key")) else { return };

    let mut alder = alder(&federation, ([127, 0, 0, 1], server.port).into()).await;
    let starttls = |password: &'static str, with_ca: bool, folder: &std::path::Path| {
        let (secret, ca) = (Secret::File(folder.join(password)), folder.join("mail-ca.pem"));
        move |config: &mut Config| {
            config.mail.host = "localhost".to_owned();
            config.mail.tls = MailTls::Starttls;
            config.mail.username = Aiosmtpd::USER.to_owned();
            (config.mail.password, config.mail.ca) = (secret, if with_ca { vec![ca] } else { Vec::new() });
        }
    };
    let id = queues(&alder, "Two agreements need renewal \u{2013} na\u{ef}ve").await;
    for (change, says) in
        [(starttls("password", false, folder), "ertificate"), (starttls("wrong", true, folder), "535")]
    {
        alder.restart_with(change);
        alder.clock.forward(3 * Instant::HOUR);
        alder.works_it_off().await;
        let mail = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
        assert_eq!(mail.state, State::Waiting, "{mail:?}");
        let why = mail.last_error.unwrap();
        assert!(why.contains(says) && !why.contains("guess"), "{says}: {why}");
    }
    assert!(server.taken().is_empty());
    alder.restart_with(starttls("password", true, folder));
    alder.clock.forward(3 * Instant::HOUR);
    alder.works_it_off().await;
    assert_eq!(state(&alder, &id), State::Sent);
    let [taken] = server.taken().try_into().unwrap();
    assert_eq!((&taken["tls"], &taken["user"]), (&true.into(), &Aiosmtpd::USER.into()));
    assert_eq!((&taken["from"], &taken["to"]), (&"alpr@alder.example".into(), &vec![PEOPLE[0]].into()));
    let headers = &taken["headers"];
    assert_eq!(headers["Subject"], "Two agreements need renewal \u{2013} na\u{ef}ve");
    assert_eq!(headers["Message-ID"], format!("<{id}@alder.example>"));
    assert_eq!(headers["Auto-Submitted"], "auto-generated");
    assert_eq!(headers["From"], "Concordat <alpr@alder.example>");
    assert_eq!(taken["body"], "Two agreements need renewal \u{2013} na\u{ef}ve.\r\n");
    assert_eq!(taken["defects"], serde_json::json!([]));
}

#[actix_web::test]
async fn without_starttls_nothing_is_sent_in_the_clear() {
    let federation = Federation::found();
    let server = address();
    let mut alder = alder(&federation, server).await;
    let sink = Sink::open(server);
    alder.restart_with(|config| {
        config.mail.tls = MailTls::Starttls;
        config.mail.username = "alder".to_owned();
        config.mail.password = Secret::Env("PATH".to_owned());
    });
    let id = queues(&alder, "not in the clear").await;
    alder.works_it_off().await;
    assert!(sink.connections() > 0 && sink.taken().is_empty());
    let mail = outbox::find(&mut alder.conn(), &id).unwrap().unwrap();
    assert!(mail.last_error.unwrap().contains("STARTTLS"));
}
