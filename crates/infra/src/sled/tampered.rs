//! Whoever can write the store's files, makes every checksum anew and throws the index away, but lacks the key: what they change in a store of
//! 200 records is found when the store is opened with its witness, or by a check with the key. What only an anchor finds is said so.
//!
//! Must not know: how roots are made.

use std::{
    collections::BTreeSet,
    fs,
    ops::Range,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use sessions_domain::SessionId;
use sessions_ports::{Durability, Removal, SessionLog as _};
use sessions_testkit::Script;
use tempfile::TempDir;

use super::{
    Anchor, AnchorCheck, Doubt, VerifyReport, WitnessReport,
    folder::Folder,
    frame::{self, FIRST, Found, HEADER, LAST, MARK, REMOVED, Scan},
    inspection::{Keyed, inspect},
    roots::Root,
    segment::SEGMENT_HEADER,
    witnessing::tests::{at_disk, attested, keyed, of_log},
};

const START: usize = SEGMENT_HEADER as usize;

/// A store without its index, and its log in memory.
struct Scene {
    _ground: TempDir,
    path: PathBuf,
    folder: Option<Folder>,
    log: Vec<u8>,
    /// What a check says of it as it was written.
    honest: BTreeSet<String>,
    anchor: Anchor,
    removed: SessionId,
}

/// What a check says that concerns what is there; where it lies does not, nor that scripts write no JSON.
fn said(report: &VerifyReport) -> BTreeSet<String> {
    let told = report.findings.iter().filter(|found| !found.what.ends_with("does not parse"));
    told.map(|found| format!("{:?} {:?} {:?} {}", found.session, found.seq, found.last, found.what)).collect()
}

impl Scene {
    /// 200 records of six sessions, alone and in batches, one of them removed and one a close behind the others.
    async fn new() -> Self {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (store, found) = attested(&path).await;
        assert_eq!(found, WitnessReport::Empty);
        let mut scripts: Vec<Script> = (1..=6).map(Script::new).collect();
        let text = "as long as all others ".repeat(6);
        let mut records = 0;
        for round in 0_usize.. {
            if records >= 200 {
                break;
            }
            if round % 4 == 3 {
                let [one, other, third, busy, ..] = scripts.as_mut_slice() else { panic!() };
                let commits = [busy.say(&text), one.say(&text), other.say(&text), third.say_many(2)];
                // The writer waits with the first, so that the others are one batch.
                let (go_on, held) = std::sync::mpsc::channel::<()>();
                store.core().hook("writing", move |_| {
                    let _ = held.recv();
                });
                let commits = commits.map(|commit| Box::pin(store.commit(at_disk(commit))));
                for done in begun_together(commits, || go_on.send(()).unwrap()).await {
                    done.unwrap();
                }
                records += 5;
            } else {
                let script = &mut scripts[round * 7 % 5];
                store.commit(at_disk(script.say(&text))).await.unwrap();
                records += 1;
            }
        }
        let removed = scripts[5].session();
        store.commit(at_disk(scripts[5].say(&text))).await.unwrap();
        let removal = Removal { session: removed, expected: None, keep_key: false, durability: Durability::Disk };
        store.remove(removal).await.unwrap();
        store.commit(at_disk(scripts[1].say(&text))).await.unwrap();
        store.close().await.unwrap();
        let anchor = store.anchor().unwrap();
        drop(store);
        fs::remove_dir_all(path.join("index")).unwrap();
        let log = fs::read(path.join("log/00000001.seg")).unwrap();
        let folder = Folder::existing(&path).unwrap();
        let mut scene =
            Self { _ground: ground, path, folder: Some(folder), log, honest: BTreeSet::new(), anchor, removed };
        let report = scene.verified();
        scene.honest = said(&report);
        assert_eq!(scene.opened(), WitnessReport::Confirmed);
        let roots = report.roots;
        assert!(roots.is_checked && roots.found > 100 && roots.agreed == roots.found, "{roots:?}");
        assert!(!scene.honest.iter().any(|said| said.contains("attest")), "{:#?}", scene.honest);
        scene
    }

    fn folder(&self) -> &Folder {
        self.folder.as_ref().unwrap()
    }

    fn opened(&self) -> WitnessReport {
        of_log(self.folder())
    }

    fn verified(&self) -> VerifyReport {
        inspect(self.folder(), Keyed { witness: Some(keyed(7).as_ref()), opener: None }).unwrap().report
    }

    fn lay(&self, log: &[u8]) {
        fs::write(self.path.join("log/00000001.seg"), log).unwrap();
    }

    /// How a log is found out: by the witness at opening, or by a check.
    fn found(&self, log: &[u8]) -> Option<String> {
        self.lay(log);
        match self.opened() {
            WitnessReport::Confirmed => {}
            other => return Some(other.to_string()),
        }
        said(&self.verified()).difference(&self.honest).next().cloned()
    }

    fn check(&self) -> AnchorCheck {
        super::anchor::check(self.folder(), &self.anchor).unwrap()
    }

    /// The frames of the log.
    fn frames(&self) -> Vec<Range<usize>> {
        frames(&self.log)
    }

    fn is_record(&self, frame: &Range<usize>) -> bool {
        let kind = frame::header(&self.log[frame.clone()]).unwrap().kind;
        kind != MARK && kind != REMOVED
    }

    fn records(&self) -> Vec<Range<usize>> {
        self.frames().into_iter().filter(|frame| self.is_record(frame)).collect()
    }

    fn session(&self, frame: &Range<usize>) -> SessionId {
        frame::header(&self.log[frame.clone()]).unwrap().session
    }

    /// Where batches end.
    fn batches(&self) -> Vec<usize> {
        let frames = self.frames();
        let roots = frames.iter().filter_map(|range| {
            let frame = frame::read(&self.log[range.start..]).unwrap();
            Root::of(&frame, range.start as u64)
        });
        roots.map(|root| usize::try_from(root.end()).unwrap()).collect()
    }
}

/// Begins all before it waits for any; `begun` is called in between.
async fn begun_together<F: Future + Unpin>(
    futures: impl IntoIterator<Item = F>,
    begun: impl FnOnce(),
) -> Vec<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    let polled = futures.into_iter().map(|mut future| match Pin::new(&mut future).poll(&mut context) {
        Poll::Ready(output) => Err(output),
        Poll::Pending => Ok(future),
    });
    let polled: Vec<Result<F, F::Output>> = polled.collect();
    begun();
    let mut done = Vec::new();
    for polled in polled {
        done.push(match polled {
            Ok(future) => future.await,
            Err(output) => output,
        });
    }
    done
}

