//! What a run of letters is: a function, a word, letters that multiply.

use super::super::names::{self, Name};
use super::super::node::Relation;
use super::{Lexeme, Lexer, Token};

impl Lexer<'_> {
    pub(super) fn letters(&mut self) {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let run = &self.text[start..start + length];
        // 3 x 10^8
        let number_last = matches!(self.tokens.last(), Some(Lexeme { token: Token::Number(_), .. }));
        if matches!(run, "x" | "X") && number_last && is_power_of_ten(&self.text[start + 1..]) {
            self.at += 1;
            return self.push(Token::Times, start);
        }
        let value_before = self.tokens.last().is_some_and(|last| {
            matches!(last.token, Token::Number(_) | Token::Close(_) | Token::GroupClose | Token::Symbol(_))
        });
        let behind = bytes.get(start + length).copied();
        let in_text = self.texts.last().copied().unwrap_or(false);
        let number_before =
            value_before && !self.tokens.last().is_some_and(|last| matches!(last.token, Token::Symbol(_)));
        let mut pieces = names::resolve(run, behind, value_before, number_before, in_text);
        let is_word = matches!(pieces.as_slice(), [(Name::Word, _)]);
        if is_word && !in_text && self.may_multiply(start, start + length) {
            self.words = true;
            if !self.reading.words {
                pieces = names::letters(run);
            }
        }
        for (name, length) in pieces {
            let begin = self.at;
            self.at += length;
            let piece = &self.text[begin..self.at];
            let token = match name {
                Name::Symbol => Token::Symbol(piece),
                Name::Greek(name) => Token::Symbol(name),
                Name::Word => Token::Word(piece),
                Name::Function(function) => Token::Function(function),
                Name::Logarithm(base) => Token::Logarithm(base),
                Name::Constant(constant) => Token::Constant(constant),
                Name::Command => Token::Command(piece),
                Name::Named(set) => Token::Named(set),
                Name::And => Token::And,
                Name::Or => Token::Or,
                Name::Mod => Token::Mod,
                Name::In => Token::Relation(Relation::In),
            };
            self.push(token, begin);
        }
    }

    /// Whether letters stand where those of a formula do: two of them beside a sign of one (`by + ax`), or any behind a value
    /// that no space parts from them (`2wxyz`).
    fn may_multiply(&self, start: usize, end: usize) -> bool {
        let (before, behind) = (&self.text[..start], &self.text[end..]);
        if before.ends_with(|last: char| last.is_ascii_digit() || matches!(last, ')' | '}')) {
            return true;
        }
        let is_sign = |next: char| "+-*/^=<>{}()|\\$−·≤≥".contains(next);
        let sides = [before.trim_end().chars().next_back(), behind.trim_start().chars().next()];
        let mut beside = sides.into_iter().flatten();
        end - start == 2 && beside.any(is_sign) && sides.into_iter().flatten().all(is_sign)
    }
}

/// Whether a power of ten begins the text: `10^8`, ` 10**-3`.
fn is_power_of_ten(text: &str) -> bool {
    text.trim_start().strip_prefix("10").is_some_and(|rest| rest.starts_with('^') || rest.starts_with("**"))
}
