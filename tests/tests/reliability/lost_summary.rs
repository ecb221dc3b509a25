//! The record of a summary is damaged while all that it stands for is whole: a model is shown what was said, and the context says why.
//!
//! Must not know: how a context is made.

use std::{fs, path::Path, sync::Arc};

use sessions_app::{CompactionWish, ContextWish, NewSession, Session};
use sessions_domain::{
    Message,
    context::{Budget, Context},
    form::Form,
    pairing::Repair,
};
use sessions_infra::sled::repair;
use sessions_ports::{Durability, SessionLog as _};

use crate::{
    folder::{frames, segments},
    ground::{Host, folder, open, run},
};

async fn whole(chat: &Session) -> Context {
    chat.context(Budget::tokens(u64::MAX)).await.unwrap()
}

/// The context as providers are sent it.
async fn sent(chat: &Session) -> Vec<String> {
    let mut sent = Vec::new();
    for form in [Form::OpenAi, Form::Anthropic] {
        let context = chat.context(ContextWish::from(Budget::tokens(u64::MAX)).in_form(form)).await.unwrap();
        sent.push(serde_json::to_string(&context.body().unwrap()).unwrap());
    }
    sent
}

/// Flips a bit in the middle of a record.
fn spoil(store: &Path, seq: u64) {
    let path = segments(store).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let frame = frames(&bytes).into_iter().find(|frame| frame.seq == seq).unwrap();
    bytes[frame.bytes.start + 80 + 40] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn where_the_record_of_a_summary_is_damaged_what_was_said_is_shown_and_that_is_told() {
    run(2, async {
        let folder = folder();
        let path = folder.path().join("store");
        let host = Host::seeded(7);
        let store = open(&path).await;
        let chat =
            host.manager(Arc::new(store.clone()), Durability::Process).create(NewSession::default()).await.unwrap();
        for turn in 0..20 {
            chat.append(Message::user(format!("question {turn}: why is the build of part {turn} red?"))).await.unwrap();
            chat.append(Message::assistant(format!("answer {turn}: an import is missing, I added it."))).await.unwrap();
        }
        let (said, before) = (whole(&chat).await.messages, sent(&chat).await);
        let report = chat.compact(CompactionWish::default().down_to(Budget::tokens(400))).await.unwrap();
        let compaction = report.compaction.unwrap();
        assert!(report.covers > 10);
        chat.append(Message::user("and now?")).await.unwrap();
        let now = chat.last(1).await.unwrap().remove(0);

        spoil(&path, compaction);
        // One who has seen the compaction, and one who reads the log or what stands for it.
        let later = host.manager(Arc::new(store.clone()), Durability::Process);
        for (who, chat) in [("who compacted", chat.clone()), ("who comes later", later.load(chat.id()).await.unwrap())]
        {
            let context = whole(&chat).await;
            assert_eq!((context.summary, context.is_cut), (None, false), "{who}");
            assert_eq!(context.messages[..said.len()], said[..], "{who}: nothing is left out");
            assert_eq!(context.messages.last().unwrap().message.as_ref(), &now.message, "{who}");
            let lost = Repair::SummaryLost { seq: compaction };
            let knows = chat.fresh_view().await.unwrap().compacted_now().summary.is_some();
            assert!(knows || who != "who compacted");
            assert_eq!(context.repairs, if knows { vec![lost] } else { vec![] }, "{who}");
        }
        // What was kept of it is told the same.
        assert_eq!(whole(&chat).await.repairs.len(), 1);
        store.close().await.unwrap();

        repair(&path, false).unwrap();
        let store = open(&path).await;
        let chat = host.manager(Arc::new(store.clone()), Durability::Process).load(chat.id()).await.unwrap();
        chat.undo(1).await.unwrap();
        assert_eq!(sent(&chat).await, before, "byte for byte");
        store.close().await.unwrap();
    });
}
