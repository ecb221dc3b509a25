//! A session as its users see it: a tree of messages in a plain list, each with the one it follows. Slow, and obviously right.
//!
//! Written from the rules alone, to walk beside the real thing and be compared with it after each step. Everything that happens takes
//! one number, as in a log; the session's beginning has number 1.
//!
//! Must not know: how the real thing decides, stores or reads.

mod life;

use std::collections::{BTreeMap, BTreeSet};

use sessions_domain::{Message, MessageId, MessagePart, MessageRole, MessageState, SessionStatus};

/// A place on the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its number.
    pub seq: u64,
    /// The number of the place it follows (0: the beginning).
    pub parent: u64,
    /// The number of its branch: that of the branch's first place, 0 for the first branch.
    pub branch: u64,
    /// What was said; `None` for a clear.
    pub said: Option<Said>,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Its id.
    pub id: MessageId,
    /// What was said, when it was said at once; what of it was there at the beginning, when it arrived bit by bit.
    pub message: Message,
    /// True for results that came after the conversation had gone on.
    pub late: bool,
    /// The message it is a new version of.
    pub replaces: Option<MessageId>,
    /// How it arrived, when it did so bit by bit.
    pub arrival: Option<Arrival>,
}

/// A message that arrived bit by bit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrival {
    /// What came, each with its number.
    pub pieces: Vec<(u64, Vec<MessagePart>)>,
    /// The number at which it ended, and how; `None`: it has not.
    pub ended: Option<(u64, MessageState)>,
}

/// A branch, as a list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its number.
    pub id: u64,
    /// Where it left (0: the beginning).
    pub left_at: u64,
    /// Its last place.
    pub tip: u64,
}

/// How far to undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// So many steps.
    Steps(u64),
    /// To before so many users' messages.
    Turns(u64),
    /// To the message of this number, which stays (0: to the beginning).
    To(u64),
}

/// A wish that the rules refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each says itself; the domain's violations of the same names explain them")]
pub enum Refusal {
    NoSteps,
    NothingToUndo,
    NothingToRedo,
    NothingToClear,
    NoSuchBranch,
    NotOnPath,
    ResultWithoutCall,
    AlreadyAnswered,
    MixedLateness,
    NotActive,
    InvalidTransition,
    TurnOpen,
    NotEditable,
}

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The number of the last thing that happened.
    pub version: u64,
    /// All places ever, oldest first.
    pub nodes: Vec<Node>,
    /// The place that is the end of what is visible (0: before the first).
    pub head: u64,
    /// Where redo leads in the end.
    pub redo_tip: Option<u64>,
    /// The title.
    pub title: Option<String>,
    /// The tags, sorted.
    pub tags: Vec<String>,
    /// The message that is arriving.
    pub open: Option<u64>,
    /// The state of life.
    pub status: SessionStatus,
    /// The one before it was archived.
    pub before_archive: Option<SessionStatus>,
    /// True in the trash.
    pub trashed: bool,
    /// Key-value state.
    pub state: BTreeMap<String, String>,
    /// Pinned messages.
    pub pins: BTreeSet<u64>,
    /// Named places: the version each names, and where the head stood.
    pub checkpoints: BTreeMap<String, (u64, u64)>,
}

impl Default for Model {
    fn default() -> Self {
        Self::new()
    }
}

impl Model {
    /// A session that was just made.
    pub fn new() -> Self {
        Self {
            version: 1,
            nodes: Vec::new(),
            head: 0,
            redo_tip: None,
            title: None,
            tags: Vec::new(),
            open: None,
            status: SessionStatus::Active,
            before_archive: None,
            trashed: false,
            state: BTreeMap::new(),
            pins: BTreeSet::new(),
            checkpoints: BTreeMap::new(),
        }
    }

    /// Whether anything may be said or moved.
    fn check_open(&self) -> Result<(), Refusal> {
        match (self.status, self.open) {
            (SessionStatus::Active, None) => Ok(()),
            (SessionStatus::Active, Some(_)) => Err(Refusal::TurnOpen),
            _ => Err(Refusal::NotActive),
        }
    }

    fn node(&self, seq: u64) -> Option<&Node> {
        self.nodes.iter().find(|node| node.seq == seq)
    }

    /// All places from the beginning to `seq`, through clears.
    pub fn way_to(&self, seq: u64) -> Vec<&Node> {
        let (mut way, mut at) = (Vec::new(), seq);
        while let Some(node) = self.node(at) {
            way.push(node);
            at = node.parent;
        }
        way.reverse();
        way
    }

    /// The messages that are visible at a place, oldest first: those behind the last clear.
    pub fn visible_at(&self, seq: u64) -> Vec<&Node> {
        let way = self.way_to(seq);
        let cleared = way.iter().rposition(|node| node.said.is_none()).map_or(0, |at| at + 1);
        way.into_iter().skip(cleared).collect()
    }

    /// The messages that are visible now, oldest first.
    pub fn visible(&self) -> Vec<&Node> {
        self.visible_at(self.head)
    }

