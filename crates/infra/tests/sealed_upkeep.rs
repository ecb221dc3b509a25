//! A sealed store is checked, repaired, backed up and given back space, for most of which nobody needs its key.

#![cfg(feature = "sled")]

#[cfg(test)]
mod sealed_upkeep {
    use std::{fs, path::Path, sync::Arc};

    use sessions_domain::{
        Actor, Appended, CommitHash, Created, Event, ForkPoint, Kind, Kinship, LineageId, Message, MessageId, Moment,
        SessionId, SessionKey, Stamp, SummaryWords, codec,
    };
    use sessions_infra::{
        environment::SystemClock,
        keys::FileKeyStore,
        sealing::{SealedStore, StoreOpener, cipher_link},
        sled::{
            BackupInfo, BackupProgress, EpochChain, Finding, Sealing, SealingLook, Severity, SledOptions, SledStore,
            VerifyReport, check_backup, look_at_keys, repair, restore_backup, verify, verify_backup, verify_sealed,
        },
    };
    use sessions_ports::{
        Commit, Durability, Expected, KeyError, KeyStore as _, KindFilter, Link, Order, ReadRange, Record, Removal,
        Rewrite, RowChange, SessionLog, StoreError,
    };
    use sessions_testkit::{FixedKey, Script};
    use tempfile::TempDir;

    const KEY: FixedKey = FixedKey(7);
    const HEADER: usize = 80;

    async fn beneath(path: &Path) -> SledStore {
        let options = SledOptions { sealing: Sealing::Sealed, ..SledOptions::default() };
        SledStore::open(path, options).await.unwrap()
    }

    async fn opened(path: &Path, key: FixedKey) -> Result<SealedStore, StoreError> {
        let store = beneath(path).await;
        let keys = FileKeyStore::open(&store.keys_folder(), store.id()).await?;
        SealedStore::open_or_create(Arc::new(store), Arc::new(keys), &key, Arc::new(SystemClock)).await
    }

    async fn open(path: &Path) -> SealedStore {
        opened(path, KEY).await.unwrap()
    }

    fn on_disk(commit: Commit) -> Commit {
        Commit { durability: Durability::Disk, ..commit }
    }

    /// A session's records, chained as real ones are.
    struct Chained {
        number: u64,
        first: u64,
        before: CommitHash,
        written: Vec<Record>,
    }

    impl Chained {
        fn session(&self) -> SessionId {
            SessionId::from_parts(1, u128::from(self.number))
        }

        fn lineage(&self) -> LineageId {
            LineageId::from_parts(2, u128::from(self.number))
        }

        fn version(&self) -> u64 {
            self.written.last().map_or(0, |record| record.seq)
        }

        fn tip(&self) -> CommitHash {
            self.written.last().map_or(self.before, |record| record.commit)
        }

        fn written(&self) -> &[Record] {
            &self.written
        }

        fn commit(&mut self, kind: Kind, body: &[u8]) -> Commit {
            let (expected, seq) = match self.version() {
                0 => (Expected::NoStream, self.first),
                version => (Expected::Exactly(version), version + 1),
            };
            let blind = [u8::try_from((self.number * 16 + seq) % 251).unwrap(); 32];
            let commit = self.tip().next(self.lineage(), seq, kind, &blind, body);
            let record = Record { seq, kind, commit, label: 0, payload: [&blind, body].concat().into() };
            self.written.push(record.clone());
            let updated = Moment::from_millis(1_700_000_000_000);
            Commit {
                session: self.session(),
                expected,
                records: vec![record],
                row: RowChange { updated, messages: seq, words: None },
                key: None,
                claims: Vec::new(),
                links: Vec::new(),
                snapshot: None,
                durability: Durability::Disk,
            }
        }
    }

    /// A session whose records say something.
    struct Talk {
        script: Chained,
        number: u64,
        tenant: &'static str,
    }

    impl Talk {
        fn new(number: u64) -> Self {
            Self {
                script: Chained { number, first: 1, before: CommitHash::ZERO, written: Vec::new() },
                number,
                tenant: "",
            }
        }

        fn session(&self) -> SessionId {
            self.script.session()
        }

        fn stamp(&self) -> Stamp {
            Stamp { at: Moment::from_millis(5), actor: Actor { tenant: self.tenant.to_owned(), ..Actor::default() } }
        }

        fn words(&self) -> SummaryWords {
            let title = Some(format!("title {}", self.number));
            let key = SessionKey::new(format!("key-{}", self.number)).ok();
            SummaryWords { title, key, tenant: self.tenant.to_owned(), ..SummaryWords::default() }
        }

