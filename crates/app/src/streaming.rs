//! Writing an answer while it arrives: begin, deltas, and the end.
//!
//! Deltas are gathered until there are 1 KiB of them or 250 ms have passed, and then written as one record. Nothing is written twice; a crash
//! keeps what was written, and the message reads as partial until the next writer ends it.
//!
//! Must not know: where deltas come from.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use sessions_domain::{
    Message, MessageId, MessageMetadata, MessagePart, OpenStream, RuleViolation, StreamEnd, View, decide, stream,
};
use sessions_ports::{Durability, ModelEvent};
use tokio::sync::Mutex;

use crate::{
    append::{AppendOutcome, Receipt},
    error::SessionError,
    lane::Arriving,
    manager::SessionManager,
    session::Session,
    tasks::Stopping,
    transact::{MAX_BODY_BYTES, Plan},
};

/// Deltas are written when there are so many bytes of them,
const CHUNK_BYTES: usize = 1024;

/// or when the first of them is so old.
const CHUNK_AGE: Duration = Duration::from_millis(250);

/// A message that is being written while it arrives.
///
/// Dropping it writes what was gathered and ends the message as interrupted. End it with [`Self::finish`], [`Self::cancel`] or
/// [`Self::fail`] to know when that is durable.
pub struct MessageStream {
    writer: Option<Arc<Writer>>,
    message: MessageId,
    seq: u64,
}

struct Writer {
    session: Session,
    seq: u64,
    /// At which chunks are written.
    durability: Durability,
    /// The message may have so many bytes.
    most_bytes: u64,
    gathered: Mutex<Gathered>,
    /// As long as it lives, the message is not abandoned.
    _live: Arc<()>,
}

#[derive(Default)]
struct Gathered {
    /// All that was written.
    written: Vec<MessagePart>,
    /// What is to be written.
    parts: Vec<MessagePart>,
    /// The first of these is a part of its own.
    apart: bool,
    bytes: usize,
    total: u64,
    /// A task is about to write.
    is_due: bool,
    /// Chunks that were written.
    chunks: u64,
    /// What became of it, when it failed.
    failed: Option<SessionError>,
}

impl Session {
    /// Begins a message that arrives bit by bit. Until it ends no other message is taken.
    ///
    /// `begun` has the role, and what is known already; it may have no parts. Chunks are written at [`Durability::Process`], so that they
    /// survive the process without a sync each; the end is written at the manager's level, and all of the message with it.
    ///
    /// ```
    /// # async fn shown(session: sessions_app::Session) -> Result<(), sessions_app::SessionError> {
    /// # use sessions_domain::{Message, MessageRole, MessageMetadata};
    /// let answer = Message { role: MessageRole::Assistant, parts: vec![], metadata: MessageMetadata::default() };
    /// let mut answer = session.begin(answer).await?;
    /// for delta in ["Because ", "the value ", "is borrowed twice."] {
    ///     answer.push_text(delta).await?;
    /// }
    /// let receipt = answer.finish(None).await?;
    /// assert_eq!(session.last(1).await?[0].id, receipt.message);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RuleViolation::TurnOpen`] while another arrives, and as [`Self::append`]. Under an idempotency key that was used before:
    /// [`RuleViolation::TurnEnded`], since the message is there and cannot be begun twice.
    pub async fn begin(&self, begun: Message) -> Result<MessageStream, SessionError> {
        let wish = self.wish("begin", &begun).await?;
        if self.claimed(wish, Durability::Volatile).await?.is_some() {
            return Err(RuleViolation::TurnEnded.into());
        }
        self.still_view().await?;
        self.know_open_calls().await?;
        let ports = self.manager().ports();
        let live = Arc::new(());
        let durability = self.manager().durability().min(Durability::Process);
        let (mut message, mut most) = (None, None);
        let done = self
            .manager()
            .transact(self.lane(), durability, |view| {
                let id = ports.ids.message(ports.clock.now());
                let event = decide::begin(view, id, begun.clone())?;
                let limits = self.manager().limits_of(view);
                limits.check_message(&begun, view.depth())?;
                most = limits.message_bytes;
                // Known as live before anybody can see it.
                self.lane().hold_stream(view.version() + 1, Arc::downgrade(&live));
                message = Some(id);
                Ok(Some(Plan { events: vec![event], claim: wish }))
            })
            .await?;
        let (Some(done), Some(message)) = (done, message) else { return Err(RuleViolation::TurnEnded.into()) };
        let seq = done.first;
        let gathered = Mutex::new(Gathered { written: begun.parts, ..Gathered::default() });
        let session = self.keyed(None);
        let most_bytes = most.map_or(MAX_BODY_BYTES, |most| most.min(MAX_BODY_BYTES));
        let writer = Writer { session, seq, durability, most_bytes, gathered, _live: live };
        Ok(MessageStream { writer: Some(Arc::new(writer)), message, seq })
    }

