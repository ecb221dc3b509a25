//! Talking to a model through the program: in a pipe, on a terminal, and with each kind of provider that a configuration may name.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use sessions_testkit::stub::{Api, Reply, Scenario, Stub, Then};

use crate::{Desk, Ran, finish};

pub(crate) const KEY: &str = "sk-canary-4711";

/// The longest that is waited for what should be there at once.
const PATIENCE: Duration = Duration::from_secs(60);

fn kind(api: Api) -> &'static str {
    match api {
        Api::OpenAi => "openai",
        Api::Anthropic => "anthropic",
        Api::Ollama => "ollama",
    }
}

/// A configuration whose model is asked at a stub.
pub(crate) fn configure(desk: &Desk, api: Api, stub: &Stub) -> String {
    let (kind, address) = (kind(api), stub.address());
    let text = format!(
        "
sessions:
  model: house-7b
  providers: {{ mine: {{ kind: {kind}, base_url: '{address}', api_key_env: HOUSE_KEY }} }}
  models: {{ house-7b: {{ provider: mine, window: 32768 }} }}
  prices: [{{ provider: mine, model: m-1, input: 1, output: 2, cache_read: 1, cache_write: 1 }}]
"
    );
    let file = desk.path("house.yaml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

fn stub(api: Api, scenario: Scenario) -> Stub {
    Stub::of(KEY, api, scenario).unwrap().unwrap()
}

fn command(desk: &Desk, file: &str, arguments: &[&str]) -> Command {
    let mut command = desk.command(&[&["chat", "--config", file], arguments].concat());
    command.env("HOUSE_KEY", KEY);
    command
}

/// An answer of an OpenAI-like provider in these pieces.
pub(crate) fn answer(pieces: &[&str]) -> Reply {
    let chunk = |delta: Value, reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        format!("data: {}\n\n", json!({"id": "c", "model": "m-1", "choices": [choice]}))
    };
    let text = pieces.iter().map(|piece| chunk(json!({"content": piece}), Value::Null));
    let end = [chunk(json!({}), json!("stop")), "data: [DONE]\n\n".to_owned()];
    Reply::stream(text.chain(end).map(String::into_bytes))
}

fn events(ran: &Ran, name: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["event"] == name).collect()
}

#[test]
fn each_line_of_a_pipe_is_said_and_an_empty_chat_leaves_no_session() {
    let desk = Desk::new();
    assert_eq!(desk.run_with(&["chat"], b"\n  \n").code, 0);
    assert!(desk.json(&["list"]).is_empty());
    let ran = desk.run_with(&["chat"], "Why does E0502 happen?\n//undo it\n".as_bytes());
    let said = "I am a script and no model. You said: “Why does E0502 happen?”\nI am a script and no model. You said: “/undo it”\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (0, said), "{ran:?}");
    assert!(ran.stderr.contains("a script answers, which is no model"), "{ran:?}");
    let listed = desk.json(&["list"]);
    assert_eq!(
        (listed.len(), &listed[0]["title"], &listed[0]["messages"]),
        (1, &json!("Why does E0502 happen?"), &json!(4))
    );
    let id = listed[0]["id"].as_str().unwrap();
    assert!(ran.stderr.contains(id), "it says where it is kept: {ran:?}");

    assert_eq!(desk.run_with(&["chat", id], b"again\n").code, 0);
    assert_eq!(desk.one(&["info", id])["messages"], json!(6));
    desk.run_with(&["chat", "nobody", "--json"], b"hello\n").refused(3, "not_found");
    for _ in 0..2 {
        assert_eq!(desk.run_with(&["chat", "mine", "--new"], b"hello\n").code, 0);
    }
    assert_eq!((desk.one(&["info", "mine"])["messages"].clone(), desk.json(&["list"]).len()), (json!(4), 2));
}