        /// The beginning of a session, or what is said in it.
        fn next(&mut self, text: &str) -> Commit {
            let version = self.script.version();
            let encoded = |event: Event| codec::encode(&event, &self.stamp()).unwrap();
            if version == 0 {
                let created = Created { key: self.words().key, ..Created::of(self.session(), self.script.lineage()) };
                let body = encoded(Event::Created(Box::new(created)));
                let mut commit = self.script.commit(Kind::CREATED, &body);
                commit.row.words = Some(self.words().to_json().into());
                commit.key = Some([u8::try_from(self.number).unwrap(); 32]);
                return commit;
            }
            let (parent, depth) = (None, version);
            let id = MessageId::from_parts(3, u128::from(self.number * 1000 + version));
            let message = Message::user(text);
            let appended = Appended { id, parent, depth, late: false, replaces: None, message };
            let body = encoded(Event::Appended(appended));
            self.script.commit(Kind::APPENDED, &body)
        }
    }

    async fn say(store: &dyn SessionLog, talk: &mut Talk, texts: &[&str]) {
        for text in texts {
            store.commit(talk.next(text)).await.unwrap();
        }
    }

    fn all() -> ReadRange {
        let (order, kinds) = (Order::OldestFirst, KindFilter::All);
        ReadRange { from: 0, to: u64::MAX, order, kinds, max_records: 999, max_bytes: 1 << 24 }
    }

    async fn read(store: &dyn SessionLog, session: SessionId) -> Vec<Record> {
        store.read(session, all()).await.unwrap().records
    }

    fn first_segment(path: &Path) -> std::path::PathBuf {
        path.join("log/00000001.seg")
    }

    /// Where the frames of records begin.
    fn frames(log: &[u8]) -> Vec<usize> {
        let begins = |(at, bytes): &(usize, &[u8])| bytes.starts_with(b"SSN\x01") && log[at + 5] < 0xF0;
        log.windows(4).enumerate().filter(begins).map(|(at, _)| at).collect()
    }

    fn harm(path: &Path, harm: impl FnOnce(&mut Vec<u8>)) {
        let file = first_segment(path);
        let mut log = fs::read(&file).unwrap();
        harm(&mut log);
        fs::write(file, log).unwrap();
    }

    async fn checked(path: &Path, key: FixedKey) -> VerifyReport {
        let opener = StoreOpener::unlock(path, &key).await.unwrap();
        verify_sealed(path, None, Arc::new(opener)).unwrap()
    }

    fn errors(report: &VerifyReport) -> Vec<&Finding> {
        report.findings.iter().filter(|finding| finding.severity == Severity::Error).collect()
    }

    /// The checksum of a frame is made anew, as somebody does who changes it on purpose.
    fn forge(log: &mut [u8], frame: usize, change: impl FnOnce(&mut [u8])) {
        let length = u32::from_le_bytes(log[frame + 40..frame + 44].try_into().unwrap()) as usize;
        // Behind the body stand messages and position, and when it is said the time and fields.
        let flags = log[frame + 6];
        let mut end = frame + HEADER + length;
        end += if flags & 1 != 0 { 12 } else { 0 };
        end += if flags & 32 != 0 { 8 } else { 0 };
        if flags & 4 != 0 {
            end += 4 + u32::from_le_bytes(log[end..end + 4].try_into().unwrap()) as usize;
        }
        change(&mut log[frame..end]);
        let before = crc32c::crc32c(&log[frame..frame + 44]);
        let crc = crc32c::crc32c_append(before, &log[frame + 48..end]);
        log[frame + 44..frame + 48].copy_from_slice(&crc.to_le_bytes());
    }

    #[tokio::test]
    async fn whoever_has_no_key_checks_bytes_and_keeps_the_chains() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let (mut one, mut two) = (Talk::new(1), Talk::new(2));
        say(&store, &mut one, &["a", "b", &"large ".repeat(20_000)]).await;
        say(&store, &mut two, &["c"]).await;
        store.close().await.unwrap();
        drop(store);

        let report = verify(&path).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!((report.sealing, report.records, report.sessions), (SealingLook::Shut, 4, 2));
        let raw = beneath(&path).await;
        for (script, count) in [(&one, 3), (&two, 1)] {
            let records = read(&raw, script.session()).await;
            let link = records.iter().fold([0; 32], |link, record| cipher_link(&link, script.session(), record));
            let link = sessions_domain::chain::to_hex(&link);
            let named = report.names.iter().find(|named| named.session == script.session()).unwrap();
            assert_eq!(named.epochs, [EpochChain { epoch: 1, records: count, link }]);
            assert_eq!((named.key.as_ref(), named.tenant.as_str()), (None, ""));
        }
        raw.close().await.unwrap();
        drop(raw);