    /// Ends a message that nobody writes any more, as the next writer does, or waits until whoever ends it is through. `true`: there was one.
    pub(crate) async fn seal_abandoned(&self) -> Result<bool, SessionError> {
        // Its beginning may be on its way.
        let view = self.quiet_view().await?;
        let Some(message) = view.stream().map(|open| open.message) else { return Ok(false) };
        match self.lane().arriving(message) {
            Arriving::Live => return Ok(false),
            Arriving::Ending(mut ending) => {
                // Nothing is ever sent: this ends with the ending. If that failed, the next look finds the message abandoned.
                let _ = ending.changed().await;
                return Ok(true);
            }
            Arriving::Abandoned => {}
        }
        let durability = self.manager().durability();
        let sealed = |view: &View| {
            let is_open = view.stream().is_some_and(|open| open.message == message);
            let seal = || decide::seal(view, message, StreamEnd::Interrupted, None, None, None);
            Ok(is_open.then(seal).transpose()?.map(Plan::of))
        };
        self.manager().transact(self.lane(), durability, sealed).await?;
        Ok(true)
    }
}

impl Session {
    /// After [`RuleViolation::TurnOpen`]: whether the conversation goes on by now.
    pub(crate) async fn is_open_again(&self) -> Result<bool, SessionError> {
        Ok(self.seal_abandoned().await? || self.fresh_view().await?.stream().is_none())
    }
}

impl MessageStream {
    /// The message.
    pub fn message(&self) -> MessageId {
        self.message
    }

    /// The number of the record that began it, which is the message's.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// More of the text.
    ///
    /// # Errors
    /// [`RuleViolation::TurnEnded`] when another writer ended the message, [`SessionError::LimitReached`], and the store's; also those of
    /// deltas before that were written meanwhile.
    pub async fn push_text(&mut self, delta: &str) -> Result<(), SessionError> {
        self.push(MessagePart::text(delta), true).await
    }

    /// More of the reasoning.
    ///
    /// # Errors
    /// As [`Self::push_text`].
    pub async fn push_reasoning(&mut self, delta: &str) -> Result<(), SessionError> {
        self.push(MessagePart::Reasoning { text: delta.to_owned(), signature: None }, true).await
    }

    /// A whole part: a tool call, a file, a signature for the reasoning before it.
    ///
    /// # Errors
    /// As [`Self::push_text`], and the rule that the part breaks.
    pub async fn push_part(&mut self, part: MessagePart) -> Result<(), SessionError> {
        self.push(part, false).await
    }

    /// What came of a model's answer ([`ModelEvent::push_to`] says how the pieces make parts).
    ///
    /// # Errors
    /// As [`Self::push_part`].
    pub async fn push_event(&mut self, event: ModelEvent) -> Result<(), SessionError> {
        match event {
            ModelEvent::Text(text) => self.push(MessagePart::Text(text), true).await,
            ModelEvent::Reasoning { text, signature } => {
                self.push(MessagePart::Reasoning { text, signature }, true).await
            }
            ModelEvent::Part(part) => self.push(part, false).await,
            // It is known in the end.
            ModelEvent::Usage(_) => Ok(()),
        }
    }

    async fn push(&mut self, part: MessagePart, joins: bool) -> Result<(), SessionError> {
        let Some(writer) = &self.writer else { return Err(RuleViolation::TurnEnded.into()) };
        let mut gathered = writer.gathered.lock().await;
        gathered.take(part, joins, writer.most_bytes)?;
        let is_full = gathered.bytes >= CHUNK_BYTES;
        if !is_full && !gathered.is_due {
            gathered.is_due = true;
            let manager = writer.session.manager();
            manager.spawn(write_when_due(Arc::downgrade(writer), manager.stopping()));
        }
        drop(gathered);
        if is_full { self.flush().await } else { Ok(()) }
    }

    /// All that was taken of it so far.
    pub(crate) async fn so_far(&self) -> Vec<MessagePart> {
        let Some(writer) = &self.writer else { return Vec::new() };
        let gathered = writer.gathered.lock().await;
        let mut parts = gathered.written.clone();
        sessions_domain::Chunk { parts: gathered.parts.clone(), apart: gathered.apart }.append_to(&mut parts);
        parts
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// As [`Self::push_text`].
    pub async fn flush(&mut self) -> Result<(), SessionError> {
        let Some(writer) = self.writer.clone() else { return Ok(()) };
        let manager = writer.session.manager().clone();
        to_its_end(&manager, async move { writer.write(&mut *writer.gathered.lock().await).await }).await
    }

    /// Ends the message: it is whole. `metadata` stands for what was known when it began.
    ///
    /// # Errors
    /// As [`Self::push_text`].
    pub async fn finish(self, metadata: Option<MessageMetadata>) -> Result<Receipt, SessionError> {
        self.end(StreamEnd::Complete, None, metadata).await
    }

    /// Ends the message: somebody stopped it. What came of it stays.
    ///
    /// # Errors
    /// As [`Self::push_text`].
    pub async fn cancel(self, reason: Option<String>) -> Result<Receipt, SessionError> {
        self.end(StreamEnd::Cancelled, reason, None).await
    }

    /// Ends the message: it failed. What came of it stays.
    ///
    /// # Errors
    /// As [`Self::push_text`].
    pub async fn fail(self, reason: impl Into<String> + Send) -> Result<Receipt, SessionError> {
        self.end(StreamEnd::Failed, Some(reason.into()), None).await
    }

    /// Lets go of the message without ending it, as if the process had ended here: it reads as partial until the next writer ends it. What
    /// was gathered and not written is lost.
    pub fn abandon(mut self) {
        self.writer = None;
    }

    pub(crate) async fn end(
        mut self,
        end: StreamEnd,
        reason: Option<String>,
        metadata: Option<MessageMetadata>,
    ) -> Result<Receipt, SessionError> {
        let Some(writer) = self.writer.take() else { return Err(RuleViolation::TurnEnded.into()) };
        let manager = writer.session.manager().clone();
        to_its_end(&manager, writer.ending(self.message, end, reason, metadata)).await
    }
}

/// Runs it as a task of its own: whoever waits may go away, and nothing is written in half or twice.
async fn to_its_end<T: Send + 'static>(
    manager: &SessionManager,
    work: impl Future<Output = Result<T, SessionError>> + Send + 'static,
) -> Result<T, SessionError> {
    // A task that was broken off went with its runtime, and the message is as the log has it.
    manager.spawn(work).await.unwrap_or_else(|_| Err(RuleViolation::TurnEnded.into()))
}

