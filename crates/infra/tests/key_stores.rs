//! What every store of wrapped keys owes, tried on the one in memory and on the one in a folder; and what only a folder owes.
//!
//! Must not know: how the bytes lie in a file.

#[cfg(test)]
mod key_stores {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::{Path, PathBuf},
        sync::Arc,
    };

    use bytes::Bytes;
    use sessions_infra::keys::{FileKeyStore, KeyFinding, MemoryKeyStore};
    use sessions_ports::{KeyError, KeyStore, MAX_SLOT, Slot, SlotChange, StoreError, StoreId, StoredRing};
    use tempfile::TempDir;

    const STORE: StoreId = StoreId([9; 16]);

    fn slots(word: &str, count: u64) -> Vec<Slot> {
        (0..count).map(|n| Slot::from(format!("{word} key of session {n:04}"))).collect()
    }

    fn change(number: u64, expected: &str, new: &str) -> SlotChange {
        SlotChange { number, expected: Bytes::from(expected.to_owned()), new: Bytes::from(new.to_owned()) }
    }

    fn keys_in(folder: &TempDir) -> PathBuf {
        folder.path().join("keys")
    }

    async fn file_store(folder: &TempDir) -> FileKeyStore {
        FileKeyStore::open(&keys_in(folder), STORE).await.unwrap()
    }

    /// Tries a law on each kind of store.
    async fn on_each(law: impl AsyncFn(Arc<dyn KeyStore>)) {
        law(Arc::new(MemoryKeyStore::new())).await;
        let folder = tempfile::tempdir().unwrap();
        law(Arc::new(file_store(&folder).await)).await;
    }

    /// One with a ring and three slots.
    async fn filled(keys: &dyn KeyStore) {
        keys.put_ring(0, Bytes::from_static(b"ring")).await.unwrap();
        assert_eq!(keys.add(slots("old", 3)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_ring_is_replaced_by_who_knows_its_version() {
        on_each(async |keys| {
            assert_eq!(keys.ring().await.unwrap(), None);
            let early = keys.put_ring(1, Bytes::from_static(b"early")).await;
            assert!(matches!(early, Err(StoreError::Conflict { expected: 1, actual: 0 })), "{early:?}");
            keys.put_ring(0, Bytes::from_static(b"one")).await.unwrap();
            keys.put_ring(1, Bytes::from_static(b"two")).await.unwrap();
            for late in [0, 1, 3, u64::MAX] {
                let refused = keys.put_ring(late, Bytes::from_static(b"late")).await;
                assert!(matches!(refused, Err(StoreError::Conflict { actual: 2, .. })), "{refused:?}");
            }
            let expected = StoredRing { version: 2, bytes: Bytes::from_static(b"two") };
            assert_eq!(keys.ring().await.unwrap(), Some(expected));
        })
        .await;
    }

    #[tokio::test]
    async fn slots_are_numbered_from_zero_and_read_in_ranges() {
        on_each(async |keys| {
            filled(&*keys).await;
            assert_eq!(keys.add(Vec::new()).await.unwrap(), 3);
            assert_eq!(keys.add(slots("more", 600)).await.unwrap(), 3);
            assert_eq!(keys.slots().await.unwrap(), 603);
            assert_eq!(keys.read(0, usize::MAX).await.unwrap(), [slots("old", 3), slots("more", 600)].concat());
            assert_eq!(keys.read(1, 2).await.unwrap(), slots("old", 3)[1..]);
            assert_eq!(keys.read(602, 9).await.unwrap(), slots("more", 600)[599..]);
            for (from, limit) in [(603, 9), (u64::MAX, usize::MAX), (0, 0)] {
                assert!(keys.read(from, limit).await.unwrap().is_empty());
            }
        })
        .await;
    }

    #[tokio::test]
    async fn the_largest_slot_fits_and_a_larger_one_is_refused() {
        on_each(async |keys| {
            filled(&*keys).await;
            let largest = Slot::from(vec![0xFF; MAX_SLOT]);
            let first = keys.add(vec![largest.clone()]).await.unwrap();
            assert_eq!(keys.read(first, 1).await.unwrap(), std::slice::from_ref(&largest));
            let larger = Slot::from(vec![0xFF; MAX_SLOT + 1]);
            let refused = keys.add(vec![largest.clone(), larger.clone()]).await;
            assert!(matches!(refused, Err(StoreError::TooLarge { bytes: 225, max: 224 })), "{refused:?}");
            let refused = keys.overwrite(vec![SlotChange { number: first, expected: largest, new: larger }]).await;
            assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
            assert_eq!(keys.slots().await.unwrap(), first + 1, "none was added");
        })
        .await;
    }

    #[tokio::test]
    async fn slots_are_overwritten_all_or_none() {
        on_each(async |keys| {
            filled(&*keys).await;
            let to_new = |number: u64| change(number, &format!("old key of session {number:04}"), "new");
            let wrong = vec![to_new(0), change(1, "something else", "new"), to_new(2)];
            assert!(matches!(keys.overwrite(wrong).await, Err(StoreError::Conflict { .. })));
            for malformed in [vec![to_new(0), change(3, "", "new")], vec![to_new(0), to_new(0)]] {
                assert!(matches!(keys.overwrite(malformed).await, Err(StoreError::Malformed { .. })));
            }
            assert_eq!(keys.read(0, 9).await.unwrap(), slots("old", 3), "none was changed");
            keys.overwrite(Vec::new()).await.unwrap();
            keys.overwrite(vec![to_new(2), to_new(0)]).await.unwrap();
            keys.overwrite(vec![change(0, "new", "newer")]).await.unwrap();
            keys.overwrite(vec![change(0, "newer", "")]).await.unwrap();
            let expected: Vec<Slot> = vec![Slot::new(), slots("old", 3)[1].clone(), Slot::from_static(b"new")];
            assert_eq!(keys.read(0, 9).await.unwrap(), expected);
        })
        .await;
    }

    #[tokio::test]
    async fn of_many_who_change_one_slot_one_wins() {
        on_each(async |keys| {
            filled(&*keys).await;
            let tries: Vec<_> = (0..16)
                .map(|n| {
                    let keys = Arc::clone(&keys);
                    let change = change(1, "old key of session 0001", &format!("of {n}"));
                    tokio::spawn(async move { keys.overwrite(vec![change]).await.map(|()| n) })
                })
                .collect();
            let mut won = Vec::new();
            for tried in tries {
                match tried.await.unwrap() {
                    Ok(n) => won.push(n),
                    Err(StoreError::Conflict { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            assert_eq!(won.len(), 1);
            assert_eq!(keys.read(1, 1).await.unwrap(), [Slot::from(format!("of {}", won[0]))]);
        })
        .await;
    }

    #[tokio::test]
    async fn slots_go_from_the_end_and_their_numbers_come_again() {
        on_each(async |keys| {
            filled(&*keys).await;
            keys.truncate(3).await.unwrap();
            keys.truncate(99).await.unwrap();
            assert_eq!(keys.slots().await.unwrap(), 3);
            keys.truncate(1).await.unwrap();
            assert_eq!(keys.read(0, 9).await.unwrap(), slots("old", 1));
            assert_eq!(keys.add(slots("new", 2)).await.unwrap(), 1);
            keys.truncate(0).await.unwrap();
            assert_eq!(keys.slots().await.unwrap(), 0);
        })
        .await;
    }

    fn has(bytes: &[u8], wanted: &[u8]) -> bool {
        bytes.windows(wanted.len()).any(|window| window == wanted)
    }

    #[tokio::test]
    async fn what_is_written_is_there_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let keys = file_store(&folder).await;
        filled(&keys).await;
        keys.overwrite(vec![change(1, "old key of session 0001", "new")]).await.unwrap();
        let expected = vec![slots("old", 3)[0].clone(), Slot::from_static(b"new"), slots("old", 3)[2].clone()];
        drop(keys);
        let again = file_store(&folder).await;
        assert_eq!(again.read(0, 9).await.unwrap(), expected);
        assert_eq!(again.ring_blocking().unwrap().unwrap().version, 1);
        assert!(again.mended().is_empty() && again.damage_blocking().unwrap().is_empty());
        let look = FileKeyStore::look_blocking(&keys_in(&folder), STORE).unwrap();
        assert_eq!((look.read_blocking(0, 9).unwrap(), look.slots_blocking()), (expected, 3));
        let refused = look.put_ring(1, Bytes::from_static(b"two")).await;
        assert!(matches!(refused, Err(StoreError::Malformed { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn overwritten_keys_and_rings_are_nowhere_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let keys = file_store(&folder).await;
        keys.put_ring(0, Bytes::from_static(b"the first ring")).await.unwrap();
        keys.add(slots("old", 1000)).await.unwrap();
        let all = |word: &str| slots(word, 1000);
        let changes = (0..).zip(all("old").into_iter().zip(all("new")));
        keys.overwrite(changes.map(|(number, (expected, new))| SlotChange { number, expected, new }).collect())
            .await
            .unwrap();
        keys.put_ring(1, Bytes::from_static(b"another ring")).await.unwrap();
        let mut seen = 0;
        for entry in fs::read_dir(keys_in(&folder)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            assert!(!has(&bytes, b"old key") && !has(&bytes, b"the first"), "{}", path.display());
            seen += usize::from(has(&bytes, b"new key")) + usize::from(has(&bytes, b"another ring"));
        }
        assert_eq!(seen, 3, "the ring, its copy and the slots");
    }

    #[tokio::test]
    async fn nobody_else_may_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        filled(&file_store(&folder).await).await;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&keys_in(&folder)), 0o700);
        let entries = fs::read_dir(keys_in(&folder)).unwrap();
        let modes: Vec<u32> = entries.map(|entry| mode(&entry.unwrap().path())).collect();
        assert_eq!(modes, [0o600; 3]);
    }

    #[tokio::test]
    async fn damage_is_told_and_what_has_a_copy_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = keys_in(&folder);
        filled(&file_store(&folder).await).await;
        let flip = |name: &str, at: usize| {
            let mut bytes = fs::read(path.join(name)).unwrap();
            bytes[at] ^= 1;
            fs::write(path.join(name), bytes).unwrap();
        };
        flip("slots", 3);
        flip("slots", 512 + 512 + 20);
        flip("ring", 20);
        let found = [KeyFinding::RingCopy("ring"), KeyFinding::Header, KeyFinding::Slot(1)];
        let before = fs::read(path.join("ring")).unwrap();
        let look = FileKeyStore::look_blocking(&path, STORE).unwrap();
        assert_eq!(look.damage_blocking().unwrap(), found);
        assert_eq!(fs::read(path.join("ring")).unwrap(), before, "looking changes nothing");
        let keys = file_store(&folder).await;
        assert_eq!(keys.mended(), found[..2]);
        assert_eq!(keys.damage_blocking().unwrap(), found[2..]);
        let damaged = keys.read(0, 3).await;
        assert!(matches!(damaged, Err(StoreError::Key(KeyError::Damaged { .. }))), "{damaged:?}");
        for number in [0, 2] {
            assert_eq!(keys.read(number, 1).await.unwrap(), slots("old", 3)[number as usize..=number as usize]);
        }
        let damaged = keys.overwrite(vec![change(1, "old key of session 0001", "new")]).await;
        assert!(matches!(damaged, Err(StoreError::Key(KeyError::Damaged { .. }))), "{damaged:?}");
    }

    #[tokio::test]
    async fn what_is_gone_is_damage_and_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = keys_in(&folder);
        assert!(!FileKeyStore::has_ring(&path).unwrap());
        assert!(matches!(FileKeyStore::look_blocking(&path, STORE), Err(StoreError::NoStore)));
        filled(&file_store(&folder).await).await;
        assert!(FileKeyStore::has_ring(&path).unwrap());
        let gone = |name: &str| fs::rename(path.join(name), folder.path().join(name)).unwrap();
        let back = |name: &str| fs::rename(folder.path().join(name), path.join(name)).unwrap();
        gone("slots");
        let is_damaged = |error: Option<StoreError>| matches!(error, Some(StoreError::Key(KeyError::Damaged { .. })));
        assert!(is_damaged(FileKeyStore::open_blocking(&path, STORE).err()));
        assert!(is_damaged(FileKeyStore::look_blocking(&path, STORE).err()));
        assert!(!path.join("slots").exists());
        back("slots");
        gone("ring");
        gone("ring.copy");
        let keys = file_store(&folder).await;
        assert!(is_damaged(keys.ring().await.err()));
        assert!(
            is_damaged(keys.put_ring(0, Bytes::from_static(b"another")).await.err()),
            "a new ring would orphan all slots"
        );
        back("ring.copy");
        assert_eq!(keys.ring().await.unwrap().unwrap().version, 1);
        assert!(is_damaged(FileKeyStore::open_blocking(&path, StoreId([8; 16])).err()), "those of another store");
    }
}
