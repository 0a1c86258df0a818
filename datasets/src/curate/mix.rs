//! Choosing rows: `mix` (in proportion), `split` (whole groups), `sample` (some at random).
//!
//! Who is chosen follows from a hash of (seed, row's place and id), never from a stream of numbers, so it does not depend on
//! threads, and a row's split depends on its group alone: adding rows moves none of the others.

use std::collections::BTreeMap;

use super::frame::text;
use super::job::{Group, Mix, MixBy, Sample, Shares};
use super::text::{Reading, fingerprint, words};
use super::work::{Verdict, Work, each_part};
use crate::error::DatasetError;
use crate::random::{hash_text, mix as mixed};
use crate::task::{Split, Task};

/// The lot that a row draws.
fn lot(seed: u64, row: usize, id: &str) -> u64 {
    mixed(mixed(seed ^ hash_text(id)).wrapping_add(row as u64))
}

/// What every row draws, and what it is called.
struct Lots {
    /// The place of each row's name in `names`; nothing where no column was asked for.
    kinds: Vec<u16>,
    /// The lot of each row.
    lots: Vec<u64>,
    names: Vec<String>,
}

/// The lots of all rows, with the names in a column.
fn lots(work: &Work<'_>, column: Option<&str>) -> Result<Lots, DatasetError> {
    let starts = work.input.starts();
    let (mut kinds, mut lots, mut names) = (Vec::new(), Vec::new(), Vec::<String>::new());
    let columns: Vec<&str> = std::iter::once("id").chain(column).collect();
    each_part(
        work.input,
        work.host,
        &columns,
        |part, frame| {
            let ids = text(&frame, "id")?;
            let drawn: Vec<u64> = ids
                .iter()
                .enumerate()
                .map(|(row, id)| lot(work.seed, starts[part] + row, id.unwrap_or_default()))
                .collect();
            let named: Vec<String> = match column {
                Some(column) => text(&frame, column)?.iter().map(|name| name.unwrap_or_default().to_owned()).collect(),
                None => Vec::new(),
            };
            Ok((drawn, named))
        },
        |_, (drawn, named)| {
            lots.extend(drawn);
            for name in named {
                let place = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                });
                kinds.push(
                    u16::try_from(place)
                        .map_err(|_| DatasetError::Frame { what: "more than 65,536 different sources".to_owned() })?,
                );
            }
            Ok(())
        },
    )?;
    Ok(Lots { kinds, lots, names })
}

/// The largest lot among the `count` smallest.
fn limit(mut lots: Vec<u64>, count: usize) -> Option<u64> {
    let last = count.checked_sub(1)?.min(lots.len().checked_sub(1)?);
    Some(*lots.select_nth_unstable(last).1)
}

pub(super) fn mix(mix: &Mix, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let column = match mix.by {
        MixBy::Source => "source",
        MixBy::Domain => "domain",
    };
    let Lots { kinds, lots, names } = lots(work, Some(column))?;
    let mut available: BTreeMap<&str, usize> = names.iter().map(|name| (name.as_str(), 0)).collect();
    for &kind in &kinds {
        *available.entry(&names[usize::from(kind)]).or_default() += 1;
    }
    let weights: BTreeMap<&str, f64> = match &mix.weights {
        Some(weights) => weights.iter().map(|(name, &weight)| (name.as_str(), weight)).collect(),
        None => available.keys().map(|&name| (name, 1.0)).collect(),
    };
    for (name, _) in weights.iter().filter(|(name, weight)| **weight > 0.0 && !available.contains_key(*name)) {
        work.tally.notes.push(format!("no row has the {column} `{name}`"));
    }
    let counts = proportions(&weights, &available, mix.total);
    for (name, count) in &counts {
        work.tally.notes.push(format!("{name}: {count} of {}", available.get(name).copied().unwrap_or(0)));
    }
    let limits: Vec<Option<u64>> = names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let of_kind = kinds.iter().zip(&lots).filter(|(kind, _)| usize::from(**kind) == place);
            limit(of_kind.map(|(_, &lot)| lot).collect(), counts.get(name.as_str()).copied().unwrap_or(0))
        })
        .collect();
    let starts = work.input.starts();
    let weighed = |name: &str| weights.get(name).is_some_and(|&weight| weight > 0.0);
    work.judge(&["id"], |part, frame| {
        Ok((starts[part]..starts[part] + frame.height())
            .map(|row| {
                let kind = usize::from(kinds[row]);
                match limits[kind] {
                    Some(limit) if lots[row] <= limit => Verdict::Keep,
                    _ if weighed(&names[kind]) => Verdict::drop("beyond its share", names[kind].as_str()),
                    _ => Verdict::drop("has no weight", names[kind].as_str()),
                }
            })
            .collect())
    })
}

