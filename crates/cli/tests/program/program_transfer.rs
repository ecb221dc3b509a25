//! Import, export, and the demo, which does both.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{Desk, has_fields};

/// A small transcript of a coding agent: a question, a call with its result, an answer in two lines that share one usage.
fn transcript(session: &str) -> String {
    let line = |number: u32, kind: &str, message: Value| {
        let parent = (number > 1).then(|| format!("u{}", number - 1));
        json!({"type": kind, "uuid": format!("u{number}"), "parentUuid": parent, "sessionId": session, "cwd": "/home/ana",
            "timestamp": format!("2026-03-02T09:00:0{number}.000Z"), "message": message})
        .to_string()
            + "\n"
    };
    let says = |id: &str, content: Value| json!({"id": id, "role": "assistant", "content": [content], "usage": {"input_tokens": 10, "output_tokens": 5}});
    let call = json!({"type": "tool_use", "id": "c1", "name": "Read", "input": {"file_path": "a"}});
    let result = json!([{"type": "tool_result", "tool_use_id": "c1", "content": "text of a"}]);
    line(1, "user", json!({"role": "user", "content": "What is in a?"}))
        + &line(2, "assistant", says("m1", json!({"type": "text", "text": "I look."})))
        + &line(3, "assistant", says("m1", call))
        + &line(4, "user", json!({"role": "user", "content": result}))
        + &line(5, "assistant", says("m2", json!({"type": "text", "text": "Text of a."})))
}

