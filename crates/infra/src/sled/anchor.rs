//! Anchors: how far a log had come, kept elsewhere. Whoever has one finds out that a whole store was put back to an earlier state, which
//! nothing within the store can tell.
//!
//! Must not know: keys, or what records say.

use std::{
    fmt, fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    str::FromStr,
};

use sessions_domain::{Moment, chain};
use sessions_ports::{BackendError, BackendErrorKind, Clock as _, StoreError, StoreId};

use super::{
    SledStore,
    folder::{self, Folder, failed},
    frame::{FILLER, Found, Frame, REPAIR, STRIPPED, Scan},
    roots::Root,
    segment::{self, Head, SEGMENT_HEADER},
};
use crate::environment::SystemClock;

const FIRST_LINE: &str = "sessions-anchor ";
/// The version of an anchor's text that this one reads and writes.
const FORMAT: u32 = 1;
/// More than any anchor is.
const MAX_TEXT: usize = 4096;

/// A root of a store's log, where it stands, and when that was noted: everything before it was synced. It tells nothing of what is in the
/// store, and needs no key to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The store.
    pub store: StoreId,
    /// Where in the log the frame begins that carries the root.
    pub position: u64,
    /// The root.
    pub root: [u8; 16],
    /// When it was noted.
    pub at: Moment,
}

/// What an anchor says of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorCheck {
    /// The store has all that it had when the anchor was noted.
    Fresh,
    /// The store was put back to a state from before the anchor, or its end is lost.
    RolledBack {
        /// Where the log ends now.
        end: u64,
    },
    /// It cannot be told.
    Unknown(AnchorUnknown),
}

/// Why an anchor tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorUnknown {
    /// It is of another store.
    OtherStore,
    /// Space came back, or a repair was, where it lies: note a new one after `verify` with the key.
    Rewritten,
    /// The log is damaged where it lies.
    Damaged,
}

/// Why a text is no anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnchor {
    /// A newer version wrote it.
    #[error("a newer version wrote this anchor; use that one")]
    Newer,
    /// It is none, or not as it was written.
    #[error("this is no anchor, or not as it was written; give the file that was noted")]
    Damaged,
}

impl fmt::Display for Anchor {
    /// The text of its file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body();
        writeln!(f, "{body}check {:08x}", crc32c::crc32c(body.as_bytes()))
    }
}

impl FromStr for Anchor {
    type Err = NoAnchor;

    fn from_str(text: &str) -> Result<Self, NoAnchor> {
        let format = text.lines().next().and_then(|line| line.strip_prefix(FIRST_LINE)).ok_or(NoAnchor::Damaged)?;
        if format.parse::<u32>().is_ok_and(|format| format > FORMAT) {
            return Err(NoAnchor::Newer);
        }
        let read = || {
            let field = |name: &str| {
                let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                lines.next()
            };
            let bytes = |name| <[u8; 16]>::try_from(chain::from_hex(field(name)?)?).ok();
            Some(Self {
                store: StoreId(bytes("store")?),
                position: field("position")?.parse().ok()?,
                root: bytes("root")?,
                at: Moment::parse(field("at")?)?,
            })
        };
        // What it would be written as is what it is, with its checksum.
        read().filter(|anchor: &Self| anchor.to_string() == text).ok_or(NoAnchor::Damaged)
    }
}

impl Anchor {
    fn body(&self) -> String {
        let Self { store, position, root, at } = self;
        let (store, root) = (chain::to_hex(&store.0), chain::to_hex(root));
        format!("{FIRST_LINE}{FORMAT}\nstore {store}\nposition {position}\nroot {root}\nat {at}\n")
    }

    /// Writes it into a file, whole or not at all; one that was there is replaced. The file is for its owner alone.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], and the system's.
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        let writing = |error| failed("writing the anchor", error);
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let write = || {
            let mut file = folder::private().write(true).create(true).truncate(true).open(&new)?;
            file.write_all(self.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&new))).map_err(writing)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        folder::sync_dir(parent.unwrap_or(Path::new(".")))
    }

    /// Reads it from a file.
    ///
    /// # Errors
    /// The system's, and one of kind [`BackendErrorKind::Path`] with a [`NoAnchor`] as its source.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let reading = |error| failed("reading the anchor", error);
        let file = fs::File::open(path).map_err(reading)?;
        let mut bytes = [0; MAX_TEXT];
        let read = file.read_at(&mut bytes, 0).map_err(reading)?;
        let text = bytes.get(..read).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        text.parse()
            .map_err(|why: NoAnchor| BackendError::new(BackendErrorKind::Path, "reading the anchor", why).into())
    }
}

impl SledStore {
    /// The last root that is synced, to be kept elsewhere; `None` without a witness, or when nothing was attested yet. One that was noted in a pause of
    /// the writers, or after [`Self::settle_roots`], is at a mark, which stays when space comes back.
    pub fn anchor(&self) -> Option<Anchor> {
        let roots = {
            let ledger = self.core().lock();
            (ledger.roots.has_witness, ledger.roots.synced)
        };
        let (true, Some(Root { position, root, .. })) = roots else { return None };
        Some(Anchor { store: self.core().folder.id, position, root, at: SystemClock.now() })
    }

