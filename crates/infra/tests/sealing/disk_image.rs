//! Shredding on a real disk: a file system of its own, whose power is cut as soon as the receipt is there, and whose every byte is looked through, those of
//! no file too.
//!
//! Only root can mount one. A test that cannot run says so, and fails with `CI=true`.
//!
//! Must not know: the code that seals; what is opened here is opened by the other implementation.

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sessions_ports::{Commit, Durability, Erasure, Removal, SessionLog as _, StoreError};
use sessions_testkit::Script;

use crate::{
    ground::{assert_says, everything, fill, folder, key_of, open, segment},
    reader::{Key, Ring, SlotKeys, frames, halves, hex, ring_text},
};

/// Set in the process that has mounts of its own.
const OWN_MOUNTS: &str = "SESSIONS_TEST_OWN_MOUNTS";
const TEST: &str =
    "disk_image::of_a_shredded_session_no_byte_of_its_keys_is_on_the_disk_when_the_power_is_cut_behind_the_receipt";

/// `FS_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing more reaches the disk, not even the journal.
const CUT: &str = "open(my $f, '<', $ARGV[0]) or die $!; my $how = pack('L', 2); ioctl($f, 0x8004587d, $how) or die $!";

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Why no file system can be mounted here.
fn trouble() -> Option<String> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Some("only root can do this".to_owned());
    }
    let works = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    let needs: [(&str, &[&str]); 4] =
        [("unshare", &["--mount", "true"]), ("losetup", &["--find"]), ("mkfs.ext4", &["-V"]), ("perl", &["-v"])];
    needs
        .iter()
        .find(|(program, arguments)| !works(program, arguments))
        .map(|(program, _)| format!("{program} does not work"))
}

/// Runs the test in a process of its own that has mounts of its own, so that nothing stays mounted whatever happens. True: we are in it.
fn has_own_mounts() -> bool {
    if env::var_os(OWN_MOUNTS).is_some() {
        return true;
    }
    if let Some(why) = trouble() {
        // Not by a macro: a test that passes would keep it for itself.
        let _ = writeln!(io::stderr(), "{TEST} cannot run here: {why}");
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "with CI=true nothing may be left out: {why}");
        return false;
    }
    let mut process = Command::new("unshare");
    process.args(["--mount", "--propagation", "private"]).arg(env::current_exe().unwrap());
    process.args(["--exact", TEST, "--nocapture", "--test-threads=1"]).env(OWN_MOUNTS, "1").stdin(Stdio::null());
    let output = process.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "in a process of its own:\n{out}\n{err}");
    // The harness puts its own words before the first line.
    out.lines()
        .filter_map(|line| line.find("figure: ").and_then(|at| line.get(at..)))
        .for_each(|figure| println!("{figure}"));
    false
}

/// An ext4 file system in a file.
struct Disk {
    image: PathBuf,
    root: PathBuf,
}

