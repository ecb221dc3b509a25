//! Keys of a store: `keys init`, `status`, `rotate`, `rotate-data`, `change-passphrase`.
//!
//! Must not know: how anything is sealed.

use std::sync::Arc;

use serde::Serialize;
use sessions_api::{
    DataStep, InPass, KeyContext, KeyProvider, KeyStep, KeysAt, Moment, Resealed, Rotated, SealedStore, SessionError,
    SessionId, SessionLog as _, SessionManager, StoreError, SystemClock, maintenance,
};

use crate::{
    arguments::{InitKeys, KeyStatus, Keys, NewKey, NewPassphrase, RotateData},
    auditing::ClosedShape,
    failure::Failure,
    keyhole::{NEW_PASSPHRASE, Source, check_is_elsewhere, one_of},
    output::Style,
    program::Program,
    progress::{Progress, Stop, told_of_interrupt, unless_interrupted},
    sealing, secret,
    table::counted,
};

/// `keys`
pub(crate) async fn keys(program: &Program, wish: Keys) -> Result<(), Failure> {
    match wish {
        Keys::Init(wish) => init(program, wish).await,
        Keys::Status(wish) => status(program, wish).await,
        Keys::Rotate(wish) => {
            let to = new_key(program, &wish)?;
            rotate(program, to, false).await
        }
        Keys::RotateData(wish) => rotate_data(program, wish).await,
        Keys::ChangePassphrase(wish) => change_passphrase(program, wish).await,
    }
}

#[derive(Serialize)]
struct Made<'a> {
    store: String,
    kind: String,
    key: String,
    wrapped_by: &'a str,
    made: bool,
}

#[derive(Serialize)]
struct Changed {
    store: String,
    kind: String,
    key: String,
    wrapped_by: String,
    made: bool,
    slots: u64,
    damaged: u64,
}

/// The provider that is named for from now on; `None`: the one in use.
fn new_key(program: &Program, wish: &NewKey) -> Result<Option<Arc<dyn KeyProvider>>, Failure> {
    let named = [
        wish.to_key_file.clone().map(Source::KeyFile),
        wish.to_passphrase_file.clone().map(Source::PassphraseFile),
        wish.to_passphrase.then(new_passphrase),
        wish.to_vault.clone().map(Source::Service),
    ];
    let source = one_of(named.into_iter().flatten())?;
    if let Some(source) = &source {
        check_is_elsewhere(&program.url()?, source)?;
    }
    source.map(|source| program.key.provider(&source, Some(&program.out))).transpose()
}

fn new_passphrase() -> Source {
    if secret::is_in_environment(NEW_PASSPHRASE) {
        Source::PassphraseOf(NEW_PASSPHRASE.to_owned())
    } else {
        Source::Prompt
    }
}

async fn init(program: &Program, wish: InitKeys) -> Result<(), Failure> {
    let url = program.url()?;
    if program.key.plain {
        return Err(Failure::usage("a plain store has no keys", "leave --plain out"));
    }
    if program.is_plain() {
        let hint = "take encryption.enabled out of the configuration, or make it true";
        return Err(Failure::usage("a plain store has no keys, and encryption.enabled is false", hint));
    }
    let to = new_key(program, &wish.new)?;
    match maintenance::keys_at(&url).await? {
        KeysAt::Plain => {
            let key = match to {
                Some(key) => key,
                None => program.key.to_make(&url, &program.out)?,
            };
            sealing::seal(program, &url, key.as_ref(), wish.erase_quarantine).await
        }
        KeysAt::Sealed(Some(_)) => rotate(program, to, false).await,
        KeysAt::Nothing | KeysAt::Sealed(None) => {
            let key = match to {
                Some(key) => key,
                None => program.key.to_make(&url, &program.out)?,
            };
            let sessions = program.made_with(url.clone(), key).await?;
            let facts = sealed(&sessions).map(SealedStore::key_facts);
            sessions.close().await?;
            let facts = facts?;
            let (store, kind) = (url.to_string(), facts.wrapped.provider.to_string());
            let key = facts.key.to_string();
            if program.out.is_json() {
                let wrapped_by = &facts.wrapped.key;
                return program.out.object(&Made { store, kind, key, wrapped_by, made: true });
            }
            program.out.line(&format!("{store} is made, and sealed with key {key}, which a {kind} wraps"))
        }
    }
}

