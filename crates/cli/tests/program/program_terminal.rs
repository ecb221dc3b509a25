//! No content is an order to a terminal.

use serde_json::json;

use crate::Desk;

/// Orders that terminals obey, and marks that turn writing around.
const ORDERS: [&str; 8] = [
    "\u{1b}[31mred",
    "\u{1b}]0;title\u{7}",
    "\u{1b}]8;;https://example.org\u{1b}\\link",
    "\u{9b}2J",
    "\u{90}q\u{9c}",
    "a\rb\u{8}\u{7f}",
    "\u{202e}drow",
    "\u{2066}x\u{2069}\u{200f}",
];

fn is_clean(text: &str) -> bool {
    let is_order = |c: char| {
        (c.is_control() && c != '\n')
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
            || matches!(c, '\u{200e}' | '\u{200f}')
    };
    !text.contains(is_order)
}

#[test]
fn orders_in_every_field_are_written_out() {
    let desk = Desk::new();
    let mut lines = String::new();
    for (at, order) in ORDERS.iter().enumerate() {
        desk.one(&["new", "--key", &format!("k{at}"), "--title", order, "--tag", order]);
        let (call, part) = (format!("c{at}{order}"), |kind: &str| json!({"type": kind, "text": order}));
        for message in [
            json!({"role": "user", "parts": [part("text")]}),
            json!({"role": "assistant", "parts": [
                {"type": "tool-call", "call_id": call, "name": order, "input": {"a": order}},
                {"type": "file", "media_type": order, "name": order, "url": order},
                {"type": "reasoning", "text": order},
                {"type": "error", "message": order, "code": order},
                {"type": order, "any": order},
            ]}),
            json!({"role": "tool", "parts": [{"type": "tool-result", "call_id": call, "content": [part("text")]}]}),
        ] {
            lines += &format!("{message}\n");
        }
    }
    let ran = desk.run_with(&["append", "k0", "--jsonl"], lines.as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
    let first = desk.json(&["show", "k0"])[0]["id"].as_str().unwrap().to_owned();
    for order in ORDERS {
        for arguments in [
            &["rename", "k0", order][..],
            &["describe", "k0", order],
            &["tag", "k0", "--add", order],
            &["status", "k0", "paused", "--reason", order],
            &["status", "k0", "active", "--reason", order],
            &["edit", "k0", &first, order],
            &["state", "set", "k0", "words", order, "--text"],
            &["fork", "k0", "--once", order],
            &["touch", "k0", "--once", order],
        ] {
            let ran = desk.run(arguments);
            assert_eq!(ran.code, 0, "{arguments:?} {ran:?}");
            assert!(is_clean(&ran.stdout) && is_clean(&ran.stderr), "{arguments:?} {ran:?}");
        }
        // Names that are written out could not be told from others, so those with orders are refused, except for marks that are no controls.
        for arguments in [&["checkpoint", "k0", order][..], &["state", "set", "k0", order, "1"]] {
            let ran = desk.run(arguments);
            assert!(is_clean(&ran.stdout) && is_clean(&ran.stderr), "{arguments:?} {ran:?}");
        }
        let known = ["--creator", "--cwd", "--model", "--provider", "--mode", "--description"];
        let known: Vec<&str> = known.into_iter().flat_map(|name| [name, order]).collect();
        let id = desk.one(&[&["new"][..], &known].concat())["id"].as_str().unwrap().to_owned();
        for arguments in [&["info", &id][..], &["info", &id, "--json"], &["list", "--creator", order]] {
            let ran = desk.run(arguments);
            assert!(ran.code == 0 && is_clean(&ran.stdout) && is_clean(&ran.stderr), "{arguments:?} {ran:?}");
        }
    }
    let commands: [&[&str]; 15] = [
        &["show", "k0"],
        &["show", "k0", "--all"],
        &["show", "k0", "--json"],
        &["list"],
        &["list", "--json"],
        &["info", "k0"],
        &["info", "k0", "--json"],
        &["branches", "k0"],
        &["status", "k0"],
        &["tag", "k0"],
        &["state", "list", "k0"],
        &["state", "get", "k0", "words"],
        &["checkpoint", "k0"],
        &["lineage", "k0"],
        &["doctor"],
    ];
    for arguments in commands {
        let ran = desk.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?} {ran:?}");
        assert!(is_clean(&ran.stdout) && is_clean(&ran.stderr), "{arguments:?} {ran:?}");
    }
    desk.one(&["rename", "k0", ORDERS[0]]);
    for (at, order) in ORDERS.iter().enumerate() {
        assert_eq!(desk.one(&["info", &format!("k{at}")])["title"], json!(order), "JSON keeps it");
    }
}

#[test]
fn orders_in_arguments_come_back_written_out() {
    let desk = Desk::new();
    desk.talk(&[]);
    for order in ORDERS {
        let store = format!("--store={order}");
        for arguments in [
            &["info", order][..],
            &["frob", order],
            &[order],
            &[store.as_str(), "list"],
            &["list", "--since", order],
            &["show", "k", "--at", order],
            &["checkout", "k", order],
            &["status", "k", order],
            &["state", "get", "k", order],
            &["delete", order],
            &["restore", order],
            &["completions", order],
        ] {
            let ran = desk.run(arguments);
            assert!(ran.code > 0 && is_clean(&ran.stderr) && is_clean(&ran.stdout), "{arguments:?} {ran:?}");
        }
    }
}

#[test]
fn columns_are_aligned_whatever_the_script() {
    let desk = Desk::new();
    for title in ["plain", "日本語のタイトル", "e\u{301}a\u{300}"] {
        desk.one(&["new", "--title", title, "--key", &format!("key-of-{}", title.len())]);
    }
    let listed = desk.run(&["list", "--sort", "title"]).stdout;
    let ends: Vec<usize> = listed.lines().skip(1).map(|line| width(line.split("key-of-").next().unwrap())).collect();
    assert_eq!(ends.len(), 3);
    assert!(ends.iter().all(|end| *end == ends[0]), "{listed}");
}

/// Columns on a terminal, for the letters of this test.
fn width(text: &str) -> usize {
    let columns = |c: char| match c {
        '\u{300}'..='\u{36f}' => 0,
        '\u{3000}'..='\u{9fff}' => 2,
        _ => 1,
    };
    text.chars().map(columns).sum()
}

#[test]
fn a_table_on_a_terminal_is_not_wider_than_it() {
    let desk = Desk::new();
    desk.one(&["new", "--key", &"k".repeat(50), "--title", &"日本 ".repeat(20), "--tag", &"t".repeat(50)]);
    let run = format!("stty rows 24 cols 110; exec {} list", env!("CARGO_BIN_EXE_sessions"));
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &run, "/dev/null"]).env("SESSIONS_STORE", desk.url()).env("NO_COLOR", "1");
    command.env("XDG_CONFIG_HOME", crate::configuration());
    let ran = crate::finish(command, b"");
    let widths: Vec<usize> = ran.stdout.lines().map(|line| width(line.trim_end())).collect();
    assert_eq!(widths.len(), 2, "{ran:?}");
    assert!(widths.iter().all(|width| *width <= 110), "{widths:?} {ran:?}");
    assert!(ran.stdout.contains('…') && !desk.run(&["list"]).stdout.contains(&"k".repeat(51)), "{ran:?}");
    assert!(desk.run(&["list"]).stdout.contains(&"k".repeat(50)), "a pipe gets all of it");
}
