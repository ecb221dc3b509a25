//! The groups of benchmarks, by name and by the bars they answer.
//!
//! Must not know: how a report looks.

mod contexts;
mod growth;
mod importing;
mod keys;
mod listing;
mod memory;
mod moves;
mod peers;
mod reading;
mod recovery;
mod single;
mod space;
mod tokens;
mod writers;

use std::path::Path;

use crate::{
    report::Section,
    stage::{Outcome, Stage},
};

pub(crate) use recovery::{CHILD, child};

/// A group of benchmarks that share a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Single,
    Writers,
    Memory,
    Reading,
    Moves,
    Listing,
    Recovery,
    Space,
    Keys,
    Importing,
    Tokens,
    Contexts,
    Growth,
    Peers,
}

impl Group {
    pub(crate) const ALL: [Self; 14] = [
        Self::Single,
        Self::Writers,
        Self::Memory,
        Self::Reading,
        Self::Moves,
        Self::Listing,
        Self::Recovery,
        Self::Space,
        Self::Keys,
        Self::Importing,
        Self::Tokens,
        Self::Contexts,
        Self::Growth,
        Self::Peers,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Writers => "writers",
            Self::Memory => "memory",
            Self::Reading => "reading",
            Self::Moves => "moves",
            Self::Listing => "listing",
            Self::Recovery => "recovery",
            Self::Space => "space",
            Self::Keys => "keys",
            Self::Importing => "importing",
            Self::Tokens => "tokens",
            Self::Contexts => "contexts",
            Self::Growth => "growth",
            Self::Peers => "peers",
        }
    }

    /// The bars it answers.
    fn bars(self) -> &'static [&'static str] {
        match self {
            Self::Single => &["P1", "P3"],
            Self::Writers => &["P2"],
            Self::Memory => &["P4"],
            Self::Reading => &["P5", "P6"],
            Self::Moves => &["P7"],
            Self::Listing => &["P10"],
            Self::Recovery => &["P10", "P17"],
            Self::Space => &["P12"],
            Self::Keys => &["P8", "P14"],
            Self::Importing => &["P13"],
            Self::Tokens => &["P9", "P16"],
            Self::Contexts => &["P11"],
            Self::Growth | Self::Peers => &[],
        }
    }

    /// The group with this name, or that answers this bar.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let answers =
            |group: &Self| group.name() == name || group.bars().iter().any(|bar| bar.eq_ignore_ascii_case(name));
        Self::ALL.into_iter().find(answers)
    }

    pub(crate) async fn run(self, parent: &Path) -> Outcome<Section> {
        let stage = Stage::new(parent, self.name())?;
        match self {
            Self::Single => single::run(&stage).await,
            Self::Writers => writers::run(&stage).await,
            Self::Memory => memory::run().await,
            Self::Reading => reading::run(&stage).await,
            Self::Moves => moves::run(&stage).await,
            Self::Listing => listing::run(&stage).await,
            Self::Recovery => recovery::run(&stage).await,
            Self::Space => space::run(&stage).await,
            Self::Keys => keys::run(&stage).await,
            Self::Importing => importing::run(&stage).await,
            Self::Tokens => tokens::run(&stage).await,
            Self::Contexts => contexts::run(&stage).await,
            Self::Growth => growth::run(&stage).await,
            Self::Peers => peers::run(&stage).await,
        }
    }
}
