//! Names of models with a date behind them, which name a snapshot of the model.
//!
//! Must not know: which models there are.

/// The name without the date that its provider documents behind it: OpenAI writes `gpt-4o-2024-08-06`
/// (<https://developers.openai.com/api/docs/models>), Anthropic `claude-sonnet-4-5-20250929`
/// (<https://platform.claude.com/docs/en/about-claude/models/overview>). `None`: the name has no such date, or it is another provider's,
/// and others document no such rule.
pub fn undated<'a>(provider: &str, name: &'a str) -> Option<&'a str> {
    let length = match provider {
        "openai" => "2024-08-06".len(),
        "anthropic" => "20240806".len(),
        _ => return None,
    };
    let (model, date) = name.split_at_checked(name.len().checked_sub(length + 1)?)?;
    let date = date.strip_prefix('-')?;
    let parts: Vec<&str> = match provider {
        "openai" => date.split('-').collect(),
        _ => vec![date.get(..4)?, date.get(4..6)?, date.get(6..)?],
    };
    let [year, month, day] = parts.as_slice() else { return None };
    let within = |digits: &str, length: usize, from: u32, to: u32| {
        let plain = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain && digits.parse().is_ok_and(|number: u32| (from..=to).contains(&number))
    };
    let is_date = within(year, 4, 2020, 2099) && within(month, 2, 1, 12) && within(day, 2, 1, 31);
    (is_date && !model.is_empty()).then_some(model)
}

/// Whether both name the same model of a provider: they are equal, or one of them is a snapshot of the other. Two snapshots are two models.
pub fn is_same_model(provider: &str, one: &str, other: &str) -> bool {
    one == other || undated(provider, one) == Some(other) || undated(provider, other) == Some(one)
}
