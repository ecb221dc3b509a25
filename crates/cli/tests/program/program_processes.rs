//! Several processes, and processes that end otherwise than they wished.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::Desk;

/// A process that has the store open: it has printed what is there and waits for more.
fn follower(desk: &Desk) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = desk.command(&["follow", "k", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("one"), "{line}");
    (child, stdout)
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_second_process_is_told_who_has_the_store() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let (mut owner, _stdout) = follower(&desk);
    for arguments in [&["list", "--json"][..], &["verify", "--json"], &["repair", "--json"]] {
        let error = desk.run(arguments).refused(4, "locked");
        assert!(error["message"].as_str().unwrap().contains(&owner.id().to_string()), "{error}");
    }
    let looked = desk.run(&["doctor", "--json"]);
    assert_eq!(looked.code, 4, "what it is asked for cannot be seen: {looked:?}");
    let seen = looked.lines();
    let lock = seen.iter().find(|line| line["check"] == json!("lock")).unwrap();
    assert!(lock["what"].as_str().unwrap().contains(&owner.id().to_string()), "{lock}");
    assert_eq!(lock["trouble"], json!("locked"));
    assert!(
        seen.iter().any(|line| line["check"] == json!("fdatasync")),
        "the disk is looked at all the same: {seen:?}"
    );
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_eq!(desk.texts(&["show", "k"]), ["one"], "killing the owner frees the store");
}

#[test]
fn follow_says_that_somebody_else_has_the_store() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let (mut owner, _stdout) = follower(&desk);
    let error = desk.run(&["follow", "k", "--json"]).refused(4, "locked");
    assert!(error["message"].as_str().unwrap().contains(&owner.id().to_string()), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("cannot be followed"), "{error}");
    owner.kill().unwrap();
    owner.wait().unwrap();
}

#[test]
fn follow_ends_when_its_reader_goes_away() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let mut child = desk.command(&["follow", "k"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    // Nothing more is written to it: it must notice by itself.
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(0) && !said.contains("error"), "{said}");
    assert_eq!(desk.texts(&["show", "k"]), ["one"]);
}

