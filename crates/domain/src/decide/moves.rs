//! Where the head may go: undo, redo, checkout, clear.
//!
//! Must not know: what may be said.

use serde::Serialize;

use super::{Element, ElementKind, RuleViolation, Walk, Window, check_open};
use crate::{
    event::{Cleared, Event, MoveCause, Moved},
    view::View,
};

/// How far to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum UndoBy {
    /// So many steps; a step is a message, or an assistant message with calls and all their results.
    Steps(u64),
    /// So many turns: to before the user's message.
    Turns(u64),
    /// To the message at this sequence number, which becomes the last visible one (with the results of its calls).
    To(u64),
}

/// How far to redo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RedoBy {
    /// So many steps, as [`UndoBy::Steps`] counts them.
    Steps(u64),
    /// So many turns: to before the next user's message. What is left of a turn that was undone in part is one.
    Turns(u64),
}

/// The length, in elements, of the step at the start of a window that goes back. `None`: the window is too short.
///
/// A late result that came between results is part of their step; behind them it is a step of its own.
fn step_back(window: Window<'_>) -> Option<usize> {
    if window.elements.first().is_some_and(|element| !element.is_answer()) {
        return Some(1);
    }
    let tools = window.elements.iter().take_while(|element| element.is_tool()).count();
    match window.elements.get(tools) {
        Some(element) if element.makes_calls() => Some(tools + 1),
        Some(_) => Some(1),
        None if window.complete => Some(tools.min(1)),
        None => None,
    }
}

/// Moves the head towards the beginning. `window`: the whole path from the head back, newest first.
///
/// Fewer steps than asked are taken, and reported, when no more are left.
///
/// # Errors
/// [`RuleViolation::NoSteps`], [`RuleViolation::NothingToUndo`], or [`RuleViolation::NotOnPath`] for a message that is not there.
pub fn undo(view: &View, by: UndoBy, window: Window<'_>) -> Result<Walk<Event>, RuleViolation> {
    if matches!(by, UndoBy::Steps(0) | UndoBy::Turns(0)) {
        return Err(RuleViolation::NoSteps);
    }
    check_open(view)?;
    let (mut passed, mut steps, mut turns) = (0_usize, 0_u64, 0_u64);
    loop {
        let rest = window.elements.get(passed..).unwrap_or_default();
        let Some(next) = rest.first() else {
            if !window.complete {
                let is_far = match by {
                    UndoBy::Steps(wanted) => steps >= wanted,
                    UndoBy::Turns(wanted) => turns >= wanted,
                    UndoBy::To(_) => false,
                };
                let last = window.elements.last().filter(|_| is_far);
                let moved = last.and_then(|last| before_branching(view, last));
                return Ok(moved.map_or(Walk::More, |(to, depth)| {
                    Walk::Done(Event::Moved(Moved { to, depth, cause: MoveCause::Undo, steps }))
                }));
            }
            if matches!(by, UndoBy::To(seq) if seq != 0) {
                return Err(RuleViolation::NotOnPath);
            }
            break;
        };
        let done = match by {
            UndoBy::Steps(wanted) => steps >= wanted,
            UndoBy::Turns(wanted) => turns >= wanted,
            UndoBy::To(seq) => next.seq <= seq,
        };
        if done {
            if matches!(by, UndoBy::To(seq) if seq != next.seq) {
                return Err(RuleViolation::NotOnPath);
            }
            break;
        }
        let Some(length) = step_back(Window { elements: rest, complete: window.complete }) else {
            return Ok(Walk::More);
        };
        let step = rest.get(..length).unwrap_or_default();
        if matches!(by, UndoBy::To(seq) if step.iter().any(|element| element.seq == seq)) {
            break;
        }
        if step.iter().any(Element::begins_turn) {
            turns += 1;
        }
        passed += length;
        steps += 1;
    }
    if steps == 0 {
        return Err(RuleViolation::NothingToUndo);
    }
    let (to, depth) = match window.elements.get(passed) {
        Some(element) => match depth_of(window, passed) {
            Walk::Done(depth) => (element.seq, depth),
            Walk::More => return Ok(Walk::More),
        },
        None => (0, 0),
    };
    debug_assert!(view.tree().is_on_path(to, view.head()), "undo stays on the path");
    Ok(Walk::Done(Event::Moved(Moved { to, depth, cause: MoveCause::Undo, steps })))
}

