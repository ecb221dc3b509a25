//! The plain model against a table, and the domain's rules against the model.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails where it stands")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use sessions_domain::{
    Appended, CommitHash, Created, Described, Event, LineageId, Message, MessageId, MessagePart, Moment, OpenCalls,
    RuleViolation, SessionId, Stamp, View, codec,
    decide::{self, CallsOnPath, Element, ElementKind, RedoBy, UndoBy, Walk, Window},
};
use sessions_ports::Entropy;
use sessions_testkit::FixedEntropy;
use sessions_testkit::model::{By, Model, Refusal};

fn id(number: u64) -> MessageId {
    MessageId::from_parts(0, u128::from(number))
}

fn calling(ids: &[&str]) -> Message {
    let part = |id: &&str| MessagePart::tool_call(*id, "tool", "{}").unwrap();
    ids.iter().map(part).fold(Message::assistant("calls"), Message::with)
}

fn say(model: &mut Model, message: Message) -> Result<(), Refusal> {
    model.append(id(model.version + 1), message)
}

fn seqs(model: &Model) -> Vec<u64> {
    model.visible().iter().map(|node| node.seq).collect()
}

/// user 2, calls 3, results 4 and 5, assistant 6.
fn with_calls() -> Model {
    let mut model = Model::new();
    for message in [
        Message::user("go"),
        calling(&["a", "b"]),
        Message::tool_result("a", "1"),
        Message::tool_result("b", "2"),
        Message::assistant("done"),
    ] {
        say(&mut model, message).unwrap();
    }
    model
}

#[test]
fn undo_takes_steps_and_turns_and_clamps() {
    let table: [(By, Result<u64, Refusal>, &[u64]); 9] = [
        (By::Steps(1), Ok(1), &[2, 3, 4, 5]),
        (By::Steps(2), Ok(2), &[2]),
        (By::Steps(9), Ok(3), &[]),
        (By::Steps(0), Err(Refusal::NoSteps), &[2, 3, 4, 5, 6]),
        (By::Turns(1), Ok(3), &[]),
        (By::To(2), Ok(2), &[2]),
        (By::To(4), Ok(1), &[2, 3, 4, 5]),
        (By::To(0), Ok(3), &[]),
        (By::To(77), Err(Refusal::NotOnPath), &[2, 3, 4, 5, 6]),
    ];
    for (by, taken, left) in table {
        let mut model = with_calls();
        assert_eq!(model.undo(by), taken, "{by:?}");
        assert_eq!(seqs(&model), left, "{by:?}");
        if taken.is_ok() {
            assert_eq!(model.redo(99), taken, "{by:?}");
            assert_eq!((seqs(&model), model.redo_tip), (vec![2, 3, 4, 5, 6], None));
        }
    }
}

#[test]
fn a_clear_hides_and_is_undone_like_a_message() {
    let mut model = with_calls();
    model.clear().unwrap();
    assert_eq!((seqs(&model), model.clear()), (vec![], Err(Refusal::NothingToClear)));
    say(&mut model, Message::user("new")).unwrap();
    assert_eq!(seqs(&model), [8]);
    assert_eq!(model.undo(By::Steps(2)), Ok(2));
    assert_eq!(seqs(&model), [2, 3, 4, 5, 6]);
    assert_eq!(model.redo(1), Ok(1));
    assert_eq!(seqs(&model), Vec::<u64>::new());
    assert_eq!(model.branches().len(), 1);
}

#[test]
fn another_way_is_a_branch_and_ends_redo() {
    let mut model = with_calls();
    model.undo(By::Steps(1)).unwrap();
    assert!(model.describe(Some("t"), Some(&["b", "a", "b"])));
    assert!(!model.describe(Some("t"), Some(&["a", "b"])));
    assert!(model.redo_tip.is_some());
    say(&mut model, Message::assistant("otherwise")).unwrap();
    assert_eq!((seqs(&model), model.redo(1)), (vec![2, 3, 4, 5, 9], Err(Refusal::NothingToRedo)));
    let branches: Vec<_> = model.branches().iter().map(|branch| (branch.id, branch.left_at, branch.tip)).collect();
    assert_eq!(branches, [(0, 0, 6), (9, 5, 9)]);
    assert_eq!(
        (model.checkout(0), model.checkout(0), model.checkout(5)),
        (Ok(true), Ok(false), Err(Refusal::NoSuchBranch))
    );
    assert_eq!(seqs(&model), [2, 3, 4, 5, 6]);
}