    /// The ids of the messages that are visible now, oldest first.
    pub fn visible_ids(&self) -> Vec<MessageId> {
        self.visible().iter().filter_map(|node| node.said.as_ref().map(|said| said.id)).collect()
    }

    /// Calls of the last message that is no result and that no result behind it answers.
    pub fn open_calls(&self) -> Vec<String> {
        let visible = self.visible();
        let Some(asked) = visible.iter().rposition(|node| !node.is_role(MessageRole::Tool)) else { return Vec::new() };
        let calls = visible.get(asked).map(|node| node.calls()).unwrap_or_default();
        let answers: Vec<String> =
            visible.iter().skip(asked + 1).filter(|node| !node.is_late()).flat_map(|node| node.answers()).collect();
        calls.into_iter().filter(|call| !answers.contains(call)).collect()
    }

    /// Says something behind the head, in number [`Model::version`].
    ///
    /// # Errors
    /// When a result answers no call that it may answer.
    pub fn append(&mut self, id: MessageId, message: Message) -> Result<(), Refusal> {
        self.check_open()?;
        let open = self.open_calls();
        let mut lateness = Vec::new();
        for result in message.results() {
            let late = !open.contains(&result.call_id);
            if late {
                self.check_late(&result.call_id)?;
            }
            lateness.push(late);
        }
        if lateness.contains(&true) && lateness.contains(&false) {
            return Err(Refusal::MixedLateness);
        }
        let late = lateness.contains(&true);
        self.grow(Some(Said { id, message, late, replaces: None, arrival: None }));
        Ok(())
    }

    /// A late result answers the last call of that id on the path, which nothing may have answered.
    fn check_late(&self, call_id: &str) -> Result<(), Refusal> {
        let visible = self.visible();
        let called = visible.iter().rposition(|node| node.calls().iter().any(|call| call == call_id));
        let Some(called) = called else { return Err(Refusal::ResultWithoutCall) };
        let answered = visible.iter().skip(called + 1).any(|node| node.answers().iter().any(|id| id == call_id));
        if answered { Err(Refusal::AlreadyAnswered) } else { Ok(()) }
    }

    fn grow(&mut self, said: Option<Said>) {
        self.version += 1;
        let parent = self.head;
        let mother = self.node(parent).map(|node| node.branch);
        let is_tip = |branch: u64| self.branches().iter().any(|known| known.id == branch && known.tip == parent);
        let branch = match mother {
            None if self.nodes.is_empty() => 0,
            Some(branch) if is_tip(branch) => branch,
            _ => self.version,
        };
        self.nodes.push(Node { seq: self.version, parent, branch, said });
        self.head = self.version;
        self.redo_tip = None;
    }

    /// The branches, oldest first.
    pub fn branches(&self) -> Vec<Branch> {
        let mut branches: Vec<Branch> = Vec::new();
        for node in &self.nodes {
            match branches.iter_mut().find(|branch| branch.id == node.branch) {
                Some(branch) => branch.tip = node.seq,
                None => branches.push(Branch { id: node.branch, left_at: node.parent, tip: node.seq }),
            }
        }
        branches
    }

    /// The way to `seq` cut into steps: a message each, but a message with calls goes with everything up to the last of its results.
    fn steps_to(&self, seq: u64) -> Vec<Vec<&Node>> {
        let mut steps: Vec<Vec<&Node>> = Vec::new();
        let mut rest = self.way_to(seq);
        while let Some(first) = rest.first() {
            let mut length = 1;
            if !first.calls().is_empty() {
                let tools = rest.iter().skip(1).take_while(|node| node.is_role(MessageRole::Tool));
                let in_time: Vec<bool> = tools.map(|node| !node.is_late()).collect();
                length += in_time.iter().rposition(|in_time| *in_time).map_or(0, |at| at + 1);
            }
            let behind = rest.split_off(length.min(rest.len()));
            steps.push(std::mem::replace(&mut rest, behind));
        }
        steps
    }

    /// Goes back. Gives the steps that were taken, which may be fewer than asked.
    ///
    /// # Errors
    /// When nothing is left to undo, or the message is not there.
    pub fn undo(&mut self, by: By) -> Result<u64, Refusal> {
        if matches!(by, By::Steps(0) | By::Turns(0)) {
            return Err(Refusal::NoSteps);
        }
        self.check_open()?;
        let mut kept = self.steps_to(self.head);
        let there = |seq: u64| seq == 0 || kept.iter().flatten().any(|node| node.seq == seq);
        if matches!(by, By::To(seq) if !there(seq)) {
            return Err(Refusal::NotOnPath);
        }
        let (mut taken, mut turns) = (0, 0);
        while let Some(step) = kept.last() {
            let done = match by {
                By::Steps(wanted) => taken >= wanted,
                By::Turns(wanted) => turns >= wanted,
                By::To(seq) => step.iter().any(|node| node.seq == seq),
            };
            if done {
                break;
            }
            // A clear begins a turn of its own.
            turns += u64::from(step.iter().any(|node| node.said.is_none() || node.is_role(MessageRole::User)));
            taken += 1;
            kept.pop();
        }
        if taken == 0 {
            return Err(Refusal::NothingToUndo);
        }
        let to = kept.last().and_then(|step| step.last()).map_or(0, |node| node.seq);
        self.version += 1;
        self.redo_tip = self.redo_tip.or(Some(self.head));
        self.head = to;
        Ok(taken)
    }

