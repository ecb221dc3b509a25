//! Two processes and one store: one has it, the other is told who and since when, and nothing is damaged.
//!
//! Must not know: how a store is locked.

use std::path::{Path, PathBuf};

use sessions_tests::line::{Ack, Line};

use crate::{child::Child, equipment::folder, found::Found};

const PROCESSES: usize = 4;
const STORES: usize = 20;
const ROUNDS: usize = 10;

#[test]
fn one_of_four_processes_gets_each_of_200_stores_and_the_others_hear_who() {
    let (mut told, mut slowest) = (0, 0);
    for round in 0..ROUNDS {
        let folder = folder();
        let paths: Vec<PathBuf> = (0..STORES).map(|store| folder.path().join(format!("store-{store}"))).collect();
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        let mut racers: Vec<Child> = (0..PROCESSES).map(|_| Child::start(&[], "race", &paths, &[])).collect();
        racers.iter_mut().for_each(Child::go);
        for racer in &mut racers {
            assert!(racer.hear_until(|line| *line == Line::Still), "{:?}", racer.said);
            assert!(racer.wrongs().is_empty(), "{:?}", racer.wrongs());
        }
        let mut owners = vec![Vec::new(); STORES];
        for racer in &racers {
            for line in &racer.said {
                if let Line::Opened(store, _) = line {
                    owners[*store].push(racer.pid());
                }
            }
        }
        assert!(owners.iter().all(|owners| owners.len() == 1), "round {round}: {owners:?}");
        for (store, pid, millis, since) in racers.iter().flat_map(|racer| &racer.said).filter_map(locked) {
            assert_eq!(owners[store], [pid], "round {round}, store {store}: another process is named");
            assert!(since.len() >= 20 && since.ends_with('Z'), "since when is no moment: {since}");
            told += 1;
            slowest = slowest.max(millis);
        }
        racers.iter_mut().for_each(Child::go);
        let ended: Vec<bool> = racers.iter_mut().map(Child::end).collect();
        assert_eq!(ended, [true; PROCESSES]);
        let promised: Vec<Ack> = racers.iter().flat_map(Child::acks).collect();
        assert_eq!(promised.len(), STORES, "each owner left a message in its store");
        for (store, path) in paths.iter().enumerate() {
            let found = Found::at(path);
            let owner = u64::from(owners[store][0]);
            let here = promised.iter().filter(|ack| ack.writer == owner && found.lost([*ack]).is_empty());
            assert!(here.count() >= 1 && found.wrong.is_empty(), "round {round}, store {store}: {:?}", found.wrong);
        }
    }
    println!("200 races of 4 processes: one owner each; {told} were told who has it, the slowest after {slowest} ms");
    assert_eq!(told, ROUNDS * STORES * (PROCESSES - 1));
}

fn locked(line: &Line) -> Option<(usize, u32, u64, &str)> {
    match line {
        Line::Locked(store, pid, millis, since) => Some((*store, *pid, *millis, since)),
        _ => None,
    }
}
