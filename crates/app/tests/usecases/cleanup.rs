//! Cleaning up by age: what is due is done and nothing else, whoever comes in between and whatever the clock says.

use std::{pin::Pin, sync::Arc, time::Duration};

use sessions_app::{
    At, Cleaned, CleanupOutcome, CleanupPolicy, CleanupReport, CleanupRun, Deletion, ErrorKind, NewSession, Query,
    Session, SessionError, SessionManager, Skipped, WhySkipped,
};
use sessions_domain::{
    Actor, Message, MessageMetadata, MessageRole, Moment, RuntimeState, SessionId, SessionStatus, context::Budget,
    upkeep::Step,
};
use sessions_infra::MemoryStore;
use sessions_ports::Durability;
use sessions_testkit::{Call, Fault, FaultyStore, FixedClock, Injected, When};

use crate::{contexts::Asked, ground};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

const fn days(days: u64) -> Option<Duration> {
    Some(Duration::from_secs(days * 86_400))
}

struct Ground {
    store: FaultyStore,
    clock: FixedClock,
    sessions: SessionManager,
}

impl Ground {
    fn new() -> Self {
        Self::over(MemoryStore::pretending(Durability::Disk))
    }

    fn over(store: MemoryStore) -> Self {
        let (store, clock) = (FaultyStore::over(Arc::new(store)), FixedClock::at(Moment::from_millis(1_000 * DAY)));
        let sessions = Self::opened(&store, &clock);
        Self { store, clock, sessions }
    }

    fn opened(store: &FaultyStore, clock: &FixedClock) -> SessionManager {
        ground::with(sessions_app::Ports { clock: Arc::new(clock.clone()), ..ground::ports(store.clone()) })
    }

    /// Another process, as far as this store lets one in.
    fn other(&self) -> SessionManager {
        Self::opened(&self.store, &self.clock)
    }

    async fn made(&self, title: &str) -> SessionId {
        let session = self.sessions.create(NewSession::titled(title)).await.unwrap();
        session.append(Message::user(title)).await.unwrap();
        session.id()
    }

    async fn trashed(&self, title: &str) -> SessionId {
        let id = self.made(title).await;
        self.sessions.trash(id).await.unwrap();
        id
    }

    /// So many days pass, and then somebody uses a session, so that the clock is believed.
    async fn pass(&self, days: i64) {
        self.clock.jump(days * DAY);
        let used = self.sessions.open_or_create("used").await.unwrap();
        used.append(Message::user("still here")).await.unwrap();
    }

    async fn clean(&self, policy: &CleanupPolicy) -> CleanupReport {
        self.sessions.clean_up(policy, CleanupRun::Real).await.unwrap()
    }

    /// What becomes of a session, asked by its row alone.
    async fn state(&self, id: SessionId) -> &'static str {
        match self.other().load_any(id).await {
            Err(SessionError::Gone { .. }) => "gone",
            Err(error) => panic!("{error}"),
            Ok(session) => match session.summary().await.unwrap() {
                row if row.trashed.is_some() => "trashed",
                row if row.status == SessionStatus::Archived => "archived",
                _ => "there",
            },
        }
    }

    /// All rows, in the trash and not, as they are.
    async fn all(&self) -> Vec<sessions_domain::SessionSummary> {
        let mut all = Vec::new();
        for trash in [false, true] {
            all.extend(self.sessions.list(&Query { trash, limit: 1_000, ..Query::default() }).await.unwrap().sessions);
        }
        all
    }
}

fn all_steps() -> CleanupPolicy {
    CleanupPolicy { archive_after: days(10), trash_after: days(20), delete_after: days(30), ..CleanupPolicy::default() }
}

fn trashes() -> CleanupPolicy {
    CleanupPolicy { trash_after: days(20), ..CleanupPolicy::default() }
}

fn deletes() -> CleanupPolicy {
    CleanupPolicy { delete_after: days(30), ..CleanupPolicy::default() }
}

fn skipped(session: SessionId, step: Step, why: WhySkipped) -> Skipped {
    Skipped { session, step, why }
}

