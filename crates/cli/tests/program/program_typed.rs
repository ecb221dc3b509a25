//! What is typed while an answer comes, and what becomes of the terminal when a chat is ended or suspended.
//!
//! Must not know: the program's insides.

use std::{fs, process::Command};

use serde_json::json;
use sessions_testkit::stub::{Api, Reply, Scenario, Stub, Then};

use crate::{
    Desk,
    program_chat::{KEY, Terminal, answer, configure},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sessions");

/// An answer that has begun with `Hi` and then does this.
fn begun(then: Then) -> Reply {
    Reply { then, ..Api::OpenAi.replies(Scenario::SilentMidway).unwrap().remove(0) }
}

/// Whether the terminal shows what is typed and hands it on by lines, from what `stty -a` told last.
#[track_caller]
fn is_as_found(terminal: &mut Terminal) -> bool {
    terminal.expect("isig");
    let modes = terminal.expect("echoke");
    modes.contains(" icanon") && modes.contains(" echo ")
}

#[test]
fn each_line_that_was_typed_ahead_is_said() {
    let desk = Desk::new();
    let answers = ["Whole.", "First.", "Second.", "Third."].map(|text| answer(&[text]));
    let stub = Stub::start(KEY, [vec![begun(Then::Reset)], answers.to_vec()].concat()).unwrap();
    let file = configure(&desk, Api::OpenAi, &stub);
    let mut terminal = Terminal::start(&desk, &format!("chat k --new --config {file}"));
    terminal.expect("> ");
    terminal.type_in("Hello\r");
    terminal.expect("Hi");
    terminal.type_in("ahead one\rahead two\rahead three\r");
    stub.release();
    for text in ["Whole.", "First.", "Second.", "Third."] {
        terminal.expect(text);
    }
    terminal.expect("of the window");
    terminal.expect("> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.end(), 0);
    let texts = desk.texts(&["show", "k"]);
    let said: Vec<&String> = texts.iter().step_by(2).collect();
    assert_eq!(said, ["Hello", "ahead one", "ahead two", "ahead three"]);
}

/// A chat on a terminal, of which the shell that it runs in tells the code and the modes behind it; and the number of its process.
fn watched(desk: &Desk, file: &str) -> (Terminal, String) {
    let chat = format!("{PROGRAM} chat k --new --config {file}");
    let line = format!("sh -c 'echo pid $$.; exec {chat}'; echo code $?.; stty -a");
    let mut terminal = Terminal::run(desk, 200, &line);
    terminal.expect("pid ");
    let pid = terminal.expect(".");
    (terminal, pid.trim_end_matches('.').to_owned())
}

#[test]
fn a_signal_that_ends_a_chat_gives_the_terminal_back_and_keeps_what_came() {
    for (name, code) in [("TERM", 143), ("HUP", 129), ("QUIT", 131)] {
        let desk = Desk::new();
        let stub = Stub::start(KEY, vec![begun(Then::Hang)]).unwrap();
        let (mut terminal, pid) = watched(&desk, &configure(&desk, Api::OpenAi, &stub));
        terminal.expect("> ");
        terminal.type_in("Hello\r");
        terminal.expect("Hi");
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
        let told = terminal.expect(" goes on");
        assert!(told.contains("`sessions chat k --config ") && told.contains("house.yaml`"), "{told:?}");
        terminal.expect(&format!("code {code}."));
        assert!(is_as_found(&mut terminal), "{name}");
        assert_eq!(terminal.end(), 0);
        let kept = desk.json(&["show", "k"]);
        assert_eq!((&kept[0]["parts"][0]["text"], &kept[1]["parts"][0]["text"]), (&json!("Hello"), &json!("Hi")));
        assert_ne!(kept[1]["state"], json!("complete"), "{name}");
    }
}

#[test]
fn so_does_one_that_comes_while_a_line_is_edited() {
    let desk = Desk::new();
    let stub = Stub::start(KEY, Vec::new()).unwrap();
    let (mut terminal, pid) = watched(&desk, &configure(&desk, Api::OpenAi, &stub));
    terminal.expect("> ");
    terminal.type_in("half a li");
    terminal.expect("half a li");
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    terminal.expect("code 143.");
    assert!(is_as_found(&mut terminal));
    assert_eq!(terminal.end(), 0);
}

#[test]
fn ctrl_z_suspends_a_chat_with_the_terminal_as_it_was_and_it_goes_on_as_it_stood() {
    let desk = Desk::new();
    let stub = Stub::start(KEY, vec![begun(Then::Reset), answer(&["Whole."])]).unwrap();
    let file = configure(&desk, Api::OpenAi, &stub);
    let told = "echo stopped $?.; stty -a; echo -n ready; read; fg";
    let line = format!("{PROGRAM} chat k --new --config {file}; {told}; {told}; echo code $?.");
    let mut terminal = Terminal::run(&desk, 120, &format!("bash -mc '{line}'"));
    terminal.expect("> ");
    terminal.type_in("Hello\r");
    terminal.expect("Hi");
    let suspended = |terminal: &mut Terminal| {
        terminal.type_in("\u{1a}");
        terminal.expect("stopped 147.");
        assert!(is_as_found(terminal));
        terminal.expect("ready");
        terminal.type_in("\r");
    };
    suspended(&mut terminal);
    terminal.expect("chat k --new");
    // How long it waits is told again.
    terminal.expect(" s\u{1b}[0m");
    terminal.type_in("not shown");
    stub.release();
    let unseen = terminal.expect("Whole.");
    assert!(!unseen.contains("not shown"), "{unseen:?}");
    terminal.expect("of the window");
    terminal.expect("not shown");
    terminal.type_in("\u{15}some words\u{1b}[D\u{1b}[D");
    terminal.expect("some words");
    suspended(&mut terminal);
    terminal.expect("chat k --new");
    terminal.expect("\u{1b}[?2004h\r\u{1b}[K> some words");
    // Orders of the editor, which no line of a terminal knows.
    terminal.type_in("\u{15}\u{b}/exit\r");
    terminal.expect("code 0.");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn errors_hints_and_what_was_said_end_their_lines_between_words() {
    let desk = Desk::new();
    let words = "unbreakable ".repeat(20);
    desk.talk(&[&words, &words]);
    let mut terminal = Terminal::run(&desk, 50, &format!("{PROGRAM} chat k; {PROGRAM} info nobody; echo over"));
    terminal.expect("/help");
    let listed = terminal.expect("> ");
    terminal.type_in("/udno\r");
    terminal.expect("error: ");
    let refused = terminal.expect("> ");
    terminal.type_in("\u{4}");
    terminal.expect("error: ");
    let ended = terminal.expect("over");
    let whole =
        |line: &&str| line.split_whitespace().filter(|word| word.starts_with("unbr")).all(|w| w == "unbreakable");
    let plain = |text: &str| text.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "").replace("\u{1b}[1m", "");
    let plain = |text: &str| plain(text).replace("\u{1b}[36m", "");
    for (text, tells) in [(&listed, "user  unbreakable"), (&refused, "did you mean /undo?"), (&ended, "no session")] {
        let text = plain(text);
        assert!(text.contains(tells), "{text:?}");
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains('\u{1b}')).collect();
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= 50), "{lines:?}");
        assert!(lines.iter().all(whole), "{lines:?}");
    }
    assert_eq!(terminal.end(), 0);
    assert!(desk.run(&["info", "nobody"]).stderr.lines().count() == 2, "a pipe gets whole lines");
}

