//! Claude Code's transcripts: small ones that are written here, broken ones, and real ones where they are at hand.
//!
//! Must not know: stores.

use std::{collections::HashMap, path::Path};

use serde_json::Value;
use sessions_app::transfer::{DETECT_BYTES, Format, ImportError, Report, Transcript, claude_code, detect};
use sessions_domain::{Appended, Event, Message, MessageRole, Moment};

use crate::ground::{Dice, Log, check_any, check_restored, files_below, fixture, lines_of, real_folder, shown};

fn read(bytes: &[u8]) -> Transcript {
    claude_code::read(bytes).unwrap()
}

#[test]
fn a_plain_conversation_with_an_edit() {
    let file = fixture("claude-plain.jsonl");
    let transcript = read(&file);
    assert_eq!(transcript.facts.title.as_deref(), Some("Planting [31m in spring"));
    assert_eq!(transcript.facts.cwd.as_deref(), Some("/home/ada/garden"));
    assert_eq!(transcript.facts.model.as_deref(), Some("claude-example-1"));
    assert_eq!(transcript.facts.created, Moment::parse("2026-01-05T09:00:01Z"));
    let report = transcript.report.clone();
    assert_eq!((report.messages, report.tool_calls), (6, 0));
    assert_eq!((report.repaired.len(), report.set_aside.len()), (0, 0));
    let digest = transcript.digest.clone();
    assert_eq!(digest, sessions_domain::chain::to_hex(&sessions_domain::chain::sha256(&file)));
    let log = Log::of(transcript);
    let visible = log.visible();
    assert_eq!(visible.len(), 4);
    assert_eq!(visible[1], "a: (thinks) After the last frost, in late May.");
    assert_eq!(visible[2], "u: And peas? <custom>");
    assert_eq!(visible[3], "a: Early:  <custom> <custom>".replace("<custom> <custom>", "April. <custom>"));
    assert_eq!(log.view.tree().branches().len(), 2);
    assert_eq!(log.view.depth(), 4);
    let source = log.view.source().unwrap();
    assert_eq!(source.format, "claude-code");
    assert_eq!(source.id.as_deref(), Some("aaaa1111-0000-4000-8000-000000000001"));
    assert_eq!(source.digest, digest);
    check_restored(&file, &log);
}

