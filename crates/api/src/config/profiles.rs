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
    error::{ConfigError, Path, Place, Wrong, shown},
    layer::Said,
};

/// The profiles that are shipped and those of these entries; `reserve` is what every answer gets of the window, where anybody says so.
pub(super) fn profiles(
    entries: &[ModelEntry],
    providers: &[ProviderEntry],
    reserve: Option<u64>,
    (said, groups): (&BTreeMap<Path, Said>, &BTreeMap<Path, Place>),
    errors: &mut Vec<ConfigError>,
) -> Profiles {
    let shipped = Profiles::shipped();
    let mut profiles = reserving(&shipped, reserve).unwrap_or_default();
    names(entries, &shipped, said, groups, errors);
    let mut without_room: Vec<&str> = Vec::new();
    // One that keeps all of its window free for itself was told.
    for entry in entries.iter().filter(|entry| entry.reserved_output.is_none_or(|reserved| reserved < entry.window)) {
        let known = shipped.iter().find(|known| known.name == entry.name);
        let profile = of(entry, providers, reserve, known.map(AsRef::as_ref));
        match profiles.clone().with(profile) {
            Ok(more) => profiles = more,
            Err(InvalidProfile::NoRoom { .. }) => without_room.push(shown(&entry.name)),
            Err(_) => errors.push(empty_alias(entry, said)),
        }
    }
    errors.extend((!without_room.is_empty()).then(|| no_room(&without_room, said)));
    profiles
}

/// Each name is that of one model, or else one of them would have no effect.
fn names(
    entries: &[ModelEntry],
    shipped: &Profiles,
    said: &BTreeMap<Path, Said>,
    groups: &BTreeMap<Path, Place>,
    errors: &mut Vec<ConfigError>,
) {
    let of = |entry: &ModelEntry| Path::of("models").below(&entry.name);
    let at = |entry: &ModelEntry| said.get_key_value(&of(entry).below("aliases"));
    let mut first: BTreeMap<&str, (&str, Place)> = BTreeMap::new();
    for entry in entries {
        let place = groups.get(&of(entry)).cloned().unwrap_or(Place::Default);
        first.insert(&entry.name, (&entry.name, place));
    }
    for entry in entries {
        let Some((path, aliases)) = at(entry) else { continue };
        for (number, alias) in (1..).zip(&entry.aliases) {
            let what = match first.get(alias.as_str()) {
                Some((owner, _)) if *owner == entry.name => continue,
                Some((owner, place)) if owner == alias => {
                    Wrong::Form(format!("this is the name of another model, {}, at {place}", shown(owner)))
                }
                Some((owner, place)) => {
                    Wrong::Form(format!("the model {} has the same alias, at {place}", shown(owner)))
                }
                None if shipped.iter().any(|known| known.name == *alias) => {
                    Wrong::Refused("this is the name of a model that is known; say the name under models instead")
                }
                None => {
                    first.insert(alias, (&entry.name, aliases.place.clone()));
                    continue;
                }
            };
            errors.push(ConfigError::new(aliases.place.clone(), path.below(format!("{number}")), what));
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
    match ProviderProtocol::of(provider, providers) {
        Some(ProviderProtocol::Anthropic) => Form::Anthropic,
        Some(ProviderProtocol::Scripted) => Form::Neutral,
        _ => Form::OpenAi,
    }
}

/// What is kept free of each window is more than these models have.
fn no_room(models: &[&str], said: &BTreeMap<Path, Said>) -> ConfigError {
    let path = Path::of("tokens.reserve_tokens");
    let place = said.get(&path).map_or(Place::Default, |said| said.place.clone());
    let what = format!("nothing of the window is left for messages with {}", models.join(", "));
    ConfigError::new(place, path, Wrong::Form(what))
}

fn empty_alias(entry: &ModelEntry, said: &BTreeMap<Path, Said>) -> ConfigError {
    let path = Path::of("models").below(&entry.name).below("aliases");
    let place = said.get(&path).map_or(Place::Default, |said| said.place.clone());
    ConfigError::new(place, path, Wrong::Refused("an alias is empty"))
}
