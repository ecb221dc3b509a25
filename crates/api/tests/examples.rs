//! The examples that talk to a model, as a reader runs them.
//!
//! Must not know: how a turn works.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test that meets what it does not expect has failed; of an example only `main` is not run"
)]

#[path = "../examples/interactive_session.rs"]
mod interactive_session;
#[path = "../examples/session_usage.rs"]
mod session_usage;
#[path = "../examples/tool_with_gate.rs"]
mod tool_with_gate;

#[tokio::test]
async fn usage_is_told_in_numbers_that_are_the_same_each_time() {
    let mut told = Vec::new();
    session_usage::run(&mut told).await.unwrap();
    let told = String::from_utf8(told).unwrap();
    // By hand: (40 × 2.50 + 200 × 0.25 + 180 × 10) / 10⁶ in the first turn; 160, 2000 and 1800 tokens in all.
    for line in [
        "What is it?    40 in,  180 out, 0.00195 USD",
        "the window is Normal",
        "the window is Warning",
        "the window is Critical",
        "all calls: 4 calls, 160 + 2000 cached in, 1800 out, 0.0189 USD",
        "after an undo the window is Normal",
        "and what was spent stays: 4 calls, 160 + 2000 cached in, 1800 out, 0.0189 USD",
        "a fork has spent nothing yet: 0 calls, 0 + 0 cached in, 0 out, nothing",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
}

#[tokio::test]
async fn a_small_chat_program_runs_on_lines_too() {
    let mut typed = "Hello\n/undo\n/undo\nHello again\n/branches\n/tokens\n/what\n\n/exit\nnever said\n".as_bytes();
    let mut shown = Vec::new();
    interactive_session::run("memory:", &mut typed, &mut shown).await.unwrap();
    let shown = String::from_utf8(shown).unwrap();
    for line in [
        "> I am a script and no model. You said: “Hello”\n",
        "> 0 messages are left\n",
        "> nothing is left to undo",
        "You said: “Hello again”\n",
        "> 2 branches\n",
        "> 2 calls, ",
        "> /undo, /redo, ",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    assert!(!shown.contains("never said"));
}

#[tokio::test]
async fn a_tool_runs_where_its_gate_lets_it() {
    let mut shown = Vec::new();
    tool_with_gate::run(&mut shown).await.unwrap();
    let shown = String::from_utf8(shown).unwrap();
    let lines: Vec<&str> = shown.lines().collect();
    let [note, refused, answer] = lines.as_slice() else { panic!("{shown}") };
    assert_eq!((*note, *answer), ("call-1: Apples, and flour.", "Apples and flour; the diary stays closed."));
    assert!(refused.starts_with("call-2: ") && !refused.contains("Nobody may read this"), "{refused}");
}
