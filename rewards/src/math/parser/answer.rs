//! The upper half of the grammar: lists, relations, sets, words, units.

use num_rational::BigRational;
use num_traits::Zero;

use super::super::naming::names;
use super::super::node::{Joint, Literal, Node, Relation};
use super::super::text;
use super::super::unit::{self, Unit};
use super::{NoParse, Parsed, Parser, Token, number};

/// The most items of one list.
const MAX_ITEMS: usize = 128;

impl Parser<'_> {
    /// The whole text.
    pub(super) fn answer(&mut self) -> Parsed<Node> {
        let node = self.list(&|token| matches!(token, None | Some(Token::Command("choose" | "over"))))?;
        let stacked = self.stacked(node.clone());
        let node = stacked.unwrap_or(node);
        if self.at < self.tokens.len() {
            return Ok(self.words(0, self.tokens.len()));
        }
        if self.ranges.is_empty() || matches!(node, Node::Text(_)) {
            return Ok(node);
        }
        let (joint, mut items) = match node {
            Node::List(joint, items) => (joint, items),
            other => (Joint::Comma, vec![other]),
        };
        for range in std::mem::take(&mut self.ranges) {
            if !items.contains(&range) {
                items.push(range);
            }
        }
        Ok(Node::List(joint, items))
    }

    /// Items up to a token that ends the list. One item stands for itself.
    pub(super) fn list(&mut self, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> Parsed<Node> {
        // Semicolons bind more loosely than commas where there are both: p = 5, q = 2; p = 7, q = 2.
        let mut rows: Vec<Vec<Node>> = vec![vec![]];
        let mut joint = Joint::Comma;
        let mut semicolons = false;
        // Before which items an "or" stands.
        let mut choices = vec![];
        loop {
            while matches!(self.peek(), Some(Token::Comma)) && !ends(self.peek()) {
                self.at += 1;
            }
            if ends(self.peek()) || self.peek().is_none() {
                break;
            }
            let item = self.item(ends)?;
            if let Some(row) = rows.last_mut() {
                row.push(item);
                // 1, 2, 3...: behind a single value dots only end a sentence.
                if self.trailing_dots(ends) {
                    self.at += 1;
                    row.extend((row.len() > 1).then_some(Node::Ellipsis));
                }
            }
            if rows.iter().map(Vec::len).sum::<usize>() > MAX_ITEMS {
                return Err(NoParse::Budget);
            }
            if ends(self.peek()) {
                break;
            }
            let mut separated = false;
            loop {
                match self.peek() {
                    Some(Token::Comma) => {}
                    Some(Token::Semicolon) => {
                        semicolons = true;
                        if rows.last().is_some_and(|row| !row.is_empty()) {
                            rows.push(vec![]);
                        }
                    }
                    Some(Token::And) => joint = Joint::And,
                    Some(Token::Or) => {
                        joint = Joint::Or;
                        choices.push(rows.iter().map(Vec::len).sum());
                    }
                    _ => break,
                }
                separated = true;
                self.at += 1;
            }
            if !separated {
                break;
            }
        }
        rows.retain(|row| !row.is_empty());
        if semicolons && rows.len() > 1 && rows.iter().any(|row| row.len() > 1) {
            let relations = rows.iter().flatten().any(|item| matches!(item, Node::Relation(..)));
            if relations {
                let rows = rows.into_iter().map(|row| Node::Tuple('(', ')', row)).collect();
                return Ok(Node::List(Joint::Comma, rows));
            }
        }
        let mut items: Vec<Node> = rows.into_iter().flatten().collect();
        if let Some(solutions) = solutions(&items, &choices) {
            return Ok(Node::List(Joint::Comma, solutions));
        }
        match items.len() {
            0 => Err(NoParse::Unparsable),
            1 => Ok(items.swap_remove(0)),
            _ => Ok(Node::List(joint, items)),
        }
    }

    /// Dots behind an item without a comma, at the end of the list or before one.
    fn trailing_dots(&self, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> bool {
        let next = self.peek_at(1);
        self.peek() == Some(Token::Ellipsis) && (ends(next) || matches!(next, None | Some(Token::Comma)))
    }

    /// One item, as a formula if it is one, else as words.
    fn item(&mut self, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> Parsed<Node> {
        let start = self.at;
        self.leading_words();
        let begin = self.at;
        let had = std::mem::take(&mut self.plus_minus);
        let mut node = self.formula_item(ends);
        // Both values of the whole item: the signs in it go together.
        if self.plus_minus && !self.minus_branch && self.depth == 0 && node.is_ok() {
            let end = self.at;
            self.at = begin;
            self.minus_branch = true;
            let other = self.formula_item(ends);
            self.minus_branch = false;
            match other {
                Ok(other) if self.at == end => node = node.map(|plus| both(plus, other)),
                Ok(_) => node = Err(NoParse::Unparsable),
                Err(error) => node = Err(error),
            }
        }
        self.plus_minus |= had;
        match node {
            Err(NoParse::Unparsable) => {
                self.at = self.end_of_item(start, ends);
                if self.at == start {
                    return Err(NoParse::Unparsable);
                }
                Ok(self.words(start, self.at))
            }
            other => other,
        }
    }

    /// "approximately 5", "about 3", `\approx 8.24`: what says nothing of the value.
    fn leading_words(&mut self) {
        loop {
            match self.peek() {
                Some(Token::Word(word)) if is_filler(word) && self.at + 1 < self.tokens.len() => self.at += 1,
                Some(Token::Relation(Relation::Approximately)) => self.at += 1,
                _ => return,
            }
        }
    }

    fn formula_item(&mut self, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> Parsed<Node> {
        let at_end = |this: &Self| {
            ends(this.peek())
                || this.trailing_dots(ends)
                || matches!(this.peek(), None | Some(Token::Comma | Token::Semicolon | Token::And | Token::Or))
        };
        let node = self.relation(ends)?;
        if at_end(self) {
            return Ok(node);
        }
        Err(NoParse::Unparsable)
    }

    fn relation(&mut self, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> Parsed<Node> {
        let mut terms = vec![self.side(ends)?];
        let mut relations = Vec::new();
        while let Some(relation) = self.accept_relation() {
            // A \approx at the end, or what is behind one, adds nothing: 1/3 \approx 0.333.
            terms.push(self.side(ends)?);
            relations.push(relation);
            if terms.len() > 32 {
                return Err(NoParse::Budget);
            }
        }
        if let Some(modulus) = self.modulus()?
            && let Some(last) = terms.pop()
        {
            terms.push(Node::Modular(Box::new(last), Box::new(modulus)));
            relations.retain(|relation| *relation == Relation::Congruent);
            relations.fill(Relation::Equal);
            if terms.len() != relations.len() + 1 {
                return Err(NoParse::Unparsable);
            }
        }
        if relations.is_empty() {
            return Ok(terms.swap_remove(0));
        }
        Ok(Node::Relation(terms, relations))
    }

    /// `\pmod 5`, `(mod 5)`, `(\bmod 5)` behind a congruence or a residue.
    fn modulus(&mut self) -> Parsed<Option<Node>> {
        if self.accept(Token::Command("pmod")) {
            return self.argument().map(Some);
        }
        if self.peek() != Some(Token::Open('(')) || self.peek_at(1) != Some(Token::Mod) {
            return Ok(None);
        }
        self.at += 2;
        let modulus = self.sum()?;
        self.expect(Token::Close(')'))?;
        Ok(Some(modulus))
    }

    fn accept_relation(&mut self) -> Option<Relation> {
        let mut negated = false;
        if self.peek() == Some(Token::Command("not")) {
            negated = true;
            self.at += 1;
        }
        match self.peek() {
            Some(Token::Relation(Relation::Greater)) if self.angles > 0 => None,
            Some(Token::Relation(relation)) => {
                self.at += 1;
                // "> =" and "< =" written apart.
                let relation = match relation {
                    Relation::Greater if self.accept(Token::Relation(Relation::Equal)) => Relation::GreaterEqual,
                    Relation::Less if self.accept(Token::Relation(Relation::Equal)) => Relation::LessEqual,
                    Relation::Equal if negated => Relation::NotEqual,
                    Relation::In if negated => Relation::NotIn,
                    other => other,
                };
                Some(relation)
            }
            _ => None,
        }
    }

    /// One side of a relation: words, or a set expression, with a unit or a ratio.
    fn side(&mut self, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> Parsed<Node> {
        if let Some(Token::Word(_)) = self.peek() {
            let start = self.at;
            while let Some(Token::Word(_) | Token::Symbol(_) | Token::Constant(_)) = self.peek() {
                if ends(self.peek()) {
                    break;
                }
                self.at += 1;
            }
            return Ok(self.words(start, self.at));
        }
        let first = self.set_expression()?;
        let first = self.unit(first, ends)?;
        if self.peek() != Some(Token::Colon) {
            return Ok(first);
        }
        let start = self.at;
        let mut parts = vec![first];
        while self.accept(Token::Colon) {
            parts.push(self.set_expression()?);
        }
        let clock = parts.len() <= 3 && self.is_clock(start);
        let ratio = Node::Ratio(parts, clock);
        // 4:30 p.m. is a time in words.
        if matches!(self.peek(), Some(Token::Word(_) | Token::Symbol(_))) {
            return Err(NoParse::Unparsable);
        }
        Ok(ratio)
    }

    /// Whether the colon at `colon` stands in something written like a time: 3:05, 12:30.
    fn is_clock(&self, colon: usize) -> bool {
        let digits = |at: Option<usize>| match at.and_then(|at| self.tokens.get(at)).map(|lexeme| lexeme.token) {
            Some(Token::Number(digits)) => digits.len(),
            _ => 0,
        };
        digits(colon.checked_sub(1)) <= 2 && digits(colon.checked_sub(1)) > 0 && digits(Some(colon + 1)) == 2
    }

    /// Words or a currency behind a value.
    fn unit(&mut self, value: Node, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> Parsed<Node> {
        let start = self.at;
        let fits = match self.peek() {
            Some(Token::Word(_)) => true,
            Some(Token::Currency(_)) => true,
            // "5 m": a lone letter set as text, or apart from a bare number.
            Some(Token::Symbol(_)) => self.tokens.get(start).is_some_and(|lexeme| lexeme.text),
            _ => false,
        };
        if !fits || !value.is_scalar() {
            return Ok(value);
        }
        if let Some(compound) = self.compound(&value, ends)? {
            return Ok(compound);
        }
        let glued = self.tokens.get(start).is_some_and(|lexeme| {
            let letters =
                matches!(lexeme.token, Token::Word(word) if word.bytes().all(|byte| byte.is_ascii_alphabetic()));
            letters && !lexeme.space && !lexeme.text
        });
        let mut words = String::new();
        let mut depth = 0_usize;
        while let Some(lexeme) = self.tokens.get(self.at) {
            let token = lexeme.token;
            if depth == 0
                && (ends(Some(token))
                    || matches!(token, Token::Comma | Token::Semicolon | Token::Relation(_) | Token::Colon))
            {
                break;
            }
            // "5 or 7": the list goes on where a value follows.
            if matches!(token, Token::And | Token::Or) {
                break;
            }
            match token {
                Token::Open(_) | Token::GroupOpen => depth += 1,
                Token::Close(_) | Token::GroupClose => depth = depth.saturating_sub(1),
                _ => {}
            }
            match token {
                Token::GroupOpen | Token::GroupClose | Token::Open(_) | Token::Close(_) => {}
                Token::Caret => words.push('^'),
                Token::Slash => words.push('/'),
                Token::Times => words.push(' '),
                _ => {
                    if lexeme.space || !words.ends_with(['^', '/']) {
                        words.push(' ');
                    }
                    words.push_str(&self.text[lexeme.start..lexeme.end]);
                }
            }
            self.at += 1;
        }
        if let Node::Degrees(inner) = &value
            && let Some(unit) = unit::temperature(&words)
        {
            return Ok(Node::Quantity(inner.clone(), unit));
        }
        match unit::parse(&words) {
            Some(None) => Ok(value),
            // 2abxy: letters that no space parts from the number multiply it, if they are no known unit.
            Some(Some(unit::Behind::Unit(Unit::Other(_)))) if glued => Err(NoParse::Unparsable),
            Some(Some(unit)) => Ok(match (value, unit) {
                // $1.5 million
                (Node::Quantity(value, own), unit::Behind::Scale(scale)) => {
                    Node::Quantity(Box::new(Node::Product(vec![*value, Node::integer(scale)])), own)
                }
                (Node::Quantity(value, own), unit::Behind::ScaledUnit(scale, unit)) if own == unit => {
                    Node::Quantity(Box::new(Node::Product(vec![*value, Node::integer(scale)])), own)
                }
                (value, unit::Behind::Percent) => Node::Percent(Box::new(value)),
                (value, unit::Behind::Degrees) => Node::Degrees(Box::new(value)),
                (value, unit::Behind::Scale(scale)) => Node::Product(vec![value, Node::integer(scale)]),
                (value, unit::Behind::ScaledUnit(scale, unit)) => {
                    Node::Quantity(Box::new(Node::Product(vec![value, Node::integer(scale)])), unit)
                }
                (Node::Quantity(value, own), unit::Behind::Unit(unit)) => {
                    // "$5 dollars" is clumsy and says one thing; "$5 km" says none.
                    if own != unit {
                        return Err(NoParse::Unparsable);
                    }
                    Node::Quantity(value, own)
                }
                (value, unit::Behind::Unit(unit)) => Node::Quantity(Box::new(value), unit),
            }),
            None => Err(NoParse::Unparsable),
        }
    }

    /// One quantity in several units, the larger first: `2 hours 30 minutes`, `5 feet and 6 inches`. `None`, and nothing
    /// read, where it is none: each value but the first must be less than one of the unit before it.
    fn compound(&mut self, first: &Node, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> Parsed<Option<Node>> {
        let Node::Number(literal) = first else { return Ok(None) };
        let start = self.at;
        let mut total = BigRational::zero();
        let mut last: Option<Unit> = None;
        let mut value = literal.value.clone();
        while let Some(unit) = self.unit_word() {
            let Unit::Known { dimensions, factor } = &unit else { break };
            if let Some(Unit::Known { dimensions: before, factor: size }) = &last
                && (before != dimensions || &value * factor >= *size)
            {
                break;
            }
            total += &value * factor;
            let several = last.is_some();
            let mark = self.at;
            self.accept(Token::And);
            match self.peek() {
                Some(Token::Number(digits)) if !matches!(self.peek_at(1), Some(Token::Command(_))) => {
                    value = number::literal(digits)?.value;
                    self.at += 1;
                }
                _ => {
                    self.at = mark;
                    let next = self.peek();
                    let over = ends(next)
                        || matches!(next, None | Some(Token::Comma | Token::Semicolon | Token::And | Token::Or));
                    if several && over {
                        let literal = Literal { value: total / factor, places: 0, significant: 0, plain: false };
                        return Ok(Some(Node::Quantity(Box::new(Node::Number(literal)), unit)));
                    }
                    break;
                }
            }
            last = Some(unit);
        }
        self.at = start;
        Ok(None)
    }

    /// A single word that is a unit, set as text or not.
    fn unit_word(&mut self) -> Option<Unit> {
        while matches!(self.peek(), Some(Token::GroupOpen)) {
            self.at += 1;
        }
        let lexeme = self.tokens.get(self.at)?;
        if !matches!(lexeme.token, Token::Word(_) | Token::Symbol(_)) {
            return None;
        }
        self.at += 1;
        while matches!(self.peek(), Some(Token::GroupClose)) {
            self.at += 1;
        }
        match unit::parse(&self.text[lexeme.start..lexeme.end]) {
            Some(Some(unit::Behind::Unit(unit))) => Some(unit),
            _ => None,
        }
    }

    /// Where the item that begins at `start` ends: at a separator outside of all brackets.
    fn end_of_item(&self, start: usize, ends: &dyn Fn(Option<Token<'_>>) -> bool) -> usize {
        let mut depth = 0_usize;
        let mut at = start;
        while let Some(lexeme) = self.tokens.get(at) {
            match lexeme.token {
                token if depth == 0 && ends(Some(token)) => break,
                Token::Open(_) | Token::GroupOpen | Token::Begin(_) => depth += 1,
                Token::Close(_) | Token::GroupClose | Token::End => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => break,
                },
                Token::Comma | Token::Semicolon | Token::And | Token::Or if depth == 0 => break,
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// The tokens from `from` to `to` as text.
    fn words(&self, from: usize, to: usize) -> Node {
        let (Some(first), Some(last)) = (self.tokens.get(from), self.tokens.get(to.saturating_sub(1))) else {
            return Node::Text(String::new());
        };
        Node::Text(text::normal_form(&self.text[first.start..last.end.max(first.start)]))
    }

    pub(super) fn set_expression(&mut self) -> Parsed<Node> {
        self.nested(|parser| {
            let mut left = parser.sum()?;
            loop {
                left = match parser.peek() {
                    Some(Token::Union) => {
                        parser.at += 1;
                        let right = parser.sum()?;
                        match left {
                            Node::Union(mut parts) => {
                                parts.push(right);
                                Node::Union(parts)
                            }
                            other => Node::Union(vec![other, right]),
                        }
                    }
                    Some(Token::Intersection) => {
                        parser.at += 1;
                        Node::Intersection(vec![left, parser.sum()?])
                    }
                    Some(Token::SetMinus) => {
                        parser.at += 1;
                        Node::Difference(Box::new(left), Box::new(parser.sum()?))
                    }
                    // R - {0}: a difference of sets.
                    _ => return Ok(left),
                };
                parser.count()?;
            }
        })
    }
}

/// What an item with a plus-minus says. In braces each element has two values of its own: `\{\pm 1, \pm 2\}` has four elements.
fn both(plus: Node, minus: Node) -> Node {
    match (plus, minus) {
        (Node::Set(mut items), Node::Set(others)) => {
            let new: Vec<Node> = others.into_iter().filter(|other| !items.contains(other)).collect();
            items.extend(new);
            Node::Set(items)
        }
        (Node::Relation(mut terms, relations), Node::Relation(mut others, _))
            if matches!((terms.last(), others.last()), (Some(Node::Set(_)), Some(Node::Set(_)))) =>
        {
            let sets = terms.pop().zip(others.pop());
            terms.extend(sets.map(|(plus, minus)| both(plus, minus)));
            Node::Relation(terms, relations)
        }
        (plus, minus) => Node::List(Joint::Or, vec![plus, minus]),
    }
}

/// `x = 1, y = 2 or x = 2, y = 1`, an "or" before each of `choices`: solutions for the same names, each a row. `None` where
/// it is anything else.
fn solutions(items: &[Node], choices: &[usize]) -> Option<Vec<Node>> {
    let mut ends = choices.to_vec();
    ends.push(items.len());
    ends.dedup();
    let mut rows = vec![];
    let mut known: Option<Vec<&Node>> = None;
    let mut begin = 0;
    for end in ends {
        let row = items.get(begin..end)?;
        let found = names(row).filter(|found| found.iter().all(|name| matches!(name, Node::Symbol(_))))?;
        match &known {
            None => known = Some(found.clone()),
            Some(known) if known.len() == found.len() && known.iter().all(|name| found.contains(name)) => {}
            Some(_) => return None,
        }
        rows.push((found, row));
        begin = end;
    }
    // In the order in which the first row names them.
    let known = known?;
    let ordered = |(found, row): &(Vec<&Node>, &[Node])| {
        let of = |name: &&Node| found.iter().position(|other| other == name).map(|at| row[at].clone());
        Some(Node::Tuple('(', ')', known.iter().map(of).collect::<Option<_>>()?))
    };
    let rows: Vec<Node> = rows.iter().map(ordered).collect::<Option<_>>()?;
    (rows.len() > 1).then_some(rows)
}

fn is_filler(word: &str) -> bool {
    ["approximately", "about", "exactly", "approx", "roughly", "around", "only", "is", "are", "the", "answer"]
        .iter()
        .any(|filler| word.eq_ignore_ascii_case(filler))
}
