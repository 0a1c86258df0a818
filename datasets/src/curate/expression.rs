//! Conditions on rows, such as `level >= 3 and not (source == 'svamp' or prompt contains '[asy]')`.
//!
//! Names are `id`, `source`, `domain`, `split`, `prompt`, `answer`, `difficulty`, `chars` and `words` (of the prompt), and
//! every further column. What is missing compares as false, so `not (x > 3)` holds where there is no `x`. A column that no row
//! has is an error, which whoever goes through the rows finds out ([`Expression::columns`]).

use std::collections::BTreeSet;
use std::fmt;

use rewards::Reference;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::task::Task;

/// A condition, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    tree: Tree,
}

#[derive(Debug, Clone, PartialEq)]
enum Tree {
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
    Not(Box<Tree>),
    Compare(Term, Operator, Term),
    Is(Term),
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Name(String),
    Number(f64),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    Different,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Term(Term),
    Operator(Operator),
    Word(&'static str),
}

/// The names that mean something in every row.
const OWN_NAMES: [&str; 11] =
    ["true", "false", "id", "source", "domain", "split", "prompt", "answer", "difficulty", "chars", "words"];

/// How deep brackets and `not` may be nested.
const DEEPEST: usize = 64;

impl Expression {
    /// Parses a condition.
    ///
    /// # Errors
    /// What is wrong and at which character, counted from 1.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, next: 0, end: text.chars().count() + 1 };
        let tree = parser.either(0)?;
        if let Some((_, place)) = parser.tokens.get(parser.next) {
            return Err(format!("at character {place}: expected `and`, `or` or the end"));
        }
        Ok(Self { text: text.to_owned(), tree })
    }

