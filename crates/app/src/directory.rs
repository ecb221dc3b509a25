//! The list of sessions: summaries in memory, kept up to date from the store's changes, filtered and sorted here for every store alike.
//!
//! Must not know: how a store keeps rows.

use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sessions_domain::{
    Moment, SessionId, SessionKey, SessionStatus, SessionSummary, SummaryWords,
    chain::{from_hex, to_hex},
    upkeep::{self, Age, AgePolicy, Step},
};
use sessions_ports::Row;

use crate::{error::SessionError, manager::SessionManager, room::Rooms, transact::words_of};

/// What a list is sorted by. Times and counts go down, titles go up; equal ones go by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortBy {
    /// The newest change first.
    #[default]
    Updated,
    /// The newest session first.
    Created,
    /// By title, of which the first 100 characters count.
    Title,
    /// The longest first.
    Messages,
}

/// Which sessions to list. Everything that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// In this state.
    pub status: Option<SessionStatus>,
    /// With all these tags.
    pub tags: Vec<String>,
    /// Made by.
    pub creator: Option<String>,
    /// Come from this one: forked, or the work of its sub-agents.
    pub parent: Option<SessionId>,
    /// Changed at or after.
    pub since: Option<Moment>,
    /// Changed before.
    pub until: Option<Moment>,
    /// Made at or after.
    pub created_since: Option<Moment>,
    /// Made before.
    pub created_until: Option<Moment>,
    /// With this title.
    pub title: Option<String>,
    /// With a title that begins so.
    pub title_prefix: Option<String>,
    /// With a host's key that begins so.
    pub key_prefix: Option<String>,
    /// Those in the trash, or those that are not.
    pub trash: bool,
    /// With this text in title or description, whatever the case.
    pub text: Option<String>,
    /// The order.
    pub sort: SortBy,
    /// At most so many (0: 50).
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    /// The rows.
    pub sessions: Vec<SessionSummary>,
    /// Give it to have the next page; `None` behind the last.
    pub cursor: Option<String>,
}

/// The place of a row in an order: what it is sorted by, so that ascending order is the list's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(i64, String, SessionId);

/// So many sessions of a page whose rows lost their words are read instead: with all keys of a store lost, none of very many can be.
const MOST_UNREAD: usize = 1024;
/// Characters of a title that count in an order, so that a cursor stays short.
const SORTED_CHARACTERS: usize = 100;

/// Of times and counts the largest comes first.
fn descending(value: i64) -> i64 {
    value.saturating_neg()
}

impl Rank {
    fn of(known: &Known, sort: SortBy) -> Self {
        let (number, text) = match sort {
            SortBy::Updated => (descending(known.row.updated.as_millis()), String::new()),
            SortBy::Created => (descending(known.created().as_millis()), String::new()),
            SortBy::Title => {
                (0, known.words().title.iter().flat_map(|title| title.chars()).take(SORTED_CHARACTERS).collect())
            }
            SortBy::Messages => (descending(i64::try_from(known.row.messages).unwrap_or(i64::MAX)), String::new()),
        };
        Self(number, text, known.row.session)
    }

    /// As a cursor, which people copy into a shell: letters, digits, `.` and `-` and no word of a person's, whatever the title.
    fn cursor(&self) -> String {
        let Self(number, text, session) = self;
        format!("{session}.{number}.{}", to_hex(text.as_bytes()))
    }

    fn from_cursor(cursor: &str) -> Option<Self> {
        let mut fields = cursor.splitn(3, '.');
        let (session, number) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let text = String::from_utf8(from_hex(fields.next()?)?).ok()?;
        Some(Self(number, text, session))
    }
}

/// A row, whose words are read when somebody looks at them: of many sessions few are ever shown.
struct Known {
    row: Row,
    words: OnceCell<Box<SummaryWords>>,
}

