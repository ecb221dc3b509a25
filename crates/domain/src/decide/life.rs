//! What may be changed about a session: its state of life, its words, what is known of it, its state, pins and names of places.
//!
//! Must not know: what is said in it.

use std::collections::BTreeMap;

use super::{Element, ElementKind, RuleViolation, describe};
use crate::{
    event::{Checkpointed, Described, Event, NamedPlace, Pinned},
    json::Json,
    life::{SessionStatus, StatusChange},
    limits::{Limits, at_most},
    metadata::{MetadataChange, Origin},
    state::StateChange,
    view::View,
};

/// Characters of a checkpoint's name.
const NAME_CHARS: usize = 200;

/// Gives a session another state of life; `None` when it has it already.
///
/// # Errors
/// [`RuleViolation::InvalidTransition`], and [`RuleViolation::TurnOpen`] while a message is arriving.
pub fn set_status(view: &View, to: SessionStatus, reason: Option<String>) -> Result<Option<Event>, RuleViolation> {
    let from = view.status();
    if from == to {
        return Ok(None);
    }
    if !from.may_become(to, view.before_archive()) {
        return Err(RuleViolation::InvalidTransition { from, to });
    }
    if view.stream().is_some() {
        return Err(RuleViolation::TurnOpen);
    }
    Ok(Some(Event::StatusChanged(StatusChange { to, reason })))
}

/// Puts a session into the trash; `None` when it is there already.
pub fn trash(view: &View) -> Option<Event> {
    view.trashed().is_none().then_some(Event::Trashed)
}

/// Takes a session out of the trash; `None` when it is not there.
pub fn restore(view: &View) -> Option<Event> {
    view.trashed().map(|_| Event::Restored)
}

/// All that can be changed about a session in one append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The title.
    pub title: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The tags, which are a set.
    pub tags: Vec<String>,
    /// What is known of the session, and its settings.
    pub metadata: Origin,
    /// Key-value state of the session's own scope.
    pub state: BTreeMap<String, Json>,
    untagged: Vec<String>,
}

impl Draft {
    /// The tags that were taken away by [`Self::untag`], also those that were not there.
    pub fn untagged(&self) -> &[String] {
        &self.untagged
    }

    /// What a session has now.
    pub fn of(view: &View) -> Self {
        let words = view.described();
        Self {
            title: words.title.clone(),
            description: words.description.clone(),
            tags: words.tags.clone().unwrap_or_default(),
            metadata: view.origin().clone(),
            state: view.state().clone(),
            untagged: Vec::new(),
        }
    }

    /// Adds a tag.
    pub fn tag(&mut self, tag: impl Into<String>) {
        self.tags.push(tag.into());
    }

    /// Takes a tag away.
    pub fn untag(&mut self, tag: &str) {
        self.tags.retain(|known| known != tag);
        self.untagged.push(tag.to_owned());
    }
}

/// The events that lead from what a session has to a draft; none when it is so already.
///
/// # Errors
/// [`RuleViolation::LimitReached`].
pub fn configure(view: &View, draft: Draft, limits: &Limits) -> Result<Vec<Event>, RuleViolation> {
    let mut events = Vec::new();
    // A title or description that is taken away is an empty one in the record, whose words say what is new.
    let words = Described {
        title: Some(draft.title.unwrap_or_default()),
        description: Some(draft.description.unwrap_or_default()),
        tags: Some(draft.tags),
    };
    if let Some(event) = describe(view, words) {
        if let Event::Described(words) = &event {
            let tags = words.tags.as_deref().unwrap_or_default();
            limits.check_words(words.title.as_deref(), words.description.as_deref(), tags)?;
        }
        events.push(event);
    }
    let known = draft.metadata.tidied();
    if let Some(change) = MetadataChange::between(view.origin(), &known) {
        limits.check_metadata(&known)?;
        events.push(Event::Configured(Box::new(change)));
    }
    let mut state = draft.state;
    state.retain(|_, json| !json.is_null());
    if let Some(change) = StateChange::between(view.state(), &state) {
        limits.check_state(&state)?;
        events.push(Event::StateChanged(change));
    }
    Ok(events)
}

/// Changes keys of state; `None` when they are so already.
///
/// # Errors
/// [`RuleViolation::LimitReached`].
pub fn set_state(
    view: &View,
    wish: &BTreeMap<String, Option<Json>>,
    limits: &Limits,
) -> Result<Option<Event>, RuleViolation> {
    let Some(change) = StateChange::wished(view.state(), wish) else { return Ok(None) };
    let mut then = view.state().clone();
    change.apply_to(&mut then);
    limits.check_state(&then)?;
    Ok(Some(Event::StateChanged(change)))
}

/// Pins a message, or lets it go; `None` when it is so already.
///
/// # Errors
/// [`RuleViolation::NotOnPath`] for what is no message, [`RuleViolation::LimitReached`].
pub fn pin(view: &View, element: &Element, pinned: bool, limits: &Limits) -> Result<Option<Event>, RuleViolation> {
    if !matches!(element.what, ElementKind::Message { .. }) {
        return Err(RuleViolation::NotOnPath);
    }
    if view.pins().contains(&element.seq) == pinned {
        return Ok(None);
    }
    if pinned {
        at_most("pinned messages of a session", limits.pins, view.pins().len() + 1)?;
    }
    Ok(Some(Event::Pinned(Pinned { message: element.seq, pinned })))
}

