//! From tokens to an expression tree: recursive descent, bounded in depth and in nodes.
//!
//! ```text
//! answer   := item ((',' | ';' | 'and' | 'or') item)*            a bare list where there are several
//! item     := relation | ratio | words
//! relation := set (('=' | '<' | ...) set)*
//! set      := sum (('\cup' | '\cap' | '\setminus') sum)*
//! sum      := product (('+' | '-' | '\pm') product)*
//! product  := factor (('*' | '/' | 'mod' | nothing) factor)*     nothing binds tighter than '/' where no space is
//! factor   := '-'* primary postfix*
//! postfix  := '!' | '^' factor | '_' factor | '%' | '°' | '''
//! ```
//! [`answer`] holds the upper half, [`formula`] the lower one, [`bracket`] what stands in brackets, [`function`] what takes
//! arguments, [`sympy`] that notation's constructors, [`number`] literals, [`quantifier`] what is said "for all x".

mod answer;
mod bracket;
mod formula;
mod function;
mod number;
mod quantifier;
mod sympy;

use super::budget::Stop;
use super::lexer::{Lexed, Lexeme, MAX_LENGTH, Reading, Token, lex};
use super::node::Node;

/// How deep the grammar may recurse; a pair of brackets takes four levels.
const MAX_DEPTH: usize = 160;
/// How many nodes it may have.
const MAX_NODES: usize = 3000;

/// Why a text is no expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoParse {
    Unparsable,
    Budget,
}

impl From<NoParse> for Stop {
    fn from(no_parse: NoParse) -> Self {
        match no_parse {
            NoParse::Unparsable => Self::Unsupported,
            NoParse::Budget => Self::Budget,
        }
    }
}

type Parsed<T> = Result<T, NoParse>;

/// The readings of `text`, the usual one first. Words and what is no formula come as [`Node::Text`].
pub(crate) fn parse(text: &str) -> Parsed<Vec<Node>> {
    let (first, ambiguous) = parse_as(text, Reading::USUAL);
    let mut readings = match first {
        Err(NoParse::Unparsable) if ambiguous.bars || opens_outwards(text) => Vec::new(),
        first => vec![first?],
    };
    let mut others = Vec::new();
    if ambiguous.commas {
        others.push(Reading { commas: false, ..Reading::USUAL });
    }
    if ambiguous.tight {
        others.push(Reading { tight: false, ..Reading::USUAL });
    }
    if ambiguous.natural {
        others.push(Reading { natural: true, ..Reading::USUAL });
    }
    if ambiguous.bars {
        others.push(Reading { bars: false, ..Reading::USUAL });
    }
    if ambiguous.words {
        others.push(Reading { words: false, ..Reading::USUAL });
    }
    if ambiguous.calls {
        others.push(Reading { calls: false, ..Reading::USUAL });
    }
    if ambiguous.period {
        others.push(Reading { period: false, ..Reading::USUAL });
    }
    if opens_outwards(text) {
        others.push(Reading { outward: true, ..Reading::USUAL });
    }
    for reading in others {
        if let (Ok(node), _) = parse_as(text, reading)
            && !readings.contains(&node)
        {
            readings.push(node);
        }
    }
    // What is no formula in one reading may be one in another.
    readings.sort_by_key(|reading| reading.any(&mut |node| matches!(node, Node::Text(_))));
    if readings.is_empty() { Err(NoParse::Unparsable) } else { Ok(readings) }
}

/// Whether its brackets begin with one that closes or end with one that opens: `]0, 1[`.
fn opens_outwards(text: &str) -> bool {
    let bracket = ['[', ']'];
    let at = |place: Option<usize>| place.map(|place| text.as_bytes()[place]);
    at(text.find(bracket)) == Some(b']') || at(text.rfind(bracket)) == Some(b'[')
}

/// Which choices of a [`Reading`] the text leaves open.
#[derive(Debug, Default, Clone, Copy)]
struct Ambiguous {
    commas: bool,
    tight: bool,
    natural: bool,
    bars: bool,
    period: bool,
    words: bool,
    calls: bool,
}

fn parse_as(text: &str, reading: Reading) -> (Parsed<Node>, Ambiguous) {
    if text.len() > MAX_LENGTH {
        return (Err(NoParse::Budget), Ambiguous::default());
    }
    let Some(Lexed { tokens, commas, words }) = lex(text, reading).filter(|lexed| !lexed.tokens.is_empty()) else {
        return (Err(NoParse::Unparsable), Ambiguous::default());
    };
    let tokens = quantifier::as_conditions(tokens);
    let mut parser = Parser {
        text,
        tokens: &tokens,
        at: 0,
        depth: 0,
        nodes: 0,
        bars: 0,
        angles: 0,
        index_i: 0,
        reading,
        ambiguous: Ambiguous { commas, words, ..Ambiguous::default() },
        minus_branch: false,
        plus_minus: false,
        ranges: vec![],
    };
    (parser.answer(), parser.ambiguous)
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Lexeme<'a>],
    at: usize,
    depth: usize,
    nodes: usize,
    /// Absolute values that were opened by a bar that does not say so.
    bars: usize,
    /// `<` that were taken for brackets.
    angles: usize,
    reading: Reading,
    ambiguous: Ambiguous,
    /// Sums and products around whose index is called i.
    index_i: usize,
    /// Whether plus-minus is read as minus this time.
    minus_branch: bool,
    /// Whether a plus-minus was met.
    plus_minus: bool,
    /// What letters range over, as far as it stood in parentheses behind a formula: `2k\pi\ (k \in \mathbb{Z})`.
    ranges: Vec<Node>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|lexeme| lexeme.token)
    }

    fn peek_at(&self, offset: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + offset).map(|lexeme| lexeme.token)
    }

    fn space_before(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|lexeme| lexeme.space)
    }

    fn accept(&mut self, token: Token<'_>) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, token: Token<'_>) -> Parsed<()> {
        if self.accept(token) { Ok(()) } else { Err(NoParse::Unparsable) }
    }

    /// Goes one level down. Bounds of depth and size are out of budget, not unparsable: the rest was not looked at.
    fn nested<T>(&mut self, inside: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(NoParse::Budget);
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    fn count(&mut self) -> Parsed<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES { Err(NoParse::Budget) } else { Ok(()) }
    }
}