/// The place before a message that began a run, and the depth there: the tree knows it without a longer window.
fn before_branching(view: &View, message: &Element) -> Option<(u64, u64)> {
    let run = view.tree().run_of(message.seq).filter(|run| run.first == message.seq)?;
    matches!(message.what, ElementKind::Message { .. }).then_some((run.parent, message.depth.saturating_sub(1)))
}

/// The depth at an element of a window that goes back; a lost record has that of the element before it.
fn depth_of(window: Window<'_>, at: usize) -> Walk<u64> {
    let from = window.elements.get(at..).unwrap_or_default();
    match from.iter().find(|element| element.what != ElementKind::Lost) {
        Some(known) => Walk::Done(known.depth),
        None if window.complete => Walk::Done(0),
        None => Walk::More,
    }
}

/// Moves the head back towards where undo came from. `window`: the path from behind the head to the redo tip, oldest first.
///
/// # Errors
/// [`RuleViolation::NoSteps`] or [`RuleViolation::NothingToRedo`].
pub fn redo(view: &View, by: RedoBy, window: Window<'_>) -> Result<Walk<Event>, RuleViolation> {
    if matches!(by, RedoBy::Steps(0) | RedoBy::Turns(0)) {
        return Err(RuleViolation::NoSteps);
    }
    check_open(view)?;
    if view.redo_tip().is_none() {
        return Err(RuleViolation::NothingToRedo);
    }
    let (mut passed, mut taken, mut turns) = (0_usize, 0_u64, 0_u64);
    while !matches!(by, RedoBy::Steps(wanted) if taken >= wanted) {
        let rest = window.elements.get(passed..).unwrap_or_default();
        let Some(next) = rest.first() else {
            if window.complete {
                break;
            }
            return Ok(Walk::More);
        };
        if taken == 0 || next.begins_turn() {
            if matches!(by, RedoBy::Turns(wanted) if turns >= wanted) {
                break;
            }
            turns += 1;
        }
        let mut length = 1;
        if next.makes_calls() {
            let tools = rest.iter().skip(1).take_while(|element| element.is_tool()).count();
            if 1 + tools == rest.len() && !window.complete {
                return Ok(Walk::More);
            }
            let in_time = rest.iter().skip(1).take(tools).collect::<Vec<_>>();
            length += in_time.iter().rposition(|element| element.is_answer()).map_or(0, |at| at + 1);
        }
        passed += length;
        taken += 1;
    }
    let Some(last) = passed.checked_sub(1).and_then(|at| window.elements.get(at)) else {
        return Err(RuleViolation::NothingToRedo);
    };
    let walked = window.elements.get(..passed).unwrap_or_default();
    let known = walked.iter().rev().find(|element| element.what != ElementKind::Lost);
    let depth = known.map_or(view.depth(), |element| element.depth);
    Ok(Walk::Done(Event::Moved(Moved { to: last.seq, depth, cause: MoveCause::Redo, steps: taken })))
}

/// Moves the head to the end of a branch, where `depth` messages are visible. `None` when the head stands there already.
///
/// # Errors
/// [`RuleViolation::NoSuchBranch`].
pub fn checkout(view: &View, branch: u64, depth: u64) -> Result<Option<Event>, RuleViolation> {
    check_open(view)?;
    let branch = view.tree().branch(branch).ok_or(RuleViolation::NoSuchBranch { branch })?;
    if view.head() == branch.tip {
        return Ok(None);
    }
    Ok(Some(Event::Moved(Moved { to: branch.tip, depth, cause: MoveCause::Checkout, steps: 1 })))
}

