//! What an import of our own formats takes in, and what it refuses.
//!
//! Must not know: how the file was written.

use super::*;

/// A file of a session with 13 records, as its lines.
async fn lines() -> (Session, Vec<String>) {
    let session = branched(&host(1)).await;
    let text = String::from_utf8(jsonl(&session).await).unwrap();
    (session, text.lines().map(str::to_owned).collect())
}

fn file(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>().into_bytes()
}

/// Nothing of a refused file is taken in.
async fn refusal(bytes: &[u8]) -> ImportError {
    let host = host(2);
    let error = refused(import(&host, bytes).await);
    assert_eq!(listed(&host).await, []);
    error
}

#[tokio::test]
async fn a_changed_record_is_named() {
    let (session, lines) = lines().await;
    for (from, to) in [("I look.", "I Look."), ("1.10", "1.1"), (r#""kind":2"#, r#""kind":6"#)] {
        let at = lines.iter().position(|line| line.contains(from)).unwrap();
        let mut changed = lines.clone();
        changed[at] = changed[at].replacen(from, to, 1);
        let error = refusal(&file(&changed)).await;
        let expected = at as u64;
        assert!(
            matches!(error, ImportError::Altered { session: id, seq } if id == session.id() && seq == expected),
            "{error:?}"
        );
        assert_eq!(SessionError::from(error).kind(), ErrorKind::Damaged);
    }
    for at in 1..lines.len() {
        for field in ["commit", "blind"] {
            let mut changed = lines.clone();
            let place = changed[at].find(&format!("\"{field}\":\"")).unwrap() + field.len() + 4;
            let digit = if &changed[at][place..=place] == "0" { "1" } else { "0" };
            changed[at].replace_range(place..=place, digit);
            let error = refusal(&file(&changed)).await;
            assert!(matches!(error, ImportError::Altered { seq, .. } if seq == at as u64), "{field}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_missing_moved_or_doubled_record_is_named() {
    let (session, lines) = lines().await;
    let (id, last) = (session.id(), lines.len() - 1);
    for at in 1..=last {
        let mut without = lines.clone();
        without.remove(at);
        let error = refusal(&file(&without)).await;
        let seq = at as u64;
        let is_told = match error {
            ImportError::Misplaced { session, expected, found } => (session, expected, found) == (id, seq, seq + 1),
            ImportError::Missing { session, seq: missing } => at == last && (session, missing) == (id, seq),
            _ => false,
        };
        assert!(is_told, "{at}: {error:?}");
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        let error = refusal(&file(&doubled)).await;
        let is_told = match error {
            ImportError::Misplaced { session, expected, found } => (session, expected, found) == (id, seq + 1, seq),
            ImportError::Surplus { session, seq: surplus } => at == last && (session, surplus) == (id, seq),
            _ => false,
        };
        assert!(is_told, "{at}: {error:?}");
        if at > 1 {
            let mut swapped = lines.clone();
            swapped.swap(at - 1, at);
            let error = refusal(&file(&swapped)).await;
            assert!(matches!(error, ImportError::Misplaced { expected, .. } if expected == seq - 1), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_record_of_another_session_is_refused() {
    let (_, mut lines) = lines().await;
    let (_, other, _) = forked(&host(3)).await;
    let foreign = String::from_utf8(jsonl(&other).await).unwrap();
    lines[4] = foreign.lines().nth(4).unwrap().to_owned();
    assert!(matches!(refusal(&file(&lines)).await, ImportError::Missing { seq: 4, .. }));
}

#[tokio::test]
async fn a_document_is_checked_as_the_lines_are() {
    let session = branched(&host(1)).await;
    let text = String::from_utf8(json(&session).await).unwrap();
    let at = text.rfind("I look.").unwrap();
    let changed = format!("{}I Look.{}", &text[..at], &text[at + 7..]);
    assert!(matches!(refusal(changed.as_bytes()).await, ImportError::Altered { .. }));
    let start = text.find(r#"{"seq":5"#).unwrap();
    let end = text.find(r#"{"seq":6"#).unwrap();
    let without = format!("{}{}", &text[..start], &text[end..]);
    let error = refusal(without.as_bytes()).await;
    assert!(matches!(error, ImportError::Misplaced { expected: 5, found: 6, .. }), "{error:?}");
}

/// Wherever a file is cut, it is refused, and nothing of it is taken in.
#[tokio::test]
async fn a_cut_file_is_refused_wherever_it_was_cut() {
    let session = branched(&host(1)).await;
    for bytes in [jsonl(&session).await, json(&session).await] {
        let whole = bytes.trim_ascii_end().len();
        for length in (0..whole).step_by(7).chain(whole - 3..whole) {
            let error = refusal(&bytes[..length]).await;
            let kind = SessionError::from(error).kind();
            assert!(matches!(kind, ErrorKind::Damaged | ErrorKind::Invalid), "{length}: {kind:?}");
        }
        assert!(import(&host(2), &bytes[..whole]).await.is_ok(), "the last line break may be missing");
    }
}

#[tokio::test]
async fn a_newer_version_is_refused() {
    let session = branched(&host(1)).await;
    for bytes in [jsonl(&session).await, json(&session).await] {
        let text = String::from_utf8(bytes).unwrap();
        let newer = text.replacen(r#""version":1"#, r#""version":2,"news":[]"#, 1);
        let error = refusal(newer.as_bytes()).await;
        assert!(matches!(error, ImportError::NewerVersion { version: 2, ours: 1, .. }), "{error:?}");
        let none = text.replacen(r#""version":1,"#, "", 1);
        assert!(matches!(refusal(none.as_bytes()).await, ImportError::Malformed { line: 1, .. }));
    }
}

#[tokio::test]
async fn what_is_no_record_is_refused_by_its_line() {
    let (_, lines) = lines().await;
    let cases = [
        "{}",
        "[]",
        "nonsense",
        r#"{"seq":3}"#,
        &lines[3].replace("\"body\":", "\"news\":"),
        &lines[3].replace("\"blind\":\"", "\"blind\":\"zz"),
        &lines[3].replace("\"body\":", "\"body_hex\":\"00\",\"body\":"),
        &lines[3].replacen("\"seq\":3", "\"seq\":3,\"news\":1", 1),
    ];
    for case in cases {
        let mut changed = lines.clone();
        changed[3] = case.to_owned();
        let error = refusal(&file(&changed)).await;
        assert!(matches!(error, ImportError::Malformed { line: 4, .. }), "{case}: {error:?}");
    }
}

/// The chain is no secret, so a file may be made up whole: it is refused as what it is.
#[tokio::test]
async fn deep_json_is_refused_and_breaks_nothing() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let (_, lines) = lines().await;
    let mut changed = lines.clone();
    changed[0] = changed[0].replacen(r#""session":"#, &format!(r#""session":{deep},"x":"#), 1);
    assert!(matches!(refusal(&file(&changed)).await, ImportError::Malformed { line: 1, .. }));
    let text = String::from_utf8(json(&branched(&host(1)).await).await).unwrap();
    let changed = text.replacen(r#""messages":["#, &format!(r#""messages":[{deep},"#), 1);
    assert!(matches!(refusal(changed.as_bytes()).await, ImportError::TooDeep { line: 1 }));

    let view = branched(&host(1)).await.fresh_view().await.unwrap();
    let body =
        format!(r#"{{"at":1,"id":"{}","n":7,"role":"user","parts":[{{"type":"new","x":{deep}}}]}}"#, view.session());
    let seq = view.version() + 1;
    let commit = view.commit().next(view.lineage(), seq, sessions_domain::Kind::APPENDED, &[0; 32], body.as_bytes());
    let mut made_up = lines.clone();
    made_up[0] = made_up[0].replace(&format!(r#""last":{}"#, seq - 1), &format!(r#""last":{seq}"#));
    made_up[0] = made_up[0].replace(&view.commit().to_string(), &commit.to_string());
    made_up.push(format!(
        r#"{{"session":"{}","lineage":"{}","seq":{seq},"kind":2,"commit":"{commit}","blind":"{}","body":{body}}}"#,
        view.session(),
        view.lineage(),
        "0".repeat(64)
    ));
    let error = refusal(&file(&made_up)).await;
    assert!(matches!(error, ImportError::TooDeep { .. }), "{error:?}");
}

/// Records of a newer program, bodies that are no JSON, and records that a repair set aside come in and go out to the letter.
#[tokio::test]
async fn what_is_not_understood_is_kept_to_the_letter() {
    let host = host(1);
    let session = host.create(NewSession::default()).await.unwrap();
    session.append(Message::user("before")).await.unwrap();
    let view = session.fresh_view().await.unwrap();
    let (mut commit, mut seq, mut records) = (view.commit(), view.version(), Vec::new());
    for (kind, body) in [(99, &b"{\"at\":1,\"e\":{ \"new\":1.0}}"[..]), (98, b"\xff\x00\n"), (97, b" {}"), (96, b"")] {
        seq += 1;
        commit = commit.next(view.lineage(), seq, Kind(kind), &[7; 32], body);
        let payload = [&[7; 32], body].concat().into();
        records.push(Record { seq, kind: Kind(kind), commit, label: 0, payload });
    }
    // A lost record keeps its commit, and nothing else.
    seq += 1;
    let commit = sessions_domain::CommitHash::from_bytes([9; 32]);
    records.push(Record { seq, kind: Kind::LOST, commit, label: 0, payload: Bytes::new() });
    let made = Commit {
        session: session.id(),
        expected: Expected::Exactly(view.version()),
        records,
        row: RowChange { updated: view.updated(), messages: 1, words: None },
        key: None,
        claims: Vec::new(),
        links: Vec::new(),
        snapshot: None,
        durability: Durability::Volatile,
    };
    host.ports().store.commit(made).await.unwrap();
    session.append(Message::user("behind")).await.unwrap();
    let bytes = jsonl(&session).await;
    assert_eq!(bytes.windows(10).filter(|window| window == b"\"body_hex\"").count(), 4);
    let to = super::host(2);
    import(&to, &bytes).await.unwrap();
    let restored = to.load(session.id()).await.unwrap();
    assert!(jsonl(&restored).await == bytes);
    assert_eq!(texts(&restored).await, ["before", "behind"]);
    let document = json(&session).await;
    let third = super::host(3);
    import(&third, &document).await.unwrap();
    assert!(json(&third.load(session.id()).await.unwrap()).await == document);
}

#[tokio::test]
async fn line_breaks_and_marks_of_other_systems_are_no_harm() {
    let (session, lines) = lines().await;
    let bytes: String = lines.iter().flat_map(|line| [line.as_str(), "\r\n\r\n"]).collect();
    let to = host(2);
    let report = import(&to, format!("\u{feff}{bytes}").as_bytes()).await.unwrap();
    assert_eq!(jsonl(&to.load(report.id).await.unwrap()).await, jsonl(&session).await);
}

#[tokio::test]
async fn a_line_of_200_megabytes_is_refused() {
    let (_, lines) = lines().await;
    let head = format!("{}\n", lines[0]);
    let to = host(2);
    let endless = BufReader::new(std::io::repeat(b'x').take(200_000_000));
    let error = refused(to.import(Cursor::new(head).chain(endless), ImportOptions::default()).await);
    assert!(matches!(error, ImportError::TooLong { line: 2, .. }), "{error:?}");
    assert_eq!(SessionError::from(error).kind(), ErrorKind::Limit);
    assert_eq!(listed(&to).await, []);
}

/// The file gives nothing until the runtime has run on, which has one thread here.
#[tokio::test]
async fn reading_does_not_hold_up_the_runtime() {
    struct Slow(std::sync::mpsc::Receiver<()>, Cursor<Vec<u8>>);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.1.position() == 0 {
                let waited = self.0.recv_timeout(std::time::Duration::from_secs(60));
                waited.map_err(std::io::Error::other)?;
            }
            self.1.read(buffer)
        }
    }
    let (session, lines) = lines().await;
    let (go, wait) = std::sync::mpsc::channel();
    let to = host(2);
    let source = BufReader::new(Slow(wait, Cursor::new(file(&lines))));
    let (report, ()) = tokio::join!(to.import(source, ImportOptions::default()), async { go.send(()).unwrap() });
    assert_eq!(report.unwrap().id, session.id());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let to = host(2);
    for start in [Vec::new(), file(&lines().await.1[..3])] {
        let source = Cursor::new(start).chain(BufReader::new(Broken));
        let result = to.import(source, ImportOptions::default()).await;
        assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::Failed);
        assert!(matches!(refused(result), ImportError::Read(_)));
    }
}

#[tokio::test]
async fn logs_that_do_not_fit_together_are_refused() {
    let (_, _, grandchild) = forked(&host(1)).await;
    let text = String::from_utf8(jsonl(&grandchild).await).unwrap();
    let header: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut header = header.clone();
        change(&mut header);
        format!("{header}\n{rest}")
    };
    let cases = [
        with(&|header| header["logs"] = serde_json::json!([])),
        with(&|header| {
            header["logs"].as_array_mut().unwrap().remove(0);
        }),
        with(&|header| header["logs"].as_array_mut().unwrap().reverse()),
        with(&|header| header["session"] = header["logs"][0]["session"].clone()),
        with(&|header| header["logs"][1]["session"] = header["logs"][0]["session"].clone()),
        with(&|header| header["logs"][2]["last"] = serde_json::json!(0)),
    ];
    for case in cases {
        let host = host(2);
        let options = ImportOptions { format: Some(Format::SessionsJsonl), ..ImportOptions::default() };
        let error = refused(import_as(&host, case.as_bytes(), options).await);
        assert_eq!(listed(&host).await, []);
        assert!(matches!(error, ImportError::Inconsistent { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn another_head_is_refused_and_stays() {
    let (host, other) = (host(1), super::host(2));
    let session = branched(&host).await;
    let early = jsonl(&session).await;
    import(&other, &early).await.unwrap();
    session.append(Message::user("here")).await.unwrap();
    let late = jsonl(&session).await;
    // Older, newer, and another way.
    let theirs = other.load(session.id()).await.unwrap();
    let cases = [(&host, &early), (&other, &late)];
    for (host, bytes) in cases {
        let before = jsonl(&host.load(session.id()).await.unwrap()).await;
        let result = import(host, bytes).await;
        assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::Conflict);
        assert!(matches!(refused(result), ImportError::AnotherHead { session: id, .. } if id == session.id()));
        assert!(jsonl(&host.load(session.id()).await.unwrap()).await == before);
    }
    theirs.append(Message::user("there")).await.unwrap();
    assert!(matches!(refused(import(&other, &late).await), ImportError::AnotherHead { .. }));
    assert_eq!(texts(&theirs).await.last().unwrap(), "there");
}

/// A fork's file never makes a listed session longer.
#[tokio::test]
async fn a_fork_of_a_newer_version_of_a_listed_session_is_refused() {
    let (from, to) = (host(1), host(2));
    let root = branched(&from).await;
    let early = jsonl(&root).await;
    import(&to, &early).await.unwrap();
    root.append(Message::user("later")).await.unwrap();
    let fork = root.fork(At::Now).await.unwrap();
    let error = refused(import(&to, &jsonl(&fork).await).await);
    assert!(matches!(error, ImportError::AnotherHead { session, .. } if session == root.id()));
    assert_eq!(listed(&to).await, [root.id()]);
    assert!(jsonl(&to.load(root.id()).await.unwrap()).await == early);
}

#[tokio::test]
async fn an_end_that_is_not_the_named_one_is_refused() {
    let (session, mut lines) = lines().await;
    let commit = session.place().await.unwrap().hash.to_string();
    lines[0] = lines[0].replace(&commit, &"0".repeat(64));
    let last = lines.len() as u64 - 1;
    assert!(matches!(refusal(&file(&lines)).await, ImportError::Altered { seq, .. } if seq == last));
}

/// A fork whose first record names other owners than the file holds, made up with a chain that is right.
#[tokio::test]
async fn a_fork_of_something_else_is_refused() {
    let host = host(1);
    let root = branched(&host).await;
    let fork = root.fork(At::Now).await.unwrap();
    let text = String::from_utf8(jsonl(&fork).await).unwrap();
    let (view, ground) = (fork.fresh_view().await.unwrap(), root.fresh_view().await.unwrap());
    let line = text.lines().last().unwrap();
    let (start, body) = line.split_once(r#","body":"#).unwrap();
    let body = body.strip_suffix('}').unwrap();
    let point = view.fork().unwrap();
    let owner = format!(r#""owners":[["{}",{}]]"#, root.id(), point.at);
    let changes = [
        (owner.clone(), r#""owners":[]"#.to_owned()),
        (owner, format!(r#""owners":[["{}",{}]]"#, fork.id(), point.at)),
        (format!(r#""at":{},"commit""#, point.at), format!(r#""at":{},"commit""#, point.at + 1)),
        (point.commit.to_string(), "0".repeat(64)),
        (format!(r#""head":{}"#, point.head), format!(r#""head":{}"#, 1)),
        (format!(r#""lineage":"{}""#, view.lineage()), format!(r#""lineage":"{}""#, ground.lineage())),
    ];
    for (from, to) in changes {
        let made_up = body.replacen(&from, &to, 1);
        assert_ne!(made_up, body, "{from}");
        let blind = line.split_once(r#""blind":""#).unwrap().1.get(..64).unwrap();
        let blind = sessions_domain::chain::from_hex(blind).unwrap().try_into().unwrap();
        let commit = ground.commit().next(view.lineage(), view.version(), Kind::CREATED, &blind, made_up.as_bytes());
        let whole = text.replace(line, &format!(r#"{start},"body":{made_up}}}"#));
        let whole = whole.replace(&view.commit().to_string(), &commit.to_string());
        let error = refusal(whole.as_bytes()).await;
        assert!(matches!(error, ImportError::Inconsistent { .. }), "{to}: {error:?}");
    }
}

#[tokio::test]
async fn a_taken_key_is_refused() {
    let (host, other) = (host(1), super::host(2));
    let session = branched(&host).await;
    let holder = other.open_or_create("host-key").await.unwrap();
    let error = import(&other, &jsonl(&session).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(listed(&other).await, [holder.id()]);
}

#[tokio::test]
async fn a_copy_has_new_names_and_the_same_messages() {
    let host = host(1);
    let (root, child, grandchild) = forked(&host).await;
    for session in [&root, &child, &grandchild] {
        for bytes in [jsonl(session).await, json(session).await] {
            let before = listed(&host).await;
            let report = import_as(&host, &bytes, anew()).await.unwrap();
            assert_eq!(report.outcome, AppendOutcome::Inserted);
            assert!(!before.contains(&report.id));
            let mut after = listed(&host).await;
            after.retain(|id| !before.contains(id));
            assert_eq!(after, [report.id], "what it inherits is not listed");
            let copy = host.load(report.id).await.unwrap();
            assert_eq!(copy.last(1000).await.unwrap(), session.last(1000).await.unwrap());
            assert_eq!(copy.branches().await.unwrap(), session.branches().await.unwrap());
            let (ours, theirs) = (copy.fresh_view().await.unwrap(), session.fresh_view().await.unwrap());
            assert_ne!(ours.lineage(), theirs.lineage());
            assert_ne!(ours.commit(), theirs.commit());
            assert_eq!(ours.key(), None);
            check_round_trip(&host, &copy).await;
        }
    }
    let key = Some("copy".parse().unwrap());
    let report = import_as(&host, &jsonl(&root).await, ImportOptions { key, ..anew() }).await.unwrap();
    assert_eq!(host.find("key:copy").await.unwrap().id(), report.id);
}

#[tokio::test]
async fn what_forks_need_stays_hidden_until_its_own_session_comes() {
    let (from, to) = (host(1), host(2));
    let (root, child, grandchild) = forked(&from).await;
    for session in [&grandchild, &child, &root] {
        let bytes = jsonl(session).await;
        let report = import(&to, &bytes).await.unwrap();
        assert_eq!((report.id, report.outcome), (session.id(), AppendOutcome::Inserted));
        assert_eq!(import(&to, &bytes).await.unwrap().outcome, AppendOutcome::Replayed);
        assert!(jsonl(&to.load(session.id()).await.unwrap()).await == bytes);
        assert!(listed(&to).await.contains(&session.id()));
    }
    assert_eq!(listed(&to).await.len(), 3);
    assert_eq!(texts(&to.load(grandchild.id()).await.unwrap()).await, texts(&grandchild).await);
    // Its log was there without its key, which only a log's first commit can claim.
    assert!(to.find("key:host-key").await.is_err());
}

#[tokio::test]
async fn a_hidden_log_that_is_whole_is_shown_by_its_own_import() {
    let (from, to) = (host(1), host(2));
    let root = from.create(NewSession::titled("root")).await.unwrap();
    root.append(Message::user("all of it")).await.unwrap();
    let child = root.fork(At::Now).await.unwrap();
    import(&to, &jsonl(&child).await).await.unwrap();
    assert_eq!(listed(&to).await, [child.id()]);
    let bytes = jsonl(&root).await;
    assert_eq!(import(&to, &bytes).await.unwrap().outcome, AppendOutcome::Inserted);
    assert_eq!(listed(&to).await.len(), 2);
    assert_eq!(import(&to, &bytes).await.unwrap().outcome, AppendOutcome::Replayed);
    assert_eq!(texts(&to.load(root.id()).await.unwrap()).await, ["all of it"]);
    assert_eq!(import(&to, &jsonl(&child).await).await.unwrap().outcome, AppendOutcome::Replayed);
}

#[tokio::test]
async fn a_hidden_log_grows_with_a_later_fork() {
    let (from, to) = (host(1), host(2));
    let root = from.create(NewSession::titled("root")).await.unwrap();
    root.append(Message::user("first")).await.unwrap();
    let early = root.fork(At::Now).await.unwrap();
    root.append(Message::user("second")).await.unwrap();
    let late = root.fork(At::Now).await.unwrap();
    for fork in [&early, &late, &early] {
        import(&to, &jsonl(fork).await).await.unwrap();
        assert_eq!(texts(&to.load(fork.id()).await.unwrap()).await, texts(fork).await);
    }
    assert_eq!(listed(&to).await.len(), 2);
    // The session's own log, where it is listed, is never made longer by a fork.
    let third = host(3);
    import(&third, &jsonl(&early).await).await.unwrap();
    let shorter = { String::from_utf8(jsonl(&late).await).unwrap() };
    let store = third.ports().store.clone();
    let hidden = store.head(root.id()).await.unwrap().unwrap();
    third.load(root.id()).await.unwrap().rename("listed now").await.unwrap();
    assert!(matches!(refused(import(&third, shorter.as_bytes()).await), ImportError::AnotherHead { .. }));
    assert_eq!(store.head(root.id()).await.unwrap().unwrap().version, hidden.version + 1);
}

#[tokio::test]
async fn an_import_that_broke_off_is_finished_by_the_next() {
    let bytes = jsonl(&forked(&host(1)).await.2).await;
    for (nth, when) in (1..=3).flat_map(|nth| [(nth, When::Before), (nth, When::After)]) {
        let store = FaultyStore::over(Arc::new(MemoryStore::new()));
        let to = host_over(Arc::new(store.clone()), 2, Actor::named("ada"));
        store.fail(broken(Call::Commit, nth, when));
        assert!(import(&to, &bytes).await.is_err());
        store.heal();
        let expected = usize::from(nth == 3 && when == When::After);
        assert_eq!(listed(&to).await.len(), expected, "commit {nth} {when:?}");
        let report = import(&to, &bytes).await.unwrap();
        assert_eq!(listed(&to).await, [report.id]);
        assert!(jsonl(&to.load(report.id).await.unwrap()).await == bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_at_once_make_one_session() {
    let bytes = jsonl(&forked(&host(1)).await.2).await;
    let to = host(2);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (to, bytes) = (to.clone(), bytes.clone());
            tokio::spawn(async move { import(&to, &bytes).await.unwrap() })
        })
        .collect();
    let mut inserted = 0;
    for task in tasks {
        inserted += usize::from(task.await.unwrap().outcome == AppendOutcome::Inserted);
    }
    assert_eq!((inserted, listed(&to).await.len()), (1, 1));
    assert!(jsonl(&to.load(listed(&to).await[0]).await.unwrap()).await == bytes);
}

#[tokio::test]
async fn a_restored_session_goes_on() {
    let to = host(2);
    let report = import(&to, &jsonl(&forked(&host(1)).await.2).await).await.unwrap();
    let session = to.load(report.id).await.unwrap();
    let before = texts(&session).await;
    session.append(Message::user("on")).await.unwrap();
    session.undo(1).await.unwrap();
    session.redo(1).await.unwrap();
    session.undo(3).await.unwrap();
    assert_eq!(texts(&session).await, before[..before.len() - 2]);
    let fork = session.fork(At::Now).await.unwrap();
    fork.append(Message::user("beside")).await.unwrap();
    assert_eq!(texts(&fork).await.last().unwrap(), "beside");
    check_round_trip(&to, &fork).await;
    for message in session.last(1000).await.unwrap() {
        let fork = session.fork(At::Message(message.id)).await.unwrap();
        assert_eq!(texts(&fork).await.last(), Some(&message.text()), "messages are found by their ids");
    }
}
