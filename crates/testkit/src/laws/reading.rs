//! Laws of reading: ranges, orders, bounds, filters, labels.
//!
//! Must not know: any store.

use std::sync::Arc;

use sessions_domain::Kind;
use sessions_ports::{KindFilter, Order, ReadRange, Record, SessionLog, StoreError};

use crate::{
    fixture::Fixture,
    script::{Script, everything, read_all},
    suite::Outcome,
};

const MIXED: [Kind; 8] =
    [Kind::APPENDED, Kind::MOVED, Kind::CLEARED, Kind::DESCRIBED, Kind::RESIDUE, Kind::LOST, Kind(99), Kind::APPENDED];

/// A store with a session of 64 records of mixed kinds and sizes, in commits of eight.
async fn mixed(fixture: &dyn Fixture) -> Result<(Arc<dyn SessionLog>, Script), StoreError> {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for round in 0..8_usize {
        let bodies: Vec<Vec<u8>> = (0..8).map(|n| vec![b'x'; round * 40 + n]).collect();
        let records: Vec<_> = MIXED.iter().zip(&bodies).map(|(kind, body)| (*kind, 0, body.as_slice())).collect();
        store.commit(script.commit(&records)).await?;
    }
    Ok((store, script))
}

/// Records come back as they were written: every kind, any label, empty and large payloads.
pub async fn records_come_back_as_they_were_written(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    for size in [0, 1, 31, 512, 4096, 65_535, 65_536, 70_000, 1 << 20] {
        let body: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes().iter().fold(0x5a, |sum, byte| sum ^ byte)).collect();
        store.commit(script.commit(&[(Kind::APPENDED, u64::from(size), &body)])).await?;
    }
    for kind in 1..=u8::MAX {
        store.commit(script.commit(&[(Kind(kind), u64::MAX - u64::from(kind), &[kind])])).await?;
    }
    let mut bare = script.say("an empty payload");
    for record in &mut bare.records {
        record.payload = bytes::Bytes::new();
    }
    store.commit(bare.clone()).await?;
    let read = read_all(&*store, script.session(), everything()).await?;
    let (last, others) = read.split_last().map_or((None, &[][..]), |(last, others)| (Some(last), others));
    ensure_eq!(others.len() + 1, script.written().len(), "the number of records");
    for (found, written) in others.iter().zip(script.written()) {
        ensure!(found == written, "record {} of kind {} came back changed", written.seq, written.kind.0);
    }
    ensure_eq!(last, bare.records.first(), "the record with an empty payload");
    Ok(())
}

/// Newest first is the reverse of oldest first.
pub async fn newest_first_is_the_reverse(fixture: &dyn Fixture) -> Outcome {
    let (store, script) = mixed(fixture).await?;
    let range = ReadRange { order: Order::NewestFirst, ..everything() };
    let mut read = read_all(&*store, script.session(), range).await?;
    read.reverse();
    ensure_eq!(read, script.written(), "the log, newest first and reversed");
    Ok(())
}

/// Both ends of a range are included, and what lies outside the log is passed over.
pub async fn a_range_is_bounded_on_both_ends(fixture: &dyn Fixture) -> Outcome {
    let (store, script) = mixed(fixture).await?;
    let ends = [(1, 64), (1, 1), (64, 64), (10, 20), (20, 10), (0, 3), (60, 900), (65, 70), (0, 0), (7, u64::MAX)];
    for (from, to) in ends {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let mut read = read_all(&*store, script.session(), ReadRange { from, to, order, ..everything() }).await?;
            if order == Order::NewestFirst {
                read.reverse();
            }
            let expected: Vec<Record> =
                script.written().iter().filter(|r| (from..=to).contains(&r.seq)).cloned().collect();
            ensure_eq!(read, expected, "records {from} to {to}, {order:?}");
        }
    }
    Ok(())
}

/// What a fork inherits is not in its log.
pub async fn a_log_begins_where_it_begins(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::starting_at(1, 100);
    store.commit(script.say_many(3)).await?;
    for (from, to, count) in [(1, 99, 0), (1, 100, 1), (50, 101, 2), (102, 200, 1), (103, 200, 0)] {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let range = ReadRange { from, to, order, ..everything() };
            let read = read_all(&*store, script.session(), range).await?;
            ensure_eq!(read.len(), count, "records {from} to {to} of a log from 100, {order:?}");
        }
    }
    Ok(())
}

/// A page holds no more records than asked; following `next` gives each record once.
pub async fn a_page_is_bounded_by_count(fixture: &dyn Fixture) -> Outcome {
    let (store, script) = mixed(fixture).await?;
    for max_records in [1, 2, 3, 7, 8, 63, 64, 65] {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let range = ReadRange { max_records, order, ..everything() };
            let page = store.read(script.session(), range).await?;
            ensure!(page.records.len() <= max_records, "{} records for at most {max_records}", page.records.len());
            let whole = page.next.is_some() || page.records.len() == 64;
            ensure!(whole, "a page of {} records ends early without saying where to go on", page.records.len());
            let mut read = read_all(&*store, script.session(), range).await?;
            if order == Order::NewestFirst {
                read.reverse();
            }
            ensure_eq!(read, script.written(), "all pages of {max_records}, {order:?}");
        }
    }
    Ok(())
}

