//! Reading a part of a conversation: from either end, from where a page before ended, bounded by count, bytes or tokens.
//!
//! Must not know: how messages are shown.

use serde::Serialize;
use sessions_domain::{MessageId, MessageRole, StoredMessage, branches::Stretch};
use sessions_ports::{KindFilter, Order};

use crate::{
    error::SessionError,
    history::Covered,
    reading::Bounds,
    session::{At, Session},
};

/// Records that are read at a time.
const STEP: usize = 64;

/// Which messages to read, and how many at most. Whatever the bounds, at least one is given where there is one.
///
/// ```
/// # use sessions_app::MessageRange;
/// let newest = MessageRange::newest_first().messages(50).bytes(64 * 1024);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MessageRange {
    at: At,
    order: Order,
    behind: Option<u64>,
    max_messages: usize,
    max_bytes: u64,
    max_tokens: u64,
}

impl MessageRange {
    fn of(order: Order) -> Self {
        let (max_messages, max_bytes, max_tokens) = (usize::MAX, u64::MAX, u64::MAX);
        Self { at: At::Now, order, behind: None, max_messages, max_bytes, max_tokens }
    }

    /// From the newest visible message back.
    pub fn newest_first() -> Self {
        Self::of(Order::NewestFirst)
    }

    /// From the first visible message on.
    pub fn oldest_first() -> Self {
        Self::of(Order::OldestFirst)
    }

    /// As the conversation was at a place in history.
    #[must_use]
    pub fn at(mut self, at: At) -> Self {
        self.at = at;
        self
    }

    /// Beginning behind this message, in the order of the range: [`MessagePage::next`] of the page before.
    #[must_use]
    pub fn behind(mut self, seq: u64) -> Self {
        self.behind = Some(seq);
        self
    }

    /// At most so many messages.
    #[must_use]
    pub fn messages(mut self, messages: usize) -> Self {
        self.max_messages = messages;
        self
    }

    /// At most so many bytes, as the JSON of the messages has them.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// At most so many tokens, as the manager's counter counts them.
    #[must_use]
    pub fn tokens(mut self, tokens: u64) -> Self {
        self.max_tokens = tokens;
        self
    }

    /// What of a stretch the range has.
    fn clip(&self, stretch: Stretch) -> Option<Stretch> {
        let clipped = match (self.behind, self.order) {
            (None, _) => stretch,
            (Some(behind), Order::NewestFirst) => Stretch { last: stretch.last.min(behind.checked_sub(1)?), ..stretch },
            (Some(behind), Order::OldestFirst) => {
                Stretch { first: stretch.first.max(behind.checked_add(1)?), ..stretch }
            }
        };
        Some(clipped).filter(|clipped| clipped.first <= clipped.last && clipped.last > 0)
    }
}

/// Messages of a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessagePage {
    /// The messages, in the order of the range.
    pub messages: Vec<StoredMessage>,
    /// Where to go on, when a bound ended the page: give it to [`MessageRange::behind`].
    pub next: Option<u64>,
}

/// How large a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MessageSize {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: MessageId,
    /// Who speaks.
    pub role: MessageRole,
    /// Its bytes as JSON.
    pub bytes: u64,
    /// Its tokens, as the manager's counter counts them.
    pub tokens: u64,
}

impl Session {
    /// The visible messages of a range, within its bounds.
    ///
    /// # Errors
    /// As [`Session::fork`].
    pub async fn read(&self, range: MessageRange) -> Result<MessagePage, SessionError> {
        let mut page = MessagePage::default();
        page.next = self.walk(range, |message, _| page.messages.push(message)).await?;
        Ok(page)
    }

    /// The sizes of the messages of a range, without their content, and where to go on.
    ///
    /// # Errors
    /// As [`Session::fork`].
    pub async fn sizes(&self, range: MessageRange) -> Result<(Vec<MessageSize>, Option<u64>), SessionError> {
        let mut sizes = Vec::new();
        let next = self.walk(range, |_, size| sizes.push(size)).await?;
        Ok((sizes, next))
    }

    /// Gives the messages of a range one by one, and the last one when a bound ended it before the range did.
    async fn walk(
        &self,
        range: MessageRange,
        mut take: impl FnMut(StoredMessage, MessageSize) + Send,
    ) -> Result<Option<u64>, SessionError> {
        let view = self.fresh_view().await?;
        let place = self.place_at(&view, range.at).await?;
        let (head, covered) = (place.head, Covered::at(&view, &place));
        // So that the last of the list is the next.
        let mut stretches: Vec<Stretch> = view.tree().path(head).filter_map(|stretch| range.clip(stretch)).collect();
        if range.order == Order::NewestFirst {
            stretches.reverse();
        }
        let (mut given, mut bytes, mut tokens, mut last) = (0_usize, 0_u64, 0_u64, None);
        while let Some(stretch) = stretches.pop() {
            let bounds = Bounds::records(range.max_messages.saturating_sub(given).clamp(1, STEP));
            let (reads, rest) =
                self.manager().read_stretch(&view, stretch, range.order, KindFilter::Elements, bounds).await?;
            stretches.extend(rest);
            for message in reads.into_iter().filter_map(|read| read.message(true)) {
                let size = self.size_of(&message);
                (bytes, tokens) = (bytes.saturating_add(size.bytes), tokens.saturating_add(size.tokens));
                let is_full = given >= range.max_messages || bytes > range.max_bytes || tokens > range.max_tokens;
                if is_full && given > 0 {
                    return Ok(last);
                }
                last = Some(message.seq);
                given += 1;
                take(covered.mark(message), size);
            }
        }
        Ok(None)
    }

    fn size_of(&self, message: &StoredMessage) -> MessageSize {
        MessageSize {
            seq: message.seq,
            id: message.id,
            role: message.role,
            bytes: serde_json::to_vec(&message.message).map_or(0, |json| json.len() as u64),
            tokens: self.manager().ports().tokens_of(&message.message),
        }
    }
}
