//! The log of a store. The bytes are the frames of one or two segments; their checksums are made to fit, so that what is behind them is
//! reached too.

use std::{fs, path::Path};

use sessions_infra::sled::{SledOptions, SledStore, repair, verify};
use sessions_ports::{KindFilter, Order, ReadRange, SessionLog as _};
use tempfile::TempDir;

use crate::import::block_on;

const STORE: [u8; 16] = [7; 16];
const SEGMENT_HEADER: usize = 64;
const FRAME_HEADER: usize = 80;
const CRC_AT: usize = 44;

/// A check finds what is wrong and changes nothing; a repair is through with what it can mend. (A frame whose checksum fits and whose
/// chain does not was not damaged but made, here by us. No repair touches it.)
pub fn run(data: &[u8]) {
    let Some((how, data)) = data.split_first() else { return };
    let folder = ground();
    let root = folder.path();
    for part in ["log", "blobs", "quarantine"] {
        fs::create_dir(root.join(part)).expect("a folder");
    }
    let hex: String = STORE.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(root.join("FORMAT"), format!("sessions-store 1\nid {hex}\n")).expect("a file");
    let cut = if how & 1 == 0 { data.len() } else { data.len() / 2 };
    let (first, second) = data.split_at(cut);
    let mut base = 0;
    for (number, frames) in [(1, first), (2, second)] {
        if number == 2 && cut == data.len() {
            break;
        }
        let segment = segment(number, base, frames, how & 2 == 0);
        base += segment.len() as u64;
        fs::write(root.join(format!("log/{number:08}.seg")), segment).expect("a file");
    }
    let before = files(root);
    let Ok(report) = verify(root) else { return };
    let _: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert!(files(root) == before, "a check changed something");
    if how & 4 == 0 && repair(root, false).is_ok() {
        let (once, log) = (verify(root).expect("what was repaired can be checked"), files(root));
        let again = repair(root, false).expect("what was repaired can be repaired");
        // An unfinished write at the end is left to whoever opens the store next.
        assert!(again.actions.iter().all(|action| action.what.starts_with("left")), "{:?}", again.actions);
        assert_eq!(verify(root).expect("as before"), once);
        assert!(files(root) == log, "a repair without anything to do changed something");
    }
    // Making an index takes longer than all of the above.
    if how & 24 == 0 {
        block_on(opened(root));
    }
}

/// What a log tells is read, and the store is a store.
async fn opened(root: &Path) {
    let Ok(store) = SledStore::open_existing(root, SledOptions::default()).await else { return };
    let page = store.rows(0, usize::MAX).await.expect("the sessions are known");
    let (order, kinds) = (Order::NewestFirst, KindFilter::All);
    let range = ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 1_000, max_bytes: 1 << 20 };
    for row in page.rows {
        let head = store.head(row.session).await.expect("what is listed has a head");
        assert_eq!(head.map(|head| head.version), Some(row.version));
        // Its records may be damaged.
        let _ =
            (store.read(row.session, range).await, store.snapshot(row.session).await, store.find(row.session, 1).await);
    }
    store.close().await.expect("it closes");
}

/// In memory where the system has such a folder.
fn ground() -> TempDir {
    let name = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("sessions-fuzz-");
        builder
    };
    name().tempdir_in("/dev/shm").or_else(|_| name().tempdir()).expect("a folder")
}

fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(root.join("log")).expect("the log's folder");
    let mut found: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            (path.display().to_string(), fs::read(&path).expect("a segment"))
        })
        .collect();
    found.sort();
    found
}

fn segment(number: u32, base: u64, frames: &[u8], mends: bool) -> Vec<u8> {
    let mut bytes = b"SESSSEG\x01".to_vec();
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&STORE);
    bytes.extend_from_slice(&base.to_le_bytes());
    bytes.resize(60, 0);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let mut frames = frames.to_vec();
    if mends {
        let mut at = 0;
        while let Some(found) = frames.get(at..).and_then(|rest| rest.windows(4).position(|four| four == b"SSN\x01")) {
            at += found;
            at += mend(frames.get_mut(at..).unwrap_or_default()).unwrap_or(1);
        }
    }
    assert_eq!(bytes.len(), SEGMENT_HEADER);
    bytes.extend_from_slice(&frames);
    bytes
}

/// Gives the frame at the beginning its checksum, where it is all there; its length.
fn mend(bytes: &mut [u8]) -> Option<usize> {
    let u32_at = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let flags = *bytes.get(6)?;
    let mut end = FRAME_HEADER.checked_add(u32_at(bytes, 40)?)?;
    if flags & 1 != 0 {
        end += if flags & 32 != 0 { 20 } else { 12 };
    }
    if flags & 4 != 0 {
        end = end.checked_add(4)?.checked_add(u32_at(bytes, end)?)?;
    }
    let frame = bytes.get(..end)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame[..CRC_AT]), &frame[CRC_AT + 4..]);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    Some(end)
}