impl Known {
    fn words(&self) -> &SummaryWords {
        // Words of a later version may hold more; what cannot be read at all is shown by id alone.
        self.words.get_or_init(|| serde_json::from_slice(&self.row.words).unwrap_or_default())
    }

    fn created(&self) -> Moment {
        self.words().created.unwrap_or(self.row.created)
    }

    /// Whether the words have a field. A quote within a text is escaped, so this is only ever the field.
    fn names(&self, field: &[u8]) -> bool {
        self.row.words.windows(field.len()).any(|window| window == field)
    }

    fn belongs_to(&self, tenant: &str) -> bool {
        if self.names(b"\"tenant\":") { self.words().tenant == tenant } else { tenant.is_empty() }
    }

    fn is_trashed(&self) -> bool {
        self.names(b"\"trashed\":") && self.words().trashed.is_some()
    }

    fn age(&self) -> Age {
        let Self { row, .. } = self;
        let (words, updated) = (self.words(), row.updated);
        let used = words.touched.map_or(updated, |touched| touched.max(updated));
        Age { status: words.status, created: self.created(), used, trashed: words.trashed }
    }

    fn summary(&self) -> SessionSummary {
        summary_of(&self.row, self.words().clone())
    }
}

/// The summary of a row with these words, which stand for those of the row.
pub(crate) fn summary_of(row: &Row, words: SummaryWords) -> SessionSummary {
    SessionSummary {
        id: row.session,
        key: words.key,
        title: words.title,
        status: words.status,
        created: words.created.unwrap_or(row.created),
        updated: row.updated,
        last_accessed: words.touched.map_or(row.updated, |touched| touched.max(row.updated)),
        messages: row.messages,
        tokens: None,
        cwd: words.cwd,
        parent: words.parent,
        tags: words.tags,
        version: row.version,
        description: words.description,
        creator: words.creator,
        kinship: words.kinship,
        trashed: words.trashed,
    }
}

/// Summaries of all sessions.
#[derive(Default)]
pub(crate) struct Directory {
    seen: u64,
    sessions: HashMap<SessionId, Known>,
    /// The sessions in the order of [`SortBy::Updated`].
    by_update: BTreeSet<(i64, SessionId)>,
    /// Those in the trash.
    trashed: HashSet<SessionId>,
    rooms: Arc<Rooms>,
}

impl Directory {
    fn take(&mut self, row: Row, tenant: &str) {
        let known = Known { row, words: OnceCell::new() };
        if !known.belongs_to(tenant) {
            return;
        }
        let (id, updated) = (known.row.session, known.row.updated);
        if known.is_trashed() {
            self.trashed.insert(id)
        } else {
            self.trashed.remove(&id)
        };
        if let Some(before) = self.sessions.insert(id, known) {
            self.by_update.remove(&(descending(before.row.updated.as_millis()), id));
        }
        self.by_update.insert((descending(updated.as_millis()), id));
    }

    /// Forgets a session that is gone.
    fn drop_session(&mut self, id: SessionId) {
        if let Some(known) = self.sessions.remove(&id) {
            self.by_update.remove(&(descending(known.row.updated.as_millis()), id));
        }
        self.trashed.remove(&id);
    }

    /// What is due by age, the session that was not changed for longest first. Of those that were changed lately and are not in the trash
    /// the words are not read.
    fn aged(&self, now: Moment, ages: &AgePolicy) -> Vec<(SessionId, Step)> {
        let due = |known: &Known| Some((known.row.session, upkeep::due(&known.age(), now, ages)?));
        let mut found: Vec<_> = match ages.shortest().map(|shortest| upkeep::earlier(now, shortest)) {
            None => self.trashed.iter().filter_map(|id| self.sessions.get(id)).filter_map(due).collect(),
            Some(before) => {
                let is_old = |known: &&Known| known.row.updated <= before || self.trashed.contains(&known.row.session);
                self.sessions.values().filter(is_old).filter_map(due).collect()
            }
        };
        found.sort_unstable_by_key(|(id, _)| (self.sessions.get(id).map(|known| known.row.updated), *id));
        found
    }

