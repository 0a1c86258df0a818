//! Which script a letter belongs to.

/// Scripts that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Latin,
    Greek,
    Cyrillic,
    Hebrew,
    Arabic,
    Devanagari,
    Thai,
    Hangul,
    Kana,
    Han,
    /// Any other letter.
    Other,
}

/// The script of a letter; `None` for what is no letter.
pub(super) fn script(letter: char) -> Option<Script> {
    let code = u32::from(letter);
    Some(match code {
        _ if letter.is_ascii_alphabetic() => Script::Latin,
        _ if letter.is_ascii() => return None,
        0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x20000..=0x323AF => Script::Han,
        0x3041..=0x309F | 0x30A1..=0x30FA | 0x30FC..=0x30FF | 0x31F0..=0x31FF => Script::Kana,
        _ if !letter.is_alphabetic() => return None,
        0xC0..=0x24F | 0x1E00..=0x1EFF => Script::Latin,
        0x370..=0x3FF | 0x1F00..=0x1FFF => Script::Greek,
        0x400..=0x52F => Script::Cyrillic,
        0x590..=0x5FF => Script::Hebrew,
        0x600..=0x6FF | 0x750..=0x77F => Script::Arabic,
        0x900..=0x97F => Script::Devanagari,
        0xE00..=0xE7F => Script::Thai,
        0x1100..=0x11FF | 0x3130..=0x318F | 0xAC00..=0xD7AF => Script::Hangul,
        _ => Script::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_scripts() {
        for (letters, expected) in [
            ("aZéßñŁ", Some(Script::Latin)),
            ("λΩ", Some(Script::Greek)),
            ("жЁ", Some(Script::Cyrillic)),
            ("中文㐀", Some(Script::Han)),
            ("ひカー", Some(Script::Kana)),
            ("한글", Some(Script::Hangul)),
            ("אב", Some(Script::Hebrew)),
            ("عر", Some(Script::Arabic)),
            ("हि", Some(Script::Devanagari)),
            ("ไท", Some(Script::Thai)),
            ("1 .,+×÷。，！≤_", None),
        ] {
            for letter in letters.chars() {
                assert_eq!(script(letter), expected, "{letter}");
            }
        }
    }
}