    /// The further columns that it names.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.tree.each_term(&mut |term| {
            if let Term::Name(name) = term
                && !OWN_NAMES.contains(&name.as_str())
            {
                names.insert(name.as_str());
            }
        });
        names
    }

    /// Whether it holds for the task.
    #[must_use]
    pub fn holds(&self, task: &Task) -> bool {
        self.tree.holds(task)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn tokens(text: &str) -> Result<Vec<(Token, usize)>, String> {
    let letters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let (letter, place) = (letters[at], at + 1);
        let next = letters.get(at + 1).copied();
        let token = match (letter, next) {
            (' ' | '\t' | '\n', _) => {
                at += 1;
                continue;
            }
            ('=', Some('=')) | ('!', Some('=')) | ('<', Some('=')) | ('>', Some('=')) => {
                at += 2;
                Token::Operator(match letter {
                    '=' => Operator::Equal,
                    '!' => Operator::Different,
                    '<' => Operator::AtMost,
                    _ => Operator::AtLeast,
                })
            }
            ('<', _) | ('>', _) | ('=', _) => {
                at += 1;
                Token::Operator(match letter {
                    '<' => Operator::Less,
                    '>' => Operator::Greater,
                    _ => Operator::Equal,
                })
            }
            ('(', _) => {
                at += 1;
                Token::Word("(")
            }
            (')', _) => {
                at += 1;
                Token::Word(")")
            }
            ('\'' | '"', _) => {
                let Some(length) = letters[at + 1..].iter().position(|&other| other == letter) else {
                    return Err(format!("at character {place}: the text is not closed"));
                };
                let inside = letters[at + 1..at + 1 + length].iter().collect();
                at += length + 2;
                Token::Term(Term::Text(inside))
            }
            _ if letter.is_ascii_digit() || letter == '-' || letter == '.' => {
                let length = letters[at..].iter().take_while(|other| "0123456789.-+eE_".contains(**other)).count();
                let number: String = letters[at..at + length].iter().filter(|&&other| other != '_').collect();
                at += length;
                Token::Term(Term::Number(
                    number.parse().map_err(|_| format!("at character {place}: `{number}` is not a number"))?,
                ))
            }
            _ if letter.is_alphabetic() || letter == '_' => {
                let length =
                    letters[at..].iter().take_while(|other| other.is_alphanumeric() || "_-.".contains(**other)).count();
                let word: String = letters[at..at + length].iter().collect();
                at += length;
                match word.as_str() {
                    "and" => Token::Word("and"),
                    "or" => Token::Word("or"),
                    "not" => Token::Word("not"),
                    "contains" => Token::Operator(Operator::Contains),
                    _ => Token::Term(Term::Name(word)),
                }
            }
            _ => return Err(format!("at character {place}: `{letter}` has no meaning here")),
        };
        tokens.push((token, place));
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [(Token, usize)],
    next: usize,
    end: usize,
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.next), Some((Token::Word(next), _)) if *next == word);
        self.next += usize::from(found);
        found
    }

    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |token| token.1)
    }

    fn either(&mut self, depth: usize) -> Result<Tree, String> {
        if depth > DEEPEST {
            return Err(format!("at character {}: nested too deep", self.place()));
        }
        let mut tree = self.both(depth)?;
        while self.takes("or") {
            tree = Tree::Or(Box::new(tree), Box::new(self.both(depth)?));
        }
        Ok(tree)
    }

    fn both(&mut self, depth: usize) -> Result<Tree, String> {
        let mut tree = self.one(depth)?;
        while self.takes("and") {
            tree = Tree::And(Box::new(tree), Box::new(self.one(depth)?));
        }
        Ok(tree)
    }

    fn one(&mut self, depth: usize) -> Result<Tree, String> {
        if depth > DEEPEST {
            return Err(format!("at character {}: nested too deep", self.place()));
        }
        if self.takes("not") {
            return Ok(Tree::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes("(") {
            let tree = self.either(depth + 1)?;
            if !self.takes(")") {
                return Err(format!("at character {}: expected `)`", self.place()));
            }
            return Ok(tree);
        }
        let left = self.term()?;
        if let Some((Token::Operator(operator), _)) = self.tokens.get(self.next) {
            self.next += 1;
            return Ok(Tree::Compare(left, *operator, self.term()?));
        }
        Ok(Tree::Is(left))
    }

    fn term(&mut self) -> Result<Term, String> {
        match self.tokens.get(self.next) {
            Some((Token::Term(term), _)) => {
                self.next += 1;
                Ok(term.clone())
            }
            _ => Err(format!("at character {}: expected a name, a number or a text in quotes", self.place())),
        }
    }
}

impl Tree {
    fn each_term<'a>(&'a self, see: &mut dyn FnMut(&'a Term)) {
        match self {
            Self::And(left, right) | Self::Or(left, right) => {
                left.each_term(see);
                right.each_term(see);
            }
            Self::Not(inner) => inner.each_term(see),
            Self::Is(term) => see(term),
            Self::Compare(left, _, right) => {
                see(left);
                see(right);
            }
        }
    }

    fn holds(&self, task: &Task) -> bool {
        match self {
            Self::And(left, right) => left.holds(task) && right.holds(task),
            Self::Or(left, right) => left.holds(task) || right.holds(task),
            Self::Not(inner) => !inner.holds(task),
            Self::Is(term) => matches!(term.value(task), Value::Bool(true)),
            Self::Compare(left, operator, right) => compare(&left.value(task), *operator, &right.value(task)),
        }
    }
}

impl Term {
    fn value(&self, task: &Task) -> Value {
        let name = match self {
            Self::Number(number) => return Value::from(*number),
            Self::Text(text) => return Value::from(text.as_str()),
            Self::Name(name) => name.as_str(),
        };
        match name {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "id" => Value::from(task.id.as_str()),
            "source" => Value::from(task.source.as_str()),
            "domain" => Value::from(task.domain.name()),
            "split" => Value::from(task.split.name()),
            "prompt" => Value::from(task.prompt.as_str()),
            "difficulty" => task.difficulty.map_or(Value::Null, Value::from),
            "chars" => Value::from(task.prompt.chars().count()),
            "words" => Value::from(task.prompt.split_whitespace().count()),
            "answer" => match &task.reference {
                Reference::Math { answer } => Value::from(answer.as_str()),
                Reference::Integer { value } => Value::from(*value),
                _ => Value::Null,
            },
            name => task.extra.get(name).cloned().unwrap_or_default(),
        }
    }
}

/// The number that a value is, also where it is written as text.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn compare(left: &Value, operator: Operator, right: &Value) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    if operator == Operator::Contains {
        return match (left, right) {
            (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
            // Equal as `==` has it: a number here is a float, and 3.0 is the 3 of a list.
            (Value::Array(items), item) => items.iter().any(|one| compare(one, Operator::Equal, item)),
            _ => false,
        };
    }
    let order = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return false,
        (Value::String(left), Value::String(right)) => Some(left.as_str().cmp(right.as_str())),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => number(left).zip(number(right)).and_then(|(left, right)| left.partial_cmp(&right)),
    };
    match operator {
        Operator::Equal => order == Some(Equal),
        Operator::Different => order != Some(Equal),
        Operator::Less => order == Some(Less),
        Operator::AtMost => matches!(order, Some(Less | Equal)),
        Operator::Greater => order == Some(Greater),
        Operator::AtLeast => matches!(order, Some(Greater | Equal)),
        Operator::Contains => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Split;

    fn task() -> Task {
        let extra = serde_json::json!({ "level": 3, "type": "Algebra", "tags": ["a", "b"], "hard": true, "kinds": [1, 3], "shares": [0.5, 2] });
        let Value::Object(extra) = extra else { unreachable!() };
        let reference = Reference::Math { answer: "12".to_owned() };
        Task::new("math", "How many apples?".to_owned(), reference, Split::Train, extra)
    }

    #[test]
    fn conditions_hold_or_not() {
        for (text, expected) in [
            ("level >= 3", true),
            ("level > 3", false),
            ("level == 3 and type == 'Algebra'", true),
            ("level < 3 or type == \"Algebra\"", true),
            ("not level < 3", true),
            ("not (level < 3 or type != 'Algebra') and words == 3", true),
            ("prompt contains 'apples' and chars <= 16", true),
            ("tags contains 'b'", true),
            ("kinds contains 3", true),
            ("kinds contains 2", false),
            ("not kinds contains 3", false),
            ("kinds contains level", true),
            ("shares contains 2 and shares contains 0.5", true),
            ("tags contains missing", false),
            ("answer = 12 and answer < 100", true),
            ("missing > 3", false),
            ("not (missing > 3)", true),
            ("hard", true),
            ("source == 'math' and split == 'train' and domain == 'math'", true),
            ("difficulty < 0.5", false),
            ("level == 1 or level == 2 and true or level == 3", true),
        ] {
            assert_eq!(Expression::parse(text).unwrap().holds(&task()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, message) in [
            ("level >", "at character 8: expected a name, a number or a text in quotes"),
            ("(level > 3", "at character 11: expected `)`"),
            ("level > 3 4", "at character 11: expected `and`, `or` or the end"),
            ("level ? 3", "at character 7: `?` has no meaning here"),
            ("type == 'x", "at character 9: the text is not closed"),
            ("level > 1.2.3", "at character 9: `1.2.3` is not a number"),
            ("", "at character 1: expected a name, a number or a text in quotes"),
        ] {
            assert_eq!(Expression::parse(text).unwrap_err(), message, "{text}");
        }
        assert!(Expression::parse(&"(".repeat(100_000)).unwrap_err().ends_with("nested too deep"));
        assert!(Expression::parse(&"not ".repeat(100_000)).unwrap_err().ends_with("nested too deep"));
    }
}