fn sealed(sessions: &SessionManager) -> Result<&SealedStore, Failure> {
    sessions
        .sealed_store()
        .ok_or_else(|| Failure::usage("the store is plain, so it has no keys", "`keys init` seals it"))
}

#[derive(Serialize)]
struct StatusShape<'a> {
    store: String,
    sealed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrapped_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_days: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changing: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    #[serde(flatten)]
    all: Option<All>,
}

#[derive(Clone, Serialize)]
struct All {
    live: u64,
    destroyed: u64,
    damaged: u64,
    missing: u64,
    oldest: Option<Moment>,
    unfinished: Vec<SessionId>,
    pass: Option<Moment>,
}

async fn status(program: &Program, wish: KeyStatus) -> Result<(), Failure> {
    let url = program.url()?;
    let store = url.to_string();
    let (is_sealed, facts) = match maintenance::keys_at(&url).await? {
        KeysAt::Nothing => {
            return Err(Failure::not_found(&format!("there is no store at {store}"), "`keys init` makes a sealed one"));
        }
        KeysAt::Plain => (false, None),
        KeysAt::Sealed(facts) => (true, facts),
    };
    let all = match (&facts, wish.all) {
        (Some(_), true) => Some(look_at_all(program).await?),
        _ => None,
    };
    let now = sessions_api::Clock::now(&SystemClock);
    let age = facts.as_ref().map(|facts| facts.days_old(now));
    let shape = StatusShape {
        store: store.clone(),
        sealed: is_sealed,
        kind: facts.as_ref().map(|facts| facts.wrapped.provider.to_string()),
        key: facts.as_ref().map(|facts| facts.key.to_string()),
        wrapped_by: facts.as_ref().map(|facts| facts.wrapped.key.as_str()),
        since: facts.as_ref().map(|facts| facts.made),
        age_days: age,
        changing: facts.as_ref().map(|facts| facts.is_changing),
        advice: match &facts {
            Some(facts) => facts.advice_after(now, program.configuration.key_rotation_days()),
            None if is_sealed => Some(
                "the folder `keys` is missing or empty: put it back from a backup, or when the store was never used, run `keys init`"
                    .to_owned(),
            ),
            None => Some("the store is plain: whoever reads the disk reads the sessions".to_owned()),
        },
        all,
    };
    if program.out.is_json() {
        return program.out.object(&shape);
    }
    let mut rows = vec![("store", store)];
    rows.extend(shape.kind.map(|kind| ("wrapped by", format!("a {kind} ({})", shape.wrapped_by.unwrap_or_default()))));
    rows.extend(shape.key.map(|key| ("key", key)));
    rows.extend(shape.since.map(|since| ("since", format!("{since} ({})", counted(age.unwrap_or(0), "day")))));
    if let Some(all) = &shape.all {
        rows.push((
            "sessions' keys",
            format!("{} live, {} destroyed, {} damaged", all.live, all.destroyed, all.damaged),
        ));
        if all.missing > 0 {
            let what = counted(all.missing, "session");
            rows.push((
                "missing",
                format!("those of {what}: the file `keys/slots` lost its end; restore a backup beside the store and export these from there"),
            ));
        }
        rows.extend(all.oldest.map(|oldest| ("oldest of them", oldest.to_string())));
        if !all.unfinished.is_empty() {
            let ids = all.unfinished.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            rows.push(("unfinished", format!("{ids}; run `keys rotate-data`")));
        }
        rows.extend(all.pass.map(|since| {
            ("broken off", format!("another data key for all sessions, begun {since}; run `keys rotate-data`"))
        }));
    }
    rows.extend(shape.advice.map(|advice| ("advice", advice)));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().try_for_each(|(name, value)| {
        program.out.styled(&[(Style::Name, &format!("{name:<width$}  ")), (Style::Plain, value)])
    })
}

