//! Keeps the conversations of LLM agents: five minutes with the one crate that a host needs.
//!
//! # Open
//!
//! A store is named by a URL: `sled:PATH` is the default store, a folder on disk; `memory:` lives as long as the process. There is one
//! entry, [`SessionManager`], and nothing to import beyond this crate.
//!
//! ```
//! use sessions_api::{NewSession, SessionError, SessionManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SessionError> {
//! let sessions = SessionManager::open("memory:").await?;
//! let chat = sessions.create(NewSession::titled("Fix the build")).await?;
//! assert_eq!(chat.summary().await?.title.as_deref(), Some("Fix the build"));
//! # Ok(())
//! # }
//! ```
//!
//! # Create
//!
//! A session has an id, and may have a key of the host's own, by which it is opened or created at once, also when several do so in the
//! same moment.
//!
//! ```
//! # use sessions_api::{SessionError, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SessionError> {
//! # let sessions = SessionManager::open("memory:").await?;
//! let first = sessions.open_or_create("user-123").await?;
//! let again = sessions.open_or_create("user-123").await?;
//! assert_eq!(first.id(), again.id());
//! # Ok(())
//! # }
//! ```
//!
//! # Append
//!
//! A message has a role and parts: text, reasoning, tool calls and their results, files, and whatever else a provider sent, kept to the
//! letter. The [`Receipt`] says where the message stands and what it survives. With an idempotency key a retry is harmless.
//!
//! ```
//! # use sessions_api::{Append, AppendOutcome, Message, MessagePart, SessionError, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! chat.append(Message::user("What is in src/lib.rs?")).await?;
//! let call = MessagePart::tool_call("call-1", "read_file", r#"{"path":"src/lib.rs"}"#)?;
//! chat.append(Message::assistant("I look.").with(call)).await?;
//! chat.append(Message::tool_result("call-1", "pub mod parser;")).await?;
//!
//! let answer = || Append::from(Message::assistant("A parser.")).idempotency_key("turn-1");
//! let receipt = chat.append(answer()).await?;
//! let retried = chat.append(answer()).await?;
//! assert_eq!((receipt.seq, retried.seq), (receipt.seq, receipt.seq));
//! assert_eq!(retried.outcome, AppendOutcome::Replayed);
//! # Ok(())
//! # }
//! ```
//!
//! One writer may have many appends in flight, in order: [`Session::enqueue`]. With [`Append::behind`] they end at one point when the
//! store fails in their midst, and leave no hole.
//!
//! # Durability
//!
//! An append answers when it has reached its level, and the receipt names the level: [`Durability::Disk`] survives a power cut and is what
//! `sled:PATH` gives unless told otherwise, [`Durability::Process`] survives kill -9, [`Durability::Volatile`] may go with the process. A
//! host that streams an answer appends at `Process` and waits for the disk once a turn.
//!
#![cfg_attr(feature = "sled", doc = "```")]
#![cfg_attr(not(feature = "sled"), doc = "```ignore")]
//! # use sessions_api::{Append, Durability, Message, SessionError, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let url = format!("sled:{}", folder.path().join("chats").display());
//! let sessions = SessionManager::open(url).await?;
//! let chat = sessions.open_or_create("user-123").await?;
//! let receipt = chat.append(Append::from(Message::user("Hello")).durability(Durability::Process)).await?;
//! assert!(receipt.durability >= Durability::Process);
//! chat.wait_durable(receipt.version, Durability::Disk).await?;
//! # sessions.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Undo and branches
//!
//! The truth is a log that is only ever appended to. Undo, redo, clear and checkout are appended too, so each can be taken back, and the
//! way that was left is a branch that stays reachable.
//!
//! ```
//! # use sessions_api::{Message, SessionError, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SessionError> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! chat.append(Message::user("Pick a colour.")).await?;
//! chat.append(Message::assistant("Red.")).await?;
//! chat.undo(1).await?;
//! chat.append(Message::assistant("Blue.")).await?;
//!
//! let branches = chat.branches().await?;
//! assert_eq!(branches.len(), 2);
//! chat.checkout(branches[0].branch).await?;
//! assert_eq!(chat.last(1).await?[0].text(), "Red.");
//! # Ok(())
//! # }
//! ```
//!
//! # Fork
//!
//! A fork is a session of its own that begins with the history of another. It costs one append, whatever the length of that history.
//!
//! ```
//! # use sessions_api::{At, Message, SessionError, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SessionError> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! let asked = chat.append(Message::user("Pick a colour.")).await?;
//! chat.append(Message::assistant("Red.")).await?;
//! let other = chat.fork(At::Message(asked.message)).await?;
//! other.append(Message::assistant("Blue.")).await?;
//! assert_eq!(chat.last(1).await?[0].text(), "Red.");
//! # Ok(())
//! # }
//! ```
//!
//! # Read
//!
//! The newest messages are read without the ones before them; all of them come in pages; and any version that ever was can be seen again.
//!
//! ```
//! # use sessions_api::{At, Message, SessionError, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SessionError> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! for number in 1..=3 {
//!     chat.append(Message::user(format!("Note {number}"))).await?;
//! }
//! let before = chat.version().await?;
//! chat.undo(2).await?;
//!
//! let mut pages = chat.messages().await?;
//! let mut seen = 0;
//! while let Some(page) = pages.next_page().await? {
//!     seen += page.len();
//! }
//! assert_eq!(seen, 1);
//! assert_eq!(chat.last_at(At::Version(before), 10).await?.len(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! # Context
//!
//! What is sent to a model fits a budget and is valid whatever was cut, forked or interrupted: a call that was never answered gets an
//! `interrupted` result, and the context says so. The log stays as it was.
//!
//! ```
//! # use sessions_api::{Budget, Message, MessagePart, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! chat.append(Message::system("Be brief.")).await?;
//! chat.append(Message::user("List the files.")).await?;
//! let call = MessagePart::tool_call("call-1", "list_files", "{}")?;
//! chat.append(Message::assistant("I look.").with(call)).await?;
//!
//! let context = chat.context(Budget::tokens(1_000)).await?;
//! assert_eq!(context.messages.len(), 4);
//! assert_eq!(context.repairs.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Turns
//!
//! A turn is what a person says and all that a model does about it. It can be watched while it happens and stopped; what came of the answer is kept and says that it is not whole, and the turn can be gone on with, also by
//! another process after a crash. Who answers is an [`Agent`]: a provider ([`providers`]: over the network with the feature `providers`, or one of your own), a model, and how to go on when something fails ([`Retry`]).
//!
//! ```
//! # use std::sync::Arc;
//! # use sessions_api::{SessionManager, providers::{Answer, ScriptedProvider}};
//! use sessions_api::{Agent, Form, MessageState, Message, ModelProfile, StopReason, TurnEvent};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! # let never = sessions_api::providers::Gate::new();
//! # let provider = ScriptedProvider::new([Answer::new().text("Since it ").wait(&never), Answer::new().text("It is borrowed twice.")]);
//! let profile = Arc::new(ModelProfile::of("house-7b", "house", Form::OpenAi, 32_768));
//! let agent = Agent::of_profile(Arc::new(provider), profile).instructions("Be brief.");
//! let mut turn = chat.turn(&agent, Message::user("Why does E0502 happen?"));
//! let stop = turn.canceller();                        // goes to whoever hears Ctrl-C
//! while let Some(event) = turn.next_event().await {
//!     if let TurnEvent::Text(piece) = event {
//!         assert_eq!(piece, "Since it ");             // shown while it arrives
//!         stop.cancel();
//!     }
//! }
//! assert_eq!(turn.outcome().await?.stop_reason, StopReason::Cancelled);
//! assert_eq!(chat.last(1).await?[0].state, MessageState::Cancelled);
//!
//! let outcome = chat.resume_turn(&agent).await?;      // the same question again, with nothing new said
//! assert_eq!((outcome.text.as_str(), outcome.usage.output > 0), ("It is borrowed twice.", true));
//! let ledger = chat.usage().await?;                   // both calls, by model, with their cost where prices are known
//! assert_eq!((ledger.total.calls, ledger.models.len()), (2, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # Compaction
//!
//! A conversation that fills its model's window is brought down to a part of it: old results of tools are shown shortened, then a summary stands for all but the newest turns. Nothing is lost: the log has every word, and the compaction can be taken away.
//! Turns do it by themselves; a summary is written by the turn's model ([`ByModel`]), by rule ([`Extractive`]) or by a [`Summarizer`] of your own.
//!
//! ```
//! # use sessions_api::{Message, SessionManager};
//! use sessions_api::{Budget, CompactionWish};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! for turn in 0..50 {
//!     chat.append(Message::user(format!("What is wrong with part {turn}?"))).await?;
//!     chat.append(Message::assistant(format!("Of part {turn}: {}", "it is loose. ".repeat(20)))).await?;
//! }
//! let report = chat.compact(CompactionWish::default().down_to(Budget::tokens(1_000))).await?;
//! assert!(report.after <= 1_000 && report.before > 3_000);
//! assert_eq!(chat.last(200).await?.len(), 100, "the history stays");
//! chat.uncompact().await?;
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `config` all of it, from the store to the prices, may stand in a file: [`config`].
//!
//! # Tools
//!
//! A model answers in a turn, and may call tools. A tool says what it does, how it may be run, and runs; before it does a gate is asked, which is a
//! person or a policy. Both are traits with asynchronous methods, for which the macro [`macro@async_trait`] is here too.
//!
//! ```
//! use std::sync::Arc;
//!
//! use sessions_api::{
//!     Agent, Form, GateAnswer, Json, Message, ModelProfile, SessionManager, Tool, ToolContent, ToolFailure, ToolGate, ToolRun, ToolSpec,
//!     async_trait,
//!     providers::{Answer, ScriptedProvider},
//! };
//!
//! struct Clock(ToolSpec);
//!
//! #[async_trait]
//! impl Tool for Clock {
//!     fn spec(&self) -> &ToolSpec {
//!         &self.0
//!     }
//!
//!     async fn run(&self, _: &ToolRun) -> Result<ToolContent, ToolFailure> {
//!         Ok(ToolContent::Text("It is noon.".to_owned()))
//!     }
//! }
//!
//! struct Anybody;
//!
//! #[async_trait]
//! impl ToolGate for Anybody {
//!     async fn ask(&self, run: &ToolRun) -> GateAnswer {
//!         if run.call.name == "clock" { GateAnswer::Once } else { GateAnswer::NotNow }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let input_schema = Json::parse(r#"{"type":"object"}"#)?;
//! let clock = Clock(ToolSpec { name: "clock".into(), description: "Tells the time.".into(), input_schema });
//! // Stands for a model: it calls the tool, and answers.
//! let script = ScriptedProvider::new([Answer::new().call("call-1", "clock", "{}")?, Answer::new().text("Noon.")]);
//! let profile = ModelProfile::of("script", ScriptedProvider::NAME, Form::Neutral, 32_768);
//! let agent = Agent::of_profile(Arc::new(script), Arc::new(profile)).tool(Arc::new(clock)).gate(Arc::new(Anybody));
//!
//! let sessions = SessionManager::open("memory:").await?;
//! let chat = sessions.open_or_create("user-123").await?;
//! let outcome = chat.send_message(&agent, Message::user("What time is it?")).await?;
//! assert_eq!(outcome.text, "Noon.");
//! assert_eq!(chat.last(9).await?.len(), 4, "question, call, result, answer");
//! # Ok(())
//! # }
//! ```
//!
//! # Subscribe
//!
//! A subscription gives what is committed behind a version, without gaps, and waits for what comes.
//!
//! ```
//! # use sessions_api::{Message, SessionError, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SessionError> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! let mut updates = chat.subscribe(chat.version().await?);
//! chat.append(Message::user("Hello")).await?;
//! let update = updates.next().await?;
//! let message = update.and_then(|update| update.message());
//! assert_eq!(message.map(|message| message.text()).as_deref(), Some("Hello"));
//! # Ok(())
//! # }
//! ```
//!
//! # Backup
//!
//! A store on disk is copied into one file while it is used: everything that was acknowledged when the backup was begun. A file is read
//! back before it gets its name, and [`SessionManager::schedule_backups`] makes them again and again and keeps the newest.
//!
#![cfg_attr(feature = "sled", doc = "```")]
#![cfg_attr(not(feature = "sled"), doc = "```ignore")]
//! # use sessions_api::{SessionError, SessionManager, maintenance};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (url, file) = (format!("sled:{}", folder.path().join("chats").display()), folder.path().join("chats.sessions"));
//! # let copy = folder.path().join("copy");
//! let sessions = SessionManager::open(url).await?;
//! sessions.open_or_create("user-123").await?;
//! let report = sessions.backup(&file).await?;
//! sessions.close().await?;
//!
//! let restored = maintenance::restore_backup(&file, &copy).await?;
//! assert_eq!(restored.info.digest, report.info.digest);
//! assert!(restored.verified.is_sound());
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! There is one error, [`SessionError`]. What a caller can act on is a variant or a [`kind`](SessionError::kind); no message shows content.
//!
//! ```
//! # use sessions_api::{ErrorKind, RuleViolation, SessionError, SessionManager};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SessionError> {
//! # let sessions = SessionManager::open("memory:").await?;
//! # let chat = sessions.open_or_create("user-123").await?;
//! assert!(matches!(chat.undo(1).await, Err(SessionError::Rule(RuleViolation::NothingToUndo))));
//! let lost = sessions.find("key:nobody").await.err().map(|error| error.kind());
//! assert_eq!(lost, Some(ErrorKind::NotFound));
//! # Ok(())
//! # }
//! ```
//!
//! # Parts of one's own
//!
//! Every part can be one's own: the store, the clock, identities, randomness, token counts. In a test the store lives in memory and time
//! stands still; a store of one's own implements [`SessionLog`] and is held to its contract by the laws of `sessions-testkit`.
//!
//! ```
//! use sessions_api::{Clock, MemoryStore, Message, Moment, SessionError, SessionManager};
//!
//! struct Noon;
//!
//! impl Clock for Noon {
//!     fn now(&self) -> Moment {
//!         Moment::from_millis(1_767_268_800_000)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), SessionError> {
//! let sessions = SessionManager::builder().store(MemoryStore::new()).clock(Noon).build().await?;
//! let chat = sessions.open_or_create("user-123").await?;
//! chat.append(Message::user("What time is it?")).await?;
//! assert_eq!(chat.last(1).await?[0].at.to_string(), "2026-01-01T12:00:00.000Z");
//! # Ok(())
//! # }
//! ```
//!
//! # All of it
//!
#![cfg_attr(feature = "sled", doc = "```standalone_crate")]
#![cfg_attr(not(feature = "sled"), doc = "```ignore")]
//! use sessions_api::{At, Budget, Message, NewSession, SessionError, SessionManager};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # std::env::set_current_dir(folder.path())?;
//! let sessions = SessionManager::open("sled:./chats").await?;    // default store, disk durability
//! let chat = sessions.create(NewSession::titled("Fix the build")).await?;
//! let receipt = chat.append(Message::user("Why does E0502 happen?")).await?;
//! chat.append(Message::assistant("Because …")).await?;
//! chat.undo(1).await?;                                           // appended, not deleted
//! let other = chat.fork(At::Message(receipt.message)).await?;    // costs one append, whatever the length
//! for message in chat.last(50).await? {                          // reads 50 messages, not the session
//!     println!("{}", message.text());
//! }
//! let context = chat.context(Budget::tokens(8_000)).await?;      // valid for the provider, within budget
//! let mut updates = chat.subscribe(receipt.version);             // gap-free
//! # assert_eq!(receipt.durability, sessions_api::Durability::Disk);
//! # assert_eq!(context.messages.len(), 1);
//! # assert_eq!(other.last(9).await?.len(), 1);
//! # assert_eq!(updates.next().await?.unwrap().seq, receipt.version + 1);
//! sessions.close().await?;
//! # std::env::set_current_dir("/")?;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `sled` (default): the default store. With `default-features = false` there is the store in memory, and what a host brings. `config`: a
//! configuration from a file, the environment and arguments, and what it does to a builder.
//! `providers`: models over the network; without it there is a script that answers.
//! `tokens`, `tokens-cl100k`: exact counts in `o200k_base`, and in `cl100k_base` too; their tables add 32 and 15 MB to a program.
//!
//! Must not know: rules, use cases, or how anything is stored. This crate wires, and passes nothing on that it does not have to.

