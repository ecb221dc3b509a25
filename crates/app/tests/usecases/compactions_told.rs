//! What whoever compacts is told of it: its target.
//!
//! Must not know: what a good summary says.

use std::sync::Arc;

use sessions_app::{CompactionReport, CompactionWish};
use sessions_domain::{Message, compaction::CompactionPolicy, context::Budget, form::Form, profile::ModelProfile};
use sessions_infra::MemoryStore;

use crate::{
    compaction::{long, whole},
    ground::manager,
};

fn down_to(tokens: u64) -> CompactionWish {
    CompactionWish::default().down_to(Budget::tokens(tokens))
}

#[tokio::test]
async fn a_compaction_tells_its_target_and_whether_it_was_missed() {
    let chat = long(&manager(MemoryStore::new())).await;
    let plan = async |wish: CompactionWish| chat.plan_compaction(wish).await.unwrap();
    let half = plan(CompactionWish::default()).await;
    assert_eq!(half.target, whole(&chat).await.tokens / 2);
    let model = Arc::new(ModelProfile::of("m", "p", Form::Neutral, 2_000));
    let policy = CompactionPolicy::default();
    let of_model = plan(CompactionWish::default().for_profile(Arc::clone(&model))).await;
    assert_eq!(of_model.target, policy.target(model.usable()));
    assert_eq!(plan(down_to(700).for_profile(model)).await.target, 700);

    let done = chat.once("a").compact(CompactionWish::default()).await.unwrap();
    assert_eq!((done.before, done.target, done.is_missed()), (half.before, half.target, false));
    assert_eq!(chat.once("a").compact(CompactionWish::default()).await.unwrap().target, done.target);
    let again = chat.once("b").compact(down_to(400)).await.unwrap();
    assert_eq!((again.target, again.is_missed()), (400, false));
    assert_eq!(chat.once("b").compact(down_to(400)).await.unwrap(), again, "asked for again, it tells the same");
}

#[tokio::test]
async fn what_always_stays_may_be_more_than_the_target() {
    let chat = long(&manager(MemoryStore::new())).await;
    let stays = chat.append(Message::user("stay ".repeat(400))).await.unwrap();
    chat.append(Message::assistant("Noted.")).await.unwrap();
    chat.pin(stays.message, true).await.unwrap();
    let report: CompactionReport = chat.compact(down_to(300)).await.unwrap();
    assert!(report.is_missed() && report.after > 300 && report.target == 300, "{report:?}");
}