async fn look_at_all(program: &Program) -> Result<All, Failure> {
    program
        .with_sessions(async |sessions| {
            let status = sealed(sessions)?.key_status().await.map_err(told)?;
            Ok(All {
                live: status.live,
                destroyed: status.destroyed,
                damaged: status.damaged,
                missing: status.missing,
                oldest: status.oldest,
                unfinished: status.unfinished,
                pass: status.pass,
            })
        })
        .await
}

fn told(error: StoreError) -> Failure {
    sessions_api::SessionError::from(error).into()
}

/// `is_passphrase`: it is to be another passphrase in the place of one.
async fn rotate(program: &Program, to: Option<Arc<dyn KeyProvider>>, is_passphrase: bool) -> Result<(), Failure> {
    let url = program.url()?;
    let (rotated, facts) = program
        .with_sessions(async |sessions| {
            let sealed = sealed(sessions)?;
            let to = match to {
                Some(to) => to,
                None => program.key.again(sealed.key_facts().wrapped.provider, &program.out)?,
            };
            if is_passphrase {
                check_is_another(sealed, to.as_ref()).await?;
            }
            let progress = Progress::of(&program.out, "wrapping the keys of all sessions", 0);
            let told_step = |step| {
                if let KeyStep::Slots { done, of } = step {
                    progress.stand_at(done, of);
                }
            };
            // Broken off it goes on the next time, so Ctrl-C may end it.
            let work = async { sealed.rotate(to.as_ref(), told_step).await.map_err(told) };
            let rotated: Rotated = unless_interrupted(work).await?;
            Ok((rotated, sealed.key_facts()))
        })
        .await?;
    let changed = Changed {
        store: url.to_string(),
        kind: facts.wrapped.provider.to_string(),
        key: facts.key.to_string(),
        wrapped_by: facts.wrapped.key,
        made: false,
        slots: rotated.slots,
        damaged: rotated.damaged,
    };
    if program.out.is_json() {
        return program.out.object(&changed);
    }
    let Changed { store, kind, key, slots, damaged, .. } = changed;
    program.out.line(&format!("{store} has key {key} now, which a {kind} wraps; the old one opens nothing"))?;
    program.out.line(&format!("wrapped anew: the keys of {}", counted(slots, "session")))?;
    if damaged > 0 {
        program.out.line(&format!("{} were damaged before, and stay so", counted(damaged, "key")))?;
    }
    Ok(())
}

async fn change_passphrase(program: &Program, wish: NewPassphrase) -> Result<(), Failure> {
    let source = match wish.new_passphrase_file {
        Some(path) => Source::PassphraseFile(path),
        None => new_passphrase(),
    };
    let new = program.key.provider(&source, Some(&program.out))?;
    rotate(program, Some(new), true).await
}

/// Refuses a passphrase for a key that has none, and the one that it has.
async fn check_is_another(store: &SealedStore, new: &dyn KeyProvider) -> Result<(), Failure> {
    let facts = store.key_facts();
    let kind = facts.wrapped.provider;
    if kind != new.kind() {
        let what = format!("a {kind} wraps the store's key, and no passphrase");
        return Err(Failure::usage(&what, "`keys rotate --to-passphrase` gives it one"));
    }
    let context = KeyContext { store: store.id(), key: facts.key };
    match new.unwrap(&facts.wrapped, &context).await {
        Ok(_) => Err(Failure::usage(
            "that is the passphrase it has",
            "give another one; `keys rotate` changes the key and leaves the passphrase",
        )),
        Err(_) => Ok(()),
    }
}

#[derive(Serialize)]
struct ResealedShape {
    id: SessionId,
    records: u64,
    epoch: u16,
    resumed: bool,
    closed: Option<ClosedShape>,
}

async fn rotate_data(program: &Program, wish: RotateData) -> Result<(), Failure> {
    let stop = Stop::default();
    let work = program.with_sessions(async |sessions| {
        let store = sealed(sessions)?;
        // One that cannot be finished is told when its own turn comes.
        let resumed = store.resume(|_, _| ()).await.map_err(told)?;
        for resealed in resumed.iter().filter_map(|(_, resumed)| resumed.as_ref().ok()) {
            tell_resealed(program, resealed)?;
        }
        if let Some(name) = &wish.session {
            let id = match sessions.find_any(name).await {
                Ok(session) => session.id(),
                // Forks may read with its key.
                Err(SessionError::Gone { session }) => session,
                Err(error) => return Err(error.into()),
            };
            return tell_resealed(program, &reseal(program, store, id).await.map_err(told)?);
        }
        reseal_all(program, sessions, store, wish.anew, &stop).await
    });
    told_of_interrupt(&stop, work).await
}

