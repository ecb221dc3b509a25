//! Marked words in every field that can be filled through the program, every command run over them, and then a look for the words where none may be.
//!
//! That a crash leaves no core file, which would hold what the process held in memory, is another test's.
//!
//! Must not know: how anything is sealed.

use std::{
    cell::{Cell, RefCell},
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::{Desk, Ran, finish};

/// All marks begin so. Nothing else does.
const MARK: &str = "zqmark";
/// What the transcripts of other programs are made of.
const TRANSCRIPT: &str = r#"{"type":"user","uuid":"00000000-0000-4000-8000-000000000001","parentUuid":null,"sessionId":"7d3f2a10-5b7e-4c1d-9a61-0c8f5e2b4d11","cwd":"/home/CWD","gitBranch":"BRANCH","version":"2.0.0","timestamp":"2026-03-02T09:00:00.000Z","isSidechain":false,"userType":"external","message":{"role":"user","content":"TEXT"}}
{"type":"assistant","uuid":"00000000-0000-4000-8000-000000000002","parentUuid":"00000000-0000-4000-8000-000000000001","sessionId":"7d3f2a10-5b7e-4c1d-9a61-0c8f5e2b4d11","cwd":"/home/CWD","version":"2.0.0","timestamp":"2026-03-02T09:00:03.100Z","isSidechain":false,"userType":"external","message":{"id":"msg_01","type":"message","role":"assistant","model":"MODEL","content":[{"type":"text","text":"ANSWER"}],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}}
"#;

struct Canary {
    desk: Desk,
    marks: Cell<usize>,
    /// Marks on standard error, with the command that said them.
    told: RefCell<Vec<String>>,
}

fn marks_in(bytes: &[u8]) -> Vec<String> {
    let hit = |at: &usize| bytes[*at..].starts_with(MARK.as_bytes());
    let word = |at: usize| String::from_utf8_lossy(&bytes[at..bytes.len().min(at + MARK.len() + 2)]).into_owned();
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'z').map(|(at, _)| at);
    starts.filter(hit).map(word).collect()
}

/// Every file below a folder that has a mark in its name or in its bytes, and how many files there are.
fn marked_files(folder: &Path) -> (usize, Vec<PathBuf>) {
    let (mut count, mut marked) = (0, Vec::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let (below, found) = marked_files(&path);
            count += below;
            marked.extend(found);
        } else {
            count += 1;
            if !marks_in(&fs::read(&path).unwrap()).is_empty() {
                marked.push(path.clone());
            }
        }
        if name.contains(MARK) {
            marked.push(path);
        }
    }
    (count, marked)
}

impl Canary {
    fn new(desk: Desk) -> Self {
        fs::create_dir(desk.path("tmp")).unwrap();
        fs::create_dir(desk.path("in")).unwrap();
        fs::create_dir(desk.path("out")).unwrap();
        Self { desk, marks: Cell::new(0), told: RefCell::default() }
    }

    /// Another marked word.
    fn mark(&self) -> String {
        self.marks.set(self.marks.get() + 1);
        format!("{MARK}{:02}", self.marks.get())
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.desk.command(arguments);
        command.env("TMPDIR", self.desk.path("tmp"));
        command
    }

    /// Runs a command, whatever comes of it, and notes marks on its standard error that are not in its arguments.
    fn any(&self, arguments: &[&str], input: &str) -> Ran {
        let ran = finish(self.command(arguments), input.as_bytes());
        let given = arguments.join(" ");
        let found = marks_in(ran.stderr.as_bytes());
        if found.iter().any(|mark| !given.contains(mark)) {
            self.told.borrow_mut().push(format!("{arguments:?}: {}", ran.stderr));
        }
        ran
    }

    /// Runs a command that succeeds; it says no mark on standard error at all.
    #[track_caller]
    fn does(&self, arguments: &[&str]) -> Ran {
        self.reads(arguments, "")
    }

    #[track_caller]
    fn reads(&self, arguments: &[&str], input: &str) -> Ran {
        let ran = self.any(arguments, input);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        assert_eq!(marks_in(ran.stderr.as_bytes()), Vec::<String>::new(), "{arguments:?}: {ran:?}");
        ran
    }