#[test]
fn usage_is_counted_once_for_an_answer_of_several_lines() {
    let report = read(&fixture("claude-plain.jsonl")).report;
    let usage = serde_json::to_string(&report.usage).unwrap();
    assert_eq!(usage, r#"{"input":30,"output":20,"cache_read":90,"cache_write":60,"reasoning":0}"#);
    let json = serde_json::to_value(&report).unwrap();
    for key in ["messages", "tool_calls", "repaired", "set_aside", "usage"] {
        assert!(json.get(key).is_some(), "{key}");
    }
}

#[test]
fn results_stand_directly_behind_the_message_that_made_the_calls() {
    let file = fixture("claude-tools.jsonl");
    let transcript = read(&file);
    assert_eq!(transcript.report.tool_calls, 9);
    assert_eq!(lines_of(&transcript.report.repaired), [22], "{:?}", transcript.report.repaired);
    let log = Log::of(transcript);
    assert_eq!(
        log.visible(),
        [
            "u: List the beds and count them.",
            "a: I look. ?call_1 ?call_2 ?call_3",
            "t: !call_2",
            "t: !call_1",
            "t: !call_3",
            "a: ?call_4 ?call_5 ?call_6",
            "t: !call_4",
            "t: !call_5",
            "t: !call_6",
            "u: Base directory of the skill: /skills/count",
            "a: Three beds.",
            "u: And the sheds?",
            "a: ?call_7 ?call_8",
            "t: !call_7 !call_8",
            "u: [Request interrupted by user] stop",
            "a: ?call_9",
        ]
    );
    assert_eq!(log.repairs(true).len(), 1);
    assert_eq!(log.view.tree().branches().len(), 1);
    check_restored(&file, &log);
}

#[test]
fn a_compaction_is_a_clear_and_all_before_it_stays_reachable() {
    let file = fixture("claude-compaction.jsonl");
    let transcript = read(&file);
    assert_eq!(transcript.report.repaired, []);
    let summary = transcript.entries.iter().find(|entry| entry.is_compact_summary).unwrap();
    let custom = summary.message().unwrap().metadata.custom.as_ref().unwrap();
    assert!(custom.as_str().contains(r#""marks":["compact-summary"]"#));
    let log = Log::of(transcript);
    assert_eq!(
        log.visible(),
        [
            "u: This session continues an earlier one. The plan is drawn.",
            "a: I go on with the paths.",
            "u: Good.",
            "a: Done."
        ]
    );
    assert_eq!(log.path(true).len(), 8);
    assert_eq!(log.view.depth(), 4);
    check_restored(&file, &log);
}

#[test]
fn a_side_chain_is_a_branch_of_its_own() {
    let file = fixture("claude-sidechain.jsonl");
    let transcript = read(&file);
    assert_eq!(transcript.entries.iter().filter(|entry| entry.is_sidechain).count(), 5);
    let log = Log::of(transcript);
    let expected = ["u: Ask somebody about compost.", "a: ?call_s", "t: !call_s", "a: Compost is rotted leaves."];
    assert_eq!(log.visible(), expected);
    assert!(log.view.tree().branches().len() >= 2);
    assert_eq!(log.repairs(true), []);
    check_restored(&file, &log);
}

#[test]
fn no_broken_line_fails_the_file_and_each_is_reported_and_kept() {
    let file = fixture("claude-broken.jsonl");
    let transcript = read(&file);
    let Report { repaired, set_aside, .. } = transcript.report.clone();
    let of = |line: u64| repaired.iter().filter(|note| note.line == line).map(|note| &*note.what).collect::<Vec<_>>();
    let aside = |line: u64| set_aside.iter().find(|note| note.line == line).map(|note| &*note.why);
    for line in [3, 6, 7, 8] {
        assert_eq!(aside(line), Some("the line is not a JSON object, or has a field twice"), "{line}");
    }
    assert_eq!(aside(4), Some("the line nests too deep"));
    assert_eq!(aside(5), Some("the line is not UTF-8"));
    assert_eq!(aside(9), Some("the line's type is not known"));
    for line in 10..=13 {
        assert_eq!(aside(line), Some("the message has no content"), "{line}");
    }
    assert!(of(14)[0].starts_with("half of a surrogate pair"));
    assert!(of(15)[0].starts_with("its parent is not in the file"));
    assert!(of(16)[0].starts_with("nobody made the call"));
    assert_eq!(aside(18), Some("the line is line 17 again"));
    assert!(of(20)[0].starts_with("the call was answered before"));
    assert!(of(21)[0].starts_with("the message makes a call twice"));
    assert!(of(22)[0].starts_with("its uuid stands on an earlier line"));
    assert!(of(23)[0].starts_with("its parents form a circle"));
    assert_eq!(of(24), [""; 0]);
    assert!(of(25)[0].starts_with("its parents form a circle"));
    assert!(of(31)[0].starts_with("the result stands apart"));
    assert_eq!(aside(32), Some("the file ends within this line"));
    let log = Log::of(transcript);
    let text = log.path(true).iter().map(|(_, message)| shown(message)).collect::<Vec<_>>().join("\n");
    let kept_whole = |appended: &Appended| appended.message.text().contains("Half of a pair");
    let events = log.events.iter();
    let mended = events.filter_map(|event| if let Event::Appended(appended) = event { Some(appended) } else { None });
    let custom = mended.filter(|appended| kept_whole(appended)).find_map(|it| it.message.metadata.custom.clone());
    assert_eq!(custom.unwrap().as_str(), r#"{"claude-code":{"lines":[{"line":14,"blocks":[0]}]}}"#);
    assert!(text.contains("Half of a pair: \u{fffd} and whole \u{1f600}"), "{text}");
    check_restored(&file, &log);
}

#[test]
fn what_is_no_transcript_is_a_typed_error() {
    let kind = |bytes: &[u8]| claude_code::read(bytes).unwrap_err().kind();
    assert_eq!(kind(b""), "empty_file");
    assert_eq!(kind(b"\n \n"), "empty_file");
    assert_eq!(kind(b"\x7fELF\x02\x01\0\0\0\n\xff\xfe"), "binary_file");
    assert_eq!(kind(&[0; 5000]), "binary_file");
    assert_eq!(kind(b"once upon a time"), "unknown_format");
    assert_eq!(kind(b"{\"a\":1}"), "unknown_format");
    assert_eq!(kind(b"{\"type\":\"progress\",\"uuid\":\"a\"}\n{"), "no_messages");
    let error = claude_code::read(&b"once \x07secret"[..]).unwrap_err();
    assert!(matches!(error, ImportError::UnknownFormat) && !error.to_string().contains("secret"));
}

#[test]
fn a_deep_line_and_a_long_one_do_not_hurt() {
    let deep = format!("{{\"type\":\"user\",\"uuid\":\"d\",\"x\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(r#"{{"type":"user","uuid":"l","message":{{"content":"{}"}}}}"#, "x".repeat(5_000_000));
    let file = format!("{deep}\n{long}\n");
    let transcript = read(file.as_bytes());
    assert_eq!(transcript.report.messages, 1);
    assert_eq!(lines_of(&transcript.report.set_aside), [1]);
    check_restored(file.as_bytes(), &Log::of(transcript));
}

/// The visible messages of a file of these lines, and the whole path's length.
fn paths(lines: &[&str]) -> (Vec<String>, usize) {
    let file = lines.join("\n");
    let log = Log::of(read(file.as_bytes()));
    check_restored(file.as_bytes(), &log);
    (log.visible(), log.path(true).len())
}

#[test]
fn odd_trees_read_as_they_were_meant() {
    let a = r#"{"type":"user","uuid":"a","parentUuid":null,"message":{"content":"a"}}"#;
    let b = r#"{"type":"assistant","uuid":"b","parentUuid":"a","message":{"id":"m","content":[{"type":"text","text":"b"}]}}"#;
    let c = r#"{"type":"user","uuid":"c","parentUuid":"b","message":{"content":"c"}}"#;
    let boundary =
        r#"{"type":"system","subtype":"compact_boundary","uuid":"k","parentUuid":null,"logicalParentUuid":"gone"}"#;
    let summary = r#"{"type":"user","uuid":"s","parentUuid":"k","isCompactSummary":true,"message":{"content":"s"}}"#;
    let alone = r#"{"type":"user","uuid":"s","parentUuid":null,"isCompactSummary":true,"message":{"content":"s"}}"#;
    let root = r#"{"type":"user","uuid":"r","parentUuid":null,"message":{"content":"r"}}"#;
    let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(paths(&[c, b, a]), (of(&["u: a", "a: b", "u: c"]), 3), "children before parents");
    assert_eq!(paths(&[a, b, boundary, summary]), (of(&["u: s"]), 3), "a boundary whose parent is gone");
    assert_eq!(paths(&[a, b, alone]), (of(&["u: s"]), 3), "a summary without a boundary");
    assert_eq!(paths(&[a, b, boundary]), (of(&["u: a", "a: b"]), 2), "a boundary that nothing follows");
    assert_eq!(paths(&[boundary, summary]), (of(&["u: s"]), 1), "a boundary that follows nothing");
    assert_eq!(paths(&[a, b, root]), (of(&["u: r"]), 1), "a second root is a branch");
}

#[test]
fn an_answer_that_stands_at_two_places_is_paid_once() {
    let ask = |id: &str| format!(r#"{{"type":"user","uuid":"{id}","parentUuid":null,"message":{{"content":"a"}}}}"#);
    let answer = |id: &str, parent: &str| {
        format!(
            r#"{{"type":"assistant","uuid":"{id}","parentUuid":"{parent}","message":{{"id":"m","content":"b","usage":{{"input_tokens":7}}}}}}"#
        )
    };
    let file = [ask("1"), answer("2", "1"), ask("3"), answer("4", "3")].join("\n");
    let report = read(file.as_bytes()).report;
    assert_eq!((report.messages, report.usage.input), (4, 7));
}

fn mutate(file: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let mut lines: Vec<Vec<u8>> = file.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, two) = (dice.roll(lines.len()), dice.roll(lines.len()));
    let words: [&[u8]; 12] = [
        b"\"",
        b"\\ud800",
        b"null",
        b"\0",
        b"[[[[",
        b"}",
        b"\xff",
        b"\"uuid\":",
        b"\"isSidechain\":true",
        b"\"call_1\"",
        b"compact_boundary",
        b"\r",
    ];
    match dice.roll(9) {
        0 => lines.swap(one, two),
        1 => drop(lines.remove(one)),
        2 => {
            let copy = lines[one].clone();
            lines.insert(two, copy);
        }
        3 => {
            let at = dice.roll(lines[one].len());
            lines[one].truncate(at);
        }
        4 => {
            let at = dice.roll(lines[one].len());
            let byte = dice.roll(256) as u8;
            if let Some(slot) = lines[one].get_mut(at).filter(|_| byte != b'\n') {
                *slot = byte;
            }
        }
        5 => {
            let at = dice.roll(lines[one].len() + 1);
            lines[one].splice(at..at, words[dice.roll(words.len())].iter().copied());
        }
        6 => {
            // One id for another: parents, circles, doubled lines, other calls, other messages.
            let ids = [("0000-4000-8000-0000000000", 2), ("call_", 1), ("msg_t", 1), ("\"user", 0), ("\"isMeta\":", 4)];
            let (id, tail) = ids[dice.roll(ids.len())];
            let text = String::from_utf8_lossy(&lines[one]).into_owned();
            let places: Vec<usize> = text.match_indices(id).map(|(at, _)| at + id.len()).collect();
            if let Some(at) = places.get(dice.roll(places.len())) {
                let digits: Vec<u8> = (0..tail).map(|_| b'0' + dice.roll(10) as u8).collect();
                let end = (at + tail).min(lines[one].len());
                if lines[one].len() == text.len() {
                    lines[one].splice(*at..end, digits);
                }
            }
        }
        7 => {
            let others: Vec<&[u8]> = other.split(|byte| *byte == b'\n').collect();
            lines.insert(one, others[dice.roll(others.len())].to_vec());
        }
        _ => {
            let end = lines.len().min(one + 1 + dice.roll(5));
            lines[one..end].reverse();
        }
    }
    *file = lines.join(&b'\n');
}

#[test]
fn two_thousand_mutations_give_a_clean_log_or_a_typed_error() {
    const SEED: u64 = 0x5e55_1045;
    println!("seed {SEED:#x}");
    let names = ["plain", "tools", "compaction", "sidechain", "broken"];
    let files: Vec<Vec<u8>> = names.iter().map(|name| fixture(&format!("claude-{name}.jsonl"))).collect();
    let mut dice = Dice(SEED);
    let (mut read, mut refused) = (0, 0);
    for round in 0..2_000 {
        let mut file = files[round % files.len()].clone();
        for _ in 0..=dice.roll(8) {
            let other = files[dice.roll(files.len())].clone();
            mutate(&mut file, &other, &mut dice);
        }
        let outcome = std::panic::catch_unwind(|| match claude_code::read(&file[..]) {
            Ok(transcript) => {
                check_any(&file, transcript);
                true
            }
            Err(_) => false,
        });
        match outcome {
            Ok(true) => read += 1,
            Ok(false) => refused += 1,
            Err(panic) => {
                println!("round {round} of seed {SEED:#x}:\n{}", String::from_utf8_lossy(&file));
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{read} read, {refused} refused");
    assert!(read > 1_000, "the mutations leave nothing to read");
}

#[test]
fn any_bytes_give_a_typed_error_or_a_clean_log() {
    let mut dice = Dice(77);
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..dice.roll(400)).map(|_| dice.roll(256) as u8).collect();
        if let Ok(transcript) = claude_code::read(&bytes[..]) {
            check_any(&bytes, transcript);
        }
    }
}

/// The tokens of each answer of the model, counted apart from the code that imports: (input, output).
fn counted_apart(file: &[u8]) -> (u64, u64) {
    let mut answers: HashMap<String, (u64, u64)> = HashMap::new();
    for line in file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let value: Value = serde_json::from_slice(line).unwrap();
        if value["type"] == "assistant" {
            let usage = &value["message"]["usage"];
            let tokens = (usage["input_tokens"].as_u64().unwrap(), usage["output_tokens"].as_u64().unwrap());
            answers.insert(value["message"]["id"].as_str().unwrap().to_owned(), tokens);
        }
    }
    answers.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[test]
fn real_transcripts_come_in_whole_and_go_out_whole() {
    let Some(folder) = real_folder("claude-code") else { return };
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    assert!(files.len() >= 8, "{} has {} transcripts", folder.display(), files.len());
    for path in files {
        let file = std::fs::read(&path).unwrap();
        let transcript = read(&file);
        let usage = transcript.report.usage;
        assert_eq!((usage.input, usage.output), counted_apart(&file), "{}", path.display());
        assert_eq!(transcript.report.set_aside, [], "{}", path.display());
        check_any(&file, transcript);
    }
}

#[test]
fn the_two_long_real_sessions_have_each_call_answered() {
    let Some(folder) = real_folder("claude-code") else { return };
    let long = [
        ("258c7280-ae70-4798-800f-63464d01a85d", 186, 147, 299, 1333),
        ("ae4a77f8-aedd-4bc1-888f-c94edc91af04", 242, 191, 408, 1697),
    ];
    for (id, calls, repeated, answer_lines, progress) in long {
        let file = std::fs::read(folder.join(id).with_extension("jsonl")).unwrap();
        let transcript = read(&file);
        assert_eq!(transcript.report.tool_calls, calls);
        assert_eq!(transcript.report.repaired, []);
        assert_eq!(transcript.report.kept["progress"], progress);
        let is_answer = |message: &&Message| message.role == MessageRole::Assistant;
        let answers = transcript.entries.iter().filter_map(|entry| entry.message()).filter(is_answer).count();
        assert_eq!(answers, answer_lines - repeated);
        let with_usage = transcript.entries.iter().filter_map(|entry| entry.message()?.metadata.usage).count();
        assert_eq!(with_usage, answers);
        let log = Log::of(transcript);
        assert_eq!(log.repairs(true), []);
        assert_eq!(log.repairs(false), []);
        // No text is kept twice: what is added are the escapes of residue and the names of fields.
        assert!(log.bytes < file.len() * 6 / 5, "{} bytes of records for {}", log.bytes, file.len());
        let whole = log.path(true);
        let answered: usize = whole.iter().map(|(_, message)| message.results().count()).sum();
        assert_eq!(answered as u64, calls);
        let visible = log.path(false);
        assert!(visible.len() < whole.len(), "the compaction hides what it stands for");
        let custom = visible[0].1.metadata.custom.as_ref().unwrap();
        assert!(custom.as_str().contains("compact-summary"));
        println!(
            "{id}: {} messages, {} visible, {} branches",
            whole.len(),
            visible.len(),
            log.view.tree().branches().len()
        );
    }
}

#[test]
fn real_files_of_other_programs_are_told_apart() {
    let Some(folder) = real_folder("claude-code") else { return };
    let detected = |path: &Path| {
        let file = std::fs::read(path).unwrap();
        (detect(&file[..file.len().min(DETECT_BYTES)]), claude_code::read(&file[..]).is_ok())
    };
    for (program, expected) in [
        ("claude-code", (Some(Format::ClaudeCode), true)),
        ("codex", (Some(Format::Codex), false)),
        ("pi", (Some(Format::Pi), false)),
    ] {
        let mut files = Vec::new();
        files_below(&folder.with_file_name(program), &mut files);
        assert!(!files.is_empty(), "no transcripts of {program}");
        for path in files {
            assert_eq!(detected(&path), expected, "{}", path.display());
        }
    }
}