/// Begins with all sessions, or goes on with those that are left.
async fn reseal_all(
    program: &Program,
    sessions: &SessionManager,
    store: &SealedStore,
    anew: bool,
    stop: &Stop,
) -> Result<(), Failure> {
    let logs = all_logs(sessions, store).await?;
    let pass = store.begin_pass(anew).await.map_err(told)?;
    if pass.resumed {
        let since = pass.since;
        program.out.notice(&format!(
            "going on with what was broken off: sessions that got another data key since {since} keep it; --anew begins with all"
        ));
    }
    let (mut done, mut had, mut failed) = (0, 0, Vec::new());
    for log in logs {
        stop.check()?;
        let progress = Progress::of(&program.out, "sealing records anew", 0);
        match store.rotate_data_in(pass, log, drawn_on(&progress)).await {
            Ok(InPass::Resealed(resealed)) => {
                done += 1;
                tell_resealed(program, &resealed)?;
            }
            Ok(InPass::Had) => had += 1,
            Ok(_) => {}
            Err(error @ (StoreError::Corrupt { .. } | StoreError::Key(_))) => failed.push((log, told(error))),
            Err(error) => return Err(told(error)),
        }
    }
    // Those that failed are named, and keep no later call from the others.
    store.end_pass(pass).await.map_err(told)?;
    if pass.resumed && !program.out.is_json() {
        let (done, had) = (counted(done, "session"), counted(had, "session"));
        program.out.line(&format!("another data key now: {done}; since {}: {had}", pass.since))?;
    }
    all_or_failed(failed)
}

/// All that has a data key. The list of sessions has neither what is in the trash, nor the logs of state, nor what was deleted and forks inherit.
async fn all_logs(sessions: &SessionManager, store: &SealedStore) -> Result<Vec<SessionId>, Failure> {
    let mut logs = sessions.sled_store().map(|store| store.logs().map_err(told)).transpose()?.unwrap_or_default();
    logs.extend(store.removed_with_heirs().await.map_err(told)?);
    logs.sort_unstable();
    Ok(logs)
}

/// What failed is told at the end, when the others have theirs.
fn all_or_failed(failed: Vec<(SessionId, Failure)>) -> Result<(), Failure> {
    let each: Vec<_> = failed.iter().map(|(id, failure)| format!("{id}: {}", failure.message())).collect();
    let count = counted(each.len() as u64, "session");
    let message = format!("{count} kept the data key they had, all others have another one: {}", each.join(", "));
    match failed.into_iter().next() {
        Some((_, first)) => Err(first.among_others(message)),
        None => Ok(()),
    }
}

async fn reseal(program: &Program, store: &SealedStore, id: SessionId) -> Result<Resealed, StoreError> {
    let progress = Progress::of(&program.out, "sealing records anew", 0);
    store.rotate_data(id, drawn_on(&progress)).await
}

fn drawn_on(progress: &Progress) -> impl Fn(DataStep) + Send {
    |step| {
        if let DataStep::Records { done, of } = step {
            progress.stand_at(done, of);
        }
    }
}

fn tell_resealed(program: &Program, resealed: &Resealed) -> Result<(), Failure> {
    let Resealed { session, records, epoch, closed, resumed, .. } = resealed;
    if program.out.is_json() {
        let closed = closed.as_ref().map(ClosedShape::of);
        let (id, records, epoch, resumed) = (*session, *records, *epoch, *resumed);
        program.out.object(&ResealedShape { id, records, epoch, resumed, closed })?;
        return program.out.flush();
    }
    let gone_on = if *resumed { " (it had been broken off)" } else { "" };
    let records = counted(*records, "record");
    program.out.line(&format!("{session} has data key {epoch} now; sealed anew: {records}{gone_on}"))?;
    // What is done is told, whatever breaks off what follows.
    program.out.flush()
}
