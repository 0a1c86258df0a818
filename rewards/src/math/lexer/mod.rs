//! From text to tokens: LaTeX, typographic characters and plain notation become one alphabet.
//!
//! Layout (`\left`, `\,`, `$`) goes here. A letter run is resolved here as well: a function, a Greek letter, a word, or
//! letters that multiply. What remains ambiguous (does a comma group thousands?) is noted, and read again the other way
//! if the first reading does not agree.

mod layout;
mod letters;
mod number;
mod sign;

use super::names;
use super::node::{Constant, Function, NamedSet, Relation};
use sign::sign;

/// The longest text that is looked at, in bytes.
pub(crate) const MAX_LENGTH: usize = 4096;

/// One token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    /// Digits, point, separators and exponent, as written.
    Number(&'a str),
    /// The digits before and those that repeat.
    Repeating(&'a str, &'a str),
    Symbol(&'a str),
    Constant(Constant),
    Function(Function),
    /// `ln`, `lg`: a logarithm with its base.
    Logarithm(&'static str),
    /// A command or name whose arguments the parser reads: `frac`, `sqrt`, `sum`, `Matrix` ...
    Command(&'a str),
    Word(&'a str),
    Open(char),
    Close(char),
    GroupOpen,
    GroupClose,
    /// `|`, and what `\left` or `\right` say of it.
    Bar(Option<bool>),
    Plus,
    Minus,
    PlusMinus,
    MinusPlus,
    Times,
    Slash,
    Caret,
    Underscore,
    Comma,
    Semicolon,
    Colon,
    Relation(Relation),
    Union,
    Intersection,
    SetMinus,
    Mod,
    Bang,
    Prime,
    Percent,
    Degree,
    Currency(&'static str),
    Ellipsis,
    And,
    Or,
    Begin(&'a str),
    End,
    RowBreak,
    Ampersand,
    Named(NamedSet),
}

/// A token, where it begins and ends, and whether a space stands before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexeme<'a> {
    pub(crate) token: Token<'a>,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) space: bool,
    /// From `\text{...}` or like it.
    pub(crate) text: bool,
}

/// How ambiguous notation is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// `1,234` is one number.
    pub(crate) commas: bool,
    /// `1/2x` is 1/(2x).
    pub(crate) tight: bool,
    /// `\log` is the natural logarithm.
    pub(crate) natural: bool,
    /// A bar closes wherever it can: `|a|b|c|` is |a| b |c|, and not |a |b| c|.
    pub(crate) bars: bool,
    /// `]0, 1[` is an open interval.
    pub(crate) outward: bool,
    /// `2.718281828...` goes on as its last digits did; else its digits are cut off.
    pub(crate) period: bool,
    /// `at` and `kg` are words; else letters that multiply, as in `v + at`.
    pub(crate) words: bool,
    /// `h(a + b)` is a function's value; else a product.
    pub(crate) calls: bool,
}

impl Reading {
    pub(crate) const USUAL: Self = Self {
        commas: true,
        tight: true,
        natural: false,
        bars: true,
        outward: false,
        period: true,
        words: true,
        calls: true,
    };
}

/// The tokens of a text, and what about them was ambiguous.
#[derive(Debug)]
pub(crate) struct Lexed<'a> {
    pub(crate) tokens: Vec<Lexeme<'a>>,
    pub(crate) commas: bool,
    pub(crate) words: bool,
}

/// The tokens of `text`; `None` where it cannot be a formula at all (its braces do not balance).
pub(crate) fn lex(text: &str, reading: Reading) -> Option<Lexed<'_>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::with_capacity(text.len().min(256) / 2 + 4),
        space: false,
        texts: Vec::new(),
        depth: 0,
        interval: false,
        environments: 0,
        dollars: super::text::count_plain_dollars(text),
        reading,
        commas: false,
        words: false,
    };
    lexer.run()?;
    Some(Lexed { tokens: lexer.tokens, commas: lexer.commas, words: lexer.words })
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Lexeme<'a>>,
    space: bool,
    /// For each open brace, whether it was opened by `\text` and the like.
    texts: Vec<bool>,
    /// Open parentheses and brackets: inside them a comma separates.
    depth: usize,
    /// Within brackets that open outwards.
    interval: bool,
    environments: usize,
    dollars: usize,
    reading: Reading,
    commas: bool,
    /// Whether a word may be letters that multiply.
    words: bool,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, token: Token<'a>, start: usize) {
        let text = self.texts.last().copied().unwrap_or(false);
        self.tokens.push(Lexeme { token, start, end: self.at, space: self.space, text });
        self.space = false;
    }

    fn run(&mut self) -> Option<()> {
        while let Some(next) = self.rest().chars().next() {
            let start = self.at;
            match next {
                '\\' => self.command()?,
                '0'..='9' => self.number(),
                '.' => self.point(),
                _ if next.is_ascii_alphabetic() => self.letters(),
                _ => {
                    self.at += next.len_utf8();
                    self.character(next, start)?;
                }
            }
        }
        self.texts.is_empty().then_some(())
    }

    fn character(&mut self, next: char, start: usize) -> Option<()> {
        let token = match next {
            _ if next.is_whitespace() => {
                self.space = true;
                return Some(());
            }
            // 6{:}15
            '{' if self.rest().starts_with(":}") => {
                self.at += 2;
                Token::Colon
            }
            // \pi{}: braces that only end a name.
            '{' if self.rest().starts_with('}') && self.behind_value() => {
                self.at += 1;
                return Some(());
            }
            '{' => {
                // 1{,}000: a separator set tight belongs to the number, and `number` has taken it.
                self.texts.push(false);
                Token::GroupOpen
            }
            '}' => {
                let text = self.texts.pop()?;
                if text {
                    self.space = true;
                    return Some(());
                }
                Token::GroupClose
            }
            '(' | '[' | ')' | ']' => self.bracket(next),
            '$' if self.dollars == 1 => Token::Currency("$"),
            '$' | '~' | '`' | '"' | '“' | '”' | '\u{200b}' | '\u{feff}' => {
                self.space = true;
                return Some(());
            }
            '-' if self.rest().starts_with('>') => return None,
            '&' if self.environments > 0 => Token::Ampersand,
            '∜' => return self.fourth_root(start),
            _ => match self.of_several(next).or_else(|| sign(next)) {
                Some(token) => token,
                None => match names::vulgar_fraction(next) {
                    Some((numerator, denominator)) => return self.vulgar(numerator, denominator, start),
                    None => self.foreign(next, start),
                },
            },
        };
        self.push(token, start);
        Some(())
    }

    fn bracket(&mut self, next: char) -> Token<'a> {
        match next {
            '[' | ']' if self.reading.outward => {
                self.interval = !self.interval;
                match (next, self.interval) {
                    ('[', true) => Token::Open('['),
                    (_, true) => Token::Open('('),
                    ('[', false) => Token::Close(')'),
                    (_, false) => Token::Close(']'),
                }
            }
            '(' | '[' => {
                self.depth += 1;
                Token::Open(next)
            }
            _ => {
                self.depth = self.depth.saturating_sub(1);
                Token::Close(next)
            }
        }
    }

    /// A sign of several characters, of which `next` is the first.
    fn of_several(&mut self, next: char) -> Option<Token<'a>> {
        let signs = [
            ("**", Token::Caret),
            ("+/-", Token::PlusMinus),
            ("==", Token::Relation(Relation::Equal)),
            ("<=", Token::Relation(Relation::LessEqual)),
            (">=", Token::Relation(Relation::GreaterEqual)),
            ("!=", Token::Relation(Relation::NotEqual)),
        ];
        let rest = self.rest();
        let (text, token) =
            signs.into_iter().find(|(text, _)| text.strip_prefix(next).is_some_and(|more| rest.starts_with(more)))?;
        self.at += text.len() - 1;
        Some(token)
    }

    /// A letter of another alphabet, or a word of such; any other character is a word by itself.
    fn foreign(&mut self, next: char, start: usize) -> Token<'a> {
        if let Some(name) = names::greek_letter(next) {
            return Token::Symbol(name);
        }
        if next.is_alphabetic() {
            let letters = self.rest().chars().take_while(|next| next.is_alphabetic());
            self.at += letters.map(char::len_utf8).sum::<usize>();
        }
        Token::Word(&self.text[start..self.at])
    }

    /// Whether a value ends right before.
    fn behind_value(&self) -> bool {
        self.tokens.last().is_some_and(|last| {
            use Token as T;
            matches!(last.token, T::Number(_) | T::Symbol(_) | T::Constant(_) | T::Close(_) | T::GroupClose)
        })
    }

    /// `∜`, as `\sqrt[4]`.
    fn fourth_root(&mut self, start: usize) -> Option<()> {
        for token in [Token::Command("sqrt"), Token::Open('['), Token::Number("4"), Token::Close(']')] {
            self.push(token, start);
        }
        Some(())
    }

    /// `½`, as `\frac{1}{2}`.
    fn vulgar(&mut self, numerator: &'static str, denominator: &'static str, start: usize) -> Option<()> {
        self.push(Token::Command("frac"), start);
        for part in [numerator, denominator] {
            self.push(Token::GroupOpen, start);
            self.push(Token::Number(part), start);
            self.push(Token::GroupClose, start);
        }
        Some(())
    }

    /// A point that begins `.5`, an ellipsis, or the end of a sentence, which says nothing.
    fn point(&mut self) {
        let start = self.at;
        if self.rest().starts_with("...") {
            self.at += 3;
            self.push(Token::Ellipsis, start);
        } else if self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) {
            self.number();
        } else {
            self.at += 1;
            self.space = true;
        }
    }

    fn command(&mut self) -> Option<()> {
        let start = self.at;
        self.at += 1;
        let length = self.rest().bytes().take_while(u8::is_ascii_alphabetic).count();
        if length == 0 {
            return self.symbol_command(start);
        }
        let mut name = &self.rest()[..length];
        self.at += length;
        // \leftx, \sqrtx: a known command with letters stuck to it.
        if !names::is_command(name)
            && let Some(known) = names::command_prefix(name)
        {
            self.at -= name.len() - known.len();
            name = known;
        }
        self.named_command(name, start)
    }

    fn symbol_command(&mut self, start: usize) -> Option<()> {
        let Some(symbol) = self.rest().chars().next() else { return Some(()) };
        self.at += symbol.len_utf8();
        let token = match symbol {
            '\\' => {
                // A line break; or a backslash that was escaped once too often.
                let escaped =
                    self.environments == 0 && self.rest().starts_with(|next: char| next.is_ascii_alphabetic());
                if escaped {
                    self.at -= 1;
                    return Some(());
                }
                self.row_space();
                if self.environments == 0 {
                    self.space = true;
                    return Some(());
                }
                Token::RowBreak
            }
            '{' => {
                self.depth += 1;
                Token::Open('{')
            }
            '}' => {
                self.depth = self.depth.saturating_sub(1);
                Token::Close('}')
            }
            '$' => Token::Currency("$"),
            '%' => Token::Percent,
            '|' => Token::Bar(None),
            '&' => Token::And,
            '_' => Token::Underscore,
            _ => {
                self.space = true;
                return Some(());
            }
        };
        self.push(token, start);
        Some(())
    }

    fn named_command(&mut self, name: &'a str, start: usize) -> Option<()> {
        let token = match name {
            "left" | "mleft" | "right" | "mright" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl"
            | "Bigr" | "biggl" | "biggr" | "Biggl" | "Biggr" | "middle" => return self.delimiter(name),
            "displaystyle" | "textstyle" | "limits" | "nolimits" | "rm" | "bf" | "it" | "hfill" | "nonumber"
            | "quad" | "qquad" | "enspace" | "thinspace" | "space" | "hspace" | "vspace" | "phantom" | "hline"
            | "scriptstyle" | "color" | "textcolor" | "tiny" | "scriptsize" | "footnotesize" | "small"
            | "normalsize" | "large" | "Large" | "LARGE" | "huge" | "Huge" => {
                if matches!(name, "hspace" | "vspace" | "phantom" | "color" | "textcolor") {
                    self.skip_argument();
                }
                self.space = true;
                return Some(());
            }
            "text" | "textbf" | "textit" | "textrm" | "textnormal" | "textsf" | "mbox" | "hbox" | "mathrm"
            | "mathbf" | "mathit" | "mathsf" | "operatorname" | "boldsymbol" | "emph" | "mathop" | "textup" | "bm" => {
                let skipped = self.rest().len() - self.rest().trim_start().len();
                if self.rest()[skipped..].starts_with('{') {
                    self.at += skipped + 1;
                    self.texts.push(true);
                    self.space = name.starts_with("text") || self.space;
                }
                return Some(());
            }
            "mathbb" | "mathcal" | "mathds" => {
                let (letter, end) = self.letter_argument()?;
                self.at = end;
                match letter {
                    "R" => Token::Named(NamedSet::Reals),
                    "Z" => Token::Named(NamedSet::Integers),
                    "Q" => Token::Named(NamedSet::Rationals),
                    "N" => Token::Named(NamedSet::Naturals),
                    "C" => Token::Named(NamedSet::Complexes),
                    other => Token::Symbol(other),
                }
            }
            "begin" | "end" => {
                let environment = self.braced_name()?;
                if names::is_matrix(environment) {
                    if name == "begin" {
                        self.environments += 1;
                        if environment == "array" || environment == "tabular" {
                            self.skip_argument();
                        }
                        Token::Begin(environment)
                    } else {
                        self.environments = self.environments.saturating_sub(1);
                        Token::End
                    }
                } else {
                    self.space = true;
                    return Some(());
                }
            }
            "cr" if self.environments > 0 => Token::RowBreak,
            "complement" => Token::Command("complement"),
            _ => match names::command_token(name) {
                Some(token) => {
                    match token {
                        Token::Open(_) => self.depth += 1,
                        Token::Close(_) => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                    token
                }
                // A command that nobody knows is a name of its own.
                None => Token::Word(&self.text[start..self.at]),
            },
        };
        self.push(token, start);
        Some(())
    }

    /// `{name}` or a letter: the name and where it ends.
    fn letter_argument(&self) -> Option<(&'a str, usize)> {
        let rest = self.rest().trim_start();
        let before = self.text.len() - rest.len();
        if let Some(inside) = rest.strip_prefix('{') {
            let end = inside.find('}')?;
            return Some((inside[..end].trim(), before + 1 + end + 1));
        }
        let letter = rest.chars().next()?;
        Some((&rest[..letter.len_utf8()], before + letter.len_utf8()))
    }

    fn braced_name(&mut self) -> Option<&'a str> {
        let (name, end) = self.letter_argument()?;
        self.at = end;
        Some(name)
    }
}