    /// Holds an anchor against the log as it lies on the disk. Needs no key, so it cannot tell whether roots are right: the witness does. Reads a segment,
    /// so it is not for the async runtime.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn check_anchor(&self, anchor: &Anchor) -> Result<AnchorCheck, StoreError> {
        check(&self.core().folder, anchor)
    }
}

/// Holds an anchor against a store that nobody has open.
///
/// # Errors
/// When the store is in use or cannot be read.
pub fn check_anchor(path: &Path, anchor: &Anchor) -> Result<AnchorCheck, StoreError> {
    check(&Folder::existing(path)?, anchor)
}

pub(super) fn check(folder: &Folder, anchor: &Anchor) -> Result<AnchorCheck, StoreError> {
    if folder.id != anchor.store {
        return Ok(AnchorCheck::Unknown(AnchorUnknown::OtherStore));
    }
    let reading = |error| failed("reading the log", error);
    let numbers = segment::numbers(&folder.log())?;
    let (mut holder, mut before_damage) = (None, false);
    for number in &numbers {
        let file = fs::File::open(segment::path_of(&folder.log(), *number)).map_err(reading)?;
        let mut head = [0; SEGMENT_HEADER as usize];
        let is_read = file.read_exact_at(&mut head, 0).is_ok();
        match segment::head_of(&head, *number) {
            Head::Newer(format) => return Err(segment::newer(format)),
            Head::Whole(store, base) if is_read && store == folder.id => {
                if base <= anchor.position {
                    (holder, before_damage) = (Some((*number, base)), false);
                }
            }
            Head::Whole(..) | Head::Damaged => before_damage = holder.is_some(),
        }
    }
    // Where a segment's header is damaged, it is not known which positions are its own.
    let Some((number, base)) = holder.filter(|_| !before_damage) else {
        let lost = AnchorCheck::Unknown(AnchorUnknown::Damaged);
        return Ok(if numbers.is_empty() { AnchorCheck::RolledBack { end: 0 } } else { lost });
    };
    let bytes = fs::read(segment::path_of(&folder.log(), number)).map_err(reading)?;
    let mut scan = Scan::new(&bytes, SEGMENT_HEADER as usize);
    let found: Vec<Found<'_>> = scan.by_ref().collect();
    if let Some(format) = Found::newer(&found) {
        return Err(segment::newer(u32::from(format)));
    }
    let end = base + scan.position() as u64;
    let is_last = numbers.last() == Some(&number);
    Ok(within(&found, (base, end), is_last, anchor))
}

/// Looks for an anchor in the segment that has its position.
fn within(found: &[Found<'_>], (base, end): (u64, u64), is_last: bool, anchor: &Anchor) -> AnchorCheck {
    let rolled_back = AnchorCheck::RolledBack { end };
    let covers = |from: usize, to: usize| (base + from as u64..base + to as u64).contains(&anchor.position);
    let at = found.iter().find(|found| match found {
        Found::Frame(at, frame) => covers(*at, at + frame.length),
        Found::Damage(from, to) => covers(*from, *to),
        Found::Newer(_) => false,
    });
    let is_rewritten = |frame: &Frame<'_>| frame.header.kind == FILLER || frame.header.flags & (REPAIR | STRIPPED) != 0;
    match at {
        Some(Found::Frame(_, frame)) if is_rewritten(frame) => AnchorCheck::Unknown(AnchorUnknown::Rewritten),
        Some(Found::Frame(at, frame)) if base + *at as u64 == anchor.position => {
            match Root::of(frame, anchor.position) {
                // All of its batch was synced with it.
                Some(root) if root.root == anchor.root && root.end() <= end => AnchorCheck::Fresh,
                _ => rolled_back,
            }
        }
        Some(Found::Damage(..)) => AnchorCheck::Unknown(AnchorUnknown::Damaged),
        // Another log than the one that the anchor is of goes on here.
        Some(_) => rolled_back,
        None if is_last => rolled_back,
        None => AnchorCheck::Unknown(AnchorUnknown::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    fn sample() -> Anchor {
        let at = Moment::from_millis(1_763_690_000_123);
        Anchor { store: StoreId([1; 16]), position: 1 << 40, root: [0xab; 16], at }
    }

    #[test]
    fn an_anchor_reads_back_from_its_file_which_is_for_its_owner_alone() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("anchor");
        let earlier = Anchor { position: 7, ..sample() };
        for anchor in [earlier, sample()] {
            anchor.write(&path).unwrap();
            assert_eq!(Anchor::read(&path).unwrap(), anchor);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(ground.path()).unwrap().count(), 1, "nothing else is left");
        assert!(Anchor::read(ground.path()).is_err());
        fs::write(&path, [b'x'; 9000]).unwrap();
        assert!(Anchor::read(&path).is_err());
    }

    #[test]
    fn no_changed_byte_of_an_anchor_is_believed() {
        let text = sample().to_string();
        assert_eq!(text.parse::<Anchor>(), Ok(sample()));
        assert_eq!(text.replace("anchor 1", "anchor 2").parse::<Anchor>(), Err(NoAnchor::Newer));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            let read = changed.parse::<Anchor>();
            // A changed version may be one to come.
            assert!(read.is_err(), "{changed}");
        }
        for wrong in ["", "sessions-anchor 1\n", &text[1..], &format!("{text}more\n"), &text[..text.len() - 1]] {
            assert_eq!(wrong.parse::<Anchor>(), Err(NoAnchor::Damaged), "{wrong}");
        }
    }
}
