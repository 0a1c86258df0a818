//! Values of a data frame as JSON.
//!
//! JSON has fewer types than a frame. A moment is text as in ISO 8601 (`2024-03-01T12:30:15.25`), with `Z` where the column
//! has a time zone: such moments are stored in UTC, and the zone only says how to show them. A duration is its seconds. A
//! decimal number is text with all its digits. Bytes are text where they are UTF-8, else hexadecimal digits.
//!
//! Moments are written here and not by polars, which ends the process at a time zone it has no tables for, and at a day that
//! its calendar does not reach.

use polars::prelude::{AnyValue, Column, TimeUnit};
use serde_json::Value;

use super::{Columns, hex};

/// The rows of columns of one height as JSON objects. Columns that are null are left out, as if missing.
pub(super) fn to_rows(columns: &[Column]) -> Result<Vec<Columns>, String> {
    let mut rows = vec![Columns::new(); columns.first().map_or(0, Column::len)];
    for column in columns {
        for (index, row) in rows.iter_mut().enumerate() {
            let cell = column.get(index).map_err(|error| error.to_string())?;
            match to_json(&cell) {
                Value::Null => {}
                value => {
                    row.insert(column.name().to_string(), value);
                }
            }
        }
    }
    Ok(rows)
}

fn to_json(cell: &AnyValue<'_>) -> Value {
    match cell {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(truth) => Value::Bool(*truth),
        AnyValue::String(text) => Value::String((*text).to_owned()),
        AnyValue::StringOwned(text) => Value::String(text.to_string()),
        AnyValue::Binary(bytes) => text_of(bytes),
        AnyValue::BinaryOwned(bytes) => text_of(bytes),
        AnyValue::List(series) => Value::Array(series.iter().map(|element| to_json(&element)).collect()),
        AnyValue::StructOwned(fields) => {
            let (values, names) = &**fields;
            names.iter().zip(values).map(|(field, value)| (field.name().to_string(), to_json(value))).collect()
        }
        AnyValue::Struct(..) => to_json(&cell.clone().into_static()),
        AnyValue::Date(days) => Value::String(day(i64::from(*days))),
        AnyValue::Datetime(value, unit, zone) => Value::String(moment(*value, *unit, zone.is_some())),
        AnyValue::DatetimeOwned(value, unit, zone) => Value::String(moment(*value, *unit, zone.is_some())),
        AnyValue::Time(nanoseconds) => Value::String(time(*nanoseconds, TimeUnit::Nanoseconds)),
        AnyValue::Duration(value, unit) => Value::from(*value as f64 / per_second(*unit) as f64),
        AnyValue::Decimal(value, _, scale) => Value::String(decimal(*value, *scale)),
        float if float.is_float() => float.extract::<f64>().map_or(Value::Null, Value::from),
        integer if integer.is_integer() => match (integer.extract::<i64>(), integer.extract::<u64>()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => Value::String(integer.to_string()),
        },
        other => Value::String(other.to_string()),
    }
}

fn text_of(bytes: &[u8]) -> Value {
    Value::String(std::str::from_utf8(bytes).map_or_else(|_| hex(bytes), str::to_owned))
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Milliseconds => 1_000,
        TimeUnit::Microseconds => 1_000_000,
        TimeUnit::Nanoseconds => 1_000_000_000,
    }
}

/// A day from its number since 1970-01-01 (Hinnant: chrono-compatible low-level date algorithms).
fn day(number: i64) -> String {
    // Years begin in March, so that the leap day is the last of one.
    let shifted = number + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = (from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", day_of_year - (153 * from_march + 2) / 5 + 1)
}

/// A time of the day, with as many decimals of a second as it needs.
fn time(value: i64, unit: TimeUnit) -> String {
    let (seconds, rest) = (value / per_second(unit), value % per_second(unit));
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if rest == 0 {
        return text;
    }
    let places = per_second(unit).ilog10() as usize;
    format!("{text}.{}", format!("{rest:0places$}").trim_end_matches('0'))
}

fn moment(value: i64, unit: TimeUnit, in_zone: bool) -> String {
    let of_day = 86_400 * per_second(unit);
    let text = format!("{}T{}", day(value.div_euclid(of_day)), time(value.rem_euclid(of_day), unit));
    if in_zone { text + "Z" } else { text }
}

/// A decimal number from its digits and how many of them stand behind the point.
fn decimal(value: i128, scale: usize) -> String {
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_decimal_numbers_are_written_whole() {
        use TimeUnit::{Microseconds, Milliseconds, Nanoseconds};
        assert_eq!(moment(1_709_296_215_250, Milliseconds, false), "2024-03-01T12:30:15.25");
        assert_eq!(moment(-1, Microseconds, true), "1969-12-31T23:59:59.999999Z");
        assert_eq!(moment(0, Nanoseconds, false), "1970-01-01T00:00:00");
        assert_eq!(moment(i64::MIN, Milliseconds, false), "-292275055-05-16T16:47:04.192");
        for (days, expected) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (-719_528, "0000-01-01")] {
            assert_eq!(day(days), expected);
        }
        assert_eq!(day(i64::from(i32::MAX)), "5881580-07-11");
        for (value, scale, expected) in [
            (12_345, 2, "123.45"),
            (-1, 2, "-0.01"),
            (-5, 0, "-5"),
            (0, 3, "0.000"),
            (i128::MIN, 0, &i128::MIN.to_string()),
        ] {
            assert_eq!(decimal(value, scale), expected);
        }
    }
}
