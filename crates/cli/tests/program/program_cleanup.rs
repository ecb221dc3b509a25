//! Cleaning up through the program: what was not used for long, as the configuration says.

use serde_json::json;
use sessions_api::{Clock, Message, Moment, NewSession, SessionManager};

use crate::{Desk, has_fields};

/// A hundred days before this.
struct Then(i64);

impl Clock for Then {
    fn now(&self) -> Moment {
        Moment::from_millis(Moment::parse("2026-01-01T00:00:00Z").unwrap_or_default().as_millis() - self.0 * 86_400_000)
    }
}

/// A plain store with a session that was used this many days ago, one in the trash, and one with a pinned message.
fn aged(desk: &Desk, days: i64) -> [String; 3] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sled:{}", desk.path("old").display());
        let sessions = SessionManager::builder().url(url).clock(Then(days)).build().await.unwrap();
        let mut ids = Vec::new();
        for title in ["unused", "trashed", "pinned"] {
            let session = sessions.create(NewSession::titled(title)).await.unwrap();
            let message = session.append(Message::user("hi")).await.unwrap().message;
            if title == "pinned" {
                session.pin(message, true).await.unwrap();
            }
            if title == "trashed" {
                session.trash().await.unwrap();
            }
            ids.push(session.id().to_string());
        }
        sessions.close().await.unwrap();
        ids.try_into().unwrap()
    })
}

#[test]
fn what_was_not_used_for_long_goes_and_a_dry_run_tells_it_before() {
    let desk = Desk::plain();
    let [unused, trashed, pinned] = aged(&desk, 100);
    let store = format!("sled:{}", desk.path("old").display());
    let config = desk.path("c.yaml").display().to_string();
    std::fs::write(desk.path("c.yaml"), "sessions: { trash: { after_days: 90 }, cleanup: { delete_after_days: 30 } }")
        .unwrap();
    let with = |more: &[&str]| {
        let all = [&["cleanup", "--store", &store, "--config", &config], more].concat();
        desk.json(&all)
    };
    // A clock alone, so far ahead of all that is known to have happened, deletes nothing.
    let nothing = with(&[]);
    assert_eq!(nothing.len(), 1, "{nothing:?}");
    let sums = &nothing[0]["cleaned"];
    has_fields(sums, &["done", "skipped", "more", "dry_run", "now"]);
    assert_eq!((&sums["done"], &sums["skipped"]), (&json!(0), &json!(0)));
    let line = |id: &str, step: &str, done: bool| json!({ "id": id, "step": step, "done": done });
    let alone = json!({ "id": pinned, "step": "trash", "done": false, "why": "pinned" });
    let would = with(&["--trust-clock", "--dry-run"]);
    assert_eq!(would[..3], [line(&unused, "trash", false), line(&trashed, "delete", false), alone.clone()]);
    assert_eq!(would[3]["cleaned"]["dry_run"], json!(true));
    let shown = desk.run(&["cleanup", "--store", &store, "--config", &config, "--trust-clock", "--dry-run"]);
    assert!(shown.stdout.contains("2 sessions would be cleaned up, 1 left alone"), "{shown:?}");
    let did = with(&["--trust-clock"]);
    assert_eq!(did[..3], [line(&unused, "trash", true), line(&trashed, "delete", true), alone]);
    assert_eq!(desk.json(&["list", "--trash", "--store", &store])[0]["id"], json!(unused));
    desk.run(&["info", &trashed, "--store", &store, "--json"]).refused(3, "gone");
    // Without a word in the configuration nothing is ever due.
    let silent = desk.run(&["cleanup", "--store", &store, "--trust-clock"]);
    assert!(silent.stderr.contains("nothing is cleaned up") && silent.stdout.contains("0 sessions"), "{silent:?}");
}