fn answer() -> Message {
    Message { role: MessageRole::Assistant, parts: Vec::new(), metadata: MessageMetadata::default() }
}

#[tokio::test]
async fn a_session_goes_step_by_step_and_a_dry_run_tells_each_and_changes_nothing() {
    let ground = Ground::new();
    let id = ground.made("old").await;
    let expected =
        [(9, None), (1, Some(Step::Archive)), (19, None), (1, Some(Step::Trash)), (29, None), (1, Some(Step::Delete))];
    for (passed, step) in expected {
        ground.pass(passed).await;
        let before = ground.all().await;
        let would = ground.sessions.clean_up(&all_steps(), CleanupRun::Dry).await.unwrap();
        assert_eq!(ground.all().await, before);
        let did = ground.clean(&all_steps()).await;
        assert_eq!(did, would);
        let done: Vec<Cleaned> = step.map(|step| Cleaned { session: id, step }).into_iter().collect();
        assert_eq!((did.done, did.skipped, did.more), (done, vec![], false), "{passed}");
    }
    assert_eq!(ground.state(id).await, "gone");
    // What it was archived for is kept, and a policy that says nothing does nothing.
    let other = ground.made("other").await;
    ground.pass(10).await;
    ground.clean(&all_steps()).await;
    let view = ground.other().load(other).await.unwrap().fresh_view().await.unwrap();
    assert_eq!(view.status_reason(), Some("not used for a long time"));
    ground.pass(100_000).await;
    let nothing = CleanupPolicy::default();
    assert!(nothing.is_off() && !all_steps().is_off());
    assert_eq!(ground.clean(&nothing).await.done, []);
    assert_eq!(ground.state(other).await, "archived");
}

#[tokio::test]
async fn what_is_in_use_pinned_or_needed_is_left_alone_and_told_with_why() {
    let ground = Ground::new();
    let sessions = &ground.sessions;
    let (held, pinned, parent, free) = (
        ground.made("held").await,
        ground.made("pinned").await,
        ground.made("parent").await,
        ground.made("free").await,
    );
    let message = sessions.load(pinned).await.unwrap().last(1).await.unwrap()[0].id;
    sessions.load(pinned).await.unwrap().pin(message, true).await.unwrap();
    let child = sessions.load(parent).await.unwrap().fork(At::Now).await.unwrap().id();
    let handle = sessions.load(held).await.unwrap();
    ground.pass(20).await;
    let expected = [
        skipped(held, Step::Trash, WhySkipped::InUse),
        skipped(pinned, Step::Trash, WhySkipped::Pinned),
        skipped(parent, Step::Trash, WhySkipped::HasForks),
    ];
    let would = sessions.clean_up(&trashes(), CleanupRun::Dry).await.unwrap();
    let did = ground.clean(&trashes()).await;
    assert_eq!(did, would);
    let mut told = did.skipped.clone();
    told.sort_by_key(|skipped| expected.iter().position(|known| known == skipped));
    assert_eq!(told, expected);
    let gone: Vec<SessionId> = did.done.iter().map(|done| done.session).collect();
    assert!(gone.contains(&free) && gone.contains(&child) && gone.len() == 2, "{did:?}");
    // Pins and forks count in the trash too. Of a fork that goes in the same run the parent is free.
    drop(handle);
    ground.clock.jump(1);
    for id in [held, pinned, parent] {
        sessions.trash(id).await.unwrap();
    }
    ground.pass(30).await;
    let would = sessions.clean_up(&deletes(), CleanupRun::Dry).await.unwrap();
    let did = ground.clean(&deletes()).await;
    assert_eq!(did, would);
    assert_eq!(did.skipped, [skipped(pinned, Step::Delete, WhySkipped::Pinned)]);
    for (id, state) in [(held, "gone"), (free, "gone"), (child, "gone"), (parent, "gone"), (pinned, "trashed")] {
        assert_eq!(ground.state(id).await, state, "{id}");
    }
}