#[test]
fn results_are_in_time_late_or_refused() {
    let mut model = Model::new();
    say(&mut model, calling(&["a", "b", "c"])).unwrap();
    say(&mut model, Message::tool_result("a", "1")).unwrap();
    assert_eq!(model.open_calls(), ["b", "c"]);
    assert_eq!(say(&mut model, Message::tool_result("a", "again")), Err(Refusal::AlreadyAnswered));
    assert_eq!(say(&mut model, Message::tool_result("z", "?")), Err(Refusal::ResultWithoutCall));
    say(&mut model, Message::user("never mind")).unwrap();
    say(&mut model, Message::tool_result("b", "late")).unwrap();
    assert!(model.nodes.last().unwrap().said.as_ref().unwrap().late);
    assert_eq!(say(&mut model, Message::tool_result("b", "again")), Err(Refusal::AlreadyAnswered));
    model.undo(By::To(2)).unwrap();
    assert_eq!((seqs(&model), model.open_calls()), (vec![2, 3], vec!["b".to_owned(), "c".to_owned()]));
}

#[test]
fn a_late_result_between_results_is_part_of_their_step() {
    let mut model = Model::new();
    for message in [calling(&["old"]), calling(&["a", "b"]), Message::tool_result("a", "1")] {
        say(&mut model, message).unwrap();
    }
    say(&mut model, Message::tool_result("old", "late")).unwrap();
    say(&mut model, Message::tool_result("b", "2")).unwrap();
    assert_eq!(model.undo(By::Steps(1)), Ok(1));
    assert_eq!(seqs(&model), [2]);
    assert_eq!(model.redo(1), Ok(1));
    assert_eq!(seqs(&model), [2, 3, 4, 5, 6]);
}

#[test]
fn a_fork_has_what_was_there_and_goes_its_own_way() {
    let model = with_calls();
    let mut child = model.fork(5, 5);
    assert_eq!((seqs(&child), child.version), (vec![2, 3, 4, 5], 6));
    say(&mut child, Message::assistant("otherwise")).unwrap();
    assert_eq!((seqs(&child), child.branches().len()), (vec![2, 3, 4, 5, 7], 1));
    child.undo(By::Turns(1)).unwrap();
    assert_eq!(seqs(&child), Vec::<u64>::new());
    assert_eq!(seqs(&model), [2, 3, 4, 5, 6]);
}

/// A session as the domain's rules make it, in a plain list of elements with the one each follows.
struct Real {
    view: View,
    elements: Vec<(u64, Element)>,
    forks: u64,
}

fn stamp() -> Stamp {
    Stamp { at: Moment::from_millis(1), actor: Default::default() }
}

/// Lengths of windows to try, so that rules see short ones first.
fn windows(total: usize, cut: usize) -> impl Iterator<Item = usize> {
    (0..).map(move |round: usize| (cut % 5 + round * (1 + cut % 7)).min(total))
}

impl Real {
    fn new() -> Self {
        let view = View::begin(1, &created(1, None), &stamp(), CommitHash::ZERO, None).unwrap();
        Self { view, elements: Vec::new(), forks: 1 }
    }

    /// Takes an event in, by way of its bytes and of a snapshot of the view.
    fn apply(&mut self, event: &Event) {
        let seq = self.view.version() + 1;
        let body = codec::encode(event, &stamp()).unwrap();
        let (event, stamp) = codec::decode(event.kind(), &body).unwrap();
        if let Some(element) = Element::of(seq, &event) {
            let parent = match &event {
                Event::Appended(Appended { parent, .. }) => parent.unwrap_or_else(|| self.view.tree().last()),
                _ => self.view.head(),
            };
            self.elements.push((parent, element));
        }
        self.view.apply(seq, &event, &stamp, CommitHash::ZERO).unwrap();
        if seq.is_multiple_of(3) {
            self.view = View::from_snapshot(&self.view.to_snapshot()).unwrap();
        }
    }

    /// From `seq` back to the beginning.
    fn back(&self, mut seq: u64) -> Vec<Element> {
        let mut path = Vec::new();
        while let Some((parent, element)) = self.elements.iter().find(|(_, element)| element.seq == seq) {
            path.push(element.clone());
            seq = *parent;
        }
        path
    }

