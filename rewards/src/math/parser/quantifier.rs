//! "for all real x", `\forall x \in \mathbb{R}`, "where k is an integer", "for n >= 1": what a formula is said for, as conditions
//! behind a comma, which the grammar knows.

use super::super::lexer::{Lexeme, Token};
use super::super::node::{NamedSet, Relation};

/// The tokens with such words as a comma and a condition; as they are where other words stand among them.
pub(super) fn as_conditions(tokens: Vec<Lexeme<'_>>) -> Vec<Lexeme<'_>> {
    let is_opener =
        |token: &Lexeme<'_>| matches!(token.token, Token::Word("for" | "where" | "with" | "\\forall" | "∀"));
    match tokens.iter().position(is_opener).and_then(|at| condition(&tokens, at)) {
        Some(with_condition) => with_condition,
        None => tokens,
    }
}

/// Replaces the words that begin at `opener`.
fn condition<'a>(tokens: &[Lexeme<'a>], opener: usize) -> Option<Vec<Lexeme<'a>>> {
    let word = |at: usize| match tokens.get(at).map(|lexeme| lexeme.token) {
        Some(Token::Word(word)) => Some(word),
        _ => None,
    };
    let ends = |at: usize| matches!(tokens.get(at).map(|next| next.token), None | Some(Token::Comma | Token::Close(_)));
    let first = tokens.get(opener)?;
    let mut at = opener + 1;
    let mut all = word(opener).filter(|word| !word.is_ascii() || word.starts_with('\\')).map(|_| first);
    if let Some("all" | "any" | "every" | "each") = word(at) {
        all = tokens.get(at);
        at += 1;
    }
    let (mut domain, behind) = domain(tokens, at)?;
    at = behind;
    let make = |token| Lexeme { token, space: false, text: false, ..*first };
    let mut new = vec![make(Token::Comma)];
    let mut end = at;
    if all.is_some() && domain.is_some() && ends(at) {
        // "for all real numbers" needs no letter.
        new.clear();
    } else if let Some(letter) = tokens.get(at)
        && let Token::Symbol(name) = letter.token
    {
        end = at + 1;
        if domain.is_none() && word(end) == Some("is") {
            let article = tokens.get(end + 1).map(|next| next.token);
            let article = usize::from(matches!(article, Some(Token::Word("an" | "any") | Token::Symbol("a"))));
            (domain, end) = self::domain(tokens, end + 1 + article)?;
            domain?;
        }
        if ends(end) {
            let set = match (domain, all) {
                (Some(set), _) => make(Token::Named(set)),
                (None, Some(all)) => *all,
                (None, None) => return None,
            };
            new.extend([*letter, make(Token::Relation(Relation::In)), set]);
        } else if domain.is_none() || domain != Some(NamedSet::Reals) && matches!(name, "i" | "j" | "k" | "m" | "n") {
            // "for all integers n >= 1": such letters count anyway.
            end = at;
        } else {
            return None;
        }
    }
    let rest = &tokens[end..];
    if end == at && !new.is_empty() && !is_condition(rest, &tokens[..opener]) {
        return None;
    }
    let words = |tokens: &[Lexeme<'_>]| tokens.iter().any(|lexeme| matches!(lexeme.token, Token::Word(_)));
    if words(&tokens[..opener]) || words(rest) {
        return None;
    }
    Some([&tokens[..opener], new.as_slice(), rest].concat())
}

/// The set that words name, if any do, and where they end. `None` for one that is a condition: "positive reals".
fn domain(tokens: &[Lexeme<'_>], mut at: usize) -> Option<(Option<NamedSet>, usize)> {
    let (mut set, mut positive) = (None, false);
    while let Some(Lexeme { token: Token::Word(word), .. }) = tokens.get(at) {
        match *word {
            "positive" => positive = true,
            "number" | "numbers" if set.is_some() => {}
            "real" | "reals" => set = Some(NamedSet::Reals),
            "rational" | "rationals" => set = Some(NamedSet::Rationals),
            "integer" | "integers" | "whole" => set = Some(NamedSet::Integers),
            "natural" | "naturals" => set = Some(NamedSet::Naturals),
            _ => break,
        }
        at += 1;
    }
    match (positive, set) {
        (true, Some(NamedSet::Integers)) => Some((Some(NamedSet::Naturals), at)),
        (true, _) => None,
        (false, set) => Some((set, at)),
    }
}

/// Whether a condition and nothing else stands in `rest`, or up to a comma where it comes first. An inequality may only
/// speak of one formula: which of `1, 2 for x > 0` it is for, a list does not say.
fn is_condition(rest: &[Lexeme<'_>], before: &[Lexeme<'_>]) -> bool {
    let is_comma = |lexeme: &Lexeme<'_>| lexeme.token == Token::Comma;
    let stretch = if before.is_empty() { rest.split(is_comma).next().unwrap_or(rest) } else { rest };
    let mut order = false;
    let mut range = false;
    for lexeme in stretch {
        match lexeme.token {
            Token::Relation(Relation::In) => range = true,
            Token::Relation(
                Relation::Less | Relation::LessEqual | Relation::Greater | Relation::GreaterEqual | Relation::NotEqual,
            ) => order = true,
            Token::Relation(_) => return false,
            _ => {}
        }
    }
    let separates =
        |lexeme: &Lexeme<'_>| matches!(lexeme.token, Token::Comma | Token::Semicolon | Token::And | Token::Or);
    let several = before.iter().any(separates) || stretch.iter().any(separates);
    (range || order) && !(order && several) && stretch.len() > 2
}
