//! `LiveCodeBench`: `question_content`, `public_test_cases` and `private_test_cases`, lists of objects with `input`, `output` and
//! `testtype` (`stdin` or `functional`), as JSON text; the private ones also packed: JSON, pickled as one Python string,
//! compressed by zlib, in base64. `metadata` names the function, `starter_code` how it begins.
//!
//! The arguments of a function stand one to a line. Its judge compares lines.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use rewards::{CallCase, Checker, StdinCase};
use serde_json::Value;

use super::program::{calls, draft, json_text, question, stdin};
use super::{Columns, Draft, Layout, has, json_column, optional_text};

/// What one row's tests may unpack to.
const MOST_BYTES: u64 = 1 << 30;

pub(super) const LAYOUT: Layout = Layout {
    name: "livecodebench",
    needs: "question_content, public_test_cases or private_test_cases",
    recognises: |columns| has(columns, &["public_test_cases"]) || has(columns, &["private_test_cases"]),
    convert,
};

fn convert(columns: &Columns) -> Result<Draft, String> {
    let question = question(columns)?;
    let mut tests: Vec<Value> = Vec::new();
    for name in ["public_test_cases", "private_test_cases"] {
        let text = json_text(columns, name)?;
        if !text.trim().is_empty() {
            tests.extend(cases(&text).map_err(|what| format!("the column `{name}` {what}"))?);
        }
    }
    let field = |test: &Value, key: &str| test.get(key).and_then(Value::as_str).map(str::to_owned);
    let functional = tests.iter().any(|test| field(test, "testtype").as_deref() == Some("functional"));
    let pairs = tests.iter().map(|test| Some((field(test, "input")?, field(test, "output")?)));
    let pairs: Vec<(String, String)> =
        pairs.collect::<Option<_>>().ok_or("a test has no texts `input` and `output`")?;
    let used = &["question_content", "public_test_cases", "private_test_cases", "starter_code"];
    if !functional {
        let cases = pairs.into_iter().map(|(stdin, stdout)| StdinCase { stdin, stdout, weight: 1 }).collect();
        return Ok(draft(&question, None, "", stdin(&question, cases, Checker::Lines)?, used));
    }
    let metadata = json_column(columns, "metadata")?;
    let function = field(&metadata, "func_name").ok_or("the column `metadata` names no `func_name`")?;
    let cases = pairs.into_iter().map(|(input, expected)| {
        let arguments: Vec<&str> = input.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        CallCase { arguments: format!("[{}]", arguments.join(", ")), expected, wrapped: false, weight: 1 }
    });
    let reference = calls(&question, &function, cases.collect())?;
    let starter = optional_text(columns, "starter_code")?;
    Ok(draft(&question, Some(&function), &starter, reference, used))
}

/// The list, as JSON or packed.
fn cases(text: &str) -> Result<Vec<Value>, String> {
    let text = text.trim();
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|error| format!("is no list of tests: {error}"));
    }
    let packed = base64(text).ok_or("is neither JSON nor base64")?;
    let mut pickled = Vec::new();
    ZlibDecoder::new(&packed[..])
        .take(MOST_BYTES)
        .read_to_end(&mut pickled)
        .map_err(|error| format!("is no zlib in base64: {error}"))?;
    let json = pickled_text(&pickled).ok_or("holds no pickled text")?;
    serde_json::from_str(json).map_err(|error| format!("holds no list of tests: {error}"))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| !letter.is_ascii_whitespace() && *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFF_FFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    Some(bytes)
}

/// The one string of a pickle that holds nothing else: no other operation is obeyed.
fn pickled_text(pickle: &[u8]) -> Option<&str> {
    let mut rest = pickle;
    let mut found = None;
    loop {
        let (&operation, after) = rest.split_first()?;
        // Operations by their letters: how many bytes of a number follow, and whether it is the length of a text.
        let (width, text) = match operation {
            b'.' => return std::str::from_utf8(found?).ok(),
            0x94 => (0, false),
            0x80 | b'q' => (1, false),
            b'r' => (4, false),
            0x95 => (8, false),
            0x8c => (1, true),
            b'X' => (4, true),
            0x8d => (8, true),
            _ => return None,
        };
        let (number, after) = after.split_at_checked(width)?;
        rest = after;
        if text {
            let length = number.iter().rev().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
            let (bytes, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            if found.replace(bytes).is_some() {
                return None;
            }
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `base64.b64encode(zlib.compress(pickle.dumps(json.dumps([{"input": "1\n", "output": "é", "testtype": "stdin"}]))))`
    const PACKED: &str = "eJxrYJlqzwABPdbR1UqZeQWlJUpWCkqGMXlKOgpK+aUlUIGYUgODVEuQWElqcUlJZUEqSLS4JCUzT6k2dooeANE8FR8=";

    #[test]
    fn packed_tests_are_unpacked() {
        let cases = cases(PACKED).unwrap();
        assert_eq!(cases, [serde_json::json!({"input": "1\n", "output": "é", "testtype": "stdin"})]);
        assert_eq!(base64("aGk="), Some(b"hi".to_vec()));
        assert!(super::cases("!").unwrap_err().contains("neither JSON nor base64"));
        assert!(super::cases("aGk=").unwrap_err().contains("no zlib"));
    }

    #[test]
    fn a_pickle_is_one_text_or_nothing() {
        assert_eq!(pickled_text(b"\x80\x04\x95\x06\0\0\0\0\0\0\0\x8c\x02hi\x94."), Some("hi"));
        assert_eq!(pickled_text(b"\x80\x03X\x02\0\0\0hiq\0."), Some("hi"));
        // os.system
        assert_eq!(pickled_text(b"cos\nsystem\n(S'true'\ntR."), None);
        assert_eq!(pickled_text(b"\x80\x04\x8c\xffhi."), None);
        assert_eq!(pickled_text(b""), None);
    }
}