#[test]
fn follow_ends_well_with_ctrl_c() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let (mut child, _stdout) = follower(&desk);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let desk = Desk::new();
    desk.talk(&[]);
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..5 {
        let mut command = desk.command(&["append", "k", "--jsonl"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let writer =
            std::thread::spawn(move || while stdin.write_all(b"{\"role\":\"user\",\"content\":\"x\"}\n").is_ok() {});
        let mut line = String::new();
        let mut killed = false;
        let wanted = acknowledged.len() + 50 + round * 37;
        while stdout.read_line(&mut line).unwrap() > 0 {
            // The last line may have been cut by the kill; then it is no acknowledgement.
            if let Ok(receipt) = serde_json::from_str::<Value>(&line) {
                acknowledged.push(receipt["id"].as_str().unwrap().to_owned());
            }
            line.clear();
            if !killed && acknowledged.len() >= wanted {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        writer.join().unwrap();
        let kept: Vec<Value> = desk.json(&["show", "k"]);
        let kept: Vec<&str> = kept.iter().map(|message| message["id"].as_str().unwrap()).collect();
        let lost: Vec<&String> = acknowledged.iter().filter(|id| !kept.contains(&id.as_str())).collect();
        assert_eq!(lost, Vec::<&String>::new());
        let last = desk.json(&["verify"]).pop().unwrap();
        assert_eq!(last["checked"]["findings"], json!(0));
    }
}

#[test]
fn ctrl_c_ends_an_append_and_keeps_what_was_acknowledged() {
    let desk = Desk::new();
    desk.talk(&[]);
    let mut command = desk.command(&["append", "k", "--jsonl", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    stdin.write_all(b"{\"role\":\"user\",\"content\":\"x\"}\n").unwrap();
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    interrupt(&child);
    // The input stays open: it is Ctrl-C that ends it.
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
    assert_eq!(desk.texts(&["show", "k"]), ["x"]);
}

#[test]
fn ctrl_c_ends_an_append_that_waits_for_its_text() {
    let desk = Desk::new();
    desk.talk(&[]);
    let mut command = desk.command(&["append", "k", "--role", "user", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It listens for Ctrl-C before it reads, so what it has read shows that it listens.
    let mut stdin = child.stdin.take().unwrap();
    fill(&mut stdin);
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), &error["error"]["kind"]), (Some(130), &json!("stopped")), "{error}");
    assert!(error["error"]["hint"].is_string() && output.stdout.is_empty(), "{error}");
    drop(stdin);
    assert_eq!(desk.json(&["show", "k"]).len(), 0);
}

/// Writes more than a pipe holds (64 KiB, pipe(7)), so that some of it has been read.
fn fill(pipe: &mut std::process::ChildStdin) {
    pipe.write_all(&vec![b'x'; 1 << 20]).unwrap();
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let desk = Desk::new();
    desk.talk(&[]);
    let lines: String =
        (0..3000).map(|_| "{\"role\":\"user\",\"content\":\"some words to fill a pipe with\"}\n").collect();
    assert_eq!(desk.run_with(&["append", "k", "--jsonl", "--durability", "volatile"], lines.as_bytes()).code, 0);
    let mut child =
        desk.command(&["show", "k", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn ctrl_c_ends_a_bench_and_its_folder_goes() {
    let desk = Desk::new();
    let mut child =
        desk.command(&["bench", "--messages", "100000000", "--json"]).stderr(Stdio::piped()).spawn().unwrap();
    // The store of the bench is there: it has begun.
    let begun = || {
        let mut folders = std::fs::read_dir(desk.folder.path()).unwrap().flatten();
        folders.any(|folder| folder.path().join("store/FORMAT").exists())
    };
    while !begun() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(desk.folder.path()).unwrap().count(), 0);
}

#[test]
fn ctrl_c_ends_a_demo_and_its_folder_goes() {
    let desk = Desk::new();
    for title in ["1. Import", "3. Undo", "6. kill -9", "7. Open again"] {
        let mut command = desk.command(&["demo"]);
        let mut child = command.env("TMPDIR", desk.folder.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with(title) {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "{title} did not come");
        }
        interrupt(&child);
        let rest = std::io::read_to_string(stdout).unwrap();
        // The signal may come when the last step is done.
        let code = child.wait().unwrap().code();
        assert!(code == Some(130) || rest.contains("That was all"), "{title}: {code:?} {rest}");
        assert_eq!(std::fs::read_dir(desk.folder.path()).unwrap().count(), 0, "{title}");
    }
}

#[test]
fn ctrl_c_in_a_terminal_ends_a_demo_and_is_no_broken_promise() {
    use std::os::unix::process::CommandExt as _;
    let desk = Desk::new();
    for _ in 0..5 {
        let mut command = desk.command(&["demo"]);
        let command = command.env("TMPDIR", desk.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().unwrap();
        let (mut stdout, mut stderr) = (BufReader::new(child.stdout.take().unwrap()), child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("6. kill -9") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0);
        }
        // As a terminal does: everybody in the group.
        let group = format!("-{}", child.id());
        assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
        let (rest, told) = (std::io::read_to_string(stdout).unwrap(), std::io::read_to_string(&mut stderr).unwrap());
        let code = child.wait().unwrap().code();
        assert!(code == Some(130) || rest.contains("That was all"), "{code:?} {rest} {told}");
        assert_eq!(std::fs::read_dir(desk.folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn ctrl_c_ends_a_doctor_and_its_file_goes() {
    let desk = Desk::new();
    desk.talk(&["one"]);
    let measures = || {
        let mut files = std::fs::read_dir(desk.folder.path()).unwrap().flatten();
        files.any(|file| file.file_name().to_string_lossy().starts_with(".sync-probe"))
    };
    let mut interrupted = 0;
    while interrupted < 3 {
        let mut child = desk.command(&["doctor"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // It may be through before anybody looked.
        while !measures() && child.try_wait().unwrap().is_none() {}
        interrupted += usize::from(measures());
        interrupt(&child);
        assert!(matches!(child.wait().unwrap().code(), Some(0 | 130)));
        assert!(!measures());
    }
}
