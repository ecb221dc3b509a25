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