fn frames(log: &[u8]) -> Vec<Range<usize>> {
    let ranges = Scan::new(log, START).map(|found| match found {
        Found::Frame(at, frame) => at..at + frame.length,
        other => panic!("{other:?}"),
    });
    ranges.collect()
}

/// The frame without its root, whatever it was; its other fields stay.
fn without_root(bytes: &[u8]) -> Vec<u8> {
    let frame = frame::read(bytes).unwrap();
    let mut extra = Vec::new();
    for (tag, field) in frame.fields().filter(|(tag, _)| *tag != frame::ROOT) {
        frame::write_field(&mut extra, tag, &[field]);
    }
    let mut out = Vec::new();
    frame::write(&mut out, &frame.header, frame.body, frame.trailer, &extra);
    let mut out_flags = frame.header.flags & FIRST;
    out_flags |= out[6];
    assert_eq!(out[6], out_flags);
    out
}

/// The root's field of a frame, if there is one.
fn root_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let frame = frame::read(bytes).unwrap();
    frame.fields().find(|(tag, _)| *tag == frame::ROOT).map(|(_, field)| field.to_vec())
}

/// The frame with this root, and none that it had.
fn with_root(bytes: &[u8], field: Option<&[u8]>) -> Vec<u8> {
    let mut out = without_root(bytes);
    if let Some(field) = field {
        frame::add_field(&mut out, 0, frame::ROOT, field);
    }
    out
}

fn filler(length: usize) -> Vec<u8> {
    let mut bytes = frame::filler(length).to_vec();
    bytes.resize(length, 0);
    bytes
}

/// What stands over a frame that was cut out: nothing but a filler, or a mark that keeps its root where it was.
fn over(bytes: &[u8], keeps_root: bool) -> Vec<u8> {
    let root = root_of(bytes).filter(|_| keeps_root);
    let Some(root) = root else { return filler(bytes.len()) };
    let mark = with_root(&frame::mark(0), Some(&root));
    assert!(bytes.len() >= mark.len() + HEADER, "the records are long enough");
    let rest = filler(bytes.len() - mark.len());
    [mark, rest].concat()
}

