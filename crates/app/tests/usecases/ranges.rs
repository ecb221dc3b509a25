//! A part of a conversation, from either end and page by page, is what the whole says.

use sessions_app::{At, MessageRange, NewSession, Session};
use sessions_domain::Message;
use sessions_infra::MemoryStore;

use crate::ground;

/// A conversation on several stretches, with words between its messages.
async fn conversation() -> Session {
    let sessions = ground::manager(MemoryStore::new());
    let session = sessions.create(NewSession::default()).await.unwrap();
    for number in 0..200 {
        session.append(Message::user(format!("{number} {}", "x".repeat(number % 17)))).await.unwrap();
        if number % 20 == 19 {
            session.undo(5).await.unwrap();
            session.rename(number.to_string()).await.unwrap();
        }
    }
    session.fork(At::Now).await.unwrap()
}

async fn paged(session: &Session, range: MessageRange) -> Vec<u64> {
    let (mut seqs, mut next) = (Vec::new(), range);
    loop {
        let page = session.read(next).await.unwrap();
        let (sizes, same) = session.sizes(next).await.unwrap();
        assert!(sizes.iter().map(|size| size.seq).eq(page.messages.iter().map(|message| message.seq)));
        assert_eq!(same, page.next);
        assert!(!page.messages.is_empty(), "a page of nothing");
        seqs.extend(page.messages.iter().map(|message| message.seq));
        match page.next {
            Some(seq) => next = range.behind(seq),
            None => return seqs,
        }
    }
}

#[tokio::test]
async fn pages_of_any_bound_hold_every_message_once_in_order() {
    let session = conversation().await;
    let all: Vec<u64> = session.last(1_000).await.unwrap().iter().map(|message| message.seq).collect();
    let back: Vec<u64> = all.iter().rev().copied().collect();
    for bound in [1, 2, 7, 63, 64, 65, 1_000] {
        for (range, wanted) in [(MessageRange::oldest_first(), &all), (MessageRange::newest_first(), &back)] {
            assert_eq!(&paged(&session, range.messages(bound)).await, wanted, "{bound} messages");
            assert_eq!(&paged(&session, range.bytes(bound as u64 * 20)).await, wanted, "{bound} × 20 bytes");
            assert_eq!(&paged(&session, range.tokens(bound as u64 * 5)).await, wanted, "{bound} × 5 tokens");
        }
    }
}

#[tokio::test]
async fn a_page_is_within_its_bounds_or_one_message() {
    let session = conversation().await;
    let (sizes, next) = session.sizes(MessageRange::newest_first().bytes(500)).await.unwrap();
    let bytes: u64 = sizes.iter().map(|size| size.bytes).sum();
    assert!(sizes.len() > 1 && bytes <= 500 && next.is_some(), "{bytes} bytes");
    let (sizes, _) = session.sizes(MessageRange::newest_first().tokens(30)).await.unwrap();
    assert!(sizes.len() > 1 && sizes.iter().map(|size| size.tokens).sum::<u64>() <= 30);
    for range in [MessageRange::oldest_first().bytes(0), MessageRange::oldest_first().messages(0)] {
        assert_eq!(session.read(range).await.unwrap().messages.len(), 1);
    }
    let past = MessageRange::oldest_first().at(At::Version(4));
    assert_eq!(session.read(past).await.unwrap().messages.len(), 3);
    for behind in [0, u64::MAX] {
        let some = session.read(MessageRange::newest_first().behind(behind).messages(1)).await.unwrap();
        assert_eq!(some.messages.len(), usize::from(behind > 0));
    }
}