impl Disk {
    fn make(folder: &Path) -> Self {
        let image = folder.join("image");
        fs::File::create(&image).unwrap().set_len(96 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
        Self::mounted(image, folder.join("root"))
    }

    /// One with these bytes, as after a start of the machine.
    fn started(folder: &Path, device: &[u8]) -> Self {
        let image = folder.join("image-started");
        fs::write(&image, device).unwrap();
        Self::mounted(image, folder.join("root-started"))
    }

    fn mounted(image: PathBuf, root: PathBuf) -> Self {
        fs::create_dir(&root).unwrap();
        run("mount", &["-o", "loop", image.to_str().unwrap(), root.to_str().unwrap()]);
        Self { image, root }
    }

    fn cut_power(&self) {
        run("perl", &["-e", CUT, self.root.to_str().unwrap()]);
    }

    /// Every byte of the device.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        fs::File::open(&self.image).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The mounts end with the process at the latest.
        let _ = Command::new("umount").arg(&self.root).output();
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    let (first, rest) = wanted.split_first().unwrap();
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if bytes[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

fn ring_of(store: &Path) -> Ring {
    Ring::read(&ring_text(&fs::read(store.join("keys/ring")).unwrap()), &key_of(5)).unwrap()
}

/// All keys that whoever has the key file gets out of a device: each of its pieces is taken for a half of a slot, in whatever place.
fn carved(device: &[u8], ring: &Ring) -> Vec<SlotKeys> {
    let keks: Vec<_> = [Some(&ring.kek), ring.retiring.as_ref()].into_iter().flatten().collect();
    let mut found = Vec::new();
    for half in device.chunks_exact(256).filter(|half| half[16..18] == [1, 1]) {
        let slot = &half[16..16 + usize::from(half[1]).min(224)];
        let read = |place| keks.iter().find_map(|kek| SlotKeys::read(slot, &ring.store, place, kek));
        found.extend((0..64).find_map(read));
    }
    found
}

#[tokio::test]
async fn of_a_shredded_session_no_byte_of_its_keys_is_on_the_disk_when_the_power_is_cut_behind_the_receipt() {
    if !has_own_mounts() {
        return;
    }
    let ground = folder();
    let disk = Disk::make(ground.path());
    let path = disk.root.join("store");
    let store = open(&path, 5).await.unwrap();
    let mut said = fill(&store, 12, 20).await;
    let victim = *said.keys().nth(4).unwrap();
    // A large body lies in a file of its own; and the slot was written more than once.
    let mut large = Script::new(50);
    let text = "a large body ".repeat(8_000);
    store.commit(Commit { durability: Durability::Disk, ..large.say(&text) }).await.unwrap();
    said.insert(large.session(), large.written().to_vec());
    for _ in 0..3 {
        store.rotate_data(victim, |_| ()).await.unwrap();
    }
    store.close().await.unwrap();
    run("sync", &["-f", disk.root.to_str().unwrap()]);

    // What is looked for, as the device of before tells it; that it is found there proves the search.
    let (device, ring) = (disk.bytes(), ring_of(&path));
    let all = frames(&path, &fs::read(segment(&path)).unwrap());
    let mine: Vec<_> = all.into_iter().filter(|frame| frame.record.session == victim.to_bytes()).collect();
    let opens =
        |keys: &SlotKeys| keys.data.iter().any(|data| mine.iter().any(|frame| frame.record.open(&data.key).is_some()));
    let before = carved(&device, &ring);
    assert!(before.len() >= 13, "the device of before has all keys");
    let keys = before.iter().find(|keys| opens(keys)).expect("it opens the session").clone();
    let slots = fs::read(path.join("keys/slots")).unwrap();
    let is_its = |half: &(u64, u64, Vec<u8>)| {
        SlotKeys::read(&half.2, &ring.store, half.0, &ring.kek).is_some_and(|read| read.root == keys.root)
    };
    let halves: Vec<_> = halves(&slots).into_iter().filter(is_its).collect();
    let number = halves.first().unwrap().0;
    // Nonce, ciphertext and tag of the wrapped keys: with any of its pieces gone nobody opens them.
    let wrapped: Vec<&[u8]> = halves.iter().map(|half| &half.2[half.2.len() - (12 + 83 + 16)..]).collect();
    let pieces: Vec<&[u8]> = wrapped.iter().flat_map(|wrapped| wrapped.chunks_exact(16)).collect();
    assert!(pieces.iter().all(|piece| holds(&device, piece)), "the device of before has the wrapped keys");

    let store = open(&path, 5).await.unwrap();
    store
        .remove(Removal { session: victim, expected: None, keep_key: false, durability: Durability::Disk })
        .await
        .unwrap();
    let receipt = store.erased(victim).await.unwrap().unwrap();
    assert_eq!((receipt.how, receipt.slot), (Erasure::Overwritten, number));
    disk.cut_power();
    let device = disk.bytes();
    // Nothing can be written any more, and it may say so.
    let _ = store.close().await;
    drop(store);
    said.remove(&victim);
    assert!(disk.bytes() == device, "the power is off");

    let secrets: Vec<Key> = [keys.root].into_iter().chain(keys.data.iter().map(|data| data.key)).collect();
    for secret in &secrets {
        assert!(!holds(&device, secret) && !holds(&device, hex(secret).as_bytes()), "a key is there in the clear");
    }
    let left = pieces.iter().filter(|piece| holds(&device, piece)).count();
    assert_eq!(left, 0, "of {} pieces of the wrapped keys", pieces.len());
    let remaining = carved(&device, &ring);
    assert!(remaining.len() >= 12, "the keys of all others are there: {}", remaining.len());
    assert!(remaining.iter().all(|other| other.root != keys.root && !opens(other)), "its keys are there");

    let started = Disk::started(ground.path(), &device);
    let store = open(&started.root.join("store"), 5).await.unwrap();
    assert_eq!(store.erased(victim).await.unwrap(), Some(receipt), "the receipt outlived the cut");
    assert!(matches!(store.read(victim, everything()).await, Err(StoreError::Gone { .. })));
    assert_says(&store, &said, "the others").await;
    store.close().await.unwrap();
    println!(
        "figure: {} MiB of a device: {} keys left, none of which opens it; of {} pieces of its wrapped keys none",
        device.len() >> 20,
        remaining.len(),
        pieces.len()
    );
}