#[test]
fn commands_do_what_those_of_the_program_do() {
    let desk = Desk::new();
    let typed = "/undo\none\ntwo\nthree\n/undo 2\n/redo\n/redo 5\n/clear\n/undo\n/title Of numbers\n/pin\n/count\n/tokens\n/branches\n/fork\nfour\n/udno\n/help\n";
    let ran = desk.run_with(&["chat", "k", "--new"], typed.as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
    for line in [
        "undone: 4 steps; 2 messages are visible",
        "redone: 2 steps; 4 messages are visible",
        "redone: 2 steps; 6 messages are visible",
        "cleared: 1 step; 0 messages are visible",
        "undone: 1 step; 6 messages are visible",
        "renamed: Of numbers",
        " is pinned ",
        "6 messages, about ",
        "tokens that script takes: normal",
        "main",
        "forked ",
        "/checkout BRANCH",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {ran:?}");
    }
    assert!(ran.stderr.contains("nothing was said yet") && ran.stderr.contains("did you mean /undo?"), "{ran:?}");
    let about = desk.one(&["info", "k"]);
    assert_eq!((&about["title"], &about["messages"]), (&json!("Of numbers"), &json!(6)), "the fork went on alone");
    assert_eq!(desk.json(&["list"]).len(), 2);
    assert_eq!(desk.run_with(&["chat", "k"], b"/udno\n").code, 2, "the last line was none");
    assert_eq!(desk.run_with(&["chat", "k", "--json"], b"/retry\n").code, 4, "there is nothing to go on with");
}

#[test]
fn with_json_each_event_is_a_line() {
    let desk = Desk::new();
    let ran = desk.run_with(&["chat", "--json"], b"hello\n/count\n");
    assert_eq!(ran.code, 0, "{ran:?}");
    let session = events(&ran, "session").remove(0);
    assert_eq!((&session["created"], &session["script"]), (&json!(true), &json!(true)));
    let text: String = events(&ran, "text").iter().map(|event| event["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(text, "I am a script and no model. You said: “hello”");
    let end = events(&ran, "end").remove(0);
    assert_eq!((&end["stop_reason"], &end["text"]), (&json!("end_turn"), &json!(text)));
    assert!(end["usage"]["input"].is_u64() && end["window"]["usable"].is_u64(), "{end}");
    assert_eq!(ran.lines().last().unwrap()["messages"], json!(2));
}

#[test]
fn each_kind_of_provider_is_asked_with_its_key_which_is_told_nowhere() {
    for api in [Api::OpenAi, Api::Anthropic, Api::Ollama] {
        let desk = Desk::plain();
        let stub = stub(api, Scenario::Text);
        let file = configure(&desk, api, &stub);
        let mut chat = command(&desk, &file, &["k", "--new"]);
        chat.env("RUST_LOG", "trace");
        let ran = finish(chat, b"Hello\n/tokens\n/model\n");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.starts_with("Hi 🦀 there\n") && ran.stdout.contains("house-7b of mine answers"), "{ran:?}");
        assert!(ran.stdout.contains(" USD"), "its price is that of its own name: {ran:?}");
        let asked = stub.asked().remove(0);
        let header = asked.header(if api == Api::Anthropic { "x-api-key" } else { "authorization" });
        assert!(header.is_some_and(|header| header.ends_with("KEY")), "{asked:?}");
        let about = desk.one(&["info", "k"]);
        assert_eq!(about["metadata"]["model"].as_str().or(about["model"].as_str()), Some("house-7b"), "{about}");
        let told = finish(command(&desk, &file, &["--model", "nobody"]), b"Hello\n");
        let options = desk.run(&["config", "--config", &file]);
        for ran in [&ran, &told, &options] {
            assert!(!ran.stdout.contains(KEY) && !ran.stderr.contains(KEY), "{ran:?}");
        }
        let mut bytes = Vec::new();
        for entry in fs::read_dir(desk.store().join("log")).unwrap() {
            fs::File::open(entry.unwrap().path()).unwrap().read_to_end(&mut bytes).unwrap();
        }
        assert!(bytes.windows(5).any(|found| found == b"Hello"), "it was looked for where words would be");
        assert!(!bytes.windows(KEY.len()).any(|found| found == KEY.as_bytes()), "the key is in the store");
    }
}

#[test]
fn a_pipe_ends_as_its_last_turn_did() {
    let desk = Desk::new();
    for (scenario, code, told) in [
        (Scenario::Denied, 6, "does not accept the key"),
        (Scenario::UnknownModel, 1, "does not know the model"),
        (Scenario::Limit, 1, "longest length"),
        (Scenario::ErrorThenText, 0, "attempt 2 in"),
    ] {
        let stub = stub(Api::OpenAi, scenario);
        let ran = finish(command(&desk, &configure(&desk, Api::OpenAi, &stub), &[]), b"Hello\n");
        assert_eq!(ran.code, code, "{scenario:?}: {ran:?}");
        assert!(ran.stderr.contains(told), "{scenario:?}: {ran:?}");
        assert!(!ran.stderr.contains("Hello"), "no word of it is told beside the results: {ran:?}");
    }
    let without = desk.run_with(&["chat", "--model", "gpt-5", "--json"], b"Hello\n");
    let hint = without.refused(2, "usage")["hint"].as_str().unwrap().to_owned();
    assert!(hint.contains("api_key_env: OPENAI_API_KEY"), "{hint}");
}

#[test]
fn a_line_that_nobody_can_read_is_passed_over_and_the_exit_code_says_so() {
    let desk = Desk::new();
    let ran = desk.run_with(&["chat"], b"one\nbad \xff\xfe\nthree\n");
    assert_eq!((ran.code, ran.stdout.lines().count()), (2, 2), "{ran:?}");
    assert!(ran.stdout.ends_with("You said: “three”\n"), "{ran:?}");
    assert!(ran.stderr.contains("error: line 2 is no text in UTF-8\nhint: "), "{ran:?}");
    let ran = desk.run_with(&["chat", "--json"], b"\xff\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
}

#[test]
fn the_model_that_was_chosen_answers_in_later_chats_too() {
    let desk = Desk::new();
    let models = "{ one: { provider: mine, window: 9000 }, two: { provider: mine, window: 9000 } }";
    let text = format!("sessions: {{ model: one, providers: {{ mine: {{ kind: scripted }} }}, models: {models} }}");
    fs::write(desk.path("two.yaml"), text).unwrap();
    let answers = |arguments: &[&str], typed: &str| {
        let ran = desk.run_with(&[&["--config", "two.yaml", "--json", "chat"], arguments].concat(), typed.as_bytes());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.lines().last().unwrap()["model"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(answers(&["k", "--new"], "hello\n/model\n"), "one");
    assert_eq!(answers(&["k"], "/model two\nhello\n/model\n"), "two");
    assert_eq!(answers(&["k"], "/model\n"), "two");
    assert_eq!(answers(&["k", "--model", "one"], "/model\n"), "one");
    assert_eq!(answers(&["k"], "/model\n"), "two", "--model is for one chat");
    assert_eq!(answers(&["new", "--new"], "/model two\nhello\n/model\n"), "two");
    assert_eq!(answers(&["new"], "/model\n"), "two", "also when it was chosen before anything was said");
    assert_eq!(desk.one(&["info", "k"])["settings"], json!({"model": "two"}));
}

#[test]
fn what_is_worth_knowing_of_a_turn_is_told_beside_its_end() {
    let desk = Desk::new();
    let replies = vec![answer(&["Read."]), answer(&[" "])];
    let stub = Stub::start(KEY, replies).unwrap();
    let long = format!("{}\nHello\n", "word ".repeat(60_000));
    let ran = finish(command(&desk, &configure(&desk, Api::OpenAi, &stub), &["k", "--new"]), long.as_bytes());
    assert_eq!((ran.code, ran.stdout.lines().next()), (0, Some("Read.")), "{ran:?}");
    assert!(ran.stderr.contains("  not all of the conversation was sent to the model"), "{ran:?}");
    assert!(ran.stderr.contains("  (empty answer)"), "{ran:?}");
}

#[test]
fn a_failed_turn_tells_what_helps_and_no_counts_of_nothing() {
    let desk = Desk::new();
    let stub = stub(Api::OpenAi, Scenario::UnknownModel);
    let file = configure(&desk, Api::OpenAi, &stub);
    let mut terminal = Terminal::start(&desk, &format!("chat --config {file}"));
    terminal.expect("> ");
    terminal.type_in("Hello\r");
    terminal.expect("hint: ");
    let seen = terminal.expect("> ");
    assert!(!seen.contains("0 tokens") && !seen.contains("is kept"), "{seen:?}");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn a_terminal_tells_a_silence_keeps_words_whole_and_shows_nothing_typed_meanwhile() {
    let desk = Desk::new();
    let begun = Api::OpenAi.replies(Scenario::SilentMidway).unwrap().remove(0);
    let stub = Stub::start(KEY, vec![begun, answer(&[&"marvellous ".repeat(15)])]).unwrap();
    let mut terminal = Terminal::start(&desk, &format!("chat --config {}", configure(&desk, Api::OpenAi, &stub)));
    terminal.expect("> ");
    terminal.type_in("Hello\r");
    terminal.expect("Hi");
    terminal.type_in("typed ahead");
    let silent = terminal.expect(" s\u{1b}[0m");
    terminal.type_in("\u{3}");
    let ended = terminal.expect("cancelled");
    for seen in [&silent, &ended] {
        assert!(!seen.contains("typed") && !seen.contains("^C"), "{seen:?}");
    }
    assert!(silent.contains(" … ") && ended.contains("\u{1b}[K"), "{silent:?} {ended:?}");
    terminal.expect("> ");
    terminal.type_in("\u{15}Again\r");
    let answer = terminal.expect("of the window");
    assert!(answer.contains("marvellou\u{1b}[9D\u{1b}[K\r\nmarvellous marvellous"), "{answer:?}");
    terminal.expect("> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn no_order_of_a_model_reaches_a_terminal_however_it_is_cut() {
    let pieces = ["a\u{1b}", "[31mred\u{1b}]0;", "title\u{7} \u{9b}2J", "\u{202e}drow 日", "本\n"];
    let desk = Desk::new();
    let stub = Stub::start(KEY, vec![answer(&pieces)]).unwrap();
    let file = configure(&desk, Api::OpenAi, &stub);
    let shown = "a\\u{1b}[31mred\\u{1b}]0;title\\u{7} \\u{9b}2J\\u{202e}drow 日本";
    let ran = finish(command(&desk, &file, &[]), b"Hello\n");
    assert_eq!(ran.stdout, format!("{shown}\n"), "{ran:?}");
    let ran = finish(command(&desk, &file, &["--json"]), b"Hello\n");
    assert!(!ran.stdout.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{ran:?}");
    assert_eq!(events(&ran, "end")[0]["text"], json!(pieces.concat()), "and JSON keeps it");
    let mut terminal = Terminal::start(&desk, &format!("chat --config {file}"));
    terminal.expect("> ");
    terminal.type_in("Hello\r");
    let seen = terminal.expect("of the window");
    assert!(seen.contains(shown) && !seen.contains("\u{1b}[31m") && !seen.contains('\u{7}'), "{seen:?}");
    terminal.expect("> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.end(), 0);
}

/// Waits for a line of an event with this name.
fn read_until(lines: &mut impl Iterator<Item = std::io::Result<String>>, event: &str) -> Value {
    loop {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == event {
            return line;
        }
    }
}

/// A chat in a pipe whose answer has begun and does not go on.
fn hanging(desk: &Desk, file: &str) -> (Child, ChildStdin, impl Iterator<Item = std::io::Result<String>> + use<>) {
    let mut command = command(desk, file, &["k", "--new", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Hello\n").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(read_until(&mut lines, "text")["text"], json!("Hi"));
    (child, stdin, lines)
}

#[test]
fn ctrl_c_in_a_pipe_ends_the_turn_and_keeps_what_came() {
    let desk = Desk::new();
    let stub = stub(Api::OpenAi, Scenario::SilentMidway);
    let (mut child, stdin, mut lines) = hanging(&desk, &configure(&desk, Api::OpenAi, &stub));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(read_until(&mut lines, "end")["stop_reason"], json!("cancelled"));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(stub.wait_for_ends(1), "the connection ended too");
    drop(stdin);
    let kept = desk.json(&["show", "k"]);
    assert_eq!((&kept[1]["parts"][0]["text"], &kept[1]["state"]), (&json!("Hi"), &json!("cancelled")));
}

#[test]
fn a_turn_that_was_cut_off_is_told_and_gone_on_with() {
    let desk = Desk::new();
    let silent = stub(Api::OpenAi, Scenario::SilentMidway);
    let (mut child, _stdin, _) = hanging(&desk, &configure(&desk, Api::OpenAi, &silent));
    child.kill().unwrap();
    child.wait().unwrap();
    let stub = stub(Api::OpenAi, Scenario::Text);
    let file = configure(&desk, Api::OpenAi, &stub);
    let mut terminal = Terminal::start(&desk, &format!("chat k --config {file}"));
    let greeting = terminal.expect("/retry goes on with it");
    assert!(greeting.contains("house-7b of mine") && greeting.contains("Hello"), "{greeting}");
    terminal.expect("> ");
    terminal.type_in("/retry\r");
    terminal.expect("Hi 🦀 there");
    terminal.expect("of the window");
    terminal.expect("> ");
    terminal.type_in("/exit\r");
    terminal.expect("goes on");
    assert_eq!(terminal.end(), 0);
    assert_eq!(desk.texts(&["show", "k"]), ["Hello", "Hi 🦀 there"]);
}

#[test]
fn on_a_terminal_ctrl_c_ends_the_turn_or_clears_the_line_and_twice_leaves() {
    let desk = Desk::new();
    let begun = Api::OpenAi.replies(Scenario::SilentMidway).unwrap().remove(0);
    assert_eq!(begun.then, Then::Hang);
    let stub = Stub::start(KEY, vec![begun, answer(&["And ", "again."])]).unwrap();
    let file = configure(&desk, Api::OpenAi, &stub);
    let mut terminal = Terminal::start(&desk, &format!("chat k --new --config {file}"));
    terminal.expect("a new session");
    terminal.expect("> ");
    terminal.type_in("Hello\r");
    terminal.expect("Hi");
    terminal.type_in("\u{3}");
    terminal.expect("cancelled");
    terminal.expect("> ");
    // The first clears the line, so the second is the first on an empty one.
    terminal.type_in("never said\u{3}");
    terminal.expect("\n");
    terminal.expect("> ");
    terminal.type_in("\u{3}");
    terminal.expect("Ctrl-C again");
    terminal.expect("> ");
    terminal.type_in("one \\\rtwo\r");
    terminal.expect("And again.");
    terminal.expect("of the window");
    terminal.expect("> ");
    terminal.type_in("/tok\t\r");
    terminal.expect("house-7b takes");
    terminal.expect("> ");
    terminal.type_in("\u{3}");
    terminal.expect("Ctrl-C again");
    terminal.expect("> ");
    terminal.type_in("\u{3}");
    terminal.expect("goes on");
    assert_eq!(terminal.end(), 0);
    assert_eq!(desk.texts(&["show", "k"]), ["Hello", "Hi", "one \ntwo", "And again."]);
    let left = |name: &str| fs::read_dir(desk.path(name)).map_or(0, Iterator::count);
    assert_eq!(left("home"), 0, "no file of what was typed");
}

#[test]
fn calls_and_their_results_are_a_line_each_on_a_terminal_and_events_in_json() {
    let desk = Desk::new();
    let calls = Api::OpenAi.replies(Scenario::Calls).unwrap().remove(0);
    let start = || Stub::start(KEY, vec![calls.clone(), answer(&["There is none."])]).unwrap();
    let stub = start();
    let mut terminal = Terminal::start(&desk, &format!("chat --config {}", configure(&desk, Api::OpenAi, &stub)));
    terminal.expect("> ");
    terminal.type_in("Hello\r");
    for line in
        ["I look.", "calls read {\"path\":\"a\"}", "read → failed: there is no tool of this name", "There is none."]
    {
        terminal.expect(line);
    }
    terminal.expect("> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.end(), 0);
    let stub = start();
    let ran = finish(command(&desk, &configure(&desk, Api::OpenAi, &stub), &["--json"]), b"Hello\n");
    let named: Vec<Value> = events(&ran, "calling").iter().map(|event| event["call"]["name"].clone()).collect();
    assert_eq!((named, events(&ran, "called").len()), (vec![json!("read"), json!("list")], 2));
    let stub = start();
    let ran = finish(command(&desk, &configure(&desk, Api::OpenAi, &stub), &[]), b"Hello\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "I look.\nThere is none.\n"), "{ran:?}");
    assert!(!ran.stderr.contains("read"), "{ran:?}");
}

/// The program on a terminal of its own, made by `script` of util-linux.
pub(crate) struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    seen: Arc<(Mutex<String>, Condvar)>,
    /// So much of it was looked at.
    at: usize,
}

impl Terminal {
    pub(crate) fn start(desk: &Desk, arguments: &str) -> Self {
        Self::run(desk, 120, &format!("exec {} {arguments}", env!("CARGO_BIN_EXE_sessions")))
    }

    /// Runs a line of a shell on one of so many columns.
    pub(crate) fn run(desk: &Desk, columns: usize, line: &str) -> Self {
        fs::create_dir_all(desk.path("home")).unwrap();
        let run = format!("stty rows 40 cols {columns}; {line}");
        let mut command = Command::new("script");
        command.args(["-qec", &run, "/dev/null"]).env("SESSIONS_STORE", desk.url()).env("TERM", "xterm");
        command.env("XDG_CONFIG_HOME", crate::configuration()).env("HOME", desk.path("home")).env("HOUSE_KEY", KEY);
        command.current_dir(desk.path("home"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let seen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..read]);
                let whole = match std::str::from_utf8(&bytes) {
                    Ok(_) => bytes.len(),
                    Err(error) => error.valid_up_to(),
                };
                shared.0.lock().unwrap().push_str(std::str::from_utf8(&bytes[..whole]).unwrap());
                bytes.drain(..whole);
                shared.1.notify_all();
            }
        });
        Self { child, keys: Some(keys), seen, at: 0 }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        let typed = self.keys.as_mut().unwrap();
        typed.write_all(keys.as_bytes()).unwrap();
        typed.flush().unwrap();
    }

    /// Waits for words behind those that were waited for last, and gives what stands before them.
    #[track_caller]
    pub(crate) fn expect(&mut self, words: &str) -> String {
        let (lock, changed) = &*self.seen;
        let at = self.at;
        let is_missing = |seen: &mut String| !seen[at..].contains(words);
        let (seen, _) = changed.wait_timeout_while(lock.lock().unwrap(), PATIENCE, is_missing).unwrap();
        let behind = &seen[at..];
        let found = behind.find(words).unwrap_or_else(|| panic!("no {words:?} in {behind:?}"));
        self.at = at + found + words.len();
        behind[..found + words.len()].to_owned()
    }

    /// The exit code.
    pub(crate) fn end(mut self) -> i32 {
        self.keys = None;
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    /// Of a test that failed nothing is left running; the terminal takes its program along.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session that fills most of the window of [`configure`].
fn full(desk: &Desk) {
    desk.one(&["new", "--key", "k"]);
    let message = |at: u32| {
        let role = if at.is_multiple_of(2) { "user" } else { "assistant" };
        format!("{}\n", json!({"role": role, "content": format!("{at}: {}", "why is it red? ".repeat(130))}))
    };
    let input: String = (0..40).map(message).collect();
    assert_eq!(desk.run_with(&["append", "k", "--jsonl", "--json"], input.as_bytes()).code, 0);
}

#[test]
fn a_summary_within_a_turn_is_told_before_it_is_there() {
    let desk = Desk::new();
    full(&desk);
    let headings = ["Goal", "Decisions", "State", "Next step", "Files"];
    let summary = headings.map(|heading| format!("## {heading}\n- the red build\n")).concat();
    let replies = [summary.as_str(), &summary, "Green."].map(|text| answer(&[text]));
    let stub = Stub::start(KEY, [vec![Reply::silence()], replies.to_vec()].concat()).unwrap();
    let file = configure(&desk, Api::OpenAi, &stub);
    let mut terminal = Terminal::start(&desk, &format!("chat k --config {file}"));
    terminal.expect("> ");
    terminal.type_in("and now?\r");
    terminal.expect("making the older part shorter · ");
    terminal.type_in("\u{3}");
    terminal.expect("cancelled");
    terminal.expect("> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.end(), 0);

    let ran = finish(command(&desk, &file, &["k", "--json"]), b"and now?\nand then?\n");
    let named: Vec<String> = ran.lines().iter().filter_map(|line| Some(line["event"].as_str()?.to_owned())).collect();
    let named: Vec<&str> = named.iter().map(String::as_str).filter(|name| *name != "text").collect();
    let turn = ["answering", "answered", "end"];
    assert_eq!(named[..6], [&["session", "compacting", "compacted"][..], &turn].concat(), "{ran:?}");
    assert!(events(&ran, "compacted")[0]["target"].is_u64(), "{ran:?}");
    assert_eq!(events(&ran, "compacting").len(), 1, "what is looked at and not due is not told: {ran:?}");
}

#[test]
fn what_is_too_much_for_the_model_is_told_with_what_helps() {
    let desk = Desk::new();
    desk.one(&["new", "--key", "k"]);
    let said = desk
        .run_with(&["append", "k", "--role", "user", "-", "--json"], "stay ".repeat(40_000).as_bytes())
        .lines()
        .remove(0);
    desk.one(&["pin", "k", said["id"].as_str().unwrap()]);
    let stub = Stub::start(KEY, Vec::new()).unwrap();
    let file = configure(&desk, Api::OpenAi, &stub);
    let ran = finish(command(&desk, &file, &["k", "--json"]), b"Hello\n").refused(1, "refused");
    let hint = ran["hint"].as_str().unwrap();
    assert!(hint.contains("/model") && hint.contains("`sessions unpin`") && hint.contains("/fork"), "{hint}");
}
