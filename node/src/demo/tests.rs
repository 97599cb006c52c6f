//! The whole demo, and demos in which something is amiss.

use diesel::prelude::*;
use serde_json::Value;

use super::*;

/// What `--json` printed, and which steps were not well.
fn read(out: &[u8]) -> (Vec<Value>, Vec<String>) {
    let text = std::str::from_utf8(out).unwrap();
    let steps: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let bad = steps.iter().filter(|step| step["ok"] != true);
    let bad = bad.map(|step| step["step"].as_str().unwrap().to_owned()).collect();
    (steps, bad)
}

#[actix_web::test]
async fn every_step_does_what_it_should() {
    let mut out = Vec::new();
    let options = Options { dir: None, once: true, json: true };
    let good = run(options, &mut out).await.unwrap();
    let (steps, _) = read(&out);
    assert!(steps.len() >= 8, "{steps:#?}");
    for step in &steps {
        assert_eq!(step["ok"], true, "{step}");
        assert_eq!(step.as_object().unwrap().len(), 3, "{step}");
    }
    assert!(good);
}

#[actix_web::test]
async fn a_person_reads_it_in_80_columns_and_the_folder_stays() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("demo");
    let options = Options { dir: Some(root.clone()), once: true, json: false };
    let mut out = Vec::new();
    let good = run(options.clone(), &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(good, "{text}");
    assert_eq!(text.lines().find(|line| line.chars().count() > 80 && !line.contains("D=")), None, "{text}");
    assert!(text.contains("All 11 steps"), "{text}");
    assert!(root.join("alder/concordat.toml").exists());

    let again = run(options, &mut Vec::new()).await.unwrap_err().to_string();
    assert!(again.contains("is not empty") && again.contains("--dir"), "{again}");
}

/// Plays the first `before` steps, lets `amiss` meddle, and plays the rest. What failed, and what the rest printed.
async fn with_something_amiss(before: usize, amiss: impl AsyncFnOnce(&mut Stage)) -> (Vec<&'static str>, Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(dir.path().canonicalize().unwrap(), Arc::new(SystemClock));
    let mut out = Vec::new();
    let (first, rest) = STEPS.split_at(before);
    assert_eq!(play(&mut stage, first, &mut Page::new(&mut out, true)).await.unwrap(), [""; 0]);
    amiss(&mut stage).await;
    let mut out = Vec::new();
    let failed = play(&mut stage, rest, &mut Page::new(&mut out, true)).await.unwrap();
    stage.close().await;
    let (steps, bad) = read(&out);
    assert_eq!(bad, failed);
    (failed, steps)
}

#[actix_web::test]
async fn without_reads_the_steps_that_need_them_fail_and_say_why() {
    let lose = async |stage: &mut Stage| {
        let mut conn = SqliteConnection::establish(stage.root.join("alder/reads.db").to_str().unwrap()).unwrap();
        diesel::sql_query("DELETE FROM read").execute(&mut conn).unwrap();
    };
    let (failed, steps) = with_something_amiss(3, lose).await;
    assert_eq!(failed, ["query", "sunset", "edited_row"]);
    assert_eq!(steps[0]["detail"], "Alder permitted it and gave no reads");
    let last = steps.last().unwrap()["detail"].as_str().unwrap();
    assert!(last.starts_with("not tried") && last.contains("`query`"), "{last}");
}

#[actix_web::test]
async fn with_alder_down_nothing_passes_for_well() {
    let down = async |stage: &mut Stage| {
        let running = stage.sites.as_mut().and_then(|sites| sites.alder.running.take()).unwrap();
        running.stop().await;
    };
    let (failed, steps) = with_something_amiss(2, down).await;
    assert_eq!(failed.first(), Some(&"agreement"));
    assert!(steps[0]["detail"].as_str().unwrap().contains("not delivered"), "{}", steps[0]);
    for needs_alder in ["query", "vague_reason", "sensitive_term", "stranger", "sunset"] {
        assert!(failed.contains(&needs_alder), "{needs_alder} passed");
    }
}

#[actix_web::test]
async fn a_trail_edited_in_place_is_not_called_sound() {
    let edit = async |stage: &mut Stage| {
        let mut conn = SqliteConnection::establish(stage.root.join("cedar/registry.db").to_str().unwrap()).unwrap();
        diesel::sql_query("UPDATE detail SET message = X'7B7D' WHERE idx = 3").execute(&mut conn).unwrap();
    };
    let (failed, steps) = with_something_amiss(9, edit).await;
    assert_eq!(failed, ["trails"]);
    assert!(steps[0]["detail"].as_str().unwrap().contains("cedar: entry 3"), "{}", steps[0]);
}