/// A configuration with two providers at one stub, of which the second wants a key.
fn two(desk: &Desk, stub: &Stub) -> String {
    let address = stub.address();
    let text = format!(
        "
sessions:
  model: m-here
  providers:
    here: {{ kind: openai, base_url: '{address}', api_key_env: HOUSE_KEY }}
    there: {{ kind: openai, base_url: '{address}', api_key_env: THERE_KEY }}
  models:
    m-here: {{ provider: here, window: 32768 }}
    m-there: {{ provider: there, window: 32768 }}
"
    );
    let file = desk.path("two.yaml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn nobody_is_put_in_the_place_of_a_model_whose_key_is_missing() {
    let desk = Desk::new();
    let stub = Stub::start(KEY, vec![answer(&["One."]), answer(&["Two."])]).unwrap();
    let file = two(&desk, &stub);
    let run = |arguments: &[&str], said: &str| {
        let mut command = desk.command(&[&["--config", &file, "--json"], arguments].concat());
        command.env("HOUSE_KEY", KEY).env_remove("THERE_KEY");
        crate::finish(command, said.as_bytes())
    };
    for (key, model) in [("known", "m-there"), ("foreign", "nobody-9"), ("unconfigured", "claude-sonnet-4-5")] {
        desk.one(&["new", "--key", key, "--model", model]);
        desk.one(&["append", key, "--role", "user", &"why is it red? ".repeat(400)]);
        desk.one(&["append", key, "--role", "assistant", &"since it is. ".repeat(400)]);
    }
    for arguments in [&["chat", "known"][..], &["compact", "known", "--by-model", "--max-tokens", "200"]] {
        let error = run(arguments, "again\n").refused(2, "usage");
        assert!(error["message"].as_str().unwrap().contains("THERE_KEY"), "{error}");
    }
    assert!(stub.asked().is_empty(), "nothing of it went to anybody");
    for (key, why) in
        [("foreign", "is not known here, so m-here"), ("unconfigured", "is not configured here, so m-here")]
    {
        let ran = run(&["chat", key], "again\n");
        assert!(ran.code == 0 && ran.stderr.contains(why), "{ran:?}");
    }
    assert_eq!(stub.asked().len(), 2);
    // Where there is no model at all, nobody is told to write the summary first.
    let none = desk.run(&["compact", "foreign", "--by-model", "--json"]);
    none.refused(2, "usage");
    assert_eq!(none.stderr.lines().count(), 1, "{none:?}");
}

#[test]
fn a_compaction_that_is_refused_tells_the_whole_reason_and_what_helps() {
    let desk = Desk::new();
    desk.one(&["new", "--key", "k"]);
    let mut pinned = String::new();
    for at in 0..12 {
        let role = if at % 2 == 0 { "user" } else { "assistant" };
        let made = desk.one(&["append", "k", "--role", role, &format!("{at}: {}", "why is it red? ".repeat(100))]);
        made["id"].as_str().unwrap().clone_into(&mut pinned);
        if at < 2 {
            desk.one(&["pin", "k", &pinned]);
        }
    }
    let small = desk.run(&["compact", "k", "--max-tokens", "100", "--json"]).refused(1, "failed");
    assert!(small["hint"].as_str().unwrap().contains("unpin"), "{small}");
    let gone = "http://127.0.0.1:1";
    let text = format!(
        "sessions: {{ model: m, providers: {{ p: {{ kind: ollama, base_url: '{gone}' }} }}, models: {{ m: {{ provider: p, window: 32768 }} }} }}"
    );
    fs::write(desk.path("gone.yaml"), text).unwrap();
    let refused = desk.run(&["--config", "gone.yaml", "compact", "k", "--by-model", "--max-tokens", "2000", "--json"]);
    let error = refused.error();
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    assert!(message.starts_with("no summary was made, and nothing was changed: ") && !message.contains('('), "{error}");
    assert!(!hint.contains(')') && !hint.contains("nothing was changed"), "{error}");
}
