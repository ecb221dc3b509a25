//! What a context looks like to a provider: whatever the history, and wherever it is cut, the providers' rules hold.
//!
//! `SESSIONS_CUTS` says at how many places each real transcript is cut (100; 1000 for a release), `SESSIONS_SEED` which.
//!
//! Must not know: how forms are made; it sees what is sent.

#[cfg(test)]
mod compaction;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod sources;

#[cfg(test)]
mod forms {
    use std::{fs, path::Path};

    use sessions_domain::form::{Form, FormRules};
    use sessions_tests::chance::Chance;

    use super::{
        histories::{self, MODEL, Told},
        laws::{self, Built, Way},
        rules::{self, Request},
    };

    /// How many histories are made up.
    const MADE_UP: u64 = 2_000;

    /// At how many places each real transcript is cut.
    pub(crate) fn cuts() -> u64 {
        std::env::var("SESSIONS_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(100)
    }

    /// The beginning of a history up to a place, and what is behind it.
    fn halves(history: &[Told], at: u64) -> [&[Told]; 2] {
        let (before, behind) = history.split_at(at as usize);
        [before, behind]
    }

    /// Cuts a history at places that chance gives, and holds what `build` makes of each piece against the rules.
    fn every_piece_is_valid(
        name: &str,
        history: &[Told],
        ways: &[Way],
        cuts: u64,
        chance: &mut Chance,
        build: &dyn Fn(&[Told], &Way) -> Built,
    ) {
        for way in ways {
            for number in 0..cuts {
                let at = chance.below(history.len() as u64 + 1);
                for piece in halves(history, at) {
                    let built = build(piece, way);
                    let objections = laws::objections(&built, way);
                    let place = format!("{name}, {:?} {:?} cut at {at}", way.form, way.rules);
                    assert!(objections.is_empty(), "{place}: {objections:?}");
                    // Reading is dearer than all else here.
                    if number % 8 == 0 {
                        laws::comes_in_again(&built, way);
                    }
                    if built.repairs.is_empty() {
                        assert!(built.body == laws::plain(piece, way), "{place}: changed, and nobody says so");
                    }
                }
            }
        }
    }

    #[test]
    fn made_up_histories_become_valid_wherever_they_are_cut() {
        let seed = Chance::seed();
        println!("seed {seed}");
        let mut chance = Chance::of(seed);
        let ways = laws::ways(MODEL);
        let (mut valid, mut all) = (0, 0);
        for number in 0..MADE_UP {
            let history = histories::made_up(&mut chance, 14);
            let name = format!("history {number} of seed {seed}");
            every_piece_is_valid(&name, &history, &ways, 1, &mut chance, &laws::built);
            for way in &ways {
                for piece in halves(&history, chance.below(history.len() as u64 + 1)) {
                    let (messages, _) = laws::paired(piece);
                    laws::shaping_is_stable(&messages, way);
                    laws::shaping_is_bounded(&messages, way);
                    laws::reasoning_is_its_own(piece, way);
                    all += 1;
                    valid += u64::from(laws::valid_stays(&messages, way));
                }
            }
        }
        println!("{valid} of {all} pieces were valid as they stood");
        assert!(all / 20 < valid && valid < all - all / 20, "{valid} of {all}: the mix tells nothing");
    }

    /// More pictures, calls, words and bytes than a provider takes.
    #[test]
    fn what_is_too_much_is_cut_left_out_or_split() {
        for history in histories::excessive() {
            // Much data is dear to look through.
            let most = if history.name == "bytes" { 1 } else { usize::MAX };
            for form in [Form::OpenAi, Form::Anthropic] {
                for way in laws::ways(&history.model).into_iter().filter(|way| way.form == form).take(most) {
                    let built = laws::built(&history.messages, &way);
                    let objections = laws::objections(&built, &way);
                    assert!(objections.is_empty(), "{}, {:?}: {objections:?}", history.name, way.form);
                    let (messages, _) = laws::paired(&history.messages);
                    laws::shaping_is_stable(&messages, &way);
                    laws::shaping_is_bounded(&messages, &way);
                }
            }
        }
    }

    #[test]
    fn real_transcripts_are_valid_wherever_they_are_cut() {
        let seed = Chance::seed();
        println!("seed {seed}");
        for history in histories::real() {
            let mut chance = Chance::of(seed);
            let ways = laws::ways(&history.model);
            let plain: Vec<Way> = ways.into_iter().filter(|way| way.rules == FormRules::of(way.form)).collect();
            assert_eq!(plain.len(), 2);
            every_piece_is_valid(&history.name, &history.messages, &plain, cuts(), &mut chance, &laws::built);
            for way in &plain {
                let (messages, _) = laws::paired(&history.messages);
                laws::shaping_is_stable(&messages, way);
                laws::shaping_is_bounded(&messages, way);
            }
        }
    }

    /// The table is about something: each rule is broken by a request, and not by one that comes close to it.
    #[test]
    fn each_rule_is_broken_and_held() {
        let mut ids = std::collections::HashSet::new();
        for rule in rules::rules() {
            assert!(ids.insert(rule.id), "{} twice", rule.id);
            assert!(!rule.breaks.is_empty() && !rule.holds.is_empty(), "{}", rule.id);
            for broken in rule.breaks {
                let request: Request = rule.request(broken);
                assert!(!(rule.check)(&request).is_empty(), "{} does not see {broken}", rule.id);
            }
            for held in rule.holds {
                let request = rule.request(held);
                assert!(!request.body.is_null(), "{}: {held} is no JSON", rule.id);
                assert_eq!((rule.check)(&request), Vec::<String>::new(), "{} takes offence at {held}", rule.id);
            }
        }
    }

    /// The document is the table. With `SESSIONS_WRITE_DOCS` set it is written.
    #[test]
    fn the_document_is_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/forms.md");
        if std::env::var_os("SESSIONS_WRITE_DOCS").is_some() {
            fs::write(&path, rules::document()).unwrap();
        }
        let stands = fs::read_to_string(&path).unwrap_or_default();
        assert!(stands == rules::document(), "docs/forms.md is not the table: run cargo xtask docs");
    }
}