/// The log with other bytes in some places, which are given in their order.
fn spliced(log: &[u8], changes: &[(Range<usize>, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(log.len()), 0);
    for (range, bytes) in changes {
        out.extend_from_slice(&log[at..range.start]);
        out.extend_from_slice(bytes);
        at = range.end;
    }
    out.extend_from_slice(&log[at..]);
    out
}

#[tokio::test]
async fn tampered_every_pair_of_records_swapped_is_found() {
    let scenes = [Scene::new().await, Scene::new().await];
    let tried: usize = std::thread::scope(|threads| {
        let half = |(at, scene)| threads.spawn(move || swap(scene, at));
        let halves: Vec<_> = scenes.iter().enumerate().map(|(at, scene)| half((at, scene))).collect();
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    assert!(tried > 25_000, "{tried}");
    println!("figure: {tried} logs, each found but for the order of two sessions within one batch");
}

/// Swaps every pair of which the first record has such a number, even or odd: how many logs were tried.
fn swap(scene: &Scene, half: usize) -> usize {
    let records = scene.records();
    let batches: Vec<usize> = scene.batches();
    let batch = |frame: &Range<usize>| batches.iter().filter(|end| **end <= frame.start).count();
    assert!(records.len() >= 200);
    let mut tried = 0;
    for (at, one) in records.iter().enumerate().filter(|(at, _)| at % 2 == half) {
        for (behind, other) in records[at + 1..].iter().enumerate() {
            let bytes = [&scene.log[one.clone()], &scene.log[other.clone()]];
            let roots = bytes.map(root_of);
            let as_they_are = [(one.clone(), bytes[1].to_vec()), (other.clone(), bytes[0].to_vec())];
            let roots_stay = [
                (one.clone(), with_root(bytes[1], roots[0].as_deref())),
                (other.clone(), with_root(bytes[0], roots[1].as_deref())),
            ];
            let is_last = |frame: &Range<usize>| scene.log[frame.start + 6] & LAST != 0;
            // Within one batch no session sees which of two others came first.
            let is_order_of_batch = batch(one) == batch(other)
                && scene.session(one) != scene.session(other)
                && is_last(one)
                && is_last(other);
            let all = [(true, roots_stay), (behind < 4 || behind % 4 == 0, as_they_are)];
            for (_, changes) in all.into_iter().filter(|(is_tried, _)| *is_tried) {
                let found = scene.found(&spliced(&scene.log, &changes));
                assert!(found.is_some() || is_order_of_batch, "{one:?} and {other:?}");
                tried += 1;
            }
        }
    }
    tried
}

#[tokio::test]
async fn tampered_every_record_cut_out_is_found() {
    let scene = Scene::new().await;
    let mut cut = 0;
    for record in scene.frames() {
        let bytes = &scene.log[record.clone()];
        // What a removed session had is nobody's any more.
        let header = frame::header(bytes).unwrap();
        if header.kind == MARK || (header.session == scene.removed && header.kind != REMOVED) {
            continue;
        }
        for keeps_root in [false, true] {
            if keeps_root && bytes.len() < 121 + HEADER {
                continue;
            }
            let found = scene.found(&spliced(&scene.log, &[(record.clone(), over(bytes, keeps_root))]));
            assert!(found.is_some(), "{record:?}");
            cut += 1;
        }
    }
    println!("figure: {cut} logs without a record, each found");
}

#[tokio::test]
async fn tampered_an_older_head_of_one_session_is_found_at_opening() {
    let scene = Scene::new().await;
    let mut tails = 0;
    for session in (1..=5).map(|number| Script::new(number).session()) {
        let own: Vec<Range<usize>> =
            scene.records().into_iter().filter(|record| scene.session(record) == session).collect();
        for count in 1..=own.len() {
            for keeps_root in [false, true] {
                let cut = own[own.len() - count..].iter();
                let over = |record: &Range<usize>| {
                    let bytes = &scene.log[record.clone()];
                    (record.clone(), over(bytes, keeps_root && bytes.len() >= 121 + HEADER))
                };
                let log = spliced(&scene.log, &cut.map(over).collect::<Vec<_>>());
                scene.lay(&log);
                assert_eq!(scene.opened(), WitnessReport::Mismatch(Doubt::Heads), "{session} without {count}");
                assert!(scene.found(&log).is_some());
                tails += 1;
            }
        }
    }
    println!("figure: {tails} ends of one session cut off, from its last record to its first, each found at opening");
}

#[tokio::test]
async fn tampered_a_removal_that_is_cut_out_is_found_at_opening() {
    let scene = Scene::new().await;
    let is_removal = |frame: &Range<usize>| frame::header(&scene.log[frame.clone()]).unwrap().kind == REMOVED;
    let removal = scene.frames().into_iter().find(is_removal).unwrap();
    assert_eq!(scene.session(&removal), scene.removed);
    scene.lay(&spliced(&scene.log, &[(removal.clone(), filler(removal.len()))]));
    assert_eq!(scene.opened(), WitnessReport::Mismatch(Doubt::Heads));
    assert!(said(&scene.verified()).iter().any(|said| said.contains("do not stand as attested")));
}

/// As [`Scene::found`], at every number of roots that are left.
#[tokio::test]
async fn tampered_roots_that_are_stripped_or_copied_are_found_at_opening() {
    let scene = Scene::new().await;
    let frames = scene.frames();
    let rooted: Vec<&Range<usize>> =
        frames.iter().filter(|range| root_of(&scene.log[(*range).clone()]).is_some()).collect();
    for left in 0..rooted.len() {
        let strip = |range: &&Range<usize>| ((*range).clone(), without_root(&scene.log[(*range).clone()]));
        // The mark of the close may go as a whole.
        let log = spliced(&scene.log, &rooted[left..].iter().map(strip).collect::<Vec<_>>());
        scene.lay(&log);
        let found = scene.opened();
        let is_mark_alone = left + 1 == rooted.len();
        match found {
            WitnessReport::Missing => assert_eq!(left, 0),
            WitnessReport::Mismatch(Doubt::Unattested { by_repair: false, .. }) => assert!(left > 0),
            WitnessReport::Confirmed if is_mark_alone => {
                assert_eq!(scene.check(), AnchorCheck::RolledBack { end: log.len() as u64 })
            }
            other => panic!("{left}: {other:?}"),
        }
        // With roots from elsewhere in the places of the last ones.
        let copy = |range: &&Range<usize>| {
            let root = root_of(&scene.log[rooted[left].clone()]);
            ((*range).clone(), with_root(&scene.log[(*range).clone()], root.as_deref()))
        };
        if !is_mark_alone {
            assert!(
                scene.found(&spliced(&scene.log, &rooted[left + 1..].iter().map(copy).collect::<Vec<_>>())).is_some()
            );
        }
    }
}

#[tokio::test]
async fn tampered_a_session_that_goes_on_without_roots_while_another_does_not_is_found() {
    let scene = Scene::new().await;
    let session = Script::new(1).session();
    let batches = scene.batches();
    for end in &batches[..batches.len() - 1] {
        // Behind this batch only the records of one session are left.
        let behind: Vec<Range<usize>> = frames(&scene.log).into_iter().filter(|frame| frame.start >= *end).collect();
        let own = behind.iter().filter(|frame| scene.session(frame) == session);
        let kept: Vec<Vec<u8>> = own.map(|frame| without_root(&scene.log[frame.clone()])).collect();
        if kept.is_empty() {
            continue;
        }
        let log = [&scene.log[..*end], &kept.concat()].concat();
        scene.lay(&log);
        let found = scene.opened();
        assert!(matches!(found, WitnessReport::Mismatch(Doubt::Unattested { .. })), "{end}: {found:?}");
        // Nor does a longer batch make it look as if it was cut short.
        let last = frames(&scene.log)
            .into_iter()
            .rfind(|frame| frame.end <= *end && root_of(&scene.log[frame.clone()]).is_some());
        let last = last.unwrap();
        let mut root = root_of(&scene.log[last.clone()]).unwrap();
        root[16..20].copy_from_slice(&1_000_000_u32.to_le_bytes());
        let longer = with_root(&scene.log[last.clone()], Some(&root));
        scene.lay(&spliced(&log, &[(last, longer)]));
        assert_eq!(scene.opened(), WitnessReport::Mismatch(Doubt::Heads), "{end}");
    }
}

#[tokio::test]
async fn tampered_a_log_that_ends_at_an_earlier_batch_is_found_by_an_anchor_alone() {
    let scene = Scene::new().await;
    assert_eq!(scene.check(), AnchorCheck::Fresh);
    let batches = scene.batches();
    let mut anchors = Vec::new();
    for end in &batches[..batches.len() - 1] {
        let log = &scene.log[..*end];
        assert_eq!(scene.found(log), None, "nothing in the store can tell");
        assert_eq!(scene.check(), AnchorCheck::RolledBack { end: *end as u64 });
        let last = frames(log).into_iter().rfind(|frame| root_of(&log[frame.clone()]).is_some()).unwrap();
        let frame = frame::read(&log[last.start..]).unwrap();
        let root = Root::of(&frame, last.start as u64).unwrap();
        anchors.push(Anchor { position: root.position, root: root.root, ..scene.anchor });
    }
    // Anchors of before hold in all that came behind them, and one of a batch does not hold where that is cut short.
    for (anchor, end) in anchors.iter().zip(&batches) {
        scene.lay(&scene.log);
        assert_eq!(super::anchor::check(scene.folder(), anchor).unwrap(), AnchorCheck::Fresh);
        scene.lay(&scene.log[..*end]);
        assert_eq!(super::anchor::check(scene.folder(), anchor).unwrap(), AnchorCheck::Fresh);
        let last = frames(&scene.log[..*end]).pop().unwrap();
        scene.lay(&scene.log[..last.start]);
        let cut = AnchorCheck::RolledBack { end: last.start as u64 };
        assert_eq!(super::anchor::check(scene.folder(), anchor).unwrap(), cut);
    }
    println!("figure: {} earlier states of the whole log, each found by the anchor, none without", anchors.len());
}

#[tokio::test]
async fn an_honest_log_that_is_cut_anywhere_is_never_taken_for_a_tampered_one() {
    let mut scene = Scene::new().await;
    let batches = scene.batches();
    // Every byte of the last batches of several appends, and some of all others.
    let start = batches[batches.len() - 12];
    let cuts = (START..start).step_by(97).chain(start..=scene.log.len());
    let mut unfinished = 0;
    for cut in cuts {
        scene.lay(&scene.log[..cut]);
        let found = scene.opened();
        assert!(found.is_sound(), "{cut}: {found:?}");
        unfinished += usize::from(matches!(found, WitnessReport::Unfinished { .. }));
        let said = said(&scene.verified());
        assert!(
            !said.iter().any(|said| said.contains("stand as attested") || said.contains("without the key")),
            "{cut}: {said:#?}"
        );
    }
    assert!(unfinished > 100, "{unfinished}");
    // And the store goes on from there, cut short again and again.
    let (path, log) = (scene.path.clone(), scene.log.clone());
    let lay = |log: &[u8]| fs::write(path.join("log/00000001.seg"), log).unwrap();
    drop(scene.folder.take());
    let mut told = BTreeSet::new();
    for cut in (start..log.len()).step_by(89) {
        let _ = fs::remove_dir_all(path.join("index"));
        lay(&log[..cut]);
        for _ in 0..2 {
            let (store, found) = attested(&path).await;
            told.insert(found.to_string());
            assert!(found.is_sound(), "{cut}: {found:?}");
            let mut script = Script::new(100 + cut as u64);
            let known = store.head(script.session()).await.unwrap().map_or(0, |head| head.version);
            for _ in 0..=known {
                let commit = at_disk(script.say("and on"));
                if script.version() > known {
                    store.commit(commit).await.unwrap();
                }
            }
            store.close().await.unwrap();
            assert_eq!(store.check_anchor(&store.anchor().unwrap()).unwrap(), AnchorCheck::Fresh);
            drop(store);
            // As a kill leaves it: the end of the last batch is not there.
            let _ = fs::remove_dir_all(path.join("index"));
            let written = fs::read(path.join("log/00000001.seg")).unwrap();
            let last = frames(&written).pop().unwrap();
            lay(&written[..last.start + last.len() / 2]);
        }
        let (store, found) = attested(&path).await;
        assert!(found.is_sound(), "{cut}: {found:?}");
        store.close().await.unwrap();
        drop(store);
        let report = super::verify_with(&path, keyed(7).as_ref()).unwrap();
        assert!(!said(&report).iter().any(|said| said.contains("attest")), "{cut}: {:#?}", said(&report));
    }
    assert!(told.len() > 1, "{told:?}");
}
