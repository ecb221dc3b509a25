//! A context begins with all the system messages that the visible conversation begins with, wherever their records stand.
//!
//! Must not know: budgets.

use sessions_app::{At, NewSession, Session, SessionManager};
use sessions_domain::{Message, context::Budget};
use sessions_infra::MemoryStore;

use crate::ground::{manager, texts};

async fn told(sessions: &SessionManager, instructions: impl IntoIterator<Item = &str>) -> Session {
    let chat = sessions.create(NewSession::default()).await.unwrap();
    for text in instructions {
        chat.append(Message::system(text)).await.unwrap();
    }
    chat
}

/// The visible conversation has no system messages but leading ones, so the context is all of it.
async fn all_is_sent(chat: &Session, messages: usize) {
    chat.append(Message::user("hi")).await.unwrap();
    let context = chat.context(Budget::tokens(u64::MAX)).await.unwrap();
    let sent: Vec<String> = context.messages.iter().map(|message| message.text()).collect();
    assert_eq!(sent.len(), messages);
    assert!(sent == texts(chat).await, "the context is another conversation than the visible one");
}

#[tokio::test]
async fn one_that_replaces_an_undone_one_is_sent() {
    let chat = told(&manager(MemoryStore::new()), ["be brief", "speak French"]).await;
    chat.undo(1).await.unwrap();
    chat.append(Message::system("speak German")).await.unwrap();
    all_is_sent(&chat, 3).await;
}

#[tokio::test]
async fn one_that_a_fork_adds_to_what_it_inherits_is_sent() {
    let chat = told(&manager(MemoryStore::new()), ["be brief"]).await;
    let fork = chat.fork(At::Now).await.unwrap();
    fork.append(Message::system("speak German")).await.unwrap();
    all_is_sent(&fork, 3).await;
}

#[tokio::test]
async fn any_number_of_any_length_are_sent() {
    let sessions = manager(MemoryStore::new());
    all_is_sent(&told(&sessions, ["rule"; 20]).await, 21).await;
    // Two do not fit one page.
    let long = "x".repeat(3 << 20);
    all_is_sent(&told(&sessions, [long.as_str(); 2]).await, 3).await;
}