/// Hides everything visible.
///
/// # Errors
/// [`RuleViolation::NothingToClear`].
pub fn clear(view: &View) -> Result<Event, RuleViolation> {
    check_open(view)?;
    if view.depth() == 0 {
        return Err(RuleViolation::NothingToClear);
    }
    Ok(Event::Cleared(Cleared { from: view.head(), depth: view.depth() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::{
            describe,
            ground::{Session, with_calls},
        },
        event::Described,
        message::{Message, MessagePart},
    };

    #[test]
    fn an_undo_to_a_lost_record_looks_for_the_depth_behind_it() {
        let mut session = Session::new();
        session.say(Message::user("a")).unwrap();
        session.apply(Event::Lost);
        session.apply(Event::Lost);
        session.say(Message::user("b")).unwrap();
        let path = session.back(session.view.head());
        let undo = |elements, complete| undo(&session.view, UndoBy::Steps(1), Window { elements, complete }).unwrap();
        assert_eq!(undo(&path[..2], false), Walk::More);
        assert_eq!(undo(&path[..3], false), Walk::More);
        let moved = Moved { to: 4, depth: 1, cause: MoveCause::Undo, steps: 1 };
        assert_eq!(undo(&path, false), Walk::Done(Event::Moved(moved)));
    }

    #[test]
    fn a_message_that_began_a_branch_is_undone_by_a_look_at_itself() {
        let mut session = Session::new();
        let call = MessagePart::tool_call("c", "read", "{}").unwrap();
        session.say(Message::user("a")).unwrap();
        session.say(Message::assistant("b").with(call)).unwrap();
        session.say(Message::tool_result("c", "d")).unwrap();
        session.undo(UndoBy::Steps(1)).unwrap();
        session.say(Message::user("another way")).unwrap();
        let path = session.back(session.view.head());
        for by in [UndoBy::Steps(1), UndoBy::Turns(1)] {
            let whole = undo(&session.view, by, Window { elements: &path, complete: true }).unwrap();
            let one = undo(&session.view, by, Window { elements: &path[..1], complete: false }).unwrap();
            assert_eq!(one, whole);
            assert!(matches!(one, Walk::Done(Event::Moved(Moved { to: 2, depth: 1, steps: 1, .. }))));
        }
        // What one look does not tell is asked for.
        for by in [UndoBy::Steps(2), UndoBy::Turns(2), UndoBy::To(2)] {
            let one = undo(&session.view, by, Window { elements: &path[..1], complete: false }).unwrap();
            assert_eq!(one, Walk::More);
        }
        let nothing = undo(&session.view, UndoBy::Steps(1), Window { elements: &[], complete: false }).unwrap();
        assert_eq!(nothing, Walk::More);
    }

    #[test]
    fn a_step_takes_a_call_with_all_its_results() {
        let mut session = with_calls();
        assert_eq!(session.view.depth(), 5);
        assert_eq!(session.undo(UndoBy::Steps(1)), Ok(1));
        assert_eq!(session.view.depth(), 4);
        assert_eq!(session.undo(UndoBy::Steps(1)), Ok(1));
        assert_eq!(session.view.depth(), 1);
        assert_eq!(session.redo(RedoBy::Steps(1)), Ok(1));
        assert_eq!(session.view.depth(), 4);
        assert_eq!(session.redo(RedoBy::Steps(5)), Ok(1));
        assert_eq!((session.view.depth(), session.view.redo_tip()), (5, None));
    }

    #[test]
    fn undo_clamps_and_reports_and_then_has_nothing_left() {
        let mut session = with_calls();
        assert_eq!(session.undo(UndoBy::Steps(99)), Ok(3));
        assert_eq!((session.view.head(), session.view.depth()), (0, 0));
        assert_eq!(session.undo(UndoBy::Steps(1)), Err(RuleViolation::NothingToUndo));
        assert_eq!(session.redo(RedoBy::Steps(99)), Ok(3));
        assert_eq!(session.redo(RedoBy::Steps(1)), Err(RuleViolation::NothingToRedo));
    }

    #[test]
    fn a_move_of_no_steps_says_so() {
        let mut session = with_calls();
        assert_eq!(session.undo(UndoBy::Steps(0)), Err(RuleViolation::NoSteps));
        assert_eq!(session.undo(UndoBy::Turns(0)), Err(RuleViolation::NoSteps));
        session.undo(UndoBy::Steps(1)).unwrap();
        assert_eq!(session.redo(RedoBy::Steps(0)), Err(RuleViolation::NoSteps));
    }

    #[test]
    fn redo_leads_to_where_the_row_of_undos_began_also_when_that_was_a_clear() {
        let mut session = with_calls();
        session.apply(clear(&session.view).unwrap());
        let cleared = session.view.head();
        assert_eq!(session.undo(UndoBy::Steps(3)), Ok(3));
        assert_eq!(session.view.depth(), 1);
        assert_eq!(session.redo(RedoBy::Steps(2)), Ok(2));
        assert_eq!(session.view.depth(), 5, "all that was undone but the clear");
        assert_eq!(session.redo(RedoBy::Steps(99)), Ok(1));
        assert_eq!((session.view.head(), session.view.depth()), (cleared, 0));
    }

    #[test]
    fn a_turn_goes_to_before_the_users_message() {
        let mut session = with_calls();
        session.say(Message::user("more")).unwrap();
        session.say(Message::assistant("sure")).unwrap();
        assert_eq!(session.undo(UndoBy::Turns(1)), Ok(2));
        assert_eq!(session.view.depth(), 5);
        assert_eq!(session.undo(UndoBy::Turns(7)), Ok(3));
        assert_eq!(session.view.depth(), 0);
    }

    #[test]
    fn turns_that_were_undone_come_back_as_they_went() {
        let mut session = with_calls();
        session.say(Message::user("more")).unwrap();
        session.say(Message::assistant("sure")).unwrap();
        session.apply(clear(&session.view).unwrap());
        session.say(Message::user("anew")).unwrap();
        let (head, depth) = (session.view.head(), session.view.depth());
        for turns in 1..=4 {
            session.undo(UndoBy::Turns(turns)).unwrap();
            let far = session.view.head();
            session.redo(RedoBy::Turns(turns)).unwrap();
            assert_eq!((session.view.head(), session.view.depth()), (head, depth), "{turns}");
            session.undo(UndoBy::Turns(turns)).unwrap();
            assert_eq!(session.view.head(), far);
            for _ in 0..turns {
                session.redo(RedoBy::Turns(1)).unwrap();
            }
            assert_eq!(session.view.head(), head, "{turns} one by one");
        }
        session.undo(UndoBy::Turns(2)).unwrap();
        session.undo(UndoBy::Steps(1)).unwrap();
        assert_eq!(session.redo(RedoBy::Turns(1)), Ok(1), "the rest of a turn is one");
        assert_eq!(session.redo(RedoBy::Turns(0)), Err(RuleViolation::NoSteps));
    }

    #[test]
    fn undo_to_a_message_keeps_it_with_its_results() {
        let mut session = with_calls();
        assert_eq!(session.undo(UndoBy::To(3)), Ok(1));
        assert_eq!(session.view.depth(), 4, "the call keeps its results");
        assert_eq!(session.undo(UndoBy::To(2)), Ok(1));
        assert_eq!(session.view.depth(), 1);
        assert_eq!(session.undo(UndoBy::To(2)), Err(RuleViolation::NothingToUndo));
        assert_eq!(session.undo(UndoBy::To(77)), Err(RuleViolation::NotOnPath));
    }

    #[test]
    fn undo_to_a_message_of_another_branch_is_refused() {
        let mut session = with_calls();
        session.undo(UndoBy::Steps(1)).unwrap();
        session.say(Message::assistant("otherwise")).unwrap();
        let head = session.view.head();
        assert_eq!(session.undo(UndoBy::To(6)), Err(RuleViolation::NotOnPath));
        assert_eq!(session.view.head(), head);
    }

    #[test]
    fn a_new_message_ends_redo_and_words_do_not() {
        let mut session = with_calls();
        session.undo(UndoBy::Steps(1)).unwrap();
        let title = Described { title: Some("t".into()), ..Described::default() };
        let event = describe(&session.view, title.clone()).unwrap();
        session.apply(event);
        assert!(session.view.redo_tip().is_some());
        assert_eq!(describe(&session.view, title), None);
        session.say(Message::assistant("otherwise")).unwrap();
        assert_eq!(session.redo(RedoBy::Steps(1)), Err(RuleViolation::NothingToRedo));
        assert_eq!(session.view.tree().branches().len(), 2);
    }

    #[test]
    fn a_clear_is_one_step() {
        let mut session = with_calls();
        session.apply(clear(&session.view).unwrap());
        assert_eq!(clear(&session.view), Err(RuleViolation::NothingToClear));
        assert_eq!(session.undo(UndoBy::Steps(1)), Ok(1));
        assert_eq!(session.view.depth(), 5);
        assert_eq!(session.redo(RedoBy::Steps(1)), Ok(1));
        assert_eq!(session.view.depth(), 0);
    }
}
