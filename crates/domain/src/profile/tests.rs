//! Profiles: which are known, what each asks, and how full a window is.

use std::collections::BTreeSet;

use super::*;
use crate::{
    form::{InstructionsAs, ReasoningBack},
    moment::Moment,
};

fn found(name: &str) -> Arc<ModelProfile> {
    Profiles::shipped().find(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn unknown(name: &str) -> UnknownModel {
    Profiles::shipped().find(name).expect_err(name)
}

#[test]
fn each_shipped_row_is_valid_and_has_a_source_of_a_day() {
    let mut names = BTreeSet::new();
    for row in shipped_rows() {
        let profile = row.profile();
        assert_eq!(profile.check(), Ok(()), "{}", row.name);
        assert!(names.insert(row.name), "{} is there twice", row.name);
        assert!(row.source.starts_with("https://"), "{}", row.name);
        let day = Moment::parse(&format!("{}T00:00:00Z", row.date));
        assert!(day.is_some(), "{}: {}", row.name, row.date);
        assert!(profile.max_output.is_some_and(|output| output <= profile.window), "{}", row.name);
    }
    assert_eq!(Profiles::shipped().iter().count(), names.len());
    assert!(names.len() > 40, "{}", names.len());
}

#[test]
fn windows_and_encodings_are_the_published_ones() {
    let table = [
        ("gpt-5", 400_000, 272_000, "o200k_base"),
        ("gpt-5.5", 1_050_000, 922_000, "o200k_base"),
        ("gpt-6-astra", 1_050_000, 922_000, ESTIMATE),
        ("gpt-4.1", 1_047_576, 1_015_576, "o200k_base"),
        ("gpt-4o", 128_000, 111_616, "o200k_base"),
        ("gpt-4o-2024-05-13", 128_000, 123_904, "o200k_base"),
        ("gpt-4", 8_192, 6_144, "cl100k_base"),
        ("gpt-3.5-turbo", 16_385, 12_289, "cl100k_base"),
        ("claude-sonnet-4-5", 200_000, 168_000, ESTIMATE),
        ("claude-opus-5-5", 1_000_000, 968_000, ESTIMATE),
    ];
    for (name, window, usable, encoding) in table {
        let profile = found(name);
        assert_eq!((profile.window, profile.usable(), profile.encoding.as_str()), (window, usable, encoding), "{name}");
    }
}

#[test]
fn what_is_kept_free_for_an_answer_does_not_widen_what_a_request_may_have() {
    let with = |reserved_output| ModelProfile { reserved_output, ..(*found("gpt-5")).clone() }.usable();
    assert_eq!((with(0), with(4_096), with(128_000)), (272_000, 272_000, 272_000), "the limit of its input");
    assert_eq!(with(200_000), 200_000, "more is kept free than that leaves");
    let none = ModelProfile { max_input: Some(0), ..(*found("gpt-5")).clone() };
    assert!(matches!(none.check(), Err(InvalidProfile::NoRoom { .. })));
}

#[test]
fn each_line_of_models_asks_its_own() {
    use InstructionsAs::{Developer, System, User};
    use ReasoningBack::{LastTurn, Never, Unchanged};
    let table = [
        ("gpt-4o", Form::OpenAi, System, true, Never),
        ("gpt-5", Form::OpenAi, Developer, true, Never),
        ("gpt-5.6-sol", Form::OpenAi, Developer, true, Never),
        ("o3", Form::OpenAi, Developer, true, Never),
        ("o1", Form::OpenAi, Developer, true, Never),
        ("o1-mini", Form::OpenAi, User, true, Never),
        ("o1-preview", Form::OpenAi, User, true, Never),
        ("claude-haiku-4-5", Form::Anthropic, System, true, LastTurn),
        ("claude-sonnet-4-6", Form::Anthropic, System, false, LastTurn),
        ("claude-opus-5", Form::Anthropic, System, false, LastTurn),
        ("claude-opus-5-5", Form::Anthropic, System, false, Unchanged),
    ];
    for (name, form, instructions, prefill, reasoning) in table {
        let profile = found(name);
        let rules = &profile.rules;
        let asked = (profile.form, rules.instructions, rules.prefill, rules.reasoning);
        assert_eq!(asked, (form, instructions, prefill, reasoning), "{name}");
    }
}

#[test]
fn a_snapshot_is_found_where_its_provider_documents_such_names() {
    let table = [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-5-2025-08-07", "gpt-5"),
        ("o1-mini-2024-09-12", "o1-mini"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        // Another longest answer: a row of its own.
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
    ];
    for (name, model) in table {
        let expected = ModelProfile { name: name.to_owned(), ..(*found(model)).clone() };
        assert_eq!(*found(name), expected, "what is known of the model, under the name that was asked for");
        assert!(is_same_model(&expected.provider, name, model) && is_same_model(&expected.provider, model, name));
    }
    assert!(!is_same_model("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-08-06"), "two snapshots");
    assert_eq!(undated("openai", "-2024-08-06"), None, "a date alone");
    let not = [
        "gpt-4-0613",
        "gpt-4o-20240806",
        "gpt-4o-2024-13-06",
        "gpt-4o-2024-08-32",
        "gpt-4o-2024-8-006",
        "gpt-4o-+024-08-06",
        "gpt-4o-2024-08-06-2",
        "gpt-4o2024-08-06",
        "gpt-4o-latest",
        "claude-sonnet-4-5-2025-09-29",
        "claude-sonnet-4-5-20251332",
        "claude-sonnet-4-5-2025092é",
        "claude-sonnet-4-5-",
    ];
    for name in not {
        assert_eq!(unknown(name).name, name);
    }
    let mine = ModelProfile::of("mine", "ollama", Form::OpenAi, 8_192);
    assert!(Profiles::default().with(mine).unwrap().find("mine-2024-08-06").is_err());
}

#[test]
fn an_unknown_model_is_unknown_and_the_nearest_is_named() {
    let table = [
        ("gpt-4p", Some("gpt-4o")),
        ("claude-sonet-4-6", Some("claude-sonnet-4-6")),
        ("GPT-4o", Some("gpt-4o")),
        ("llama3.3", None),
        ("", None),
    ];
    for (name, nearest) in table {
        assert_eq!(unknown(name), UnknownModel { name: name.to_owned(), nearest: nearest.map(str::to_owned) });
    }
    let said = unknown("claude-sonet-4-6").to_string();
    assert!(said.contains("claude-sonnet-4-6") && !said.contains("claude-sonet"), "{said}");
    assert!(!unknown("llama3.3").to_string().contains("nearest"));
}

#[test]
fn a_host_adds_models_and_stands_in_for_shipped_ones() {
    let mine = ModelProfile {
        aliases: vec!["gpt-4o".to_owned(), "house".to_owned()],
        ..ModelProfile::of("house-7b", "ollama", Form::OpenAi, 8_192)
    };
    let known = Profiles::shipped().with(mine.clone()).unwrap();
    assert_eq!(*known.find("house").unwrap(), mine);
    assert_eq!(known.find("gpt-4o").unwrap().name, "gpt-4o", "a name goes before an alias");
    let other =
        ModelProfile { aliases: mine.aliases.clone(), window: 4_096, ..ModelProfile::of("b", "x", mine.form, 1) };
    let known = known.with(other).unwrap();
    assert_eq!(known.find("house").unwrap().window, 4_096, "the newest of one alias");
    let narrow = ModelProfile { window: 64_000, ..(*found("gpt-4o")).clone() };
    let known = known.with(narrow).unwrap();
    assert_eq!(known.find("gpt-4o").unwrap().window, 64_000);
    assert_eq!(known.find("gpt-4o-2024-08-06").unwrap().window, 64_000);
    assert_eq!(known.iter().filter(|profile| profile.name == "gpt-4o").count(), 1);
}

#[test]
fn what_cannot_be_gone_by_is_refused() {
    let valid = ModelProfile::of("a", "b", Form::Neutral, 100);
    assert_eq!(valid.check(), Ok(()));
    let blank = || " ".to_owned();
    let table = [
        (ModelProfile { name: String::new(), ..valid.clone() }, InvalidProfile::Unnamed { what: "model" }),
        (ModelProfile { aliases: vec![blank()], ..valid.clone() }, InvalidProfile::Unnamed { what: "model" }),
        (ModelProfile { provider: blank(), ..valid.clone() }, InvalidProfile::Unnamed { what: "provider" }),
        (ModelProfile { encoding: String::new(), ..valid.clone() }, InvalidProfile::Unnamed { what: "encoding" }),
        (
            ModelProfile { reserved_output: 100, ..valid.clone() },
            InvalidProfile::NoRoom { window: 100, reserved_output: 100 },
        ),
        (ModelProfile::of("a", "b", Form::Neutral, 0), InvalidProfile::NoRoom { window: 0, reserved_output: 0 }),
    ];
    for (profile, wrong) in table {
        assert_eq!(profile.check(), Err(wrong));
        assert_eq!(Profiles::default().with(profile), Err(wrong));
    }
}

#[test]
fn a_profile_goes_through_json() {
    for profile in Profiles::shipped().iter() {
        let json = serde_json::to_string(profile.as_ref()).unwrap();
        assert_eq!(serde_json::from_str::<ModelProfile>(&json).unwrap(), **profile);
    }
}

#[test]
fn a_window_is_full_at_three_quarters_and_at_nine_tenths() {
    use WindowState::{Critical, Normal, Warning};
    let profile =
        |window, reserved_output| ModelProfile { reserved_output, ..ModelProfile::of("a", "b", Form::Neutral, window) };
    let table = [
        (1_000, 0, [(0, Normal), (749, Normal), (750, Warning), (899, Warning), (900, Critical), (1_000, Critical)]),
        // What is reserved does not count: 800 are left.
        (
            1_000,
            200,
            [(0, Normal), (599, Normal), (600, Warning), (719, Warning), (720, Critical), (u64::MAX, Critical)],
        ),
        // 7 are left: three quarters are 5.25, nine tenths 6.3.
        (8, 1, [(0, Normal), (4, Normal), (5, Normal), (6, Warning), (7, Critical), (8, Critical)]),
        (1, 0, [(0, Normal), (1, Critical), (2, Critical), (3, Critical), (4, Critical), (5, Critical)]),
        (
            u64::MAX,
            0,
            [
                (u64::MAX / 4 * 3, Normal),
                (u64::MAX / 4 * 3 + 3, Warning),
                (u64::MAX / 10 * 9, Warning),
                (u64::MAX / 10 * 9 + 5, Critical),
                (u64::MAX, Critical),
                (0, Normal),
            ],
        ),
    ];
    for (window, reserved, states) in table {
        for (used, state) in states {
            assert_eq!(window_state(used, &profile(window, reserved)), state, "{used} of {window} - {reserved}");
        }
    }
}