#[tokio::test]
async fn an_open_turn_is_left_alone_and_a_message_that_nobody_writes_any_more_is_none() {
    let ground = Ground::new();
    let (arriving, busy, abandoned) = (ground.made("a").await, ground.made("b").await, ground.made("c").await);
    let load = async |id| ground.sessions.load(id).await.unwrap();
    let stream = load(arriving).await.begin(answer()).await.unwrap();
    load(busy).await.set_runtime(RuntimeState::Busy).await.unwrap();
    let retrying = ground.made("d").await;
    let (next, message) = (Moment::from_millis(0), String::new());
    load(retrying).await.set_runtime(RuntimeState::Retrying { attempt: 2, next, message }).await.unwrap();
    load(abandoned).await.begin(answer()).await.unwrap().abandon();
    ground.pass(20).await;
    let did = ground.clean(&trashes()).await;
    assert_eq!(did.done, [Cleaned { session: abandoned, step: Step::Trash }]);
    // Who writes holds the session; who noted that it is busy may not.
    let mut told: Vec<_> = did.skipped.iter().map(|skipped| (skipped.session, skipped.why)).collect();
    told.sort_by_key(|(session, _)| *session != arriving);
    let open = WhySkipped::TurnOpen;
    assert_eq!(told, [(arriving, WhySkipped::InUse), (busy, open), (retrying, open)]);
    stream.abandon();
    let archives = CleanupPolicy { archive_after: days(20), ..CleanupPolicy::default() };
    let did = ground.sessions.clean_up(&archives, CleanupRun::Real).await.unwrap();
    assert!(did.skipped.contains(&skipped(arriving, Step::Archive, WhySkipped::TurnOpen)), "{did:?}");
    // For another run it was interrupted.
    let did = ground.other().clean_up(&trashes(), CleanupRun::Real).await.unwrap();
    assert_eq!(did.done.len(), 3, "{did:?}");
}

#[tokio::test]
async fn who_holds_a_session_that_is_idle_keeps_it_and_not_its_context() {
    let asked = Asked::default();
    let sessions = asked.manager();
    let chat = sessions.create(NewSession::default()).await.unwrap();
    chat.append(Message::user("why?")).await.unwrap();
    let policy = CleanupPolicy { idle: Some(Duration::ZERO), ..CleanupPolicy::default() };
    chat.context(Budget::tokens(100)).await.unwrap();
    for (run, times) in [(CleanupRun::Dry, 1), (CleanupRun::Real, 2)] {
        assert_eq!(sessions.clean_up(&policy, run).await.unwrap().released, 0);
        chat.context(Budget::tokens(100)).await.unwrap();
        assert_eq!(asked.times("why?"), times, "{run:?}");
    }
}

type Act = fn(Session) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Somebody else does something between the look at a session and the deed.
async fn between(call: Call, step: Step, act: Act, state: &str) {
    let ground = Ground::new();
    let (id, policy) = match step {
        Step::Delete => (ground.trashed("a").await, deletes()),
        _ => (ground.made("a").await, trashes()),
    };
    ground.pass(40).await;
    // The last such call of a look is the last one before the deed.
    let before = ground.store.calls(call);
    ground.sessions.clean_up(&policy, CleanupRun::Dry).await.unwrap();
    let nth = ground.store.calls(call) - before;
    assert!(nth > 0, "{call:?}");
    let session = ground.other().load_any(id).await.unwrap();
    ground.store.meanwhile(call, nth, act(session));
    let did = ground.clean(&policy).await;
    assert_eq!((did.done, did.skipped), (vec![], vec![skipped(id, step, WhySkipped::Changed)]), "{call:?} {step:?}");
    assert_eq!(ground.state(id).await, state, "{call:?} {step:?}");
}