/// A page holds no more bytes than asked, but always a record.
pub async fn a_page_is_bounded_by_bytes(fixture: &dyn Fixture) -> Outcome {
    let (store, script) = mixed(fixture).await?;
    for max_bytes in [0, 1, 100, 320, 1000, 20_000] {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let range = ReadRange { max_bytes, order, ..everything() };
            let page = store.read(script.session(), range).await?;
            let bytes: usize = page.records.iter().map(|record| record.payload.len()).sum();
            ensure!(!page.records.is_empty(), "a page of at most {max_bytes} bytes is empty");
            ensure!(bytes <= max_bytes || page.records.len() == 1, "{bytes} bytes for at most {max_bytes}");
            let mut read = read_all(&*store, script.session(), range).await?;
            if order == Order::NewestFirst {
                read.reverse();
            }
            ensure_eq!(read, script.written(), "all pages of {max_bytes} bytes, {order:?}");
        }
    }
    Ok(())
}

/// Asked for elements, a store gives messages, clears and lost records, and counts only those.
pub async fn elements_only_leaves_out_the_rest(fixture: &dyn Fixture) -> Outcome {
    let (store, script) = mixed(fixture).await?;
    let expected: Vec<Record> = script.written().iter().filter(|record| record.kind.is_element()).cloned().collect();
    for max_records in [1, 2, 5, 100] {
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let range = ReadRange { max_records, order, kinds: KindFilter::Elements, ..everything() };
            let first = store.read(script.session(), range).await?;
            ensure_eq!(first.records.len(), max_records.min(expected.len()), "elements on a page, {order:?}");
            let mut read = read_all(&*store, script.session(), range).await?;
            if order == Order::NewestFirst {
                read.reverse();
            }
            ensure_eq!(read, expected, "elements by {max_records}, {order:?}");
        }
    }
    Ok(())
}

/// Records that are no elements, at the end of a range, do not make a page that never ends.
pub async fn a_range_without_elements_is_empty(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let mut script = Script::new(1);
    store.commit(script.commit(&[(Kind::MOVED, 0, b"m".as_slice()); 40])).await?;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let range = ReadRange { order, max_records: 3, kinds: KindFilter::Elements, ..everything() };
        ensure_eq!(read_all(&*store, script.session(), range).await?, Vec::<Record>::new(), "elements, {order:?}");
    }
    Ok(())
}

/// A session that does not exist is not found, and has nothing.
pub async fn a_missing_session_has_nothing(fixture: &dyn Fixture) -> Outcome {
    let (store, _) = mixed(fixture).await?;
    let missing = Script::new(2).session();
    ensure_refused!(
        store.read(missing, everything()).await,
        StoreError::NotFound { session } if session == missing,
        "reading a session that does not exist"
    );
    ensure_eq!(store.head(missing).await?, None, "the head");
    ensure_eq!(store.snapshot(missing).await?, None, "the snapshot");
    ensure_eq!(store.claim(missing, [1; 32]).await?, None, "a claim");
    ensure_eq!(store.by_key([1; 32]).await?, None, "an unknown key");
    Ok(())
}

/// Labels find their records, ascending; two may share one, and a session finds only its own.
pub async fn labels_find_their_records(fixture: &dyn Fixture) -> Outcome {
    let store = fixture.open().await;
    let (mut one, mut other) = (Script::new(1), Script::new(2));
    let labels = [0, 7, u64::MAX, 7, 1, 0, 7, u64::MAX];
    for label in labels {
        store.commit(one.commit(&[(Kind::APPENDED, label, b"labelled")])).await?;
        store.commit(other.commit(&[(Kind::APPENDED, label ^ 8, b"labelled otherwise")])).await?;
    }
    let session = one.session();
    ensure_eq!(store.find(session, 7).await?, [2, 4, 7], "records of label 7");
    ensure_eq!(store.find(session, 1).await?, [5], "records of label 1");
    ensure_eq!(store.find(session, u64::MAX).await?, [3, 8], "records of the largest label");
    ensure_eq!(store.find(session, 15).await?, Vec::<u64>::new(), "records of another session's label");
    Ok(())
}

/// Label 0 stands for records that nobody looks for.
pub async fn label_zero_finds_nothing(fixture: &dyn Fixture) -> Outcome {
    let (store, script) = mixed(fixture).await?;
    ensure_eq!(store.find(script.session(), 0).await?, Vec::<u64>::new(), "records of label 0");
    Ok(())
}
