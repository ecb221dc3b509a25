//! The configuration as a host meets it: what is read, refused and told, which place counts, and what each option does.
//!
//! Must not know: how a file is read.

#[cfg(test)]
mod answering;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod places;
#[cfg(test)]
mod refusals;

#[cfg(test)]
mod configuration {
    use std::{fs, path::Path};

    use sessions_api::config::{OPTIONS, State, document};

    /// The test that shows what each option does. One that has an effect and stands here with no test, or not at all, fails.
    const SHOWN: &[(&str, &str)] = &[
        ("storage.url", "the_store_that_is_named_is_opened_at_its_durability"),
        ("storage.durability", "the_store_that_is_named_is_opened_at_its_durability"),
        ("storage.max_sessions", "one_session_more_than_there_may_be_is_refused"),
        ("storage.auto_save", "what_is_acknowledged_is_kept_whoever_asks_otherwise"),
        ("storage.backup_interval_minutes", "backups_are_made_where_it_says_and_so_many_stay"),
        ("storage.backup_folder", "backups_are_made_where_it_says_and_so_many_stay"),
        ("storage.backups_kept", "backups_are_made_where_it_says_and_so_many_stay"),
        ("tokens.reserve_tokens", "models_of_the_configuration_are_known_by_their_names_or_stand_in_for_known_ones"),
        ("tokens.", "figures_of_tokens_are_as_they_were_said"),
        ("model", "the_model_of_turns_is_the_one_that_is_named_or_the_configured_one_or_a_script"),
        ("models.", "models_of_the_configuration_are_known_by_their_names_or_stand_in_for_known_ones"),
        ("providers.*.timeout_seconds", "a_provider_that_says_nothing_is_waited_for_as_long_as_it_says"),
        ("providers.", "a_model_is_asked_of_the_provider_that_is_configured_with_its_key"),
        ("prices.", "own_prices_count_before_those_that_are_shipped"),
        ("limits.", "each_limit_is_the_one_that_was_said"),
        ("identity.", "records_bear_who_acts_and_tenants_are_apart"),
        ("encryption.enabled", "a_plain_store_never_passes_for_a_sealed_one_nor_the_other_way_round"),
        ("encryption.enterprise_mode", "in_enterprise_mode_nothing_but_a_key_service_opens_a_store"),
        ("encryption.key_rotation_days", "the_age_of_a_key_is_told_after_as_many_days_as_it_says"),
        ("trash.after_days", "what_was_not_used_for_long_is_put_away_as_it_says"),
        ("cleanup.delete_after_days", "what_was_not_used_for_long_is_put_away_as_it_says"),
        ("cleanup.interval_seconds", "what_was_not_used_for_long_is_put_away_as_it_says"),
        ("cleanup.max_idle_seconds", "what_is_idle_leaves_memory_as_it_says"),
        ("encryption.auto_rotate", "an_old_key_is_changed_by_itself_where_it_says_so"),
        ("keys.key_file", "a_plain_store_never_passes_for_a_sealed_one_nor_the_other_way_round"),
        ("keys.passphrase_", "a_passphrase_is_taken_from_a_file_or_a_variable"),
        ("keys.vault.", "a_key_service_is_asked_where_it_says_with_the_token_of_the_file"),
    ];

    fn sources(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                sources(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn each_option_that_has_an_effect_has_a_test_that_shows_it() {
        let mut code = String::new();
        ["crates/api", "crates/cli", "tests/tests/configuration"]
            .iter()
            .for_each(|folder| sources(&root().join(folder), &mut code));
        let covers =
            |shown: &str, path: &str| shown == path || (shown.ends_with(['.', '_']) && path.starts_with(shown));
        for row in OPTIONS.iter().filter(|row| row.state == State::Effective) {
            let test = SHOWN.iter().find(|(shown, _)| covers(shown, row.path)).map(|(_, test)| *test);
            let test = test.unwrap_or_else(|| panic!("nothing shows what {} does", row.path));
            let (before, _) =
                code.split_once(&format!("fn {test}(")).unwrap_or_else(|| panic!("there is no test {test}"));
            let attributes = before.rsplit("\n\n").next().unwrap();
            assert!(attributes.contains("#[test]") || attributes.contains("#[tokio::test"), "{test} is no test");
        }
        for (shown, _) in SHOWN {
            let is_there = OPTIONS.iter().any(|row| covers(shown, row.path) && row.state == State::Effective);
            assert!(is_there, "{shown} is no option that has an effect");
        }
    }

    #[test]
    fn the_document_is_made_of_the_table() {
        let written = fs::read_to_string(root().join("docs/configuration.md")).unwrap_or_default();
        assert!(written == document(), "docs/configuration.md is not what the table says: run `cargo xtask docs`");
    }
}
