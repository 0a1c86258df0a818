//! Dates and clocks. Days are counted by the civil calendar (Hinnant: chrono-compatible low-level date algorithms, the
//! idea of years that begin in March, so that the leap day is the last).

use super::{Drawn, slip, written};
use crate::random::Counter;

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A day of the civil calendar.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// Days since 1970-01-01.
    fn number(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let of_era = year - era * 400;
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
    }

    /// The date of a day's number.
    fn of(number: i64) -> Self {
        let shifted = number + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month, day: day_of_year - (153 * month_from_march + 2) / 5 + 1 }
    }

    fn text(self) -> String {
        // `month` is 1 to 12.
        format!("{} {}, {}", MONTHS[usize::try_from(self.month - 1).unwrap_or(0)], self.day, self.year)
    }

    fn weekday(self) -> usize {
        // 1970-01-01 was a Thursday.
        usize::try_from((self.number() + 3).rem_euclid(7)).unwrap_or(0)
    }
}

pub(super) fn dates(level: u8, counter: &mut Counter) -> Drawn {
    let span = [60, 1_000, 10_000][usize::from(level) - 1];
    let first = Date { year: 1990, month: 1, day: 1 }.number();
    let last = Date { year: 2040, month: 12, day: 31 }.number();
    let start = Date::of(counter.between(first, last));
    let days = counter.between(2, span);
    let end = Date::of(start.number() + days);
    match counter.below(4) {
        0 => {
            let prompt = format!("How many days after {} is {}?", start.text(), end.text());
            Drawn::integer(prompt, days, slip(counter))
        }
        1 => {
            let (sign, date) =
                if counter.percent(50) { ("after", end) } else { ("before", Date::of(start.number() - days)) };
            let prompt =
                format!("Which date is {days} days {sign} {}? Give (year, month, day) in numbers.", start.text());
            let near = Date::of(date.number() + 1);
            Drawn::compared(
                prompt,
                written(&[date.year, date.month, date.day]),
                written(&[near.year, near.month, near.day]),
            )
        }
        2 => {
            let prompt =
                format!("{} is a {}. What day of the week is {}?", start.text(), WEEKDAYS[start.weekday()], end.text());
            let right = end.weekday();
            Drawn::compared(prompt, WEEKDAYS[right].to_owned(), WEEKDAYS[(right + 1) % 7].to_owned())
        }
        _ => {
            let weekday = counter.below(7);
            let number = (start.number()..=end.number()).filter(|&day| Date::of(day).weekday() == weekday).count();
            let prompt = format!(
                "How many {}s are there from {} to {}, both included? {} is a {}.",
                WEEKDAYS[weekday],
                start.text(),
                end.text(),
                start.text(),
                WEEKDAYS[start.weekday()]
            );
            Drawn::integer(prompt, i64::try_from(number).unwrap_or(0), counter.between(1, 2))
        }
    }
}

const CITIES: &[(&str, i64)] = &[
    ("London", 0),
    ("Berlin", 1),
    ("Cairo", 2),
    ("Moscow", 3),
    ("Dubai", 4),
    ("Karachi", 5),
    ("Bangkok", 7),
    ("Beijing", 8),
    ("Tokyo", 9),
    ("Buenos Aires", -3),
    ("New York", -5),
    ("Mexico City", -6),
    ("Denver", -7),
];

fn clock(minutes: i64) -> String {
    format!("{:02}:{:02}", minutes.rem_euclid(1_440) / 60, minutes.rem_euclid(60))
}

fn pair(minutes: i64) -> String {
    written(&[minutes.rem_euclid(1_440) / 60, minutes.rem_euclid(60)])
}

pub(super) fn clocks(level: u8, counter: &mut Counter) -> Drawn {
    let span = [300, 1_440, 5_000][usize::from(level) - 1];
    let (start, minutes) = (counter.between(0, 1_439), counter.between(5, span));
    let ask = "Give (hour, minute) of the 24-hour clock.";
    match counter.below(if level == 1 { 3 } else { 4 }) {
        0 => {
            let later = counter.percent(50);
            let (word, end) = if later { ("after", start + minutes) } else { ("before", start - minutes) };
            let prompt = format!("What time is it {minutes} minutes {word} {}? {ask}", clock(start));
            Drawn::compared(prompt, pair(end), pair(end + 1))
        }
        1 => {
            let within = minutes % 1_440;
            let prompt = format!(
                "A shift goes from {} to the next {}. How many minutes is that?",
                clock(start),
                clock(start + within)
            );
            Drawn::integer(prompt, if within == 0 { 1_440 } else { within }, slip(counter))
        }
        2 => {
            // Half degrees, so that the angle is whole: even minutes.
            let start = start - start % 2;
            let half_degrees = ((start % 720) - 12 * (start % 60)).rem_euclid(720);
            let angle = half_degrees.min(720 - half_degrees) / 2;
            let parts = counter.between(2, 90);
            let prompt = format!(
                "What is the smaller angle in whole degrees between the hands of a clock at {}, and what is it times \
                 {parts}? Give the product.",
                clock(start)
            );
            Drawn::integer(prompt, angle * parts, slip(counter))
        }
        _ => {
            let (from, to) = (*counter.pick(CITIES), *counter.pick(CITIES));
            let zone = |hours: i64| format!("UTC{hours:+}");
            let end = start + minutes + 60 * (to.1 - from.1);
            let prompt = format!(
                "A flight leaves {} ({}) at {} local time and takes {minutes} minutes to {} ({}). At what local time does \
                 it land? {ask}",
                from.0,
                zone(from.1),
                clock(start),
                to.0,
                zone(to.1)
            );
            Drawn::compared(prompt, pair(end), pair(end + 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (year, month, day, number, weekday) in
            [(1970, 1, 1, 0, "Thursday"), (2000, 2, 29, 11_016, "Tuesday"), (2024, 3, 1, 19_783, "Friday")]
        {
            let date = Date { year, month, day };
            assert_eq!((date.number(), WEEKDAYS[date.weekday()]), (number, weekday));
            assert_eq!(Date::of(number), date);
        }
        assert!((-200_000..200_000).all(|number| Date::of(number).number() == number));
    }
}