        // Who has the key sees the same chains, and what stands in them.
        let opened = checked(&path, KEY).await;
        assert_eq!(opened.findings, []);
        assert_eq!(opened.sealing, SealingLook::Opened);
        let epochs = |report: &VerifyReport| report.names.iter().map(|named| named.epochs.clone()).collect::<Vec<_>>();
        assert_eq!(epochs(&opened), epochs(&report));
        let wrong = StoreOpener::unlock(&path, &FixedKey(8)).await.err().unwrap();
        assert!(matches!(wrong, StoreError::Key(KeyError::WrongKey { .. })), "{wrong:?}");
    }

    #[tokio::test]
    async fn a_record_that_was_changed_with_its_checksum_is_named_with_the_key_and_moves_the_chain_without() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut script = Talk::new(1);
        say(&store, &mut script, &["a", "b", "c"]).await;
        store.close().await.unwrap();
        drop(store);
        let before = verify(&path).unwrap();
        harm(&path, |log| {
            let second = frames(log)[1];
            forge(log, second, |frame| frame[HEADER + 20] ^= 1);
        });
        let after = verify(&path).unwrap();
        assert!(after.is_sound(), "{:?}", after.findings);
        assert_ne!(before.names[0].epochs[0].link, after.names[0].epochs[0].link);
        let report = checked(&path, KEY).await;
        let found = errors(&report);
        assert_eq!((found.len(), found[0].session, found[0].seq), (1, Some(script.session()), Some(2)));
        assert!(found[0].what.contains("seal is broken"), "{}", found[0].what);

        // In a sealed store a record in the clear is none, unless a repair wrote it.
        harm(&path, |log| {
            let third = frames(log)[2];
            forge(log, third, |frame| frame[HEADER] = 0x55);
        });
        let found = verify(&path).unwrap();
        assert_eq!(errors(&found).len(), 1);
        assert_eq!(errors(&found)[0].seq, Some(3));
    }

    #[tokio::test]
    async fn a_session_whose_keys_were_destroyed_hides_no_other_and_its_bytes_are_still_checked() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let (mut gone, mut kept) = (Talk::new(1), Talk::new(2));
        say(&store, &mut gone, &["a", "b"]).await;
        say(&store, &mut kept, &["c"]).await;
        store.close().await.unwrap();
        drop(store);
        let before = verify(&path).unwrap();
        let saved = fs::read(first_segment(&path)).unwrap();
        let index = ground.path().join("index");
        copy(&path.join("index"), &index);
        let store = open(&path).await;
        let (session, durability) = (gone.session(), Durability::Disk);
        store.remove(Removal { session, expected: None, keep_key: false, durability }).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let removed = verify(&path).unwrap();
        assert_eq!(removed.findings, []);
        assert_eq!(removed.removed_chains, [(session, before.names[0].epochs.clone())]);
        assert_eq!(checked(&path, KEY).await.findings, []);

        // Somebody puts the log of before back: the words stay gone, and it is said so.
        fs::write(first_segment(&path), &saved).unwrap();
        fs::remove_dir_all(path.join("index")).unwrap();
        copy(&index, &path.join("index"));
        for report in [verify(&path).unwrap(), checked(&path, KEY).await] {
            let found: Vec<_> = report.findings.iter().filter(|finding| finding.session == Some(session)).collect();
            assert_eq!((found.len(), found[0].severity), (1, Severity::Warning), "{found:?}");
            assert!(found[0].what.contains("keys were destroyed"), "{}", found[0].what);
            assert!(report.is_sound(), "{:?}", report.findings);
            assert_eq!(report.names[0].epochs, before.names[0].epochs);
        }
    }

    #[tokio::test]
    async fn damaged_and_lost_slots_are_named_with_their_sessions() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut scripts: Vec<Talk> = (1..=3).map(Talk::new).collect();
        for script in &mut scripts {
            say(&store, script, &["a"]).await;
        }
        store.close().await.unwrap();
        drop(store);
        let slots = path.join("keys/slots");
        let whole = fs::read(&slots).unwrap();
        let mut bytes = whole.clone();
        // The keys of the second session are damaged, and those of the third are gone.
        bytes[512 + 512 + 40] ^= 1;
        bytes[512 + 1024..].fill(0);
        fs::write(&slots, bytes).unwrap();
        for report in [verify(&path).unwrap(), checked(&path, KEY).await] {
            let found: Vec<_> = errors(&report).iter().map(|finding| (finding.session, finding.what.clone())).collect();
            assert_eq!(found.len(), 2, "{found:?}");
            for (script, word) in [(&scripts[1], "not as it was written"), (&scripts[2], "not there")] {
                let about = found.iter().find(|(session, _)| *session == Some(script.session())).unwrap();
                assert!(about.1.contains(word), "{}", about.1);
            }
        }
        fs::write(&slots, &whole).unwrap();
        assert_eq!(verify(&path).unwrap().findings, []);
        // A damaged copy of the ring is worth a word, and both are an error.
        fs::write(path.join("keys/ring.copy"), "none").unwrap();
        let report = verify(&path).unwrap();
        assert!(report.is_sound() && report.findings.len() == 1, "{:?}", report.findings);
        fs::write(path.join("keys/ring"), "none").unwrap();
        assert_eq!(errors(&verify(&path).unwrap()).len(), 1);
        fs::remove_dir_all(path.join("keys")).unwrap();
        assert!(errors(&verify(&path).unwrap())[0].what.contains("missing"), "{:?}", verify(&path).unwrap().findings);
    }

    #[tokio::test]
    async fn slots_that_nobody_uses_are_told() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut script = Talk::new(1);
        say(&store, &mut script, &["a"]).await;
        store.close().await.unwrap();
        drop(store);
        let raw = beneath(&path).await;
        let keys = FileKeyStore::open(&raw.keys_folder(), raw.id()).await.unwrap();
        raw.close().await.unwrap();
        let slot = keys.read(0, 1).await.unwrap();
        keys.add(slot).await.unwrap();
        drop(keys);
        // Behind all others they may just have been made ahead of need.
        assert_eq!(verify(&path).unwrap().findings, []);
        let store = open(&path).await;
        say(&store, &mut Talk::new(2), &[""]).await;
        store.close().await.unwrap();
        drop(store);
        let report = verify(&path).unwrap();
        assert!(report.is_sound() && report.findings.len() == 1, "{:?}", report.findings);
        assert!(report.findings[0].what.contains("1 of the slots (1)"), "{}", report.findings[0].what);
    }

    #[tokio::test]
    async fn words_and_snapshots_that_do_not_open_are_found_with_the_key() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut script = Talk::new(1);
        say(&store, &mut script, &["a"]).await;
        store.close().await.unwrap();
        drop(store);
        let words = |frame: &[u8]| {
            let length = u32::from_le_bytes(frame[40..44].try_into().unwrap()) as usize;
            let fields = HEADER + length + 12 + if frame[6] & 32 != 0 { 8 } else { 0 } + 4;
            assert_eq!(frame[fields], 1, "the words come first");
            fields + 5
        };
        harm(&path, |log| {
            let first = frames(log)[0];
            forge(log, first, |frame| {
                let at = words(frame);
                frame[at + 25] ^= 1;
            });
        });
        assert!(verify(&path).unwrap().is_sound());
        let report = checked(&path, KEY).await;
        let found = errors(&report);
        assert_eq!((found.len(), found[0].session, found[0].seq), (1, Some(script.session()), Some(1)), "{found:?}");
        assert!(found[0].what.contains("words"), "{}", found[0].what);
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let to = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_plain_store_has_no_seals_to_look_at() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = SledStore::open(&path, SledOptions::default()).await.unwrap();
        let mut script = Script::new(1);
        store.commit(on_disk(script.commit(&[(Kind::CREATED, 0, b"{}")]))).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        assert_eq!(verify(&path).unwrap().sealing, SealingLook::Plain);
        let refused = StoreOpener::unlock(&path, &KEY).await.err().unwrap();
        assert!(matches!(refused, StoreError::Key(KeyError::NotSealed)), "{refused:?}");
    }

    impl Talk {
        /// A fork of another session behind its last record.
        fn forked(number: u64, parent: &Self) -> (Self, Commit) {
            let at = parent.script.version();
            let script = Chained { number, first: at + 1, before: parent.script.tip(), written: Vec::new() };
            let mut fork = Self { script, number, tenant: parent.tenant };
            let owners = vec![(parent.session(), at)];
            let commit = parent.script.tip();
            let point = ForkPoint { parent: parent.session(), at, commit, head: at, depth: at - 1, owners, last: None };
            let created = Created { fork: Some(point), ..Created::of(fork.session(), fork.script.lineage()) };
            let body = codec::encode(&Event::Created(Box::new(created)), &fork.stamp()).unwrap();
            let mut commit = fork.script.commit(Kind::CREATED, &body);
            let (parent_of, kinship) = (Some(parent.session()), Some(Kinship::Fork));
            let words = SummaryWords { parent: parent_of, kinship, ..fork.words() };
            commit.row.words = Some(words.to_json().into());
            commit.links = vec![Link { owner: parent.session(), last: at }];
            (fork, commit)
        }
    }

    fn decoded(record: &Record) -> (Event, Stamp) {
        codec::decode(record.kind, &record.payload[32..]).unwrap()
    }

    fn holds_no_words(folder: &Path, words: &[&str]) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                holds_no_words(&path, words);
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            for word in words {
                let found = bytes.windows(word.len()).any(|part| part == word.as_bytes());
                assert!(!found, "{word} stands in {}", path.display());
            }
        }
    }

    #[tokio::test]
    async fn a_session_that_lost_its_beginning_is_repaired_without_the_key_and_goes_on_under_its_name() {
        let ground = TempDir::new().unwrap();
        for keeps_index in [true, false] {
            let path = ground.path().join(format!("store-{keeps_index}"));
            let store = open(&path).await;
            let mut talk = Talk { tenant: "acme", ..Talk::new(1) };
            let mut other = Talk::new(2);
            say(&store, &mut talk, &["", "b", "c"]).await;
            say(&store, &mut other, &["", "x"]).await;
            store.close().await.unwrap();
            drop(store);
            harm(&path, |log| {
                let first = frames(log)[0];
                log[first + HEADER + 40] ^= 1;
            });
            if !keeps_index {
                fs::remove_dir_all(path.join("index")).unwrap();
            }
            let session = talk.session();
            let found = verify(&path).unwrap();
            assert!(errors(&found).iter().any(|finding| finding.session == Some(session) && finding.seq == Some(1)));
            repair(&path, false).unwrap();
            let after = verify(&path).unwrap();
            assert!(after.is_sound() || !keeps_index, "{:?}", after.findings);
            holds_no_words(&path, &["acme", "title 1", "key-1"]);

            let store = open(&path).await;
            if !keeps_index {
                // Nothing is left that says where its keys lie; that is told, and hides no other session.
                let refused = store.read(session, all()).await.unwrap_err();
                assert!(matches!(refused, StoreError::Key(KeyError::Damaged { .. })), "{refused:?}");
                assert_eq!(read(&store, other.session()).await, other.script.written());
                store.close().await.unwrap();
                continue;
            }
            let records = read(&store, session).await;
            assert_eq!(records[1..], talk.script.written()[1..]);
            let (event, stamp) = decoded(&records[0]);
            let Event::Created(created) = event else { panic!("{event:?}") };
            assert!(created.stands_for_a_lost_one(&records[0].payload));
            assert_eq!(stamp.actor.tenant, "acme");
            assert_eq!((created.described.title, created.key), (talk.words().title, talk.words().key));
            assert_eq!(store.by_key([1; 32]).await.unwrap(), Some(session));
            let page = store.rows(0, 99).await.unwrap();
            let row = page.rows.iter().find(|row| row.session == session).unwrap();
            assert_eq!(row.words, talk.words().to_json());
            say(&store, &mut talk, &["d"]).await;
            store.close().await.unwrap();
            drop(store);
            let store = open(&path).await;
            assert_eq!(read(&store, session).await[1..], talk.script.written()[1..]);
            store.close().await.unwrap();
            drop(store);
            let checked = checked(&path, KEY).await;
            assert!(checked.is_sound(), "{:?}", checked.findings);
            let named = checked.names.iter().find(|named| named.session == session).unwrap();
            assert_eq!((named.tenant.as_str(), named.lost), ("acme", 1));
            holds_no_words(&path, &["acme", "title 1", "key-1"]);
        }
    }

    #[tokio::test]
    async fn a_fork_that_lost_its_beginning_still_inherits() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut parent = Talk::new(1);
        say(&store, &mut parent, &["", "b"]).await;
        let (mut fork, commit) = Talk::forked(2, &parent);
        store.commit(commit).await.unwrap();
        say(&store, &mut fork, &["c"]).await;
        let (session, durability) = (parent.session(), Durability::Disk);
        store.remove(Removal { session, expected: None, keep_key: false, durability }).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        assert_eq!(verify(&path).unwrap().findings, []);
        harm(&path, |log| {
            let first = frames(log)[2];
            log[first + HEADER + 40] ^= 1;
        });
        repair(&path, false).unwrap();
        assert!(verify(&path).unwrap().is_sound(), "{:?}", verify(&path).unwrap().findings);
        let store = open(&path).await;
        let records = read(&store, fork.session()).await;
        assert_eq!(read(&store, parent.session()).await, *parent.script.written());
        assert_eq!(records.len(), 2, "{records:?}");
        let (Event::Created(created), _) = decoded(&records[0]) else { panic!("{records:?}") };
        let point = created.fork.unwrap();
        assert_eq!((point.at, point.owners), (2, vec![(parent.session(), 2)]));
        assert_eq!(records[1], fork.script.written()[1]);
        store.close().await.unwrap();
        drop(store);
        assert!(checked(&path, KEY).await.is_sound());
    }

    /// As random as a test needs, and the same each time.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % sides
        }
    }

    /// Damages the log or a large body somewhere.
    fn damage(path: &Path, dice: &mut Dice) {
        let blobs: Vec<_> = walk(&path.join("blobs"));
        let file = match dice.roll(8) {
            0 => blobs[dice.roll(blobs.len())].clone(),
            _ => first_segment(path),
        };
        let mut bytes = fs::read(&file).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let at = dice.roll(end);
        match dice.roll(4) {
            0 => bytes[at] ^= 1 << dice.roll(8),
            1 => bytes[at..(at + 1 + dice.roll(300)).min(end)].fill(0),
            2 => bytes[at..(at + 1 + dice.roll(300)).min(end)].fill(0xEE),
            _ => bytes.truncate(at),
        }
        fs::write(file, bytes).unwrap();
    }

    fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect();
        found.sort();
        found
    }

    #[tokio::test]
    async fn of_200_random_damages_each_is_named_and_repaired_without_the_key_and_all_else_is_read_with_it() {
        let ground = TempDir::new().unwrap();
        let whole = ground.path().join("whole");
        let store = open(&whole).await;
        let mut talks: Vec<Talk> = (1..=5).map(Talk::new).collect();
        for round in 0..6 {
            for (at, talk) in talks.iter_mut().enumerate() {
                let large = format!("large {at} {round} ").repeat(8_000);
                let text = if round == at { large } else { format!("said {at} in {round}") };
                say(&store, talk, &[&text]).await;
            }
        }
        let (mut fork, commit) = Talk::forked(9, &talks[0]);
        store.commit(commit).await.unwrap();
        say(&store, &mut fork, &["y", "z"]).await;
        talks.push(fork);
        store.close().await.unwrap();
        drop(store);
        let mut dice = Dice(4);
        for number in 0..200 {
            let path = ground.path().join("harmed");
            copy(&whole, &path);
            damage(&path, &mut dice);
            let found = verify(&path).unwrap();
            repair(&path, false).unwrap();
            let after = verify(&path).unwrap();
            assert!(after.is_sound(), "{number}: {:?}", after.findings);
            let store = open(&path).await;
            for talk in &talks {
                let session = talk.session();
                let records = read(&store, session).await;
                let expected = talk.script.written();
                assert_eq!(records.len(), expected.len(), "{number}: {session}");
                for (record, expected) in records.iter().zip(expected) {
                    if record == expected {
                        continue;
                    }
                    let stands_in = match decoded(record) {
                        (Event::Lost, _) => true,
                        (Event::Created(created), _) => created.stands_for_a_lost_one(&record.payload),
                        _ => false,
                    };
                    assert!(stands_in, "{number}: {record:?}");
                    let is_named = found.findings.iter().any(|finding| {
                        finding.session == Some(session)
                            && finding.seq.is_some_and(|seq| (seq..=finding.last.unwrap_or(seq)).contains(&record.seq))
                    });
                    assert!(is_named, "{number}: record {} of {session}: {:?}", record.seq, found.findings);
                }
            }
            let page = store.rows(0, 99).await.unwrap();
            assert!(page.rows.iter().all(|row| !row.words.is_empty()), "{number}");
            store.close().await.unwrap();
            drop(store);
            let checked = checked(&path, KEY).await;
            assert!(checked.is_sound(), "{number}: {:?}", checked.findings);
            fs::remove_dir_all(&path).unwrap();
        }
    }

    async fn backed_up(store: &SealedStore, beneath: &SledStore, file: &Path) -> BackupInfo {
        let report = beneath.backup(file, &BackupProgress::default()).await.unwrap();
        assert_eq!(report.info.head.store, store.id());
        report.info
    }

    /// A sealed store, and the one beneath it.
    async fn both(path: &Path) -> (SealedStore, SledStore) {
        let raw = beneath(path).await;
        let keys = FileKeyStore::open(&raw.keys_folder(), raw.id()).await.unwrap();
        let (log, clock) = (Arc::new(raw.clone()), Arc::new(SystemClock));
        (SealedStore::open_or_create(log, Arc::new(keys), &KEY, clock).await.unwrap(), raw)
    }

    #[tokio::test]
    async fn a_backup_holds_keys_and_no_word_and_opens_with_the_key_of_then() {
        use std::os::unix::fs::PermissionsExt as _;

        let ground = TempDir::new().unwrap();
        let (path, file) = (ground.path().join("store"), ground.path().join("one.sessions"));
        let (store, raw) = both(&path).await;
        let (mut talk, mut shredded) = (Talk { tenant: "acme", ..Talk::new(1) }, Talk::new(2));
        let large = "canary ".repeat(20_000);
        say(&store, &mut talk, &["", "canary", &large]).await;
        say(&store, &mut shredded, &["", "canary"]).await;
        let info = backed_up(&store, &raw, &file).await;
        assert_eq!((info.head.sealing, info.bodies), (Sealing::Sealed, 1));
        assert_eq!(verify_backup(&file, &BackupProgress::default()).unwrap(), info);
        let bytes = fs::read(&file).unwrap();
        for word in ["canary", "acme", "title 1", "key-1"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        // What is done to the original does nothing to the backup.
        let (session, durability) = (shredded.session(), Durability::Disk);
        store.remove(Removal { session, expected: None, keep_key: false, durability }).await.unwrap();
        store.rotate(&FixedKey(9), |_| ()).await.unwrap();
        let later = ground.path().join("two.sessions");
        backed_up(&store, &raw, &later).await;
        store.close().await.unwrap();
        drop((store, raw));

        let restored = ground.path().join("restored");
        let report = restore_backup(&file, &restored, &BackupProgress::default()).unwrap();
        assert_eq!(report.verified.findings, []);
        assert_eq!(report.verified.sealing, SealingLook::Shut);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&restored.join("keys")), 0o700);
        for name in ["ring", "ring.copy", "slots"] {
            assert_eq!(mode(&restored.join("keys").join(name)), 0o600, "{name}");
        }
        let plain = SledStore::open(&restored, SledOptions::default()).await.unwrap_err();
        assert!(matches!(plain, StoreError::Key(KeyError::Sealed)), "{plain:?}");
        let wrong = opened(&restored, FixedKey(9)).await.unwrap_err();
        assert!(matches!(wrong, StoreError::Key(KeyError::WrongKey { .. })), "{wrong:?}");
        assert_eq!(checked(&restored, KEY).await.findings, []);
        let store = open(&restored).await;
        for talk in [&mut talk, &mut shredded] {
            assert_eq!(read(&store, talk.session()).await, talk.script.written());
            say(&store, talk, &["on"]).await;
        }
        let mut new = Talk::new(3);
        say(&store, &mut new, &["", "new"]).await;
        store.close().await.unwrap();
        drop(store);
        let report = checked(&restored, KEY).await;
        assert!(report.is_sound(), "{:?}", report.findings);

        let restored = ground.path().join("restored-later");
        restore_backup(&later, &restored, &BackupProgress::default()).unwrap();
        let store = opened(&restored, FixedKey(9)).await.unwrap();
        let gone = store.read(shredded.session(), all()).await.unwrap_err();
        assert!(matches!(gone, StoreError::Gone { .. }), "{gone:?}");
        assert!(store.erased(shredded.session()).await.unwrap().is_some());
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn no_flipped_byte_of_a_sealed_backup_is_taken_for_one() {
        let ground = TempDir::new().unwrap();
        let (path, file) = (ground.path().join("store"), ground.path().join("one.sessions"));
        let (store, raw) = both(&path).await;
        say(&store, &mut Talk::new(1), &["", "a"]).await;
        backed_up(&store, &raw, &file).await;
        store.close().await.unwrap();
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            assert!(check_backup(bytes.as_slice()).is_err(), "byte {at}");
        }
        assert!(check_backup(whole.as_slice()).is_ok());
    }

    #[tokio::test]
    async fn backups_that_are_made_while_sessions_begin_and_go_open_whole() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let (store, raw) = both(&path).await;
        let mut kept = Talk::new(200);
        say(&store, &mut kept, &["", "kept"]).await;
        let busy = {
            let store = store.clone();
            async move {
                for number in 1..=60 {
                    let mut talk = Talk { number, ..Talk::new(number) };
                    say(&store, &mut talk, &["", "said"]).await;
                    if number % 2 == 0 {
                        let (session, durability) = (talk.session(), Durability::Disk);
                        store.remove(Removal { session, expected: None, keep_key: false, durability }).await.unwrap();
                    }
                    if number % 20 == 0 {
                        store.rotate(&KEY, |_| ()).await.unwrap();
                    }
                }
            }
        };
        let busy = tokio::spawn(busy);
        let mut files = Vec::new();
        while !busy.is_finished() || files.is_empty() {
            let file = ground.path().join(format!("{}.sessions", files.len()));
            backed_up(&store, &raw, &file).await;
            files.push(file);
        }
        busy.await.unwrap();
        store.close().await.unwrap();
        drop((store, raw));
        for (at, file) in files.iter().enumerate() {
            let restored = ground.path().join(format!("restored-{at}"));
            restore_backup(file, &restored, &BackupProgress::default()).unwrap();
            let report = checked(&restored, KEY).await;
            assert!(report.is_sound(), "{:?}", report.findings);
            let store = open(&restored).await;
            assert_eq!(read(&store, kept.session()).await, kept.script.written());
            store.close().await.unwrap();
            fs::remove_dir_all(&restored).unwrap();
        }
    }

    #[tokio::test]
    async fn upkeep_needs_no_key_and_takes_no_commit() {
        let ground = TempDir::new().unwrap();
        let (path, file) = (ground.path().join("store"), ground.path().join("one.sessions"));
        let store = open(&path).await;
        let mut talk = Talk::new(1);
        say(&store, &mut talk, &["", &"large ".repeat(20_000)]).await;
        let (mut gone, session) = (Talk::new(2), Talk::new(2).session());
        say(&store, &mut gone, &["", &"other ".repeat(20_000)]).await;
        store.remove(Removal { session, expected: None, keep_key: false, durability: Durability::Disk }).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let look = look_at_keys(&path).unwrap().unwrap();
        assert_eq!((look.live, look.destroyed, look.ring.is_changing, look.damage), (1, 1, false, Vec::new()));

        let upkeep = SledStore::open_for_upkeep(&path).await.unwrap();
        let removal =
            Removal { session: talk.session(), expected: None, keep_key: false, durability: Durability::Disk };
        let mut other = Talk::new(3);
        for refused in [upkeep.commit(other.next("")).await.err(), upkeep.remove(removal).await.err()] {
            assert!(matches!(refused, Some(StoreError::Malformed { .. })), "{refused:?}");
        }
        let reclaimed = upkeep.reclaim().await.unwrap();
        assert_eq!(reclaimed.bodies, 1);
        upkeep.backup(&file, &BackupProgress::default()).await.unwrap();
        upkeep.close().await.unwrap();
        drop(upkeep);
        assert_eq!(checked(&path, KEY).await.findings, []);
        let store = open(&path).await;
        assert_eq!(read(&store, talk.session()).await, talk.script.written());
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_session_with_another_data_key_is_checked_as_it_is_sealed_now_and_its_old_chain_is_kept() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut talk = Talk::new(1);
        say(&store, &mut talk, &["", "b", &"large ".repeat(20_000)]).await;
        store.close().await.unwrap();
        drop(store);
        let before = verify(&path).unwrap().names[0].epochs[0].link.clone();
        let store = open(&path).await;
        store.rotate_data(talk.session(), |_| ()).await.unwrap();
        say(&store, &mut talk, &["d"]).await;
        store.close().await.unwrap();
        drop(store);
        for report in [verify(&path).unwrap(), checked(&path, KEY).await] {
            assert_eq!(report.findings, []);
            let named = &report.names[0];
            assert_eq!(named.epochs.iter().map(|epoch| (epoch.epoch, epoch.records)).collect::<Vec<_>>(), [(2, 4)]);
            let closed = named.closed.unwrap();
            assert_eq!((closed.epoch, closed.version), (1, 3));
            assert_eq!(sessions_domain::chain::to_hex(&closed.old), before);
        }
        // Whoever changes what was sealed anew is found without the key.
        harm(&path, |log| {
            let anew = frames(log).into_iter().find(|frame| log[frame + 6] & 64 != 0).unwrap();
            forge(log, anew, |frame| frame[HEADER + 20] ^= 1);
        });
        let found = verify(&path).unwrap();
        let found = errors(&found);
        assert_eq!((found.len(), found[0].session), (1, Some(talk.session())), "{found:?}");
        assert!(found[0].what.contains("last change of its data key"), "{}", found[0].what);
        assert!(!checked(&path, KEY).await.is_sound());
    }

    #[tokio::test]
    async fn what_a_session_took_over_is_checked_with_it() {
        let ground = TempDir::new().unwrap();
        let path = ground.path().join("store");
        let store = open(&path).await;
        let mut parent = Talk::new(1);
        say(&store, &mut parent, &["", "b"]).await;
        let (mut fork, commit) = Talk::forked(2, &parent);
        store.commit(commit).await.unwrap();
        say(&store, &mut fork, &["c"]).await;
        let (session, durability) = (fork.session(), Durability::Disk);
        let (records, unlink) = (parent.script.written().to_vec(), vec![parent.session()]);
        store.rewrite(Rewrite { session, expected: None, records, words: None, unlink, durability }).await.unwrap();
        let session = parent.session();
        store.remove(Removal { session, expected: None, keep_key: false, durability }).await.unwrap();
        store.close().await.unwrap();
        drop(store);
        let upkeep = SledStore::open_for_upkeep(&path).await.unwrap();
        upkeep.reclaim().await.unwrap();
        upkeep.close().await.unwrap();
        drop(upkeep);
        for report in [verify(&path).unwrap(), checked(&path, KEY).await] {
            assert_eq!(report.findings, []);
            let named = report.names.iter().find(|named| named.session == fork.session()).unwrap();
            assert_eq!(named.epochs.iter().map(|epoch| epoch.records).collect::<Vec<_>>(), [4]);
        }
    }
}
