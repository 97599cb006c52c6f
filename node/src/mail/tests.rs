use super::*;

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

#[test]
fn the_waits_grow_to_two_hours_and_mails_that_failed_together_part() {
    let now = at("2026-11-23T20:17:00Z");
    let waits = |id: &str| (1..12).map(|attempts| next_attempt(id, attempts, now).since(now)).collect::<Vec<_>>();
    for id in ["a", "b", "c"] {
        for (wait, minutes) in waits(id).into_iter().zip([1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120]) {
            let whole = minutes * Instant::MINUTE;
            assert!((whole * 4 / 5..=whole).contains(&wait), "{wait} of {minutes} minutes");
        }
        assert_eq!(waits(id), waits(id));
    }
    assert_ne!(waits("a"), waits("b"));
    assert!(next_attempt("a", i64::MAX, now).since(now) <= LONGEST_WAIT);
}

#[test]
fn a_letter_is_the_same_bytes_each_time_and_no_name_adds_a_header() {
    let letter = Letter {
        id: "019ab3c4-7d1e-7f00-8000-2b5c9e6a1f43".to_owned(),
        recipient: "custodian@alder.example".to_owned(),
        subject: "The agreement with Ev\u{ed}l\r\nBcc: somebody@else.example ends".to_owned(),
        body: "One line.\n.\nA last one, na\u{ef}ve.\n".to_owned(),
        at: at("2026-11-23T20:17:00Z"),
    };
    let from: MailAddress = "alpr@alder.example".parse().unwrap();
    let (one, two) = (letter.message(&from).unwrap(), letter.message(&from).unwrap());
    assert_eq!(one.formatted(), two.formatted());
    let text = String::from_utf8(one.formatted()).unwrap();
    assert!(text.contains("Message-ID: <019ab3c4-7d1e-7f00-8000-2b5c9e6a1f43@alder.example>\r\n"), "{text}");
    assert!(text.contains("Date: Mon, 23 Nov 2026 20:17:00 +0000\r\n"), "{text}");
    assert!(text.contains("Auto-Submitted: auto-generated\r\n"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    assert_eq!(one.envelope().to().len(), 1);
}

#[test]
fn the_backend_file_leaves_a_message_that_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = Mail {
        backend: MailBackend::File,
        from: Some("alpr@alder.example".parse().unwrap()),
        folder: folder.path().join("mail"),
        ..Mail::default()
    };
    let letter = Letter {
        id: "1".to_owned(),
        recipient: "custodian@alder.example".to_owned(),
        subject: "Two agreements end".to_owned(),
        body: "Soon.\n".to_owned(),
        at: at("2026-11-23T20:17:00Z"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mailer = Mailer::new(config.clone(), "alder.example".to_owned());
    assert_eq!(runtime.block_on(mailer.send(&letter, async || Ok(()))), Attempt::Sent);
    let files: Vec<_> = std::fs::read_dir(&config.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].extension().unwrap(), "eml");
    assert_eq!(std::fs::read(&files[0]).unwrap(), letter.message(config.from.as_ref().unwrap()).unwrap().formatted());

    // Who is not let through hands nothing over.
    let refused = runtime.block_on(mailer.send(&letter, async || Err("taken".to_owned())));
    assert!(matches!(refused, Attempt::NotSent { .. }));
    assert_eq!(std::fs::read_dir(&config.folder).unwrap().count(), 1);
    let off = Mailer::new(Mail { backend: MailBackend::Off, ..config }, "alder.example".to_owned());
    assert!(!off.is_on());
    assert!(matches!(runtime.block_on(off.send(&letter, async || Ok(()))), Attempt::NotSent { .. }));
}