    fn visible(&self) -> Vec<Element> {
        self.back(self.view.head()).into_iter().take_while(|element| element.what != ElementKind::Clear).collect()
    }

    fn learn_open_calls(&mut self, cut: usize) {
        if *self.view.open_calls() != OpenCalls::Unknown {
            return;
        }
        let path = self.back(self.view.head());
        for length in windows(path.len(), cut) {
            let window = Window { elements: &path[..length], complete: length == path.len() };
            if let Walk::Done(open) = decide::open_calls(window) {
                return self.view.set_open_calls(open);
            }
            assert!(!window.complete, "a complete window is enough");
        }
    }

    /// What the path says of the calls that a message answers: the last call of each id, and whether anything behind it answers.
    fn calls_on_path(&self, message: &Message) -> CallsOnPath {
        let mut on_path = CallsOnPath::default();
        for result in message.results() {
            let mut answered = false;
            for element in self.visible() {
                let ElementKind::Message { calls, answers, .. } = element.what else { continue };
                answered |= answers.contains(&result.call_id);
                if calls.contains(&result.call_id) {
                    let list = if answered { &mut on_path.answered } else { &mut on_path.unanswered };
                    list.insert(result.call_id.clone());
                    break;
                }
            }
        }
        on_path
    }

    fn append(&mut self, message: Message, cut: usize) -> Result<(), RuleViolation> {
        self.learn_open_calls(cut);
        let on_path = self.calls_on_path(&message);
        let event = decide::append(&self.view, id(self.view.version() + 1), message, &on_path)?;
        self.apply(&event);
        Ok(())
    }

    fn undo(&mut self, by: UndoBy, cut: usize) -> Result<u64, RuleViolation> {
        let path = self.back(self.view.head());
        for length in windows(path.len(), cut) {
            let window = Window { elements: &path[..length], complete: length == path.len() };
            match decide::undo(&self.view, by, window)? {
                Walk::Done(event) => return Ok(self.moved(&event)),
                Walk::More => assert!(!window.complete, "a complete window is enough"),
            }
        }
        unreachable!("windows grow to the whole path")
    }

    fn redo(&mut self, steps: u64, cut: usize) -> Result<u64, RuleViolation> {
        let here = self.back(self.view.head()).len();
        let mut ahead = self.back(self.view.redo_tip().unwrap_or(self.view.head()));
        ahead.reverse();
        let ahead = ahead.get(here..).unwrap_or_default().to_vec();
        for length in windows(ahead.len(), cut) {
            let window = Window { elements: &ahead[..length], complete: length == ahead.len() };
            match decide::redo(&self.view, RedoBy::Steps(steps), window)? {
                Walk::Done(event) => return Ok(self.moved(&event)),
                Walk::More => assert!(!window.complete, "a complete window is enough"),
            }
        }
        unreachable!("windows grow to the whole path")
    }

    fn moved(&mut self, event: &Event) -> u64 {
        self.apply(event);
        match event {
            Event::Moved(moved) => moved.steps,
            other => panic!("a move was expected: {other:?}"),
        }
    }

    fn checkout(&mut self, branch: u64) -> Result<bool, RuleViolation> {
        let tip = self.view.tree().branches().iter().find(|known| known.id == branch).map(|known| known.tip);
        let tip = self.elements.iter().map(|(_, element)| element).find(|element| Some(element.seq) == tip);
        let event = decide::checkout(&self.view, branch, tip.map_or(0, |tip| tip.depth))?;
        event.iter().for_each(|event| self.apply(event));
        Ok(event.is_some())
    }

    fn describe(&mut self, wish: Described) -> bool {
        let event = decide::describe(&self.view, wish);
        event.iter().for_each(|event| self.apply(event));
        event.is_some()
    }

    /// Goes on as the fork at a place.
    fn fork(&mut self, at: u64, head: u64) {
        let depth =
            self.elements.iter().find(|(_, element)| element.seq == head).map_or(0, |(_, element)| element.depth);
        let point = decide::fork_point(&self.view, at, CommitHash::ZERO, head, depth);
        self.forks += 1;
        let created = created(self.forks, Some(point));
        self.view = View::begin(at + 1, &created, &stamp(), CommitHash::ZERO, Some(self.view.tree())).unwrap();
        self.elements.retain(|(_, element)| element.seq <= at);
    }
}