/// Gives a place a name, or takes the name away; `None` when it is so already.
///
/// # Errors
/// [`RuleViolation::InvalidName`], [`RuleViolation::NoSuchCheckpoint`], [`RuleViolation::LimitReached`].
pub fn checkpoint(
    view: &View,
    name: &str,
    at: Option<NamedPlace>,
    limits: &Limits,
) -> Result<Option<Event>, RuleViolation> {
    let known = view.checkpoints().get(name);
    if at.is_none() && known.is_none() {
        return Err(RuleViolation::NoSuchCheckpoint);
    }
    if name.is_empty() || name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
        return Err(RuleViolation::InvalidName);
    }
    if at.as_ref() == known {
        return Ok(None);
    }
    if known.is_none() {
        at_most("checkpoints of a session", limits.checkpoints, view.checkpoints().len() + 1)?;
    }
    Ok(Some(Event::Checkpointed(Checkpointed { name: name.to_owned(), at })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::{append, ground::Session},
        identity::MessageId,
        message::Message,
    };

    #[test]
    fn messages_and_moves_need_an_active_session_and_words_do_not() {
        let mut session = Session::new();
        session.say(Message::user("a")).unwrap();
        for status in [SessionStatus::Paused, SessionStatus::Archived] {
            let event = set_status(&session.view, status, None).unwrap().unwrap();
            session.apply(event);
            let refused = RuleViolation::NotActive { status };
            assert_eq!(session.say(Message::user("b")), Err(refused.clone()));
            assert_eq!(session.undo(super::super::UndoBy::Steps(1)), Err(refused.clone()));
            assert_eq!(super::super::clear(&session.view), Err(refused));
            let draft = Draft { title: Some(status.to_string()), ..Draft::of(&session.view) };
            let events = configure(&session.view, draft, &Limits::default()).unwrap();
            events.into_iter().for_each(|event| session.apply(event));
        }
        assert_eq!(session.view.before_archive(), Some(SessionStatus::Paused));
        let refused = RuleViolation::InvalidTransition { from: SessionStatus::Archived, to: SessionStatus::Active };
        assert_eq!(set_status(&session.view, SessionStatus::Active, None), Err(refused));
        for status in [SessionStatus::Paused, SessionStatus::Active] {
            let event = set_status(&session.view, status, None).unwrap().unwrap();
            session.apply(event);
        }
        assert_eq!(set_status(&session.view, SessionStatus::Active, None), Ok(None));
        session.say(Message::user("b")).unwrap();
    }

    #[test]
    fn a_draft_becomes_the_session_in_as_few_events_as_it_needs() {
        let mut session = Session::new();
        let limits = Limits::default();
        assert_eq!(configure(&session.view, Draft::of(&session.view), &limits), Ok(vec![]));
        let mut draft = Draft::of(&session.view);
        draft.title = Some("t".into());
        draft.tag("b");
        draft.tag("a");
        draft.tag("b");
        draft.metadata.cwd = Some("/src".into());
        draft.state.insert("k".into(), Json::parse("1.0").unwrap());
        draft.state.insert("nothing".into(), Json::parse("null").unwrap());
        let events = configure(&session.view, draft, &limits).unwrap();
        assert_eq!(events.len(), 3);
        events.into_iter().for_each(|event| session.apply(event));
        let mut then = Draft::of(&session.view);
        assert_eq!((then.tags.as_slice(), then.state.len()), (&["a".to_owned(), "b".to_owned()][..], 1));
        then.title = None;
        then.untag("a");
        let events = configure(&session.view, then, &limits).unwrap();
        events.into_iter().for_each(|event| session.apply(event));
        let now = Draft::of(&session.view);
        assert_eq!((now.title.as_deref(), now.tags.len()), (None, 1));
        let long = Draft { title: Some("x".repeat(1_001)), ..now };
        assert!(matches!(configure(&session.view, long, &limits), Err(RuleViolation::LimitReached(_))));
    }

    #[test]
    fn a_name_stands_for_a_place_until_it_is_taken_away() {
        let mut session = Session::new();
        let limits = Limits { checkpoints: Some(1), ..Limits::default() };
        let at = NamedPlace { version: 1, head: 0, depth: 0 };
        let event = checkpoint(&session.view, "before", Some(at), &limits).unwrap().unwrap();
        session.apply(event);
        assert_eq!(checkpoint(&session.view, "before", Some(at), &limits), Ok(None));
        let full = checkpoint(&session.view, "another", Some(at), &limits);
        assert!(matches!(full, Err(RuleViolation::LimitReached(_))));
        assert_eq!(checkpoint(&session.view, "a\nb", Some(at), &limits), Err(RuleViolation::InvalidName));
        let event = checkpoint(&session.view, "before", None, &limits).unwrap().unwrap();
        session.apply(event);
        assert_eq!(checkpoint(&session.view, "before", None, &limits), Err(RuleViolation::NoSuchCheckpoint));
    }

    #[test]
    fn a_pin_is_for_a_message() {
        let mut session = Session::new();
        session.say(Message::user("a")).unwrap();
        let limits = Limits::default();
        let path = session.back(session.view.head());
        let event = pin(&session.view, &path[0], true, &limits).unwrap().unwrap();
        session.apply(event);
        assert_eq!(pin(&session.view, &path[0], true, &limits), Ok(None));
        let nothing = Element { seq: 1, depth: 0, what: ElementKind::Clear };
        assert_eq!(pin(&session.view, &nothing, true, &limits), Err(RuleViolation::NotOnPath));
        let event = append(&session.view, MessageId::from_bytes([7; 16]), Message::user("b"), &Default::default());
        session.apply(event.unwrap());
        assert_eq!(session.view.pins().iter().copied().collect::<Vec<_>>(), [2]);
    }
}
