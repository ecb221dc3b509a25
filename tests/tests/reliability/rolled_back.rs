//! A whole store that is put back to an earlier state is consistent in itself: only who kept something elsewhere finds it out.
//!
//! Must not know: the store's inside.

use std::{fs, path::Path, sync::Arc};

use sessions_app::{At, NewSession, SessionError};
use sessions_domain::Message;
use sessions_infra::{
    environment::SystemClock,
    keys::FileKeyStore,
    sealing::SealedStore,
    sled::{Anchor, AnchorCheck, Sealing, SledOptions, SledStore, WitnessReport},
};
use sessions_ports::{Durability, SessionLog};

use crate::ground::{Host, folder, key_file};

/// A sealed store with the one beneath it, and what its roots say.
async fn attested(path: &Path) -> (SledStore, Arc<dyn SessionLog>, WitnessReport) {
    let options = SledOptions { cache_bytes: 1 << 20, sealing: Sealing::Sealed };
    let store = SledStore::open(path, options).await.unwrap();
    let keys = FileKeyStore::open(&store.keys_folder(), store.id()).await.unwrap();
    let (log, clock) = (Arc::new(store.clone()), Arc::new(SystemClock));
    let sealed = SealedStore::open_or_create(log, Arc::new(keys), &key_file(7), clock).await.unwrap();
    let found = store.witness(Arc::new(sealed.witness().unwrap())).unwrap();
    (store, Arc::new(sealed), found)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_store_that_is_put_back_is_found_by_a_receipt_and_an_anchor() {
    let ground = folder();
    let (path, image, noted) = (ground.path().join("store"), ground.path().join("image"), ground.path().join("anchor"));
    let host = Host::seeded(1);
    let (store, sealed, found) = attested(&path).await;
    assert_eq!(found, WitnessReport::Empty);
    let manager = host.manager(sealed, Durability::Disk);
    let session = manager.create(NewSession::titled("to be put back")).await.unwrap();
    let (id, early) = (session.id(), session.append(Message::user("before")).await.unwrap());
    let early = session.token(&early);
    manager.close().await.unwrap();
    store.anchor().unwrap().write(&noted).unwrap();
    let early_anchor = Anchor::read(&noted).unwrap();
    drop((session, manager, store));
    copy(&path, &image);

    let (store, sealed, found) = attested(&path).await;
    assert_eq!(found, WitnessReport::Confirmed);
    let manager = host.manager(sealed, Durability::Disk);
    let session = manager.load(id).await.unwrap();
    let late = session.append(Message::user("behind")).await.unwrap();
    let late = session.token(&late);
    manager.close().await.unwrap();
    store.anchor().unwrap().write(&noted).unwrap();
    assert_eq!(store.check_anchor(&early_anchor).unwrap(), AnchorCheck::Fresh);
    drop((session, manager, store));

    fs::remove_dir_all(&path).unwrap();
    copy(&image, &path);
    let (store, sealed, found) = attested(&path).await;
    assert_eq!(found, WitnessReport::Confirmed, "it is consistent in itself");
    let anchor = Anchor::read(&noted).unwrap();
    assert!(matches!(store.check_anchor(&anchor).unwrap(), AnchorCheck::RolledBack { .. }));
    assert_eq!(store.check_anchor(&early_anchor).unwrap(), AnchorCheck::Fresh);
    let manager = host.manager(sealed, Durability::Disk);
    let session = manager.load(id).await.unwrap();
    assert_eq!(session.last_at(At::Token(early), 9).await.unwrap().len(), 1);
    assert!(matches!(session.last_at(At::Token(late), 9).await.unwrap_err(), SessionError::RolledBack));
    // It goes on elsewhere than it did, and is still found out.
    for _ in 0..20 {
        session.append(Message::user("another history")).await.unwrap();
    }
    assert!(matches!(session.last_at(At::Token(late), 9).await.unwrap_err(), SessionError::RolledBack));
    assert!(matches!(store.check_anchor(&anchor).unwrap(), AnchorCheck::RolledBack { .. }));
    manager.close().await.unwrap();
    println!("figure: found by the receipt and by the anchor, also when it went on; by nothing else");
}