fn created(number: u64, fork: Option<sessions_domain::ForkPoint>) -> Created {
    let (session, lineage) = (SessionId::from_parts(0, number.into()), LineageId::from_parts(0, number.into()));
    Created { fork, ..Created::of(session, lineage) }
}

fn refusal(violation: &RuleViolation) -> Refusal {
    match violation {
        RuleViolation::NoSteps => Refusal::NoSteps,
        RuleViolation::NothingToUndo => Refusal::NothingToUndo,
        RuleViolation::NothingToRedo => Refusal::NothingToRedo,
        RuleViolation::NothingToClear => Refusal::NothingToClear,
        RuleViolation::NoSuchBranch { .. } => Refusal::NoSuchBranch,
        RuleViolation::NotOnPath => Refusal::NotOnPath,
        RuleViolation::ResultWithoutCall { .. } => Refusal::ResultWithoutCall,
        RuleViolation::AlreadyAnswered { .. } => Refusal::AlreadyAnswered,
        RuleViolation::MixedLateness => Refusal::MixedLateness,
        other => panic!("the walk makes well-formed messages only: {other}"),
    }
}

/// A result for one of the calls that were ever made, rather a recent one.
fn answer(made: &[String], pick: usize) -> String {
    match made.len() {
        0 => "nobody".to_owned(),
        count if pick % 5 < 3 => made[count - 1 - pick / 5 % count.min(3)].clone(),
        count => made[pick / 5 % count].clone(),
    }
}

/// One random step on both, and the same answer from both.
fn step(
    real: &mut Real,
    model: &mut Model,
    made: &mut Vec<String>,
    (wish, pick, cut): (u8, usize, usize),
) -> Result<u64, Refusal> {
    let number = pick as u64;
    let places: Vec<u64> = model.nodes.iter().map(|node| node.seq).collect();
    let place = |pick: usize| if places.is_empty() { 0 } else { places[pick % places.len()] };
    let both = match wish {
        0..30 => {
            let message = match (wish, pick % 8) {
                (0..6, _) => Message::user("u"),
                (6..12, _) => Message::assistant("a"),
                (12..20, ids) => {
                    let ids: Vec<String> = (0..=ids % 3).map(|n| format!("{}-{n}", model.version)).collect();
                    // Now and then an id is used again.
                    let ids: Vec<String> =
                        if pick % 11 == 0 && !made.is_empty() { vec![answer(made, pick)] } else { ids };
                    made.extend(ids.iter().cloned());
                    calling(&ids.iter().map(String::as_str).collect::<Vec<_>>())
                }
                (_, 0) => {
                    let (one, other) = (answer(made, pick), answer(made, pick / 3 + 5));
                    let mut message = Message::tool_result(&one, "r");
                    if one != other {
                        message.parts.extend(Message::tool_result(other, "r").parts);
                    }
                    message
                }
                _ => Message::tool_result(answer(made, pick), "r"),
            };
            let next = id(model.version + 1);
            let done = model.append(next, message.clone());
            (real.append(message, cut).map(|()| 0), done.map(|()| 0))
        }
        30..37 => (real.undo(UndoBy::Steps(number % 4), cut), model.undo(By::Steps(number % 4))),
        37..40 => (real.undo(UndoBy::Turns(number % 3), cut), model.undo(By::Turns(number % 3))),
        40..43 => {
            let to = if pick % 9 == 0 { 0 } else { place(pick) };
            (real.undo(UndoBy::To(to), cut), model.undo(By::To(to)))
        }
        43..49 => (real.redo(number % 4, cut), model.redo(number % 4)),
        49..51 => {
            let decided = decide::clear(&real.view);
            (
                decided.map(|event| {
                    real.apply(&event);
                    0
                }),
                model.clear().map(|()| 0),
            )
        }
        51..54 => {
            let branches = model.branches();
            let branch =
                if pick % 6 == 0 { number } else { branches.get(pick % branches.len().max(1)).map_or(0, |b| b.id) };
            (real.checkout(branch).map(u64::from), model.checkout(branch).map(u64::from))
        }
        54..56 => {
            let (title, tags) = (format!("title {}", pick % 3), ["b", "a"]);
            let wish = Described {
                title: Some(title.clone()),
                tags: Some(tags.map(str::to_owned).to_vec()),
                ..Default::default()
            };
            (Ok(real.describe(wish).into()), Ok(model.describe(Some(&title), Some(&tags)).into()))
        }
        _ => {
            let (at, head) =
                if pick % 2 == 0 { (model.version, model.head) } else { (place(pick / 2), place(pick / 2)) };
            if at > 0 {
                real.fork(at, head);
                *model = model.fork(at, head);
            }
            (Ok(0), Ok(0))
        }
    };
    assert_eq!(both.0.as_ref().map_err(refusal), both.1.as_ref().map_err(|refusal| *refusal), "{wish} {pick}");
    same(real, model);
    both.1
}

