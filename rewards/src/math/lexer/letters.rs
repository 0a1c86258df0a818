//! What a run of letters is: a function, a word, letters that multiply.

use super::super::names::{self, Name};
use super::super::node::Relation;
use super::super::unit;
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
        if let Some(token) = self.before_number(run) {
            self.at += length;
            // Rs.500
            self.at += usize::from(run == "Rs" && self.rest().starts_with('.'));
            return self.push(token, start);
        }
        if run == "US"
            && ["$", "\\$"].iter().any(|sign| self.rest()[length..].trim_start_matches('}').starts_with(sign))
        {
            self.at += length;
            self.space = true;
            return;
        }
        if run == "o" && self.is_raised_behind_number() {
            self.at += length;
            return self.push(Token::Degree, start);
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

    /// What a word says that only leads to a number: "negative 5", "Rs 500", "USD 500".
    fn before_number(&self, run: &str) -> Option<Token<'static>> {
        use Token as T;
        let is_layout = |next: char| next.is_whitespace() || "}~$".contains(next);
        let behind = self.rest()[run.len()..].trim_start_matches(is_layout);
        let behind = behind.strip_prefix('.').filter(|_| run == "Rs").unwrap_or(behind).trim_start();
        let number = behind.starts_with(|next: char| next.is_ascii_digit());
        let formula = number || ["\\frac", "\\dfrac", "\\sqrt"].iter().any(|name| behind.starts_with(name));
        let last = self.tokens.last().map(|last| last.token);
        let within = matches!(last, Some(T::Number(_) | T::Symbol(_) | T::Constant(_) | T::Close(_) | T::GroupClose));
        if formula && !within && ["negative", "minus"].iter().any(|word| run.eq_ignore_ascii_case(word)) {
            return Some(Token::Minus);
        }
        unit::currency_sign(run).filter(|_| number && !within).map(Token::Currency)
    }

    /// Whether what follows is raised behind a number: the o of `45^o`, `45^{\text{o}}`.
    fn is_raised_behind_number(&self) -> bool {
        let mut tokens =
            self.tokens.iter().rev().map(|lexeme| lexeme.token).skip_while(|token| *token == Token::GroupOpen);
        tokens.next() == Some(Token::Caret) && matches!(tokens.next(), Some(Token::Number(_)))
    }

    /// Whether letters stand where those of a formula do: two of them, or three like `Axy`, beside a sign of one (`by + ax`),
    /// or any behind a value that no space parts from them (`2wxyz`).
    fn may_multiply(&self, start: usize, end: usize) -> bool {
        let (before, behind) = (&self.text[..start], &self.text[end..]);
        if before.ends_with(|last: char| last.is_ascii_digit() || matches!(last, ')' | '}')) {
            return true;
        }
        let is_sign = |next: char| "+-*/^=<>{}()|\\$−·≤≥".contains(next);
        let sides = [before.trim_end().chars().next_back(), behind.trim_start().chars().next()];
        let mut beside = sides.into_iter().flatten();
        let few = end - start == 2 || names::is_capitalised(&self.text[start..end]);
        few && beside.any(is_sign) && sides.into_iter().flatten().all(is_sign)
    }
}

/// Whether a power of ten begins the text: `10^8`, ` 10**-3`.
fn is_power_of_ten(text: &str) -> bool {
    text.trim_start().strip_prefix("10").is_some_and(|rest| rest.starts_with('^') || rest.starts_with("**"))
}