    fn page(&self, query: &Query) -> Result<ListPage, SessionError> {
        let limit = if query.limit == 0 { 50 } else { query.limit };
        let after: Option<Rank> = match &query.cursor {
            Some(cursor) => Some(Rank::from_cursor(cursor).ok_or(SessionError::InvalidCursor)?),
            None => None,
        };
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        let fits = |known: &&Known| {
            self.trashed.contains(&known.row.session) == query.trash && query.holds(known, text.as_deref())
        };
        let mut found: Vec<&Known> = Vec::new();
        if query.sort == SortBy::Updated {
            let from = after.map_or(Bound::Unbounded, |Rank(updated, _, id)| Bound::Excluded((updated, id)));
            let rest = self.by_update.range((from, Bound::Unbounded));
            found.extend(rest.filter_map(|(_, id)| self.sessions.get(id)).filter(fits).take(limit.saturating_add(1)));
        } else {
            let mut ranked: Vec<(Rank, &Known)> =
                self.sessions.values().filter(fits).map(|known| (Rank::of(known, query.sort), known)).collect();
            ranked.retain(|(rank, _)| after.as_ref().is_none_or(|after| rank > after));
            // Of many sessions only a page is put in order.
            if limit < ranked.len() {
                ranked.select_nth_unstable_by(limit, |(a, _), (b, _)| a.cmp(b));
                ranked.truncate(limit.saturating_add(1));
            }
            ranked.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            found.extend(ranked.into_iter().take(limit.saturating_add(1)).map(|(_, known)| known));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let cursor = found.last().filter(|_| more).map(|known| Rank::of(known, query.sort).cursor());
        Ok(ListPage { sessions: found.into_iter().map(Known::summary).collect(), cursor })
    }
}

fn begins(prefix: &Option<String>, text: Option<&str>) -> bool {
    prefix.as_ref().is_none_or(|prefix| text.is_some_and(|text| text.starts_with(prefix.as_str())))
}

impl Query {
    fn holds(&self, known: &Known, text: Option<&str>) -> bool {
        let asks_words = self.status.is_some()
            || !self.tags.is_empty()
            || self.creator.is_some()
            || self.parent.is_some()
            || self.title.is_some()
            || self.title_prefix.is_some()
            || self.key_prefix.is_some()
            || text.is_some();
        self.since.is_none_or(|since| known.row.updated >= since)
            && self.until.is_none_or(|until| known.row.updated < until)
            && self.created_since.is_none_or(|since| known.created() >= since)
            && self.created_until.is_none_or(|until| known.created() < until)
            && (!asks_words || self.holds_words(known.words(), text))
    }

    fn holds_words(&self, words: &SummaryWords, text: Option<&str>) -> bool {
        let has = |words: &Option<String>, text: &str| words.as_ref().is_some_and(|w| w.to_lowercase().contains(text));
        self.status.is_none_or(|status| words.status == status)
            && self.tags.iter().all(|tag| words.tags.contains(tag))
            && self.creator.as_ref().is_none_or(|creator| words.creator.as_ref() == Some(creator))
            && self.parent.is_none_or(|parent| words.parent == Some(parent))
            && self.title.as_ref().is_none_or(|title| words.title.as_ref() == Some(title))
            && begins(&self.title_prefix, words.title.as_deref())
            && begins(&self.key_prefix, words.key.as_ref().map(SessionKey::as_str))
            && text.is_none_or(|text| has(&words.title, text) || has(&words.description, text))
    }
}

impl SessionManager {
    /// A page of the list of sessions. Conversations are not read.
    ///
    /// A session that does not change while pages are read appears exactly once.
    ///
    /// # Errors
    /// [`SessionError::InvalidCursor`], and the store's.
    pub async fn list(&self, query: &Query) -> Result<ListPage, SessionError> {
        self.look_up(|directory| directory.page(query)).await?
    }

