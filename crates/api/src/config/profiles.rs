//! The models that are known, with those of the configuration among them.
//!
//! Must not know: where a model's entry was said.

use std::collections::BTreeMap;

use sessions_domain::{
    form::{Form, FormRules},
    profile::{InvalidProfile, ModelProfile, Profiles},
};

use super::{
    ModelEntry, ProviderEntry, ProviderProtocol,
    error::{ConfigError, Path, Place, Wrong},
    layer::Said,
};

/// The profiles that are shipped and those of these entries; `reserve` is what every answer gets of the window, where anybody says so.
pub(super) fn profiles(
    entries: &[ModelEntry],
    providers: &[ProviderEntry],
    reserve: Option<u64>,
    said: &BTreeMap<Path, Said>,
    errors: &mut Vec<ConfigError>,
) -> Profiles {
    let shipped = Profiles::shipped();
    let mut profiles = reserving(&shipped, reserve).unwrap_or_default();
    names(entries, &shipped, said, errors);
    // One that keeps all of its window free for itself was told.
    for entry in entries.iter().filter(|entry| entry.reserved_output.is_none_or(|reserved| reserved < entry.window)) {
        let known = shipped.iter().find(|known| known.name == entry.name);
        let profile = of(entry, providers, reserve, known.map(AsRef::as_ref));
        match profiles.clone().with(profile) {
            Ok(more) => profiles = more,
            Err(error) => errors.push(refused(&error, entry, said)),
        }
    }
    profiles
}

/// Each name is that of one model, or else one of them would have no effect.
fn names(entries: &[ModelEntry], shipped: &Profiles, said: &BTreeMap<Path, Said>, errors: &mut Vec<ConfigError>) {
    let at = |entry: &ModelEntry| said.get_key_value(&Path::of("models").below(&entry.name).below("aliases"));
    let mut first: BTreeMap<&str, (&str, Place)> = BTreeMap::new();
    for entry in entries {
        let place = said.iter().find(|(path, _)| path.names().starts_with(&["models".to_owned(), entry.name.clone()]));
        first.extend(place.map(|(_, said)| (entry.name.as_str(), (entry.name.as_str(), said.place.clone()))));
    }
    for entry in entries {
        let Some((path, aliases)) = at(entry) else { continue };
        for alias in &entry.aliases {
            let what = match first.get(alias.as_str()) {
                Some((owner, _)) if *owner == entry.name => continue,
                Some((_, place)) => Wrong::Twice { first: place.clone() },
                None if shipped.iter().any(|known| known.name == *alias) => Wrong::Refused(
                    "one of them is the name of a model that is known; say the name under models instead",
                ),
                None => {
                    first.insert(alias, (&entry.name, aliases.place.clone()));
                    continue;
                }
            };
            errors.push(ConfigError::new(aliases.place.clone(), path.clone(), what));
        }
    }
}

/// The known models whose window is too small for what is reserved, which is then as it would be without it.
pub(super) fn too_small(reserve: u64) -> Vec<String> {
    Profiles::shipped().iter().filter(|known| known.window <= reserve).map(|known| known.name.clone()).collect()
}

/// Those that are shipped, with so much of the window kept free, where it has as much.
fn reserving(shipped: &Profiles, reserve: Option<u64>) -> Result<Profiles, InvalidProfile> {
    let Some(reserve) = reserve else { return Ok(shipped.clone()) };
    shipped.iter().filter(|known| reserve < known.window).try_fold(shipped.clone(), |profiles, known| {
        profiles.with(ModelProfile { reserved_output: reserve, ..known.as_ref().clone() })
    })
}

/// What an entry says, and behind it what is known of a model of the same name.
fn of(
    entry: &ModelEntry,
    providers: &[ProviderEntry],
    reserve: Option<u64>,
    known: Option<&ModelProfile>,
) -> ModelProfile {
    let form = entry.form.unwrap_or_else(|| form_of(&entry.provider, providers));
    let plain = ModelProfile::of(&entry.name, &entry.provider, form, entry.window);
    ModelProfile {
        aliases: entry.aliases.clone(),
        max_output: entry.max_output.or(known.and_then(|known| known.max_output)),
        // A wider window than the known one is another offer of the model.
        max_input: known.filter(|known| entry.window <= known.window).and_then(|known| known.max_input),
        reserved_output: entry.reserved_output.or(reserve).unwrap_or(plain.reserved_output),
        encoding: entry.encoding.clone().or(known.map(|known| known.encoding.clone())).unwrap_or(plain.encoding),
        rules: known.filter(|known| known.form == form).map_or(FormRules::of(form), |known| known.rules.clone()),
        name: plain.name,
        provider: plain.provider,
        window: plain.window,
        form: plain.form,
        framing: plain.framing,
    }
}

/// The form that a provider takes, by its entry or by its name, which may be that of a kind.
fn form_of(provider: &str, providers: &[ProviderEntry]) -> Form {
    let named = providers.iter().find(|entry| entry.name == provider).map(|entry| entry.protocol);
    match (named, provider) {
        (Some(ProviderProtocol::Anthropic), _) | (None, "anthropic") => Form::Anthropic,
        (Some(ProviderProtocol::Scripted), _) | (None, "scripted") => Form::Neutral,
        _ => Form::OpenAi,
    }
}

fn refused(error: &InvalidProfile, entry: &ModelEntry, said: &BTreeMap<Path, Said>) -> ConfigError {
    let model = Path::of("models").below(&entry.name);
    let reserve = said.get_key_value(&Path::of("tokens.reserve_tokens"));
    let what = match error {
        InvalidProfile::NoRoom { .. } => "nothing of a model's window is left for messages",
        _ => "an alias is empty",
    };
    let at = match error {
        InvalidProfile::NoRoom { .. } => reserve,
        _ => said.get_key_value(&model.below("aliases")),
    };
    let (path, place) = at.map_or((model, Place::Default), |(path, said)| (path.clone(), said.place.clone()));
    ConfigError::new(place, path, Wrong::Refused(what))
}
