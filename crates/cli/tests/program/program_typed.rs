//! What is typed while an answer comes, and what becomes of the terminal when a chat is ended.
//!
//! Must not know: the program's insides.

use sessions_testkit::stub::{Api, Reply, Scenario, Stub, Then};

use crate::{
    Desk,
    program_chat::{KEY, Terminal, answer, configure},
};

/// An answer that has begun with `Hi` and then does this.
fn begun(then: Then) -> Reply {
    Reply { then, ..Api::OpenAi.replies(Scenario::SilentMidway).unwrap().remove(0) }
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