#[cfg(feature = "sled")]
mod anchoring;
#[cfg(feature = "sled")]
mod backup;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "config")]
mod connecting;
mod encodings;
#[cfg(feature = "sled")]
pub mod maintenance;
mod manager;
pub mod providers;
mod rotation;
mod url;
#[cfg(feature = "config")]
mod wiring;

pub use async_trait::async_trait;
#[cfg(feature = "config")]
pub use connecting::{ConnectedModel, NotConnected};
pub use manager::{Builder, Counters, NeedsKeyService, NoKeyStore, NoStoreNamed, SessionManager};
pub use rotation::{KeyRotation, RotationOutcome};
pub use sessions_app::{
    Activity, Agent, Ancestor, Append, AppendOutcome, At, BranchInfo, ByModel, Canceller, Checkpoint, Cleaned,
    Cleaning, CleanupOutcome, CleanupPolicy, CleanupReport, CleanupRun, CompactionRefused, CompactionReport,
    CompactionWish, ContextWish, Deletion, DeletionReport, DeletionStep, EndReason, Entry, EntryKind, ErrorKind,
    Export, ExportFormat, Extractive, Forked, Forks, Format, ImportError, ImportOptions, ImportReport, InFlight,
    InvalidAgent, Lineage, ListPage, LostToFork, MessagePage, MessageRange, MessageSize, MessageStream, Messages,
    ModelCall, ModelUsage, MoveReceipt, NewSession, Opened, PlaceToken, Ports, Priced, PricedBy, Query, Receipt,
    Session, SessionError, Settings, Shutdown, Skipped, SortBy, Stopping, Subscription, Tally, ToolEnd, Turn,
    TurnEvent, TurnNote, TurnOutcome, TurnProblem, TurnStep, Update, Usage, WhySkipped,
    transfer::{DETECT_BYTES, LostRecord, Repaired, Report, SetAside, detect},
};
pub use sessions_domain::{
    Actor, Appended, Checkpointed, Chunk, Cleared, CommitHash, Created, Described, Event, FileRef, ForkPoint,
    ImportSource, InvalidHistory, InvalidId, InvalidJson, InvalidKey, InvalidStateKey, Json, Kind, Kinship, Limits,
    LineageId, Message, MessageId, MessageMetadata, MessagePart, MessageRole, MessageState, MetadataChange, Moment,
    MoveCause, Moved, NamedPlace, Origin, Parent, Pinned, Place, Residue, ResidueLine, RuleViolation, RuntimeChange,
    RuntimeState, Sealed, SessionId, SessionKey, SessionSettings, SessionStatus, SessionSummary, Stamp, StateChange,
    StateKey, StateOwner, StateScope, StatusChange, StoredMessage, StreamEnd, TokenUsage, ToolCall, ToolContent,
    ToolResult, View,
    compaction::{
        CallOutcome, CallPurpose, Compacted, CompactionCause, CompactionPolicy, Instructed, Plan as CompactionPlan,
        Spent, Uncompacted,
    },
    context::{Budget, Context, ContextMessage, ContextPart, OverBudget},
    decide::Draft,
    form::{Form, FormBody, FormRules},
    json_depth, money,
    nearest::nearest,
    pairing::Repair,
    price,
    profile::{InvalidProfile, ModelProfile, Profiles, UnknownModel, WindowState, window_state},
    tokens::{Exactness, Framing, Tokens},
    turn::{Retry, StopReason},
    upkeep::Step as CleanupStep,
};
#[cfg(feature = "vault")]
pub use sessions_infra::keys::{Bounds, Token, VaultTransit, VaultTransitProvider};
#[cfg(feature = "passphrase")]
pub use sessions_infra::keys::{Costs, PassphraseProvider};
#[cfg(feature = "sled")]
pub use sessions_infra::keys::{FileKeyStore, KeyFinding};
#[cfg(feature = "sled")]
pub use sessions_infra::sealing::{SealStep, SealedInPlace};
#[cfg(feature = "sled")]
pub use sessions_infra::sled::{
    Anchor, AnchorCheck, AnchorUnknown, BackupHead, BackupInfo, BackupProgress, BackupReport, BackupSchedule,
    EpochChain, Figures, Finding, IndexLook, IndexReport, InvalidSchedule, KeysAt, LastBackup, LastOutcome, Named,
    NoAnchor, OpenReport, Reclaimed, RepairAction, RepairReport, RestoreReport, ScheduledBackups, Sealing, SealingLook,
    Severity, SledOptions, SledStore, TornTail, VerifyReport, WitnessReport,
};
pub use sessions_infra::{
    MemoryStore,
    disk::{FileSystem, SyncTimes},
    environment::{EstimateCounter, SystemClock, SystemEntropy, UlidGenerator},
    keys::{KeyFileProvider, MemoryKeyStore},
    observed::{ObservedStore, StoreCounters},
    sealing::{
        ClosedEpoch, DataPass, DataStep, InPass, KeyStatus, KeyStep, KeyedWitness, Resealed, RingFacts, Rotated,
        SealedStore, ring_facts,
    },
    tokens::BuiltInEncodings,
};
pub use sessions_ports::{
    BackendError, BackendErrorKind, BackupError, Claim, Clock, Commit, Committed, Digest, Durability, Encodings,
    Entropy, EntropyError, Erased, Erasure, Expected, GateAnswer, Head, Heir, IdGenerator, KeyContext, KeyError,
    KeyHealth, KeyId, KeyProvider, KeyStore, KindFilter, Link, ModelAnswer, ModelError, ModelEvent, ModelEvents,
    ModelProvider, ModelRequest, ModelStop, Order, Page, Passphrase, ProviderKind, ReadRange, Record, RefusalReason,
    Removal, Removed, Row, RowChange, RowPage, SecretKey, SessionLog, Slot, SlotChange, Stop, StoreError, StoreId,
    StoredClaim, StoredRing, Summarizer, Summary, SummaryFailure, SummaryWish, Tab, TokenCounter, Tool, ToolConduct,
    ToolFailure, ToolGate, ToolRun, ToolSpec, UnknownEncoding, Wrapped,
};
pub use url::{InvalidStoreUrl, StoreUrl};
#[cfg(feature = "config")]
pub use wiring::Unwired;
