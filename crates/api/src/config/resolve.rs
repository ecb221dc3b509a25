//! What is in force: the places put over each other, and what values have to do with each other.
//!
//! Must not know: where a place is read from.

use std::{collections::BTreeMap, path::PathBuf, sync::OnceLock};

use sessions_domain::price::PriceTable;

use super::{
    Configuration, entries,
    environment::Environment,
    error::{ConfigError, ConfigErrors, Notice, Path, Place, Wrong},
    layer::{Layer, Said},
    profiles::{profiles, too_small},
    table::State,
    tree,
    value::Set,
};

impl Configuration {
    /// Puts places over each other, those that count most last.
    pub(super) fn resolve(
        mut layers: Vec<Layer>,
        mut notices: Vec<Notice>,
        environment: Environment,
        file: Option<PathBuf>,
    ) -> Result<Self, ConfigErrors> {
        overridden(&mut layers);
        let mut errors: Vec<ConfigError> =
            layers.iter_mut().flat_map(|layer| std::mem::take(&mut layer.errors)).collect();
        one_source_of_a_key(&mut layers, &mut errors);
        let mut said: BTreeMap<Path, Said> = BTreeMap::new();
        let mut groups: BTreeMap<Path, Place> = BTreeMap::new();
        for layer in layers {
            said.extend(layer.said);
            groups.extend(layer.groups);
        }
        together(&said, &mut errors);
        let group = |below| entries::groups(&said, &groups, below);
        let named = |below| group(below).len();
        let providers: Vec<_> =
            group("providers").iter().filter_map(|group| entries::provider(group, &mut errors)).collect();
        // A model may name a provider in which something is wrong.
        let names: Vec<String> = groups
            .keys()
            .filter_map(|path| match path.names() {
                [first, name] if first == "providers" => Some(name.clone()),
                _ => None,
            })
            .collect();
        let models: Vec<_> =
            group("models").iter().filter_map(|group| entries::model(group, &names, &providers, &mut errors)).collect();
        let own_prices =
            if named("prices") > 0 { entries::prices(&group("prices"), &mut errors) } else { PriceTable::default() };
        let reserve = said.get(&Path::of("tokens.reserve_tokens")).and_then(|said| match said.set {
            Set::Whole(tokens) => Some(tokens),
            _ => None,
        });
        let profiles = profiles(&models, &providers, reserve, (&said, &groups), &mut errors);
        if !errors.is_empty() {
            return Err(ConfigErrors(ordered(errors)));
        }
        notices.extend(said.iter().filter_map(|(path, said)| match said.row.state {
            State::NotBuilt { feature } if said.place != Place::Default => {
                Some(Notice::NotBuilt { place: said.place.clone(), path: path.clone(), feature })
            }
            _ => None,
        }));
        let reserved = said.get(&Path::of("tokens.reserve_tokens")).filter(|said| said.place != Place::Default);
        notices.extend(reserved.zip(reserve).and_then(|(said, tokens)| {
            let models = too_small(tokens);
            (!models.is_empty()).then(|| Notice::ReserveTooLarge { place: said.place.clone(), models })
        }));
        Ok(Self { said, models, profiles, providers, own_prices, notices, environment, file })
    }
}

/// What a variable says is not looked at where an argument says it.
fn overridden(layers: &mut [Layer]) {
    if let [.., environment, arguments] = layers {
        environment.errors.retain(|error| !arguments.said.contains_key(&error.path));
    }
}

/// In the order in which a person meets them: the file from its beginning, then the environment, then arguments.
fn ordered(mut errors: Vec<ConfigError>) -> Vec<ConfigError> {
    errors.sort_by_key(|error| match &error.place {
        Place::Default => (0, 0, 0),
        Place::File { line, column, .. } => (1, *line, *column),
        Place::Variable(_) => (2, 0, 0),
        Place::Argument(_) => (3, 0, 0),
    });
    errors
}

/// Which source of a key an option belongs to.
fn source_of_key(path: &Path) -> Option<&str> {
    match path.names() {
        [first, source, ..] if first == "keys" => Some(source),
        _ => None,
    }
}

/// Of the places that name a source of a key, the last one counts, and it names one.
fn one_source_of_a_key(layers: &mut [Layer], errors: &mut Vec<ConfigError>) {
    let mut chosen: Option<String> = None;
    for layer in layers.iter_mut().rev() {
        let mut own: Option<&str> = None;
        for (path, said) in &layer.said {
            let Some(source) = source_of_key(path) else { continue };
            if own.is_some_and(|own| own != source) {
                let what =
                    "two sources of a key are given; name one of key_file, passphrase_file, passphrase_env and vault";
                errors.push(ConfigError::new(said.place.clone(), path.clone(), Wrong::Refused(what)));
            }
            own = Some(source);
        }
        if chosen.is_none() {
            chosen = own.map(str::to_owned);
        }
        let Some(chosen) = &chosen else { continue };
        layer.said.retain(|path, _| source_of_key(path).is_none_or(|source| source == chosen));
    }
}

