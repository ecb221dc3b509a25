//! Messages that arrive bit by bit, through the program.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use crate::Desk;

fn interrupt(child: &Child) {
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn start(desk: &Desk, arguments: &[&str]) -> Child {
    desk.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn what_arrives_becomes_one_message() {
    let desk = Desk::plain();
    desk.talk(&["one"]);
    let text = "ünï 日本\n".repeat(2_000);
    let ran = desk.run_with(&["append", "k", "--role", "assistant", "--stream", "--json"], text.as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
    let receipt = ran.lines().remove(0);
    assert_eq!((&receipt["seq"], &receipt["state"]), (&json!(3), &json!("complete")));
    let shown = desk.json(&["show", "k"]).remove(1);
    assert_eq!((&shown["id"], &shown["role"], &shown["state"]), (&receipt["id"], &json!("assistant"), &Value::Null));
    assert_eq!(shown["parts"], json!([{"type": "text", "text": text.strip_suffix('\n').unwrap()}]));
    assert!(!desk.run(&["show", "k", "--all"]).stdout.contains("more of a message"));
    desk.one(&["append", "k", "--role", "user", "three"]);
}

#[test]
fn an_input_that_is_empty_or_no_text_says_so() {
    let desk = Desk::plain();
    desk.talk(&["one"]);
    let stream = ["append", "k", "--role", "assistant", "--stream", "--json"];
    desk.run_with(&stream, b"").refused(2, "usage");
    desk.run_with(&stream, b"\n").refused(2, "usage");
    assert_eq!(desk.texts(&["show", "k"]), ["one"]);
    let ran = desk.run_with(&stream, b"begun \xff");
    ran.refused(2, "usage");
    assert_eq!(ran.lines()[0]["state"], json!("failed"));
    let shown = desk.json(&["show", "k"]).remove(1);
    assert_eq!((&shown["state"], &shown["parts"][0]["text"]), (&json!("failed"), &json!("begun ")));
    assert!(desk.run(&["show", "k"]).stdout.contains("(failed)"));
    for wrong in [&["--stream", "text"][..], &["--stream", "--jsonl"]] {
        desk.run(&[&["append", "k", "--role", "user", "--json"], wrong].concat()).refused(2, "usage");
    }
    desk.run(&["append", "k", "--stream", "--json"]).refused(2, "usage");
}

#[test]
fn ctrl_c_keeps_what_came_and_the_next_message_is_taken() {
    let desk = Desk::plain();
    desk.talk(&["one"]);
    let mut child = start(&desk, &["append", "k", "--role", "assistant", "--stream", "--json"]);
    let mut stdin = child.stdin.take().unwrap();
    // More than is gathered before it is written, so that the log says when it has come.
    let text = "so far ".repeat(400);
    stdin.write_all(text.as_bytes()).unwrap();
    stdin.flush().unwrap();
    let written = || {
        std::fs::read_dir(desk.store().join("log")).is_ok_and(|files| {
            files.flatten().any(|file| {
                let bytes = std::fs::read(file.path()).unwrap_or_default();
                bytes.windows(14).any(|window| window == b"so far so far ")
            })
        })
    };
    while !written() {
        std::thread::yield_now();
    }
    interrupt(&child);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let receipt: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(receipt["state"], json!("cancelled"));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
    let shown = desk.json(&["show", "k"]).remove(1);
    assert_eq!((&shown["state"], &shown["id"]), (&json!("cancelled"), &receipt["id"]));
    assert!(text.starts_with(shown["parts"][0]["text"].as_str().unwrap()));
    desk.one(&["append", "k", "--role", "user", "three"]);
}

#[test]
fn a_process_that_is_killed_leaves_an_interrupted_message() {
    let desk = Desk::plain();
    desk.talk(&["one"]);
    let mut child = start(&desk, &["append", "k", "--role", "assistant", "--stream"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all("so far ".repeat(400).as_bytes()).unwrap();
    stdin.flush().unwrap();
    let written = || {
        std::fs::read_dir(desk.store().join("log")).is_ok_and(|files| {
            files.flatten().any(|file| {
                let bytes = std::fs::read(file.path()).unwrap_or_default();
                bytes.windows(14).any(|window| window == b"so far so far ")
            })
        })
    };
    while !written() {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let shown = desk.json(&["show", "k"]).remove(1);
    assert_eq!(shown["state"], json!("partial"));
    assert!(shown["parts"][0]["text"].as_str().unwrap().starts_with("so far so far"));
    assert!(desk.run(&["show", "k"]).stdout.contains("(partial)"));
    assert_eq!(desk.one(&["info", "k"])["runtime"]["state"], json!("interrupted"));
    desk.one(&["append", "k", "--role", "user", "three"]);
    assert_eq!(desk.json(&["show", "k"])[1]["state"], json!("interrupted"));
    assert_eq!(desk.one(&["info", "k"])["runtime"]["state"], json!("idle"));
}

#[test]
fn a_follower_hears_of_a_streamed_message_once_and_of_its_pieces_when_asked() {
    let desk = Desk::plain();
    desk.talk(&["one"]);
    let text = "a".repeat(5_000);
    assert_eq!(desk.run_with(&["append", "k", "--role", "assistant", "--stream"], text.as_bytes()).code, 0);
    desk.one(&["append", "k", "--role", "user", "three"]);
    let heard = |arguments: &[&str]| -> Vec<Value> {
        let mut child = start(&desk, &[&["follow", "k", "--json"], arguments].concat());
        let mut lines = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let is_last = line["parts"][0]["text"] == json!("three");
            lines.push(line);
            if is_last {
                break;
            }
        }
        interrupt(&child);
        let mut rest = String::new();
        child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
        lines
    };
    let messages = heard(&[]);
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[1]["parts"], json!([{"type": "text", "text": text}]));
    let all = heard(&["--chunks"]);
    let pieces: Vec<&Value> = all.iter().filter(|line| line["chunk_of"] == json!(3)).collect();
    let joined: String = pieces.iter().map(|piece| piece["parts"][0]["text"].as_str().unwrap()).collect();
    assert_eq!((joined, all.len()), (text.clone(), 3 + pieces.len()));
}