fn write(desk: &Desk, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = desk.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn import_tells_a_report_and_happens_once() {
    let desk = Desk::new();
    let file = write(&desk, "chat.jsonl", transcript("s1"));
    let report = desk.one(&["import", &file]);
    has_fields(&report, &["id", "messages", "tool_calls", "repaired", "set_aside", "usage"]);
    has_fields(&report["usage"], &["input", "output", "cache_read", "cache_write", "reasoning"]);
    assert_eq!((&report["messages"], &report["tool_calls"]), (&json!(4), &json!(1)));
    assert_eq!((&report["usage"]["input"], &report["usage"]["output"]), (&json!(20), &json!(10)));
    assert_eq!(desk.json(&["show", report["id"].as_str().unwrap()]).len(), 4);
    assert_eq!(desk.one(&["import", &file])["id"], report["id"]);
    assert_eq!(desk.json(&["list"]).len(), 1);
    assert_ne!(desk.one(&["import", &file, "--new-id"])["id"], report["id"]);
    assert_eq!(desk.json(&["list"]).len(), 2);
}

#[test]
fn what_an_import_counted_is_what_info_and_show_tell() {
    let desk = Desk::new();
    let file = write(&desk, "chat.jsonl", transcript("s1"));
    let report = desk.one(&["import", &file]);
    let id = report["id"].as_str().unwrap();
    desk.one(&["undo", id, "--turns", "1"]);
    desk.one(&["append", id, "--role", "user", "Something else."]);
    let about = desk.one(&["info", id]);
    assert_eq!((&about["messages"], &about["recorded"], &about["tool_calls"]), (&json!(1), &json!(5), &json!(1)));
    assert_eq!(about["usage"], report["usage"], "what was undone was paid for");
    assert_eq!(about["first_said"], json!("2026-03-02T09:00:01.000Z"));
    let said = desk.run(&["info", id]).stdout;
    assert!(said.contains("1 visible, 5 recorded") && said.contains("20 tokens in, 10 out"), "{said}");
    let shown = desk.json(&["show", id, "--all"]);
    let (imported, own) = (&shown[0], &shown[4]);
    assert_eq!(imported["at"], json!("2026-03-02T09:00:01.000Z"), "when it was said, and not when it was imported");
    assert_eq!((&imported["appended_at"], &own["appended_at"]), (&about["created"], &Value::Null));
    assert_eq!(own["at"], about["updated"]);
    let said = desk.run(&["show", id, "--all"]).stdout;
    assert!(said.contains("2026-03-02T09:00:05.000Z"), "{said}");
    let fork = desk.one(&["fork", id]);
    let about = desk.one(&["info", fork["id"].as_str().unwrap()]);
    assert_eq!((&about["messages"], &about["recorded"], &about["usage"]["input"]), (&json!(1), &json!(0), &json!(0)));
}

#[test]
fn a_folder_is_searched_and_one_bad_file_does_not_stop_the_rest() {
    let desk = Desk::new();
    write(&desk, "in/a.jsonl", transcript("s1"));
    write(&desk, "in/deep/b.jsonl", transcript("s2"));
    write(&desk, "in/notes.json", "{\"mine\": true}");
    write(&desk, "in/readme.txt", transcript("s3"));
    let ran = desk.run(&["import", "in", "--json"]);
    assert_eq!((ran.code, ran.lines().len()), (0, 2), "{ran:?}");
    assert!(ran.stderr.contains("in no known format: 1 file (in/notes.json)"), "{ran:?}");
    assert!(ran.stderr.contains("neither .json nor .jsonl: 1 file (in/readme.txt)"), "{ran:?}");
    let bad = write(&desk, "bad.jsonl", [0, 159, 146, 150]);
    let good = write(&desk, "good.jsonl", transcript("s4"));
    let ran = desk.run(&["import", &bad, &good, "missing", "--json"]);
    assert_eq!((ran.code > 0, ran.lines().len(), ran.stderr.lines().count()), (true, 1, 2), "{ran:?}");
    assert_eq!(desk.json(&["list"]).len(), 3);
}

#[test]
fn what_a_program_keeps_comes_in_and_again_only_what_is_new() {
    let desk = Desk::new();
    let codex = |text: &str| {
        json!({"timestamp": "2026-03-02T09:00:00.000Z", "type": "response_item", "payload": {"type": "message", "role": "user",
            "content": [{"type": "input_text", "text": text}]}})
        .to_string()
            + "\n"
    };
    let meta = |id: &str| {
        json!({"timestamp": "2026-03-02T09:00:00.000Z", "type": "session_meta", "payload": {"id": id}}).to_string()
            + "\n"
    };
    let pi = json!({"type": "message", "id": "a", "parentId": null, "timestamp": "2026-03-02T09:00:00.000Z",
        "message": {"role": "user", "content": "Hello"}})
    .to_string();
    write(&desk, "home/.claude/projects/-home-ana/s1.jsonl", transcript("s1"));
    let side = transcript("s1").replace("\"cwd\"", "\"isSidechain\":true,\"agentId\":\"a7\",\"cwd\"");
    write(&desk, "home/.claude/projects/-home-ana/s1/subagents/agent-a7.jsonl", side);
    write(
        &desk,
        "home/.claude/projects/-home-ana/empty.jsonl",
        "{\"type\":\"summary\",\"summary\":\"s\",\"leafUuid\":\"x\"}\n",
    );
    let first = meta("c1") + &codex("one");
    write(&desk, "home/.codex/sessions/2026/03/02/rollout-1.jsonl", &first);
    write(&desk, "home/.codex/archived_sessions/rollout-2.jsonl", meta("c2") + &codex("two"));
    write(&desk, "home/.codex/history.jsonl", "{\"text\":\"no session\"}\n");
    write(&desk, "elsewhere/sessions/--home-ana--/1_a.jsonl", &pi);
    let from = |program: &str| {
        let mut command = desk.command(&["import", "--from", program, "--json"]);
        command.env("HOME", desk.path("home")).env("PI_CODING_AGENT_DIR", desk.path("elsewhere"));
        command.env_remove("CLAUDE_CONFIG_DIR").env_remove("CODEX_HOME");
        let ran = crate::finish(command, b"");
        (ran.code, ran.lines().iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(from("claude-code"), (0, of(&["inserted", "inserted"])));
    assert_eq!(from("codex"), (0, of(&["inserted", "inserted"])));
    assert_eq!(from("pi"), (0, of(&["inserted"])));
    write(&desk, "home/.codex/sessions/2026/03/02/rollout-1.jsonl", first + &codex("three"));
    assert_eq!(from("codex"), (0, of(&["inserted", "replayed"])));
    assert_eq!(from("claude-code"), (0, of(&["replayed", "replayed"])));
    assert_eq!(desk.json(&["list"]).len(), 5);
    let mut command = desk.command(&["import", "--from", "codex", "--json"]);
    command.env("HOME", desk.path("nowhere")).env_remove("CODEX_HOME");
    crate::finish(command, b"").refused(3, "not_found");
    desk.run(&["import", "--from", "docx", "--json"]).refused(2, "usage");
    desk.run(&["import", "--json"]).refused(2, "usage");
}

#[cfg(unix)]
#[test]
fn a_search_follows_no_link_and_has_an_end() {
    let desk = Desk::new();
    write(&desk, "in/a.jsonl", transcript("s1"));
    write(&desk, "outside/b.jsonl", transcript("s2"));
    std::os::unix::fs::symlink(desk.path("outside"), desk.path("in/link")).unwrap();
    std::os::unix::fs::symlink(desk.path("in"), desk.path("in/circle")).unwrap();
    write(&desk, &format!("in/{}c.jsonl", "d/".repeat(40)), transcript("s3"));
    let ran = desk.run(&["import", "in", "--json"]);
    assert_eq!((ran.code, ran.lines().len()), (0, 1), "{ran:?}");
    assert!(ran.stderr.contains("too deep within folders"), "{ran:?}");
}

#[test]
fn what_a_folder_holds_beside_transcripts_is_counted_and_the_first_named() {
    let desk = Desk::new();
    for at in 0..8 {
        write(&desk, &format!("in/unknown{at}.json"), "{}");
    }
    let ran = desk.run(&["import", "in"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("8 files (in/unknown0.json, in/unknown1.json"), "{ran:?}");
    assert!(ran.stderr.contains("in/unknown4.json, and 3 more)") && !ran.stderr.contains("unknown5"), "{ran:?}");
    assert!(ran.stderr.contains("nothing to import"), "{ran:?}");
    assert!(!desk.store().exists(), "no store is made for nothing");
}

#[test]
fn what_was_exported_comes_back_and_is_exported_again_byte_for_byte() {
    let desk = Desk::new();
    let file = write(&desk, "chat.jsonl", transcript("s1"));
    let id = desk.one(&["import", &file])["id"].as_str().unwrap().to_owned();
    desk.one(&["undo", &id]);
    desk.one(&["append", &id, "--role", "assistant", "another answer\u{1b}[31m"]);
    for format in ["json", "jsonl"] {
        let first = desk.run(&["export", &id, "--format", format]);
        assert_eq!(first.code, 0, "{first:?}");
        let file = write(&desk, &format!("out.{format}"), &first.stdout);
        let other = format!("sled:{}", desk.path(&format!("other-{format}")).display());
        for _ in 0..2 {
            assert_eq!(desk.one(&["import", &file, "--store", &other])["id"].as_str(), Some(id.as_str()));
        }
        let again = desk.run(&["export", &id, "--format", format, "--store", &other]);
        assert!(again.stdout == first.stdout, "{format} differs");
    }
}

#[test]
fn an_export_into_a_file_is_its_owners_alone() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let file = desk.path("out.jsonl").display().to_string();
    desk.run(&["export", "k", "--format", "jsonl", "-o", &file]);
    assert_eq!(fs::read_to_string(&file).unwrap(), desk.run(&["export", "k", "--format", "jsonl"]).stdout);
    let dash = desk.run(&["export", "k", "--format", "jsonl", "-o", "-"]);
    assert_eq!(dash.stdout, desk.run(&["export", "k", "--format", "jsonl"]).stdout);
    assert!(!desk.path("-").exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    for (target, code, kind) in [("no/such/folder/file", 3, "not_found"), ("store", 1, "failed")] {
        let error = desk.run(&["export", "k", "-o", target, "--json"]).error();
        assert_eq!(error["kind"], json!(kind), "{error}");
        let told = error["message"].as_str().unwrap();
        assert!(told.starts_with(&format!("{target}: ")) && !told.contains(".sessions-export"), "{error}");
        assert_eq!(desk.run(&["export", "k", "-o", target]).code, code);
    }
    desk.run(&["export", "k", "-o", "no/such/folder/file", "--json"]).refused(3, "not_found");
    let left = fs::read_dir(desk.folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0);
}

#[cfg(unix)]
#[test]
fn an_export_follows_a_link_and_replaces_no_device_and_no_pipe() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};

    let desk = Desk::new();
    desk.talk(&["one"]);
    let whole = desk.run(&["export", "k", "--format", "jsonl"]).stdout;
    let text = |name: &str| desk.path(name).display().to_string();
    fs::write(desk.path("target.jsonl"), "old").unwrap();
    symlink(desk.path("target.jsonl"), desk.path("link.jsonl")).unwrap();
    desk.run(&["export", "k", "--format", "jsonl", "-o", &text("link.jsonl")]);
    assert!(fs::symlink_metadata(desk.path("link.jsonl")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(desk.path("target.jsonl")).unwrap(), whole);

    assert!(std::process::Command::new("mkfifo").arg(desk.path("pipe")).status().unwrap().success());
    let pipe = desk.path("pipe");
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).unwrap());
    let ran = desk.run(&["export", "k", "--format", "jsonl", "-o", &text("pipe")]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(reader.join().unwrap(), whole);
    assert!(fs::symlink_metadata(desk.path("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn files_that_cannot_be_imported_say_why_and_leave_nothing() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let whole = desk.run(&["export", "k", "--format", "jsonl"]).stdout;
    let cut = &whole[..whole.len() / 2];
    let nested = format!(
        "{{\"type\":\"user\",\"uuid\":\"a\",\"sessionId\":\"s\",\"message\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let files: [(&str, &[u8]); 5] = [
        ("empty.jsonl", b""),
        ("binary.jsonl", b"\x7fELF\0\0\xff"),
        ("cut.jsonl", cut.as_bytes()),
        ("text.jsonl", b"just some words\n"),
        ("nested.jsonl", nested.as_bytes()),
    ];
    let before = desk.json(&["list"]);
    for (name, bytes) in files {
        let file = write(&desk, name, bytes);
        let fresh = format!("sled:{}", desk.path("fresh").display());
        let ran = desk.run(&["import", &file, "--json", "--store", &fresh]);
        assert!(ran.code > 0 && ran.error()["hint"].is_string(), "{name}: {ran:?}");
        assert_eq!(desk.run(&["list", "--json", "--store", &fresh]).stdout, "", "{name}");
    }
    assert_eq!(desk.json(&["list"]), before);
    desk.run(&["import", "missing.jsonl", "--json"]).refused(3, "not_found");
}

#[test]
fn unknown_formats_are_usage_errors() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let error = desk.run(&["export", "k", "--format", "docx", "--json"]).refused(2, "usage");
    assert!(error["hint"].as_str().unwrap().contains("jsonl"), "{error}");
    desk.run(&["import", "x", "--format", "docx", "--json"]).refused(2, "usage");
}

#[test]
fn a_transcript_goes_out_as_it_came_and_to_every_program() {
    let desk = Desk::new();
    let whole = transcript("s1");
    let file = write(&desk, "chat.jsonl", &whole);
    let id = desk.one(&["import", &file])["id"].as_str().unwrap().to_owned();
    let ran = desk.run(&["export", &id, "--format", "claude-code"]);
    assert_eq!((ran.code, &ran.stdout), (0, &whole));
    desk.one(&["append", &id, "--role", "user", "And b?"]);
    let ran = desk.run(&["export", &id, "--format", "claude-code"]);
    assert!(ran.stdout.starts_with(&whole) && ran.stdout.contains("And b?"), "{ran:?}");
    for format in ["codex", "pi"] {
        let out = desk.run(&["export", &id, "--format", format]).stdout;
        let file = write(&desk, &format!("out-{format}.jsonl"), out);
        let report = desk.one(&["import", &file]);
        assert_eq!((&report["format"], &report["tool_calls"]), (&json!(format), &json!(1)));
    }
    for format in ["openai", "anthropic"] {
        let out = desk.run(&["export", &id, "--format", format]).stdout;
        let file = write(&desk, &format!("out-{format}.json"), &out);
        let report = desk.one(&["import", &file, "--format", format]);
        assert_eq!((&report["format"], &report["tool_calls"]), (&json!(format), &json!(1)));
        let again = desk.run(&["export", report["id"].as_str().unwrap(), "--format", format]).stdout;
        assert_eq!(again, out);
        assert_eq!(desk.one(&["import", &file])["outcome"], json!("replayed"));
    }
    let page = desk.run(&["export", &id, "--format", "markdown"]).stdout;
    assert!(page.contains("## user · ") && page.contains("And b?"), "{page}");
    let page = desk.run(&["export", &id, "--format", "html"]).stdout;
    assert!(page.starts_with("<!doctype html>") && page.contains("And b?"), "{page}");
}

#[test]
fn the_demo_loses_nothing_and_leaves_nothing() {
    let desk = Desk::new();
    let temporary = desk.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = desk.command(&["demo"]);
    command.env("TMPDIR", &temporary);
    let ran = crate::finish(command, b"");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("Acknowledged: ") && ran.stdout.contains(", lost: 0."), "{ran:?}");
    assert!(ran.stdout.contains("searched for what was said: found 0 times"), "{ran:?}");
    assert!(ran.stdout.contains("equal byte for byte") && !ran.stdout.contains('\u{1b}'), "{ran:?}");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(!desk.store().exists(), "the demo has a store of its own");
}

#[test]
fn real_transcripts_come_in_whole() {
    let Some(data) = std::env::var_os("SESSIONS_TEST_DATA") else {
        println!("skipped: SESSIONS_TEST_DATA does not name the folder of real transcripts");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs SESSIONS_TEST_DATA");
        return;
    };
    let desk = Desk::new();
    let reports = desk.json(&["import", Path::new(&data).to_str().unwrap()]);
    assert!(reports.len() >= 12, "{}", reports.len());
    let calls: Vec<u64> = reports.iter().map(|report| report["tool_calls"].as_u64().unwrap()).collect();
    assert!(calls.contains(&186) && calls.contains(&242), "{calls:?}");
    assert_eq!(desk.json(&["list"]).len(), reports.len());
    for format in ["claude-code", "codex", "pi"] {
        assert!(reports.iter().any(|report| report["format"] == json!(format)), "{format}");
    }
}
