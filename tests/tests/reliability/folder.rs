//! A store's folder as bytes: copied, compared, and its segments cut into frames after `docs/format.md`.
//!
//! Must not know: what is done to it.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use sessions_domain::SessionId;

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if let Err(error) = fs::copy(entry.path(), &target) {
            // A running store may take a temporary file away meanwhile.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}

/// Every file of a folder with its bytes; the lock, which names who holds it, is left out.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != "LOCK") {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The segment files, in order.
pub(crate) fn segments(store: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(store.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// One frame of a segment.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Range<usize>,
    pub(crate) session: SessionId,
    pub(crate) seq: u64,
    pub(crate) ends_append: bool,
    /// The file that its body stands in, within the store's folder.
    pub(crate) large_body: Option<String>,
}

/// The frames of a whole segment.
pub(crate) fn frames(segment: &[u8]) -> Vec<Frame> {
    let u32_at = |at: usize| u32::from_le_bytes(segment[at..at + 4].try_into().unwrap()) as usize;
    let (mut frames, mut at) = (Vec::new(), 64);
    while at < segment.len() && segment[at] != 0 {
        assert_eq!(&segment[at..at + 4], b"SSN\x01");
        let (flags, body) = (segment[at + 6], u32_at(at + 40));
        let mut end = at + 80 + body;
        end += if flags & 1 != 0 { 12 } else { 0 };
        end += if flags & 32 != 0 { 8 } else { 0 };
        end += if flags & 4 != 0 { 4 + u32_at(end) } else { 0 };
        let session = SessionId::from_bytes(segment[at + 8..at + 24].try_into().unwrap());
        let seq = u64::from_le_bytes(segment[at + 24..at + 32].try_into().unwrap());
        let name: String = segment[at + 80..end.min(at + 112)].iter().map(|byte| format!("{byte:02x}")).collect();
        let large_body = (flags & 2 != 0).then(|| format!("blobs/{}/{name}", &name[..2]));
        frames.push(Frame { bytes: at..end, session, seq, ends_append: flags & 1 != 0, large_body });
        at = end;
    }
    frames
}