    /// Runs a command that fails. It may name its own arguments, and nothing from a file, standard input or the store.
    #[track_caller]
    fn fails(&self, arguments: &[&str], input: &str) {
        for more in [&[][..], &["--json"]] {
            let ran = self.any(&[arguments, more].concat(), input);
            assert_ne!(ran.code, 0, "{arguments:?}: {ran:?}");
        }
    }

    fn one(&self, arguments: &[&str]) -> Value {
        self.does(&[arguments, &["--json"]].concat()).lines().remove(0)
    }

    /// No mark where none may be.
    #[track_caller]
    fn is_clean(&self) {
        let (files, marked) = marked_files(&self.desk.store());
        assert!(files >= 5, "{files}");
        assert!(self.desk.is_plain || marked.is_empty(), "in the store: {marked:?}");
        assert_eq!(marked_files(&self.desk.path("tmp")), (0, Vec::new()), "in the folder of temporary files");
        assert_eq!(*self.told.borrow(), Vec::<String>::new(), "on standard error");
    }

    /// Fills every field.
    fn fill(&self) {
        let m = || self.mark();
        let (key, tag) = (m(), m());
        let fields = ["--title", "--description", "--tag", "--creator", "--model", "--provider", "--mode"];
        let mut new = vec!["new".to_owned(), "--key".to_owned(), key.clone(), "--tag".to_owned(), tag.clone()];
        fields.iter().for_each(|field| new.extend([(*field).to_owned(), m()]));
        new.extend(["--cwd".to_owned(), format!("/home/{}", m())]);
        let new: Vec<&str> = new.iter().map(String::as_str).collect();
        self.one(&new);
        let k = format!("key:{key}");
        for role in ["system", "user", "assistant"] {
            self.reads(&["append", &k, "--role", role], &m());
        }
        let call = m();
        let parts = json!({"role": "assistant", "idempotency_key": m(), "parts": [
            {"type": "text", "text": m()},
            {"type": "reasoning", "text": m(), "signature": m()},
            {"type": "file", "media_type": format!("text/{}", m()), "name": m(), "url": format!("https://{}", m())},
            {"type": "error", "message": m(), "code": m()},
            {"type": m(), "field": m(), m(): 1},
            {"type": "tool-call", "call_id": call, "name": m(), "input": {m(): m()}},
        ]});
        let result = json!({"role": "tool", "parts": [
            {"type": "tool-result", "call_id": call, "is_error": true, "content": [{"type": "text", "text": m()}]},
        ]});
        let large = json!({"role": "user", "content": format!("{} {}", m(), "x".repeat(90_000))});
        self.reads(&["append", &k, "--jsonl"], &format!("{parts}\n{result}\n{large}\n"));
        self.reads(&["append", &k, "--role", "assistant", "--stream"], &format!("{}\nand {}\n", m(), m()));
        let said = self.one(&["append", &k, "--role", "user", &m(), "--once", &m()]);
        let message = said["id"].as_str().unwrap();
        for scope in ["", "user:", "app:"] {
            let name = format!("{scope}{}", m());
            self.does(&["state", "set", &k, &name, &json!({m(): m()}).to_string(), "--once", &m()]);
            self.does(&["state", "get", &k, &name]);
        }
        self.reads(&["state", "set", &k, "note", "--text"], &m());
        self.does(&["state", "unset", &k, "note"]);
        self.does(&["rename", &k, &m(), "--once", &m()]);
        self.reads(&["describe", &k], &m());
        self.does(&["tag", &k, "--add", &m(), "--remove", &tag]);
        self.does(&["checkpoint", &k, &m()]);
        self.does(&["pin", &k, message]);
        self.does(&["unpin", &k, message]);
        self.does(&["touch", &k]);
        self.does(&["status", &k, "paused", "--reason", &m()]);
        self.does(&["status", &k, "active"]);
        self.does(&["edit", &k, message, &m(), "--once", &m()]);
        self.does(&["checkout", &k, "main"]);
        self.does(&["undo", &k, "--once", &m()]);
        self.does(&["redo", &k]);
        self.does(&["clear", &k]);
        self.does(&["undo", &k]);
        // As many as it takes for a snapshot to be kept of what the session is.
        let many: Vec<Value> = (0..300).map(|at| json!({"role": "user", "content": format!("{at}")})).collect();
        self.reads(&["append", &k, "--jsonl"], &many.iter().map(|one| format!("{one}\n")).collect::<String>());
        self.does(&["instruct", &k, &m(), "--once", &m()]);
        self.does(&["compact", &k, "--max-tokens", "1000", "--once", &m()]);
        self.does(&["context", &k, "--max-tokens", "5000"]);
        let fork = self.one(&["fork", &k, "--once", &m()])["id"].as_str().unwrap().to_owned();
        self.does(&["append", &fork, "--role", "user", &m()]);
        self.bring_in();
        self.look(&k);
        self.mistakes(&k);
        self.kill(&k);
        self.keep(&k, &fork);
    }

