//! Finding a session by what a person types, whatever became of it.
//!
//! Must not know: where people type.

use sessions_app::{Deletion, SessionError, SessionManager};
use sessions_infra::MemoryStore;

use crate::ground;

/// What a name leads to: a session, or the words of the error.
async fn found(sessions: &SessionManager, name: &str) -> Result<sessions_domain::SessionId, SessionError> {
    sessions.find(name).await.map(|session| session.id())
}

#[tokio::test]
async fn a_session_in_the_trash_answers_so_by_each_of_its_names() {
    let sessions = ground::manager(MemoryStore::new());
    let id = sessions.open_or_create("user-123").await.unwrap().id();
    let text = id.to_string();
    let names = [text.clone(), text[..12].to_owned(), format!("id:{text}"), "user-123".into(), "key:user-123".into()];
    sessions.trash(id).await.unwrap();
    for name in &names {
        let error = found(&sessions, name).await.unwrap_err();
        assert!(matches!(error, SessionError::InTrash { session } if session == id), "{name}: {error}");
        assert_eq!(sessions.find_any(name).await.unwrap().id(), id, "{name}");
    }
    sessions.restore_from_trash(id).await.unwrap();
    for name in &names {
        assert_eq!(found(&sessions, name).await.unwrap(), id, "{name}");
    }
}

#[tokio::test]
async fn a_session_that_is_gone_answers_so_by_its_id_unless_that_is_a_key() {
    let sessions = ground::manager(MemoryStore::new());
    let id = sessions.open_or_create("user-123").await.unwrap().id();
    sessions.delete(id, Deletion::default()).await.unwrap();
    let text = id.to_string();
    for name in [text.clone(), format!("id:{text}")] {
        let error = sessions.find_any(&name).await.err().unwrap();
        assert!(matches!(error, SessionError::Gone { session } if session == id), "{name}: {error}");
    }
    for name in [&text[..12], "user-123", "key:user-123"] {
        assert!(matches!(found(&sessions, name).await, Err(SessionError::NoSuchName)), "{name}");
    }
    let other = sessions.open_or_create(&text).await.unwrap();
    assert_eq!(found(&sessions, &text).await.unwrap(), other.id());
}
