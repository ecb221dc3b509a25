//! Whatever the records of a log say, a view of them is made or refused, and what it then stands for can be asked for. Stores may be damaged, and
//! archives are written by anybody.

#[cfg(test)]
mod logs {
    use proptest::{prelude::*, sample::select};
    use sessions_domain::{
        Actor, Appended, Cleared, CommitHash, Created, Event, ForkPoint, LineageId, Message, MessageId, Moment,
        MoveCause, Moved, Pinned, SessionId, Stamp, View,
        branches::Tree,
        compaction::{Compacted, CompactionCause, Covers, Instructed, Shortens, SummaryText, Uncompacted},
        decide::{self, CallsOnPath},
    };

    fn number() -> impl Strategy<Value = u64> {
        select(vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 1 << 32, 1 << 62, u64::MAX - 1, u64::MAX])
    }

    fn message() -> impl Strategy<Value = Message> {
        let call = || sessions_domain::MessagePart::tool_call("a", "tool", "{}").unwrap();
        select(vec![
            Message::user("text"),
            Message::assistant("text").with(call()).with(call()),
            Message::tool_result("a", "result"),
            Message::tool_result("b", "result"),
        ])
    }

    fn event() -> impl Strategy<Value = Event> {
        let appended = (number(), proptest::option::of(number()), any::<bool>(), message()).prop_map(
            |(depth, parent, late, message)| {
                Event::Appended(Appended {
                    id: MessageId::from_bytes([1; 16]),
                    parent,
                    depth,
                    late,
                    replaces: None,
                    message,
                })
            },
        );
        let cause = select(vec![MoveCause::Undo, MoveCause::Redo, MoveCause::Checkout]);
        let moved = (number(), number(), number(), cause)
            .prop_map(|(to, depth, steps, cause)| Event::Moved(Moved { to, depth, cause, steps }));
        let cleared = (number(), number()).prop_map(|(from, depth)| Event::Cleared(Cleared { from, depth }));
        let compacted = (proptest::option::of(number()), proptest::option::of(number()))
            .prop_map(|(covers, shortens)| Event::Compacted(Box::new(compacted(covers, shortens))));
        let undone = number().prop_map(|compaction| Event::Uncompacted(Uncompacted { compaction }));
        let pinned = number().prop_map(|message| Event::Pinned(Pinned { message, pinned: true }));
        let other = select(vec![Event::Lost, Event::Instructed(Instructed { text: None })]);
        prop_oneof![4 => appended, 3 => moved, 1 => cleared, 2 => compacted, 1 => undone, 1 => pinned, 1 => other]
    }

    fn compacted(covers: Option<u64>, shortens: Option<u64>) -> Compacted {
        let covered = |to| Covers { to, messages: 1, previous: None, stretches: Vec::new(), digest: String::new() };
        Compacted {
            covers: covers.map(covered),
            summary: Some(SummaryText { text: "s".into(), tokens: 1, by: "x".into(), model: None }),
            shortens: shortens.map(|to| Shortens { to, keep: 9 }),
            before: 0,
            after: 0,
            encoding: String::new(),
            cause: CompactionCause::Manual,
            calls: Vec::new(),
        }
    }

    fn created(fork: Option<ForkPoint>) -> Created {
        Created { fork, ..Created::of(SessionId::from_bytes([1; 16]), LineageId::from_bytes([1; 16])) }
    }

    fn stamp() -> Stamp {
        Stamp { at: Moment::from_millis(1), actor: Actor::default() }
    }

    /// Takes in what can follow, and asks the view for everything that follows from it.
    fn lived(mut view: View, events: &[Event]) -> View {
        for event in events {
            let before = view.clone();
            let Some(seq) = view.version().checked_add(1) else { break };
            if view.apply(seq, event, &stamp(), CommitHash::ZERO).is_err() {
                assert_eq!(view, before, "what is refused changes nothing");
            }
        }
        for seq in [0, 1, 2, 5, view.head(), view.version(), u64::MAX] {
            let tree = view.tree();
            let _ = (
                tree.run_of(seq),
                tree.branch(seq),
                tree.whole_path(seq).count(),
                tree.path(seq).count(),
                tree.clipped(seq).runs().count(),
            );
            let in_force = view.compacted_at(view.version(), seq);
            assert!(in_force.summary.is_none_or(|(_, to)| tree.is_visible(to, seq)), "a summary is of what is visible");
            let _ = (view.owner_of(seq), view.owners_up_to(seq), decide::checkout(&view, seq, seq));
        }
        let _ = (view.tree().branches(), decide::clear(&view));
        for message in [Message::user("text"), Message::tool_result("a", "result")] {
            let id = MessageId::from_bytes([2; 16]);
            let decided = decide::append(&view, id, message, &CallsOnPath::default());
            if let (Ok(event), Some(seq)) = (decided, view.version().checked_add(1)) {
                view.clone().apply(seq, &event, &stamp(), CommitHash::ZERO).expect("what was decided can follow");
            }
        }
        if let (Ok(event), Some(seq)) = (decide::clear(&view), view.version().checked_add(1)) {
            view.clone().apply(seq, &event, &stamp(), CommitHash::ZERO).expect("what was decided can follow");
        }
        let snapshot = view.to_snapshot();
        assert_eq!(View::from_snapshot(&snapshot).as_ref(), Some(&view), "a snapshot is the view");
        view
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_log_is_a_view_or_refused(
            parents in proptest::collection::vec(event(), 0..12),
            (at, head, depth, last) in (number(), number(), number(), proptest::option::of(number())),
            owner in number(),
            children in proptest::collection::vec(event(), 0..12),
            is_inherited in any::<bool>(),
        ) {
            let first = View::begin(1, &created(None), &stamp(), CommitHash::ZERO, None).unwrap();
            let parent = lived(first, &parents);
            let owners = vec![(parent.session(), owner)];
            let inherits = decide::inherited(&parent, at);
            let fork = ForkPoint { parent: parent.session(), at, commit: CommitHash::ZERO, head, depth, owners, last, inherits };
            let inherited: Option<&Tree> = is_inherited.then_some(parent.tree());
            for seq in [at, at.wrapping_add(1)] {
                if let Ok(child) = View::begin(seq, &created(Some(fork.clone())), &stamp(), CommitHash::ZERO, inherited) {
                    lived(child, &children);
                }
            }
        }

        #[test]
        fn any_bytes_are_a_snapshot_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..64), events in proptest::collection::vec(event(), 0..12), places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let _ = View::from_snapshot(&bytes);
            let first = View::begin(1, &created(None), &stamp(), CommitHash::ZERO, None).unwrap();
            let mut snapshot = lived(first, &events).to_snapshot();
            for (place, byte) in places {
                let at = place.index(snapshot.len());
                snapshot[at] = byte;
            }
            if let Some(view) = View::from_snapshot(&snapshot) {
                let _ = view.to_snapshot();
            }
        }
    }
}
