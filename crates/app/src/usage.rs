//! What the calls of models took and cost: the ledger of a session, which follows from its log.
//!
//! A call stands in one record: the message that it made, the compaction whose summary it wrote, or a record of its own. So undo,
//! compaction and forks neither lose nor double it. What a fork inherits was spent by its parent.
//!
//! Must not know: who calls models, or where prices are written down.

use std::collections::BTreeMap;

use serde::Serialize;
use sessions_domain::{
    Event, MessageMetadata, Moment, StreamEnd, TokenUsage, View,
    branches::Stretch,
    compaction::{CallOutcome, CallPurpose, Spent},
    money::Money,
    price::{Day, PriceRow, PriceTable, cost},
    profile::is_same_model,
};
use sessions_ports::{KindFilter, Order};

use crate::{
    error::SessionError,
    reading::{Bounds, Read},
    session::Session,
};

/// A page is at most so many records.
const PAGE: usize = 512;

/// What a call cost, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Priced {
    /// The amount.
    pub amount: Money,
    /// Who says so.
    pub by: PricedBy,
}

/// Who says what a call cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PricedBy {
    /// It was written down with the call.
    Written,
    /// The table of prices, by the day of the call.
    Table,
}

/// One call of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCall {
    /// The record that it stands in.
    pub seq: u64,
    /// Its number among the calls of that record, from 0.
    pub call: u64,
    /// What it was for, and how it ended, whose model it was and what it took.
    #[serde(flatten)]
    pub spent: Spent,
    /// What it cost; `None`: nobody says so, which is not nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priced: Option<Priced>,
}

/// What the calls of one model took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelUsage {
    /// The provider, where it is known.
    pub provider: Option<String>,
    /// The model, where it is known.
    pub model: Option<String>,
    /// How many calls.
    pub calls: u64,
    /// Calls whose usage nobody reported.
    pub estimated: u64,
    /// Tokens.
    pub usage: TokenUsage,
    /// What they cost, by currency: as it was written down, or else by the table of prices of their day.
    pub cost: Vec<Money>,
    /// Calls of which nobody says what they cost.
    pub unpriced: u64,
}

impl ModelUsage {
    fn add(&mut self, spent: &Spent, at: Moment, prices: &PriceTable) {
        self.calls += 1;
        self.estimated += u64::from(spent.estimated);
        self.usage = self.usage.plus(spent.usage);
        match priced(spent, at, prices) {
            Some(priced) => add_money(&mut self.cost, priced.amount),
            None => self.unpriced += 1,
        }
    }
}

/// The ledger of a session, summed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// By model, the first that was called first.
    pub models: Vec<ModelUsage>,
    /// All of them.
    pub total: ModelUsage,
}

impl Usage {
    fn add(&mut self, spent: &Spent, at: Moment, prices: &PriceTable) {
        let is_of = |row: &&mut ModelUsage| row.provider == spent.provider && row.model == spent.model;
        match self.models.iter_mut().find(is_of) {
            Some(row) => row.add(spent, at, prices),
            None => {
                let mut row =
                    ModelUsage { provider: spent.provider.clone(), model: spent.model.clone(), ..Default::default() };
                row.add(spent, at, prices);
                self.models.push(row);
            }
        }
        self.total.add(spent, at, prices);
    }
}

/// What a call cost: as it was written down, or else by the prices of its day.
fn priced(spent: &Spent, at: Moment, prices: &PriceTable) -> Option<Priced> {
    if let Some(known) = spent.cost.as_deref().and_then(|known| Money::rounded(known).ok()) {
        return Some(Priced { amount: known, by: PricedBy::Written });
    }
    let amount = |model: &str| {
        let provider = spent.provider.as_deref().or_else(|| only_provider(prices, model))?;
        by_table(prices, provider, model, at, &spent.usage)
    };
    // Some answer under a name that only they know.
    let mut names = spent.model.iter().chain(&spent.asked);
    names.find_map(|model| amount(model)).map(|amount| Priced { amount, by: PricedBy::Table })
}

/// What a call costs by the prices of its day.
pub(crate) fn by_table(
    prices: &PriceTable,
    provider: &str,
    model: &str,
    at: Moment,
    usage: &TokenUsage,
) -> Option<Money> {
    cost(usage, &prices.find(provider, model, Day::of(at)?)?.price)
}

/// The one provider that has a model of this name: transcripts of other programs seldom say whose it is.
fn only_provider<'a>(prices: &'a PriceTable, model: &str) -> Option<&'a str> {
    let is_of = |provider: &str, name: &str| is_same_model(provider, name, model);
    let is_named = |row: &&PriceRow| {
        is_of(&row.provider, &row.model) || row.aliases.iter().any(|alias| is_of(&row.provider, alias))
    };
    let mut providers = prices.rows().iter().filter(is_named).map(|row| row.provider.as_str());
    let first = providers.next()?;
    providers.all(|other| other == first).then_some(first)
}

/// Adds an amount to those of its currency. What does not fit a number of money is left as it was.
pub(crate) fn add_money(sums: &mut Vec<Money>, money: Money) {
    match sums.iter_mut().find(|sum| sum.currency() == money.currency()) {
        Some(sum) => *sum = sum.checked_add(money).unwrap_or(*sum),
        None => sums.push(money),
    }
}