    pub(crate) async fn ids_with_prefix(&self, prefix: &str) -> Result<Vec<SessionId>, SessionError> {
        self.look_up(|directory| {
            let ids = directory.sessions.keys().copied();
            ids.filter(|id| id.to_string().starts_with(prefix)).collect()
        })
        .await
    }

    /// Looks at how many sessions there are and whether one is among them, those in the trash not counted.
    pub(crate) async fn among_sessions<T>(
        &self,
        look: impl FnOnce(u64, &dyn Fn(SessionId) -> bool) -> T,
    ) -> Result<T, SessionError> {
        self.look_up(|directory| {
            let is_there = |id| directory.sessions.contains_key(&id) && !directory.trashed.contains(&id);
            look((directory.sessions.len() - directory.trashed.len()) as u64, &is_there)
        })
        .await
    }

    /// What is due by age, of all that a list can show.
    pub(crate) async fn aged(&self, now: Moment, ages: &AgePolicy) -> Result<Vec<(SessionId, Step)>, SessionError> {
        self.look_up(|directory| directory.aged(now, ages)).await
    }

    /// When any of them was changed last; `None`: there are none.
    pub(crate) async fn newest_change(&self) -> Result<Option<Moment>, SessionError> {
        let newest = |directory: &Directory| directory.by_update.first().map(|(_, id)| *id);
        self.look_up(|directory| {
            newest(directory).and_then(|id| directory.sessions.get(&id)).map(|known| known.row.updated)
        })
        .await
    }

    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        let directory = self.directory().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(&directory.rooms)
    }

    /// True when a list can show the session.
    pub(crate) async fn is_listed(&self, id: SessionId) -> Result<bool, SessionError> {
        self.look_up(|directory| directory.sessions.contains_key(&id)).await
    }

    /// Whether a session that nobody can read is of the actor's tenant, as its row says. Where nothing says whose it is, it is for who acts for no tenant.
    pub(crate) async fn is_ours_unread(&self, id: SessionId) -> Result<bool, SessionError> {
        // Of those that are listed the rows were read, once for all that is asked.
        if self.is_listed(id).await? {
            return Ok(true);
        }
        Ok(self.actor().tenant.is_empty() && !self.has_row(id).await?)
    }

    /// True when there is a row of the session, whoever it is of.
    pub(crate) async fn has_row(&self, id: SessionId) -> Result<bool, SessionError> {
        let mut since = 0;
        loop {
            let page = self.ports().store.rows(since, 8192).await?;
            if page.rows.iter().any(|row| row.session == id) {
                return Ok(true);
            }
            if !page.more {
                return Ok(false);
            }
            since = page.next;
        }
    }

    /// The words of a row that lost them: its session's records say the same. Where nobody can read these either, nobody knows whose it is, and it is
    /// shown to who acts for no tenant alone.
    async fn words_instead(&self, id: SessionId) -> Bytes {
        let view = self.fresh_view(&self.lane(id)).await;
        view.map(|view| words_of(&view)).unwrap_or_default()
    }

    /// Brings the directory up to date and looks into it.
    async fn look_up<T>(&self, look: impl FnOnce(&Directory) -> T) -> Result<T, SessionError> {
        let lock = || self.directory().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            let since = lock().seen;
            let mut page = self.ports().store.rows(since, 8192).await?;
            for row in page.rows.iter_mut().filter(|row| row.words.is_empty()).take(MOST_UNREAD) {
                row.words = self.words_instead(row.session).await;
            }
            let mut directory = lock();
            if directory.seen != since {
                // Somebody else took these rows in meanwhile; they may have seen newer ones.
                continue;
            }
            for row in page.rows {
                directory.take(row, &self.actor().tenant);
            }
            page.removed.into_iter().for_each(|id| directory.drop_session(id));
            directory.seen = page.next;
            if !page.more {
                return Ok(look(&directory));
            }
        }
    }
}