/// How many rows of each name: the weights' proportions, as large as every name's rows allow, at most `total` in all.
fn proportions<'a>(
    weights: &BTreeMap<&'a str, f64>,
    available: &BTreeMap<&str, usize>,
    total: Option<u64>,
) -> BTreeMap<&'a str, usize> {
    let present =
        || weights.iter().filter(|(name, weight)| **weight > 0.0 && available.get(**name).is_some_and(|&n| n > 0));
    let sum: f64 = present().map(|(_, weight)| weight).sum();
    let most = present().map(|(name, weight)| available[*name] as f64 * sum / weight).fold(f64::INFINITY, f64::min);
    let all = total.map_or(most, |total| most.min(total as f64));
    let shares: Vec<(&str, f64)> = present().map(|(&name, weight)| (name, all * weight / sum + ROUNDING)).collect();
    let mut counts: BTreeMap<&str, usize> = shares.iter().map(|&(name, share)| (name, share as usize)).collect();
    // What rounding down leaves goes to those that lose most by it, in the order of names among equals.
    let left = ((all + ROUNDING) as usize).saturating_sub(counts.values().sum());
    let mut by_loss: Vec<&(&str, f64)> = shares.iter().filter(|(name, _)| counts[*name] < available[*name]).collect();
    by_loss.sort_by(|one, other| other.1.fract().total_cmp(&one.1.fract()));
    for (name, _) in by_loss.into_iter().take(left) {
        *counts.entry(*name).or_default() += 1;
    }
    counts
}

/// What a product of weights may be off by without another row being meant.
const ROUNDING: f64 = 1e-9;

pub(super) fn sample(sample: &Sample, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let Lots { lots, .. } = lots(work, None)?;
    let by_share = sample.share.map(|share| (lots.len() as f64 * share).round() as usize);
    let by_count = sample.count.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let count = by_share.into_iter().chain(by_count).min().unwrap_or(lots.len());
    if by_count.is_some_and(|count| count > lots.len()) {
        work.tally.notes.push(format!("fewer rows than asked for: {}", lots.len()));
    }
    let limit = limit(lots.clone(), count);
    let starts = work.input.starts();
    work.judge(&["id"], |part, frame| {
        Ok((starts[part]..starts[part] + frame.height())
            .map(|row| match limit {
                Some(limit) if lots[row] <= limit => Verdict::Keep,
                _ => Verdict::drop("not drawn", ""),
            })
            .collect())
    })
}

pub(super) fn split(shares: &Shares, work: &mut Work<'_>) -> Result<(), DatasetError> {
    let seed = work.seed;
    work.change(|task| {
        let key = group_of(&shares.group, task)?;
        task.split = split_of(&shares.shares, mixed(seed ^ key));
        Ok(Some(task.split.name().to_owned()))
    })
}

/// The split in whose share of all numbers this one lies.
fn split_of(shares: &[(Split, f64)], key: u64) -> Split {
    let place = key as f64 / 2f64.powi(64);
    let mut end = 0.0;
    for &(split, share) in shares {
        end += share;
        if place < end {
            return split;
        }
    }
    // The shares add up to 1 but for rounding.
    shares.last().map_or(Split::Train, |share| share.0)
}

fn group_of(group: &Group, task: &Task) -> Result<u64, DatasetError> {
    Ok(match group {
        Group::Prompt => fingerprint(&words(&task.prompt, Reading::Signs)).0,
        Group::Template => fingerprint(&words(&task.prompt, Reading::AnyNumber)).0,
        Group::Column(name) => match task.extra.get(name) {
            Some(value) => hash_text(&value.to_string()),
            None if name == "source" => hash_text(&task.source),
            None => {
                let columns: Vec<&str> = task.extra.keys().map(String::as_str).collect();
                return Err(DatasetError::NoColumn {
                    column: name.clone(),
                    row: task.id.clone(),
                    found: if columns.is_empty() { "none".to_owned() } else { columns.join(", ") },
                });
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportions_are_kept_and_as_large_as_can_be() {
        let available: BTreeMap<&str, usize> = [("a", 100), ("b", 300), ("c", 5)].into();
        for (weights, total, expected) in [
            (vec![("a", 1.0), ("b", 1.0)], None, vec![("a", 100), ("b", 100)]),
            (vec![("a", 1.0), ("b", 3.0)], None, vec![("a", 100), ("b", 300)]),
            (vec![("a", 1.0), ("b", 3.0)], Some(40), vec![("a", 10), ("b", 30)]),
            (vec![("a", 1.0), ("z", 1.0)], None, vec![("a", 100)]),
            (vec![("a", 1.0), ("c", 0.0)], Some(1_000), vec![("a", 100)]),
            // As many as were asked for, though no share is whole.
            (vec![("a", 1.0), ("b", 1.0)], Some(101), vec![("a", 51), ("b", 50)]),
            (vec![("a", 2.0), ("b", 3.0), ("c", 0.1)], Some(99), vec![("a", 39), ("b", 58), ("c", 2)]),
        ] {
            let weights = weights.into_iter().collect();
            assert_eq!(proportions(&weights, &available, total), expected.into_iter().collect());
        }
    }

    #[test]
    fn splits_get_their_shares() {
        let shares = [(Split::Train, 0.8), (Split::Validation, 0.1), (Split::Held, 0.1)];
        let mut counts = BTreeMap::new();
        for key in 0..50_000_u64 {
            *counts.entry(split_of(&shares, mixed(key)).name()).or_insert(0_i64) += 1;
        }
        // Five standard deviations of a count of 50,000.
        assert!((counts["train"] - 40_000).abs() < 450 && (counts["held"] - 5_000).abs() < 340, "{counts:?}");
        assert_eq!(split_of(&shares, u64::MAX), Split::Held);
    }
}
