//! `append --jsonl`: many lines, answered in order, each when it is durable.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::Desk;

#[test]
fn every_line_has_its_receipt_in_order() {
    let desk = Desk::new();
    desk.talk(&[]);
    let lines: String =
        (0..1000).map(|number| json!({"role": "user", "content": format!("m{number}")}).to_string() + "\n").collect();
    let ran = desk.run_with(&["append", "k", "--jsonl"], lines.as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let seqs: Vec<u64> = ran.lines().iter().map(|receipt| receipt["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (2..1002).collect::<Vec<u64>>());
    assert!(ran.lines().iter().all(|receipt| receipt["durability"] == json!("disk")));
    let texts = desk.texts(&["show", "k"]);
    assert!(texts.iter().enumerate().all(|(at, text)| *text == format!("m{at}")) && texts.len() == 1000);
}

#[test]
fn a_receipt_comes_while_the_input_stays_open() {
    let desk = Desk::new();
    desk.talk(&[]);
    let mut command = desk.command(&["append", "k", "--jsonl"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for number in 0..5 {
        stdin.write_all(b"{\"role\":\"user\",\"content\":\"x\"}\n").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let receipt: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(receipt["seq"], json!(number + 2));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_bad_line_is_answered_in_its_place_and_the_rest_goes_on() {
    let desk = Desk::new();
    desk.talk(&[]);
    let deep = format!("{{\"role\":\"user\",\"parts\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let lines = [
        "{\"role\":\"user\",\"content\":\"first\"}",
        "not JSON",
        "{\"role\":\"nobody\",\"content\":\"x\"}",
        "",
        "{\"role\":\"user\",\"content\":\"lone \\ud800 surrogate\"}",
        &deep,
        "{\"role\":\"user\",\"parts\":[]}",
        "{\"role\":\"tool\",\"parts\":[{\"type\":\"tool-result\",\"call_id\":\"none\",\"content\":\"x\"}]}",
        "{\"seq\":9,\"visible\":true,\"role\":\"assistant\",\"parts\":[{\"type\":\"text\",\"text\":\"last\"}]}",
    ];
    let mut input = lines.join("\n").into_bytes();
    input.extend(b"\n{\"role\":\"user\",\"content\":\"\xff\"}\n");
    let ran = desk.run_with(&["append", "k", "--jsonl"], &input);
    assert_eq!(ran.code, 1, "{ran:?}");
    let answers = ran.lines();
    let bad: Vec<u64> = answers.iter().filter_map(|answer| answer["line"].as_u64()).collect();
    assert_eq!(bad, [2, 3, 5, 6, 7, 8, 10]);
    assert!(answers.iter().filter(|answer| answer["line"].is_u64()).all(|answer| answer["error"]["kind"].is_string()));
    assert_eq!((&answers[0]["seq"], &answers[7]["seq"]), (&json!(2), &json!(3)));
    assert_eq!(desk.texts(&["show", "k"]), ["first", "last"]);
}

#[test]
fn a_line_that_is_too_long_is_an_error_and_the_next_one_is_appended() {
    let desk = Desk::new();
    desk.talk(&[]);
    let mut command = desk.command(&["append", "k", "--jsonl"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        stdin.write_all(b"{\"role\":\"user\",\"content\":\"").unwrap();
        std::io::copy(&mut std::io::repeat(b'x').take(200 << 20), &mut stdin).unwrap();
        stdin.write_all(b"\"}\n{\"role\":\"user\",\"content\":\"short\"}\n").unwrap();
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let answers: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!((output.status.code(), &answers[0]["line"], &answers[1]["seq"]), (Some(1), &json!(1), &json!(2)));
}

#[test]
fn calls_and_their_results_keep_their_order_in_flight() {
    let desk = Desk::new();
    desk.talk(&[]);
    let mut input = String::new();
    for turn in 0..100 {
        let call = json!({"type": "tool-call", "call_id": format!("c{turn}"), "name": "n", "input": {"b": 1, "a": 2}});
        let result = json!({"type": "tool-result", "call_id": format!("c{turn}"), "content": "ok"});
        for message in [
            json!({"role": "user", "content": "go"}),
            json!({"role": "assistant", "parts": [call], "idempotency_key": format!("i{turn}")}),
            json!({"role": "tool", "parts": [result]}),
        ] {
            input += &format!("{message}\n");
        }
    }
    let ran = desk.run_with(&["append", "k", "--jsonl"], input.as_bytes());
    assert_eq!((ran.code, ran.lines().len()), (0, 300), "{}", ran.stderr);
    assert_eq!(desk.json(&["show", "k"]).len(), 300);
}

#[test]
fn an_idempotency_key_answers_the_first_receipt_again() {
    let desk = Desk::new();
    desk.talk(&[]);
    let line = b"{\"role\":\"user\",\"content\":\"x\",\"idempotency_key\":\"once\"}\n".repeat(3);
    let ran = desk.run_with(&["append", "k", "--jsonl"], &line);
    let ids: std::collections::BTreeSet<String> = ran.lines().iter().map(|receipt| receipt["id"].to_string()).collect();
    assert_eq!((ran.code, ids.len()), (0, 1), "{ran:?}");
    assert_eq!(desk.json(&["show", "k"]).len(), 1);
}

#[test]
fn an_answer_that_cannot_be_written_says_what_is_stored() {
    let desk = Desk::new();
    desk.talk(&[]);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let output = desk.command(&["append", "k", "--role", "user", "text", "--json"]).stdout(full()).output().unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), &error["error"]["kind"]), (Some(1), &json!("output")), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("is stored, at 2"), "{error}");
    let mut command = desk.command(&["append", "k", "--jsonl", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"role\":\"user\",\"content\":\"line\"}\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), &error["error"]["kind"]), (Some(1), &json!("output")), "{error}");
    assert!(error["error"]["message"].as_str().unwrap().contains("up to line 1 are stored"), "{error}");
    assert_eq!(desk.texts(&["show", "k"]), ["text", "line"]);
}

#[test]
fn a_reader_of_receipts_that_goes_away_is_told_what_is_stored() {
    let desk = Desk::new();
    desk.talk(&[]);
    let mut command = desk.command(&["append", "k", "--jsonl", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer =
        std::thread::spawn(move || while stdin.write_all(b"{\"role\":\"user\",\"content\":\"x\"}\n").is_ok() {});
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), &error["error"]["kind"]), (Some(1), &json!("output")));
    let stored = desk.json(&["show", "k"]).len();
    let said = format!("up to line {stored} are stored");
    assert!(error["error"]["message"].as_str().unwrap().contains(&said), "{error}, {stored}");
}

/// Whether a file system of its own can be had here.
fn mounts() -> bool {
    let can = fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
        && Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !can {
        let _ = writeln!(std::io::stderr(), "a full disk cannot be tried here: only root can mount one");
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "with CI=true nothing may be left out");
    }
    can
}

#[test]
fn a_disk_that_fills_up_leaves_no_hole_and_says_where_to_go_on() {
    if !mounts() {
        return;
    }
    let desk = Desk::new();
    let text_of = |at: usize| {
        if at.is_multiple_of(3) { format!("{at:05} {}", "x".repeat(200_000)) } else { format!("{at:05} small") }
    };
    let lines: String = (0..120).map(|at| json!({"role": "user", "content": text_of(at)}).to_string() + "\n").collect();
    fs::write(desk.path("lines"), lines).unwrap();
    fs::create_dir(desk.path("disk")).unwrap();
    // The small file system is gone with the shell, so all that is looked at is looked at from there.
    let script = "mount -t tmpfs -o size=6m none disk && \"$0\" new --key k >/dev/null \
        && { \"$0\" append k --jsonl --json <lines >answers 2>errors; echo $? >code; \"$0\" show k --json >shown; }";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, env!("CARGO_BIN_EXE_sessions")]);
    command.env("SESSIONS_STORE", "sled:disk/store").current_dir(desk.folder.path());
    assert!(command.status().unwrap().success());
    let read = |name: &str| fs::read_to_string(desk.path(name)).unwrap();
    let json_of =
        |name: &str| -> Vec<Value> { read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let (answers, shown) = (json_of("answers"), json_of("shown"));
    let texts: Vec<&str> = shown.iter().map(|message| message["parts"][0]["text"].as_str().unwrap()).collect();
    let hole = texts.iter().enumerate().position(|(at, text)| *text != text_of(at));
    assert_eq!(hole, None, "of {} that are stored", texts.len());
    assert_eq!(read("code").trim(), "1");
    let stored = answers.iter().filter(|answer| answer["seq"].is_u64()).count();
    assert_eq!(stored, texts.len(), "what is stored was acknowledged");
    assert!(stored > 0 && stored < 120);
    let refused: Vec<&Value> = answers.iter().skip(stored).collect();
    assert!(refused.iter().all(|answer| answer["error"]["kind"] == json!("no_space")), "{refused:?}");
    let error: Value = serde_json::from_str(read("errors").lines().last().unwrap()).unwrap();
    let go_on = format!("go on with line {}", stored + 1);
    assert_eq!(error["error"]["kind"], json!("no_space"));
    assert!(error["error"]["hint"].as_str().unwrap().contains(&go_on), "{error}");
}