#[tokio::test]
async fn what_changes_between_the_look_and_the_deed_is_left_alone() {
    let used: Act = |session| Box::pin(async move { session.append(Message::user("b")).await.map(drop).unwrap() });
    let renamed: Act = |session| Box::pin(async move { session.rename("b").await.map(drop).unwrap() });
    let touched: Act = |session| Box::pin(async move { session.touch().await.unwrap() });
    let restored: Act =
        |session| Box::pin(async move { session.manager().restore_from_trash(session.id()).await.map(drop).unwrap() });
    let deleted: Act = |session| {
        Box::pin(async move { session.manager().delete(session.id(), Deletion::default()).await.map(drop).unwrap() })
    };
    for call in [Call::Rows, Call::Head, Call::Heirs] {
        for act in [used, renamed, touched] {
            between(call, Step::Trash, act, "there").await;
        }
        between(call, Step::Trash, deleted, "gone").await;
        between(call, Step::Delete, restored, "there").await;
        between(call, Step::Delete, deleted, "gone").await;
    }
    between(Call::Read, Step::Delete, restored, "there").await;
}

#[tokio::test]
async fn what_is_pinned_or_forked_between_the_look_and_the_deed_is_left_alone() {
    let ground = Ground::new();
    let id = ground.made("a").await;
    ground.pass(40).await;
    let session = ground.other().load(id).await.unwrap();
    let message = session.last(1).await.unwrap()[0].id;
    // As long ago as the rest of it: its time says nothing, the pin does.
    ground.clock.jump(-40 * DAY);
    ground.store.meanwhile(Call::Heirs, 1, async move { session.pin(message, true).await.map(drop).unwrap() });
    let policy = CleanupPolicy { trash_after: Some(Duration::ZERO), ..CleanupPolicy::default() };
    let did = ground.clean(&policy).await;
    assert!(did.skipped.contains(&skipped(id, Step::Trash, WhySkipped::Pinned)), "{did:?}");
    assert_eq!(ground.state(id).await, "there");
    let other = ground.trashed("b").await;
    let forking = ground.other();
    ground.store.meanwhile(Call::Read, 1, async move {
        let parent = forking.restore_from_trash(other).await.unwrap();
        parent.fork(At::Now).await.map(drop).unwrap();
        parent.trash().await.map(drop).unwrap();
    });
    let policy = CleanupPolicy { delete_after: Some(Duration::ZERO), ..CleanupPolicy::default() };
    let did = ground.clean(&policy).await;
    assert_eq!((did.done.len(), did.skipped.len()), (0, 1), "{did:?}");
    assert_eq!(ground.state(other).await, "trashed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_cleanups_at_once_one_does_each_thing() {
    let ground = Ground::new();
    let mut ids = Vec::new();
    for at in 0..60 {
        ids.push(if at % 2 == 0 { ground.trashed("t").await } else { ground.made("m").await });
    }
    ground.pass(40).await;
    let policy = CleanupPolicy { delete_after: days(30), ..trashes() };
    let runs = [ground.sessions.clone(), ground.sessions.clone(), ground.other()]
        .map(|sessions| tokio::spawn(async move { sessions.clean_up(&policy, CleanupRun::Real).await.unwrap() }));
    let mut done = Vec::new();
    for run in runs {
        let report = run.await.unwrap();
        assert!(
            report.skipped.iter().all(|it| matches!(it.why, WhySkipped::Changed | WhySkipped::InUse)),
            "{report:?}"
        );
        done.extend(report.done.iter().map(|done| done.session));
    }
    // One that both found in use is left for the next.
    done.extend(ground.clean(&policy).await.done.iter().map(|done| done.session));
    done.sort_unstable();
    ids.sort_unstable();
    assert_eq!(done, ids);
    assert_eq!(ground.clean(&policy).await.done, []);
}

#[tokio::test]
async fn a_clock_that_jumps_makes_nothing_due() {
    let ground = Ground::new();
    let (id, trashed) = (ground.made("a").await, ground.trashed("b").await);
    let policy = CleanupPolicy { delete_after: days(30), ..trashes() };
    for jump in [3_650 * DAY, -7_300 * DAY, 3_650 * DAY + 2 * HOUR] {
        ground.clock.jump(jump);
        assert_eq!(ground.clean(&policy).await.done, [], "{jump}");
    }
    assert_eq!((ground.state(id).await, ground.state(trashed).await), ("there", "trashed"));
    // A person's word counts more.
    ground.clock.jump(100 * DAY);
    assert_eq!(ground.clean(&policy).await.done, []);
    let trusting = CleanupPolicy { trusts_clock: true, ..policy };
    assert_eq!(ground.clean(&trusting).await.done.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_stays_whichever_call_fails() {
    let calls = [Call::Read, Call::Snapshot, Call::Head, Call::Heirs];
    let mut struck = 0;
    for (call, nth) in calls.into_iter().flat_map(|call| (1..8).map(move |nth| (call, nth))) {
        let ground = Ground::new();
        let id = ground.made("a").await;
        let session = ground.sessions.load(id).await.unwrap();
        for at in 0..300 {
            session.append(Message::user(format!("{at}"))).await.unwrap();
        }
        session.trash().await.unwrap();
        drop(session);
        ground.pass(40).await;
        let fresh = ground.other();
        fresh.list(&Query::default()).await.unwrap();
        let before = ground.store.calls(call);
        fresh.clean_up(&deletes(), CleanupRun::Dry).await.unwrap();
        if ground.store.calls(call) - before < nth {
            continue;
        }
        struck += 1;
        for run in [CleanupRun::Dry, CleanupRun::Real] {
            ground.store.fail(Fault { call: Some(call), nth, when: When::Before, answer: Injected::Io });
            let did = ground.other().clean_up(&deletes(), run).await.unwrap();
            let expected = vec![skipped(id, Step::Delete, WhySkipped::Unreadable)];
            assert_eq!((did.done, did.skipped), (vec![], expected), "{call:?} {nth}");
        }
        assert_eq!(ground.state(id).await, "trashed");
        assert_eq!(ground.clean(&deletes()).await.done.len(), 1);
    }
    assert!(struck > 4, "{struck}");
}

#[tokio::test]
async fn a_store_that_fails_ends_the_cleanup_and_the_next_goes_on() {
    for answer in [Injected::NoSpace, Injected::Poisoned, Injected::Closed] {
        let ground = Ground::new();
        let ids = [ground.trashed("a").await, ground.trashed("b").await, ground.trashed("c").await];
        ground.pass(40).await;
        ground.store.fail(Fault { call: Some(Call::Remove), nth: 2, when: When::Before, answer });
        ground.sessions.clean_up(&deletes(), CleanupRun::Real).await.unwrap_err();
        let mut states = Vec::new();
        for id in ids {
            states.push(ground.state(id).await);
        }
        assert_eq!(states, ["gone", "trashed", "trashed"]);
        assert_eq!(ground.clean(&deletes()).await.done.len(), 2);
    }
}

#[tokio::test]
async fn no_more_is_done_at_once_than_it_says_and_others_sessions_are_left_alone() {
    let ground = Ground::new();
    for title in ["a", "b", "c"] {
        ground.trashed(title).await;
        ground.clock.jump(1);
    }
    let theirs = ground.sessions.acting_for(Actor { tenant: "theirs".into(), id: "x".into() });
    let other = theirs.create(NewSession::titled("d")).await.unwrap().id();
    theirs.trash(other).await.unwrap();
    ground.pass(40).await;
    let policy = CleanupPolicy { limit: 2, ..deletes() };
    let first = ground.clean(&policy).await;
    assert_eq!((first.done.len(), first.more), (2, true));
    let second = ground.clean(&policy).await;
    assert_eq!((second.done.len(), second.more), (1, false));
    assert!(theirs.load_any(other).await.unwrap().fresh_view().await.unwrap().trashed().is_some());
}

#[tokio::test]
async fn idle_sessions_leave_memory_and_are_as_they_were() {
    let ground = Ground::new();
    let idle = CleanupPolicy { idle: days(1), ..CleanupPolicy::default() };
    let (free, held) = (ground.made("a").await, ground.made("b").await);
    let handle = ground.sessions.load(held).await.unwrap();
    let live = || ground.sessions.activity().live_sessions;
    assert_eq!(live(), 2);
    assert_eq!(ground.clean(&idle).await.released, 0);
    ground.clock.jump(DAY);
    // Asking for a handle is a use here.
    drop(ground.sessions.load(free).await.unwrap());
    assert_eq!(ground.clean(&idle).await.released, 0);
    ground.clock.jump(DAY);
    let would = ground.sessions.clean_up(&idle, CleanupRun::Dry).await.unwrap();
    assert_eq!((would.released, live()), (1, 2));
    assert_eq!((ground.clean(&idle).await.released, live()), (1, 1));
    assert_eq!(ground::texts(&handle).await, ["b"]);
    handle.append(Message::user("c")).await.unwrap();
    assert_eq!(ground::texts(&ground.sessions.load(free).await.unwrap()).await, ["a"]);
    assert_eq!(ground::texts(&handle).await, ["b", "c"]);
}

#[tokio::test]
async fn a_store_in_memory_removes_idle_sessions_when_that_is_asked_and_no_other_store_does() {
    let removes = CleanupPolicy { idle: days(1), removes_idle: true, ..CleanupPolicy::default() };
    for (store, asked, state) in [
        (MemoryStore::new(), removes, "gone"),
        (MemoryStore::new(), CleanupPolicy { removes_idle: false, ..removes }, "there"),
        (MemoryStore::pretending(Durability::Disk), removes, "there"),
    ] {
        let ground = Ground::over(store);
        let id = ground.made("a").await;
        ground.pass(1).await;
        let would = ground.sessions.clean_up(&asked, CleanupRun::Dry).await.unwrap();
        assert_eq!(ground.clean(&asked).await, would);
        assert_eq!(ground.state(id).await, state);
    }
}

fn done(outcome: Option<CleanupOutcome>) -> usize {
    outcome.unwrap().as_ref().as_ref().unwrap().done.len()
}

#[tokio::test(start_paused = true)]
async fn it_is_looked_for_again_and_again_until_it_is_stopped() {
    let ground = Ground::new();
    let id = ground.made("a").await;
    let policy = CleanupPolicy { interval: Duration::from_secs(86_400), ..trashes() };
    let mut cleaning = ground.sessions.start_cleanup(policy).unwrap();
    let mut rounds = Vec::new();
    for _ in 0..22 {
        rounds.push(done(cleaning.next().await));
        ground.pass(1).await;
    }
    assert_eq!((rounds.iter().sum::<usize>(), rounds[20]), (1, 1), "{rounds:?}");
    assert_eq!(ground.state(id).await, "trashed");
    cleaning.stop().await;
    // One that fails is told, and the next is made.
    ground.store.fail(Fault { call: Some(Call::Rows), nth: 1, when: When::Before, answer: Injected::Unavailable });
    let mut cleaning = ground.sessions.start_cleanup(policy).unwrap();
    assert!(cleaning.next().await.unwrap().is_err());
    assert_eq!(done(cleaning.next().await), 0);
    ground.sessions.close().await.unwrap();
    assert!(cleaning.next().await.is_none());
    let refused = ground.sessions.start_cleanup(policy).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Failed));
    drop(cleaning);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn in_the_background_no_jump_of_the_clock_counts_though_somebody_writes_by_it() {
    let ground = Ground::new();
    let id = ground.made("a").await;
    let policy = CleanupPolicy { interval: Duration::from_secs(3_600), ..trashes() };
    let mut cleaning = ground.sessions.start_cleanup(policy).unwrap();
    assert_eq!(done(cleaning.next().await), 0);
    ground.pass(3_650).await;
    for _ in 0..24 {
        assert_eq!(done(cleaning.next().await), 0);
    }
    // It ends with the last handle to the manager.
    drop(ground.sessions);
    assert!(cleaning.next().await.is_none());
    let other = Ground::opened(&ground.store, &ground.clock);
    assert!(other.load(id).await.is_ok());
}