    fn bring_in(&self) {
        let mut text = TRANSCRIPT.to_owned();
        for field in ["CWD", "BRANCH", "TEXT", "MODEL", "ANSWER"] {
            text = text.replace(field, &self.mark());
        }
        let path = |name: String| self.desk.path("in").join(name).to_str().unwrap().to_owned();
        let file = path(format!("{}.jsonl", self.mark()));
        fs::write(&file, text).unwrap();
        // What an import says of a file on standard error names the file, which is its argument.
        assert_eq!(self.any(&["import", &file], "").code, 0);
        let broken = path("broken.jsonl".to_owned());
        fs::write(&broken, format!("{{\"type\":\"user\",\"message\":\"{}\n{}\n", self.mark(), self.mark())).unwrap();
        self.fails(&["import", &broken], "");
        self.fails(&["import", &broken, "--format", "json"], "");
        self.fails(&["import", &broken, "--format", "claude-code"], "");
    }

    /// Everything that reads.
    fn look(&self, k: &str) {
        for command in ["show", "info", "branches", "lineage", "checkpoint", "status", "tag"] {
            self.does(&[command, k]);
            self.does(&[command, k, "--json"]);
        }
        self.does(&["show", k, "--all"]);
        self.does(&["state", "list", k]);
        self.does(&["list"]);
        assert!(!self.does(&["list", "--text", MARK, "--json"]).stdout.is_empty());
        for format in ["json", "jsonl", "markdown", "html", "claude-code", "codex", "pi", "openai", "anthropic"] {
            let file = self.desk.path("out").join(format);
            // What a format has no room for is told in numbers.
            assert_eq!(self.any(&["export", k, "--format", format, "-o", file.to_str().unwrap()], "").code, 0);
        }
        self.does(&["completions", "bash"]);
        self.does(&["demo"]);
        self.does(&["bench", "--writers", "2", "--messages", "20"]);
    }

    /// Errors of each kind that could have content in it.
    fn mistakes(&self, k: &str) {
        let m = || self.mark();
        self.fails(&["append", k, "--jsonl"], &format!("{{\"role\":\"{}\",\"content\":\"{}\"}}\n", m(), m()));
        self.fails(&["append", k, "--jsonl"], &format!("{} {{\n", m()));
        self.fails(&["append", k, "--jsonl"], &json!({"role": "tool", "parts": [{"type": m()}], m(): 1}).to_string());
        self.fails(&["state", "set", k, "note"], &format!("{{{}", m()));
        self.fails(&["describe", k], &m().repeat(200_000));
        let once = m();
        self.does(&["append", k, "--role", "user", &m(), "--once", &once]);
        self.fails(&["append", k, "--role", "user", &m(), "--once", &once], "");
        for wrong in [
            &["show", &m()][..],
            &["show", k, "--at", &m()],
            &["show", k, "--at", &format!("checkpoint:{}", m())],
            &["checkout", k, &m()],
            &["list", "--cursor", &m()],
            &["list", "--since", &m()],
            &["state", "get", k, &m()],
            &["tag", k, "--add", &m().repeat(500)],
            &["status", k, &m()],
            &["delete", k, "--shred"],
        ] {
            self.fails(wrong, "");
        }
        let secret = self.desk.path("secret");
        fs::write(&secret, format!("{} lantern northward\n", m())).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        self.fails(&["show", k, "--passphrase-file", "secret"], "");
        self.fails(&["show", k, "--key-file", "secret"], "");
        fs::remove_file(&secret).unwrap();
    }

