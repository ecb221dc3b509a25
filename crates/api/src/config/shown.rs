//! What is in force, as `sessions config` tells it: each option with its value and where that came from.
//!
//! Must not know: how it is printed.

use serde::{Serialize, Serializer, ser::SerializeSeq as _};

use super::{
    Configuration, Path,
    layer::Said,
    table::{Kind, OPTIONS, OptionRow, State},
    value::{self, Set, Written},
};

/// One option, as it is in force. It serialises with these names, which stay.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InForce {
    /// The names on the way to it.
    pub option: String,
    /// Its value; nothing where no value is a value.
    pub value: Shown,
    /// Where it was said: `default`, a file with line and column, a variable, an argument.
    pub from: String,
    /// What counts when it is not said.
    pub default: &'static str,
    /// `effective`, or `not built: ` and the feature.
    pub state: String,
}

/// A value as it is shown. Addresses have no passwords in them, and of secrets only the place is ever said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(Option<Set>);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |set| set.fmt(f))
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            None | Some(Set::NoLimit) => serializer.serialize_none(),
            Some(Set::Whole(number)) => serializer.serialize_u64(*number),
            Some(Set::Switch(on)) => serializer.serialize_bool(*on),
            Some(Set::Percent(percent)) => serializer.serialize_f64(f64::from(*percent) / 100.0),
            Some(Set::Texts(texts)) => {
                let mut list = serializer.serialize_seq(Some(texts.len()))?;
                texts.iter().try_for_each(|text| list.serialize_element(text))?;
                list.end()
            }
            Some(other) => serializer.collect_str(other),
        }
    }
}

fn of(row: &'static OptionRow, path: &Path, said: Option<&Said>) -> InForce {
    let default = || match row.kind {
        // What stands in the table is then a word about the default, unless it can be read as a value.
        Kind::Text(_) | Kind::Texts(_) | Kind::File | Kind::Variable => None,
        kind => value::read(kind, Written::Outside(row.default)).ok(),
    };
    InForce {
        option: path.to_string(),
        value: Shown(said.map(|said| said.set.clone()).or_else(default)),
        from: said.map_or_else(|| "default".to_owned(), |said| said.place.to_string()),
        default: row.default,
        state: match row.state {
            State::Effective => "effective".to_owned(),
            State::NotBuilt { feature } => format!("not built: {feature}"),
        },
    }
}

impl Configuration {
    /// Every option with what is in force, in the table's order. What has a name of a person's own is there as often as it was said.
    pub fn rows(&self) -> Vec<InForce> {
        OPTIONS.iter().flat_map(|row| self.rows_of(row)).collect()
    }

    fn rows_of(&self, row: &'static OptionRow) -> Vec<InForce> {
        if row.variable().is_some() {
            let path = Path::of(row.path);
            return vec![of(row, &path, self.said.get(&path))];
        }
        self.said.iter().filter(|(_, said)| said.row == row).map(|(path, said)| of(row, path, Some(said))).collect()
    }
}