    /// Goes forward again to where undo came from. Gives the steps that were taken, which may be fewer than asked.
    ///
    /// # Errors
    /// When nothing is left to redo.
    pub fn redo(&mut self, steps: u64) -> Result<u64, Refusal> {
        if steps == 0 {
            return Err(Refusal::NoSteps);
        }
        self.check_open()?;
        let tip = self.redo_tip.ok_or(Refusal::NothingToRedo)?;
        let ahead: Vec<u64> = self.steps_ahead(tip);
        let wanted = usize::try_from(steps).unwrap_or(usize::MAX);
        let Some(to) = ahead.iter().take(wanted).next_back().copied() else { return Err(Refusal::NothingToRedo) };
        self.version += 1;
        self.head = to;
        self.redo_tip = Some(tip).filter(|tip| *tip != to);
        Ok(ahead.len().min(wanted) as u64)
    }

    /// The ends of the steps from behind the head to `tip`.
    fn steps_ahead(&self, tip: u64) -> Vec<u64> {
        let ends =
            self.steps_to(tip).into_iter().filter_map(|step| step.last().map(|node| node.seq)).collect::<Vec<_>>();
        let passed = self.way_to(self.head).len();
        let ahead: Vec<u64> = self.way_to(tip).into_iter().skip(passed).map(|node| node.seq).collect();
        ends.into_iter().filter(|end| ahead.contains(end)).collect()
    }

    /// Hides everything visible.
    ///
    /// # Errors
    /// When nothing is.
    pub fn clear(&mut self) -> Result<(), Refusal> {
        self.check_open()?;
        if self.visible().is_empty() {
            return Err(Refusal::NothingToClear);
        }
        self.grow(None);
        Ok(())
    }

    /// Goes to the end of a branch. Gives false when it is there already.
    ///
    /// # Errors
    /// When there is no such branch.
    pub fn checkout(&mut self, branch: u64) -> Result<bool, Refusal> {
        self.check_open()?;
        let tip = self.branches().iter().find(|known| known.id == branch).ok_or(Refusal::NoSuchBranch)?.tip;
        if tip == self.head {
            return Ok(false);
        }
        self.version += 1;
        self.head = tip;
        self.redo_tip = None;
        Ok(true)
    }

    /// A session of its own that begins as this one was at the place `head` when `at` was the last number (`head` ≤ `at`).
    #[must_use]
    pub fn fork(&self, at: u64, head: u64) -> Self {
        let mut nodes: Vec<Node> = self.nodes.iter().filter(|node| node.seq <= at).cloned().collect();
        for arrival in nodes.iter_mut().filter_map(|node| node.said.as_mut()?.arrival.as_mut()) {
            arrival.pieces.retain(|(seq, _)| *seq <= at);
            arrival.ended = arrival.ended.filter(|(seq, _)| *seq <= at);
        }
        let state = self.state.clone();
        let pins: BTreeSet<u64> = self.pins.iter().copied().filter(|pin| *pin <= at).collect();
        let names = self.checkpoints.iter().filter(|(_, (version, _))| *version <= at);
        let checkpoints: BTreeMap<String, (u64, u64)> = names.map(|(name, place)| (name.clone(), *place)).collect();
        let taken_along = u64::from(!state.is_empty()) + (pins.len() + checkpoints.len()) as u64;
        Self { version: at + 1 + taken_along, nodes, head, state, pins, checkpoints, ..Self::new() }
    }

    /// Changes words about the session. Gives false when they are so already.
    pub fn describe(&mut self, title: Option<&str>, tags: Option<&[&str]>) -> bool {
        let before = (self.title.clone(), self.tags.clone());
        if let Some(title) = title {
            self.title = Some(title.to_owned());
        }
        if let Some(tags) = tags {
            self.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            self.tags.sort();
            self.tags.dedup();
        }
        let changed = before != (self.title.clone(), self.tags.clone());
        self.version += u64::from(changed);
        changed
    }
}

impl Node {
    fn is_role(&self, role: MessageRole) -> bool {
        self.said.as_ref().is_some_and(|said| said.message.role == role)
    }

    fn is_late(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.late)
    }

    fn calls(&self) -> Vec<String> {
        let Some(said) = &self.said else { return Vec::new() };
        said.whole().0.calls().map(|call| call.call_id.clone()).collect()
    }

    fn answers(&self) -> Vec<String> {
        self.said.iter().flat_map(|said| said.message.results()).map(|result| result.call_id.clone()).collect()
    }
}