    /// `kill -9` in the middle of an append.
    fn kill(&self, k: &str) {
        let mut command = self.command(&["append", k, "--jsonl", "--json"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..3 {
            writeln!(stdin, "{}", json!({"role": "user", "content": self.mark()})).unwrap();
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0);
        }
        let large = json!({"role": "user", "content": format!("{} {}", self.mark(), "x".repeat(90_000))});
        writeln!(stdin, "{large}\n{{\"role\":\"user\",\"content\":\"{}", self.mark()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.does(&["show", k, "--last", "1"]);
    }

    /// Everything that looks after a store, damage included.
    fn keep(&self, k: &str, fork: &str) {
        self.does(&["verify"]);
        self.does(&["doctor"]);
        self.does(&["keys", "status", "--all"]);
        if !self.desk.is_plain {
            self.does(&["verify", "--without-key"]);
            self.does(&["keys", "rotate"]);
            self.does(&["keys", "rotate-data"]);
        }
        self.does(&["backup", "store/../tmp-backup"]);
        let backup = fs::read(self.desk.path("tmp-backup")).unwrap();
        assert!(self.desk.is_plain || marks_in(&backup).is_empty(), "in the backup: {:?}", marks_in(&backup));
        let copy = format!("sled:{}", self.desk.path("copy").display());
        self.does(&["restore-backup", "tmp-backup", "--store", &copy]);
        let (_, marked) = marked_files(&self.desk.path("copy"));
        assert!(self.desk.is_plain || marked.is_empty(), "in the restored store: {marked:?}");
        self.is_clean();

        // What is damaged was written behind the change of the data key.
        let segment = fs::read_dir(self.desk.store().join("log")).unwrap().next().unwrap().unwrap().path();
        let end = || fs::read(&segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        let before = end();
        (0..3).for_each(|_| drop(self.reads(&["append", k, "--role", "user"], &self.mark())));
        let mut bytes = fs::read(&segment).unwrap();
        bytes[(before + 100)..(before + 200)].fill(0x55);
        fs::write(&segment, bytes).unwrap();
        self.any(&["show", k], "");
        self.fails(&["verify"], "");
        self.does(&["repair", "--dry-run"]);
        self.does(&["repair"]);
        self.does(&["verify"]);
        self.any(&["show", k, "--all"], "");
        self.is_clean();

        if !self.desk.is_plain {
            self.does(&["delete", k, "--shred", "--cascade"]);
        }
        self.any(&["show", fork], "");
        self.any(&["show", k], "");
        self.does(&["reclaim"]);
        self.does(&["verify"]);
        self.is_clean();
    }
}

#[test]
fn no_marked_word_is_in_the_store_a_backup_temporary_files_or_standard_error() {
    let canary = Canary::new(Desk::new());
    canary.fill();
    assert!(canary.marks.get() >= 60, "{}", canary.marks.get());
    println!("figure: {} marks, none found in {} files", canary.marks.get(), marked_files(&canary.desk.store()).0);
}

#[test]
fn no_marked_word_is_left_of_a_plain_store_that_is_sealed_in_its_place() {
    let mut canary = Canary::new(Desk::plain());
    canary.fill();
    canary.desk.is_plain = false;
    assert!(marked_files(&canary.desk.store()).1.len() > 2);
    canary.fails(&["keys", "init"], "");
    let listed = canary.does(&["list", "--plain"]);
    canary.does(&["keys", "init", "--erase-quarantine"]);
    canary.is_clean();
    assert_eq!(canary.does(&["list"]).stdout, listed.stdout);
    canary.does(&["verify"]);
    canary.is_clean();
    println!("figure: {} marks, none left in {} files", canary.marks.get(), marked_files(&canary.desk.store()).0);
}

#[test]
fn the_look_for_marked_words_finds_those_of_a_plain_store() {
    let canary = Canary::new(Desk::plain());
    let mark = canary.mark();
    canary.one(&["new", "--title", &mark]);
    let (files, marked) = marked_files(&canary.desk.store());
    assert!(files > marked.len() && !marked.is_empty(), "{marked:?}");
}