fn same(real: &Real, model: &Model) {
    let view = &real.view;
    assert_eq!((view.version(), view.head()), (model.version, model.head), "version and head");
    assert_eq!(view.depth(), model.visible().len() as u64, "visible messages");
    assert_eq!(view.redo_tip(), model.redo_tip, "the end of redo");
    let branches: Vec<_> =
        view.tree().branches().iter().map(|branch| (branch.id, branch.left_at, branch.tip)).collect();
    let expected: Vec<_> = model.branches().iter().map(|branch| (branch.id, branch.left_at, branch.tip)).collect();
    assert_eq!(branches, expected, "branches");
    let stretches: Vec<_> = view.tree().path(view.head()).collect();
    let on_path = |seq: u64| stretches.iter().any(|stretch| stretch.first <= seq && seq <= stretch.last);
    let visible: Vec<_> = real.elements.iter().map(|(_, element)| element.seq).filter(|seq| on_path(*seq)).collect();
    assert_eq!(visible, model.visible().iter().map(|node| node.seq).collect::<Vec<_>>(), "the visible path");
    if let OpenCalls::Known(open) = view.open_calls() {
        assert_eq!(*open, model.open_calls(), "open calls");
    }
    for ((_, element), node) in real.elements.iter().zip(&model.nodes) {
        let ElementKind::Message { late, .. } = &element.what else { continue };
        assert_eq!(Some(*late), node.said.as_ref().map(|said| said.late), "lateness of {}", node.seq);
        assert_eq!(element.depth, model.visible_at(node.seq).len() as u64, "depth of {}", node.seq);
    }
    assert_eq!(view.described().title, model.title, "the title");
    assert_eq!(view.described().tags.clone().unwrap_or_default(), model.tags, "the tags");
}

/// Long walks from fixed seeds, which must have met every wish and every refusal, so that no rule goes untried.
#[test]
fn long_walks_try_everything() {
    let mut met: BTreeMap<String, u64> = BTreeMap::new();
    let mut late = 0;
    for seed in 0..60 {
        let entropy = FixedEntropy::seeded(seed);
        let (mut real, mut model, mut made) = (Real::new(), Model::new(), Vec::new());
        for _ in 0..400 {
            let mut random = [0; 4];
            entropy.fill(&mut random).unwrap();
            let pick = usize::from(u16::from_le_bytes([random[1], random[2]])) % 1000;
            let wish = random[0] % 57;
            let answer = step(&mut real, &mut model, &mut made, (wish, pick, usize::from(random[3])));
            let name = match wish {
                0..30 => "append",
                30..43 => "undo",
                43..49 => "redo",
                49..51 => "clear",
                51..54 => "checkout",
                54..56 => "describe",
                _ => "fork",
            };
            let name = answer.map_or_else(|refusal| format!("{refusal:?}"), |_| name.to_owned());
            *met.entry(name).or_insert(0) += 1;
        }
        late += model.nodes.iter().filter(|node| node.said.as_ref().is_some_and(|said| said.late)).count();
    }
    assert_eq!(met.values().sum::<u64>(), 24_000);
    assert_eq!(met.len(), 16, "seven wishes and nine refusals: {met:?}");
    assert!(met.values().all(|count| *count >= 10) && late >= 10, "{met:?}, {late} late results");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_do_what_the_model_does(steps in prop::collection::vec((0_u8..58, 0_usize..1000, 0_usize..100), 1..120)) {
        let (mut real, mut model, mut made) = (Real::new(), Model::new(), Vec::new());
        for wish in steps {
            let _answer = step(&mut real, &mut model, &mut made, wish);
        }
    }
}