/// The ledger as far as a lane has read it.
#[derive(Default)]
pub(crate) struct Ledger {
    version: u64,
    usage: Usage,
    /// Calls of messages that are still arriving, by the record that began them: what they took is known when they end.
    begun: BTreeMap<u64, MessageMetadata>,
}

impl Ledger {
    fn take(&mut self, read: &Read, prices: &PriceTable) {
        for spent in calls_in(read, &mut self.begun) {
            self.usage.add(&spent, read.stamp.at, prices);
        }
        self.version = read.record.seq;
    }
}

/// The calls that stand in a record.
fn calls_in(read: &Read, begun: &mut BTreeMap<u64, MessageMetadata>) -> Vec<Spent> {
    let of = |metadata: &MessageMetadata, outcome: CallOutcome| {
        Some(Spent {
            purpose: CallPurpose::Turn,
            outcome,
            provider: metadata.provider.clone(),
            model: metadata.model.clone(),
            asked: None,
            usage: metadata.usage?,
            estimated: metadata.estimated,
            cost: metadata.cost.clone(),
            request_id: metadata.request_id.clone(),
        })
    };
    match &read.event {
        Event::Appended(appended) => of(&appended.message.metadata, CallOutcome::Taken).into_iter().collect(),
        Event::Begun(appended) => {
            begun.insert(read.record.seq, appended.message.metadata.clone());
            Vec::new()
        }
        Event::Sealed(sealed) => {
            let known = begun.remove(&sealed.message).unwrap_or_default();
            of(sealed.metadata.as_ref().unwrap_or(&known), outcome_of(sealed.end)).into_iter().collect()
        }
        Event::Compacted(compacted) => compacted.calls.clone(),
        Event::Spent(spent) => vec![(**spent).clone()],
        _ => Vec::new(),
    }
}

/// How a call ended that made a message which ended so.
const fn outcome_of(end: StreamEnd) -> CallOutcome {
    match end {
        StreamEnd::Complete => CallOutcome::Taken,
        StreamEnd::Cancelled => CallOutcome::Cancelled,
        StreamEnd::Failed | StreamEnd::Interrupted => CallOutcome::Failed,
    }
}

impl Session {
    /// What the session's calls of models took and cost, all branches and compactions included. A lane reads the log for it once, and goes on
    /// from there.
    ///
    /// # Errors
    /// The store's.
    pub async fn usage(&self) -> Result<Usage, SessionError> {
        let view = self.fresh_view().await?;
        let mut ledger = self.lane().take_ledger().unwrap_or_default();
        if ledger.version > view.version() {
            // The log was put back to an older state.
            ledger = Box::default();
        }
        let first = view.first_own().max(ledger.version.saturating_add(1));
        let prices = self.manager().prices();
        let mut rest = (first <= view.version()).then_some(Stretch { first, last: view.version() });
        while let Some(stretch) = rest {
            let (reads, more) = self.records(&view, stretch).await?;
            reads.iter().for_each(|read| ledger.take(read, prices));
            rest = more;
        }
        let usage = ledger.usage.clone();
        self.lane().keep_ledger(ledger);
        Ok(usage)
    }

    /// The session's calls of models in records from a number on, at most a page of records, and the record to go on from; `None` behind the last.
    ///
    /// # Errors
    /// The store's.
    pub async fn calls(&self, from: u64) -> Result<(Vec<ModelCall>, Option<u64>), SessionError> {
        let view = self.fresh_view().await?;
        let first = view.first_own().max(from);
        if first > view.version() {
            return Ok((Vec::new(), None));
        }
        let (reads, more) = self.records(&view, Stretch { first, last: view.version() }).await?;
        let (mut begun, mut calls) = (BTreeMap::new(), Vec::new());
        for read in &reads {
            self.begun_before(&view, read, first, &mut begun).await?;
            for (call, spent) in (0..).zip(calls_in(read, &mut begun)) {
                let priced = priced(&spent, read.stamp.at, self.manager().prices());
                calls.push(ModelCall { seq: read.record.seq, call, spent, priced });
            }
        }
        Ok((calls, more.map(|rest| rest.first)))
    }

    /// Looks up the beginning of a message that ends on this page and began before it.
    async fn begun_before(
        &self,
        view: &View,
        read: &Read,
        first: u64,
        begun: &mut BTreeMap<u64, MessageMetadata>,
    ) -> Result<(), SessionError> {
        let Event::Sealed(sealed) = &read.event else { return Ok(()) };
        if sealed.message >= first {
            return Ok(());
        }
        if let Some(Event::Appended(began)) =
            self.manager().read_one(view, sealed.message).await?.map(|read| read.event)
        {
            begun.insert(sealed.message, began.message.metadata);
        }
        Ok(())
    }

    async fn records(&self, view: &View, stretch: Stretch) -> Result<(Vec<Read>, Option<Stretch>), SessionError> {
        self.manager().read_records(view, stretch, Order::OldestFirst, KindFilter::All, Bounds::records(PAGE)).await
    }
}