/// Values that are only right or wrong together.
fn together(said: &BTreeMap<Path, Said>, errors: &mut Vec<ConfigError>) {
    let at = |option: &str| said.get_key_value(&Path::of(option));
    let mut refuse = |(path, said): (&Path, &Said), what| {
        errors.push(ConfigError::new(said.place.clone(), path.clone(), what));
    };
    let is = |option: &str, on: bool| at(option).filter(|(_, said)| said.set == Set::Switch(on));
    if let Some(off) = is("storage.auto_save", false) {
        let why = "what is acknowledged is always kept: leave it out, and see storage.durability for what an acknowledgement means";
        refuse(off, Wrong::Refused(why));
    }
    let key = said.iter().find(|(path, _)| source_of_key(path).is_some());
    if let (Some(off), Some((_, key))) = (is("encryption.enabled", false), key)
        && level(&off.1.place) == level(&key.place)
    {
        refuse(off, Wrong::Refused("a key is named under keys, and only a sealed store has one"));
    }
    let is_vault = |path: &Path| source_of_key(path) == Some("vault");
    if let Some((path, first)) = said.iter().find(|(path, _)| is_vault(path)) {
        for (option, name) in [("keys.vault.url", "keys.vault.url"), ("keys.vault.key", "keys.vault.key")] {
            if at(option).is_none() {
                refuse((path, first), Wrong::Missing(name));
            }
        }
    }
    if let Some(on) = is("encryption.enterprise_mode", true) {
        match key {
            Some((path, _)) if is_vault(path) => {}
            Some(other) => refuse(
                other,
                Wrong::Refused("encryption.enterprise_mode takes no key but one in a key service, keys.vault"),
            ),
            None => refuse(on, Wrong::Missing("keys.vault")),
        }
        if let Some(off) = is("encryption.enabled", false) {
            refuse(off, Wrong::Refused("encryption.enterprise_mode is on, which a plain store has nothing of"));
        }
    }
}

fn level(place: &Place) -> u8 {
    match place {
        Place::Default => 0,
        Place::File { .. } => 1,
        Place::Variable(_) => 2,
        Place::Argument(_) => 3,
    }
}

/// The prices that come with this crate, each with its source and the day on which it stood there.
pub fn shipped_prices() -> &'static PriceTable {
    static SHIPPED: OnceLock<PriceTable> = OnceLock::new();
    SHIPPED.get_or_init(|| read_prices("prices.yaml", include_bytes!("../../data/prices.yaml")).unwrap_or_default())
}

fn read_prices(name: &str, bytes: &[u8]) -> Result<PriceTable, ConfigErrors> {
    let tree = tree::read(name, bytes).map_err(|error| ConfigErrors(vec![*error]))?;
    let layer = Layer::of_tree(tree.as_ref());
    let nobody = Environment::of::<String, String>([]);
    Configuration::resolve(vec![layer], Vec::new(), nobody, None).map(|configuration| configuration.own_prices)
}

#[cfg(test)]
mod tests {
    use sessions_domain::{
        price::{Day, Price},
        profile::Profiles,
    };

    use super::*;

    /// Of these nobody whom we trust says what they cost.
    const WITHOUT: [&str; 6] = ["gpt-6-astra", "gpt-6-sol", "gpt-6-luna", "o1-mini", "o1-preview", "claude-sonnet-5"];

    #[test]
    fn each_model_that_is_known_has_a_price_or_is_known_to_have_none() {
        let day: Day = "2026-11-22".parse().unwrap();
        for model in Profiles::shipped().iter() {
            let found = shipped_prices().find(&model.provider, &model.name, day);
            assert_eq!(found.is_none(), WITHOUT.contains(&model.name.as_str()), "{}", model.name);
        }
    }

    #[test]
    fn the_prices_that_are_shipped_are_whole() {
        let table = read_prices("prices.yaml", include_bytes!("../../data/prices.yaml")).unwrap();
        assert!(table.rows().len() >= 30, "{}", table.rows().len());
        for row in table.rows() {
            assert!(row.source.is_some() && row.noted.is_some(), "{}", row.model);
            assert!(row.price.input.is_some() && row.price.output.is_some(), "{}", row.model);
            // Input is never dearer than output, and reading a cache never dearer than input: a slip by a factor shows.
            let above = row.price.above.as_ref().map(|(_, above)| above.as_ref());
            let classes = |price: &Price| {
                let Price { input, output, cache_read, cache_write, cache_write_long, reasoning, .. } = price;
                [input, output, cache_read, cache_write, cache_write_long, reasoning].map(Option::is_some)
            };
            assert!(
                above.is_none_or(|above| classes(above) == classes(&row.price)),
                "{}: a tier of its own",
                row.model
            );
            for price in std::iter::once(&row.price).chain(above) {
                assert!(
                    price.input < price.output && price.cache_read.is_none_or(|read| Some(read) < price.input),
                    "{}",
                    row.model
                );
                assert!(price.output.is_some_and(|output| output.micros() < 1_000_000_000), "{}", row.model);
            }
        }
        assert_eq!(shipped_prices(), &table);
        let day: Day = "2026-11-22".parse().unwrap();
        let found = table.find("openai", "gpt-5", day).and_then(|row| row.price.input);
        assert_eq!(found.map(|price| price.to_string()).as_deref(), Some("1.25"));
        assert_eq!(table.find("openai", "gpt-5-", day), None);
    }
}
