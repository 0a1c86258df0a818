//! What only says how something is set: the size of brackets, the space between rows, arguments that are skipped.

use super::{Lexer, Token};

/// TeX's units of length.
const LENGTHS: [&str; 11] = ["pt", "em", "ex", "mm", "cm", "in", "mu", "bp", "pc", "sp", "px"];

impl Lexer<'_> {
    /// What follows `\left` and `\right`: a delimiter, or a point for none.
    pub(super) fn delimiter(&mut self, name: &str) -> Option<()> {
        let skipped = self.rest().len() - self.rest().trim_start().len();
        let rest = &self.rest()[skipped..];
        let start = self.at + skipped;
        if rest.starts_with('.') {
            self.at = start + 1;
            return Some(());
        }
        // A brace that opens a system and is never closed.
        if let Some(system) = rest.strip_prefix("\\{")
            && system.trim_start().starts_with("\\begin")
        {
            self.at = start + 2;
            return Some(());
        }
        let bar = ["|", "\\vert", "\\lvert", "\\rvert", "\\Vert", "\\lVert", "\\rVert", "\\|"]
            .into_iter()
            .find(|bar| rest.starts_with(bar));
        if let Some(bar) = bar {
            self.at = start + bar.len();
            let opens = name.ends_with("left") || name.ends_with('l');
            let closes = name.ends_with("right") || name.ends_with('r');
            self.push(Token::Bar((opens || closes).then_some(opens)), start);
        } else if let Some(angle @ ('<' | '>')) = rest.chars().next() {
            self.at = start + 1;
            let token = if angle == '<' { Token::Open('<') } else { Token::Close('>') };
            self.push(token, start);
        }
        Some(())
    }

    pub(super) fn skip_argument(&mut self) {
        let rest = self.rest();
        if rest.trim_start().starts_with('{')
            && let Some(end) = rest.find('}')
        {
            self.at += end + 1;
        }
    }

    /// Skips what `\\` says of the space behind a row: a star, a length in brackets. A row may begin with an interval, which is
    /// no length.
    pub(super) fn row_space(&mut self) {
        let rest = self.rest();
        let behind = if self.environments > 0 { rest.strip_prefix('*').unwrap_or(rest) } else { rest };
        let inside = behind.trim_start().strip_prefix('[').and_then(|behind| behind.split_once(']'));
        let length = inside.filter(|(inside, _)| is_length(inside.trim()));
        self.at += rest.len() - length.map_or(behind, |(_, behind)| behind).len();
    }
}

/// `4pt`, `-0.5 em`.
fn is_length(text: &str) -> bool {
    let number = LENGTHS.iter().find_map(|unit| text.strip_suffix(unit)).map(str::trim_end);
    number.is_some_and(|number| !number.is_empty() && number.parse::<f32>().is_ok_and(f32::is_finite))
}
