//! Words that people and programs hand in: ids, keys, hashes, moments, URLs, JSON, names, cursors and queries.

use sessions_api::{PlaceToken, Query, SessionManager, SortBy, StoreUrl};
use sessions_domain::{CommitHash, Json, LineageId, MessageId, Moment, SessionId, SessionKey, json_depth};

use crate::import::block_on;

/// What is taken says itself again, and nothing is a danger.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    ids(text);
    if let Ok(key) = SessionKey::new(text) {
        assert_eq!(key.as_str(), text);
    }
    if let Some(at) = Moment::parse(text) {
        assert_eq!(Moment::parse(&at.to_string()), Some(at));
    }
    if let Ok(token) = text.parse::<PlaceToken>() {
        assert_eq!(token.to_string().parse::<PlaceToken>().ok(), Some(token));
    }
    if let Ok(hash) = text.parse::<CommitHash>() {
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }
    let _ = json_depth(text);
    if let Ok(json) = Json::parse(text) {
        assert_eq!(Json::parse(json.as_str()).as_ref().map(Json::as_str).ok(), Some(json.as_str()));
    }
    if let Ok(url) = text.parse::<StoreUrl>() {
        assert_eq!(url.to_string().parse::<StoreUrl>().as_ref(), Ok(&url));
    }
    block_on(asked(text));
}

fn ids(text: &str) {
    if let Ok(id) = text.parse::<SessionId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(SessionId::from_bytes(id.to_bytes()), id);
    }
    if let Ok(id) = text.parse::<MessageId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(id) = text.parse::<LineageId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

/// The words as the name of a session, and as each field of a query that is words.
async fn asked(text: &str) {
    let sessions = SessionManager::open("memory:").await.expect("a store in memory opens");
    let made = sessions.open_or_create(text).await.ok();
    if let Some(made) = &made {
        let found = sessions.find(&format!("key:{text}")).await.expect("a key finds what it was given to");
        assert_eq!(found.id(), made.id());
    }
    let _ = sessions.find(text).await;
    for sort in [SortBy::Updated, SortBy::Title] {
        let _ = sessions.list(&Query { cursor: Some(text.to_owned()), sort, ..Query::default() }).await;
    }
    let word = || Some(text.to_owned());
    let query = Query { text: word(), creator: word(), tags: vec![text.to_owned()], ..Query::default() };
    let _ = sessions.list(&query).await;
}