impl Drop for MessageStream {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        // Without a runtime the next writer ends the message; what was gathered and not written is then all that is lost.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let manager = writer.session.manager().clone();
            let ending = writer.ending(self.message, StreamEnd::Interrupted, None, None);
            runtime.spawn(manager.tasks().counted(ending));
        }
    }
}

impl Gathered {
    fn take(&mut self, part: MessagePart, joins: bool, most: u64) -> Result<(), SessionError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let bytes = serde_json::to_vec(&part).map_or(0, |json| json.len());
        let actual = self.total + bytes as u64;
        if actual > most {
            return Err(SessionError::LimitReached { limit: "bytes of a message", max: most, actual });
        }
        if self.parts.is_empty() {
            self.apart = !joins;
        }
        stream::push_part(&mut self.parts, part, joins);
        self.bytes += bytes;
        self.total += bytes as u64;
        Ok(())
    }
}

impl Writer {
    /// Writes what was gathered as one chunk.
    async fn write(&self, gathered: &mut Gathered) -> Result<(), SessionError> {
        if let Some(failed) = gathered.failed.take() {
            return Err(failed);
        }
        if gathered.parts.is_empty() {
            return Ok(());
        }
        let (parts, apart, chunks) = (gathered.parts.clone(), gathered.apart, gathered.chunks);
        let decided = |view: &View| {
            // Nobody else writes chunks of this message: one more than is known here is this one, whose answer was lost.
            let is_written = |open: &OpenStream| open.message == self.seq && open.chunks > chunks;
            if view.stream().is_some_and(is_written) {
                return Ok(None);
            }
            Ok(Some(Plan::of(decide::chunk(view, self.seq, parts.clone(), apart)?)))
        };
        self.session.manager().transact(self.session.lane(), self.durability, decided).await?;
        let parts = std::mem::take(&mut gathered.parts);
        sessions_domain::Chunk { parts, apart }.append_to(&mut gathered.written);
        gathered.bytes = 0;
        gathered.chunks += 1;
        Ok(())
    }

    /// Ends the message, which is known to be ending from now on.
    fn ending(
        self: Arc<Self>,
        message: MessageId,
        end: StreamEnd,
        reason: Option<String>,
        metadata: Option<MessageMetadata>,
    ) -> impl Future<Output = Result<Receipt, SessionError>> + Send {
        let over = self.session.lane().end_stream(self.seq);
        async move {
            let ended = self.end(message, end, reason, metadata).await;
            drop(over);
            ended
        }
    }

    async fn end(
        &self,
        message: MessageId,
        end: StreamEnd,
        reason: Option<String>,
        metadata: Option<MessageMetadata>,
    ) -> Result<Receipt, SessionError> {
        let mut gathered = self.gathered.lock().await;
        self.write(&mut gathered).await?;
        let digest = stream::parts_digest(&gathered.written);
        let (manager, lane) = (self.session.manager(), self.session.lane());
        let decided = |view: &View| {
            let sealed = decide::seal(view, self.seq, end, reason.clone(), Some(digest.clone()), metadata.clone())?;
            Ok(Some(Plan::of(sealed)))
        };
        let done = manager.transact(lane, manager.durability(), decided).await?;
        let done = done.ok_or(RuleViolation::TurnEnded)?;
        let (version, head, durability) = (done.version, done.head, done.durability);
        Ok(Receipt { message, seq: self.seq, version, head, durability, outcome: AppendOutcome::Inserted })
    }
}

/// Writes what was gathered when its time has come or all is to end, unless the message has ended.
async fn write_when_due(writer: Weak<Writer>, stopping: Stopping) {
    let _ = tokio::time::timeout(CHUNK_AGE, stopping.asked()).await;
    let Some(writer) = writer.upgrade() else { return };
    let mut gathered = writer.gathered.lock().await;
    gathered.is_due = false;
    if let Err(error) = writer.write(&mut gathered).await {
        gathered.failed = Some(error);
    }
}
