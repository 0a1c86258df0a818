//! The lower half of the grammar: sums, products, powers, and what they are made of.

use super::super::lexer::Token;
use super::super::meaning::is_range;
use super::super::node::{Constant, Function, Literal, Node, Relation};
use super::{NoParse, Parsed, Parser, number};

impl<'a> Parser<'a> {
    pub(super) fn sum(&mut self) -> Parsed<Node> {
        self.nested(|parser| {
            let mut terms = vec![parser.product()?];
            loop {
                let minus = match parser.peek() {
                    Some(Token::Plus) => false,
                    Some(Token::Minus) => true,
                    Some(Token::PlusMinus) => parser.branch(false),
                    Some(Token::MinusPlus) => parser.branch(true),
                    _ => break,
                };
                parser.at += 1;
                // 1 + 2 + ... + 10 is a sequence; nothing is worked out.
                if parser.peek() == Some(Token::Ellipsis) {
                    return Err(NoParse::Unparsable);
                }
                parser.count()?;
                let term = parser.product()?;
                // R - {0}: a difference of sets.
                if minus && matches!(term, Node::Set(_)) && !terms.iter().any(Node::is_scalar) {
                    let left =
                        if terms.len() == 1 { terms.swap_remove(0) } else { Node::Sum(std::mem::take(&mut terms)) };
                    terms = vec![Node::Difference(Box::new(left), Box::new(term))];
                    continue;
                }
                terms.push(if minus { term.negated() } else { term });
            }
            Ok(if terms.len() == 1 { terms.swap_remove(0) } else { Node::Sum(terms) })
        })
    }

    /// Whether a plus-minus (or minus-plus, `flipped`) is a minus this time.
    fn branch(&mut self, flipped: bool) -> bool {
        self.plus_minus = true;
        self.minus_branch != flipped
    }

    pub(super) fn product(&mut self) -> Parsed<Node> {
        let mut factors = vec![self.factor()?];
        loop {
            match self.peek() {
                Some(Token::Times) => {
                    self.at += 1;
                    factors.push(self.factor()?);
                }
                Some(Token::Slash) => {
                    self.at += 1;
                    let divisor = self.tight_factor()?;
                    factors.push(divisor.inverse());
                }
                Some(Token::Mod) => {
                    self.at += 1;
                    let modulus = self.factor()?;
                    factors = vec![Node::Call(Function::Mod, vec![product_of(factors), modulus])];
                }
                Some(Token::Number(_) | Token::Repeating(..)) if self.number_may_follow(&factors) => {
                    factors.push(self.power()?);
                }
                Some(Token::Bar(None)) if self.bars > 0 && self.bar_may_open() => {
                    self.ambiguous.bars = true;
                    if self.reading.bars {
                        break;
                    }
                    factors.push(self.power()?);
                }
                // 2 (mod 5)
                Some(Token::Open('(')) if self.peek_at(1) == Some(Token::Mod) => break,
                Some(token) if self.begins_factor(token) => factors.push(self.power()?),
                _ => break,
            }
            self.count()?;
        }
        // What a letter ranges over may stand in parentheses behind a formula: it is said of the whole answer.
        if factors.len() > 1
            && let Some(range) = factors.pop_if(|last| is_range(last))
        {
            self.ranges.push(range);
        }
        Ok(product_of(factors))
    }

    /// Whether something stands behind a bar that could be inside of it.
    fn bar_may_open(&self) -> bool {
        self.peek_at(1).is_some_and(|token| match token {
            Token::Number(_) | Token::Repeating(..) | Token::Symbol(_) => true,
            token => !matches!(token, Token::Bar(_)) && self.begins_factor(token),
        })
    }

    /// `x2` is x times 2, and so are `(x)2`, `3!2!` and, though space is between, `(3!)^2 4!`; two numbers side by side are
    /// nothing.
    fn number_may_follow(&self, factors: &[Node]) -> bool {
        let behind = |back: usize| self.at.checked_sub(back).and_then(|at| self.tokens.get(at)).map(|last| last.token);
        let last = match factors.last() {
            None | Some(Node::Number(_) | Node::Based(..)) => return false,
            Some(last) => last,
        };
        match behind(1) {
            Some(Token::Bang) => true,
            Some(Token::Symbol(_) | Token::Constant(_)) => !self.space_before(),
            // A letter in parentheses may be a choice, and a mixed number ends in a fraction.
            Some(Token::Close(_)) if self.space_before() => {
                matches!(last, Node::Sum(_) | Node::Power(..) | Node::Call(..)) || is_factorial(last)
            }
            Some(Token::GroupClose) if self.space_before() => matches!(last, Node::Power(..) | Node::Call(..)),
            Some(Token::Close(_) | Token::GroupClose) => true,
            Some(Token::Number(_)) => behind(2) == Some(Token::Caret) && matches!(last, Node::Power(..)),
            _ => false,
        }
    }

    /// What a slash divides by: where no space stands between them, a number and the letters behind it.
    fn tight_factor(&mut self) -> Parsed<Node> {
        let first = self.factor()?;
        let ambiguous = match self.peek() {
            _ if self.space_before() => false,
            // 10!/3!3!4!
            Some(Token::Number(_)) => is_factorial(&first) && self.number_may_follow(std::slice::from_ref(&first)),
            Some(Token::Open(_)) | None => false,
            Some(token) => matches!(first, Node::Number(_)) && self.begins_factor(token),
        };
        if !ambiguous {
            return Ok(first);
        }
        self.ambiguous.tight = true;
        if !self.reading.tight {
            return Ok(first);
        }
        let mut factors = vec![first];
        while let Some(token) = self.peek() {
            let goes_on = match token {
                Token::Number(_) => factors.last().is_some_and(is_factorial) && self.number_may_follow(&factors),
                token => self.begins_factor(token),
            };
            if self.space_before() || !goes_on {
                break;
            }
            factors.push(self.power()?);
            self.count()?;
        }
        Ok(product_of(factors))
    }

    /// Whether `token` may begin a factor that no operator announces.
    pub(super) fn begins_factor(&self, token: Token<'_>) -> bool {
        match token {
            Token::Symbol(_) => !self.is_text_symbol(),
            Token::Constant(_)
            | Token::Function(_)
            | Token::Logarithm(_)
            | Token::GroupOpen
            | Token::Begin(_)
            | Token::Bar(Some(true)) => true,
            Token::Open(open) => open != '<' || self.angles == 0,
            Token::Bar(None) => self.bars == 0,
            Token::Command(name) => !matches!(name, "choose" | "over" | "to" | "pmod" | "not"),
            _ => false,
        }
    }

    /// A letter set as text behind a value is a unit.
    fn is_text_symbol(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|lexeme| lexeme.text && lexeme.space)
    }

    fn factor(&mut self) -> Parsed<Node> {
        let mut minus = false;
        let mut signs = 0;
        loop {
            match self.peek() {
                Some(Token::Minus) => minus = !minus,
                Some(Token::Plus) => {}
                Some(Token::PlusMinus) => minus ^= self.branch(false),
                Some(Token::MinusPlus) => minus ^= self.branch(true),
                _ => break,
            }
            self.at += 1;
            signs += 1;
            if signs > 16 {
                return Err(NoParse::Unparsable);
            }
        }
        let value = self.power()?;
        Ok(if minus { value.negated() } else { value })
    }

    /// A primary and what is written behind it.
    pub(super) fn power(&mut self) -> Parsed<Node> {
        self.nested(|parser| {
            let start = parser.at;
            let value = parser.primary()?;
            parser.postfix(value, start)
        })
    }

    fn postfix(&mut self, mut value: Node, start: usize) -> Parsed<Node> {
        for _ in 0..12 {
            value = match self.peek() {
                // x! but not x != y; 5!! is not (5!)!.
                Some(Token::Bang) => {
                    self.at += 1;
                    if self.peek() == Some(Token::Bang) && !self.space_before() {
                        self.at += 1;
                        Node::call(Function::DoubleFactorial, value)
                    } else {
                        Node::call(Function::Factorial, value)
                    }
                }
                Some(Token::Caret) => {
                    self.at += 1;
                    self.raise(value)?
                }
                Some(Token::Underscore) => {
                    self.at += 1;
                    self.subscript(value, start)?
                }
                Some(Token::Prime) => {
                    self.at += 1;
                    match value {
                        Node::Symbol(name) => Node::Symbol(format!("{name}'")),
                        Node::Number(_) | Node::Degrees(_) => return Err(NoParse::Unparsable),
                        other => Node::call(Function::Transpose, other),
                    }
                }
                Some(Token::Percent) => {
                    self.at += 1;
                    Node::Percent(Box::new(value))
                }
                Some(Token::Degree) => {
                    self.at += 1;
                    Node::Degrees(Box::new(value))
                }
                Some(Token::Open('('))
                    if is_function_name(&value) && !self.space_before() && !self.multiplies_sum() =>
                {
                    let Node::Symbol(name) = value else { return Err(NoParse::Unparsable) };
                    self.at += 1;
                    let arguments = self.arguments(')')?;
                    Node::Apply(name, arguments)
                }
                _ => return Ok(value),
            };
            self.count()?;
        }
        Ok(value)
    }

    /// Whether a letter before a sum in parentheses multiplies it: `h(a + b)`, as it may be read too.
    fn multiplies_sum(&mut self) -> bool {
        let mut depth = 0_usize;
        let mut sum = false;
        for lexeme in &self.tokens[self.at..] {
            match lexeme.token {
                Token::Open(_) | Token::GroupOpen => depth += 1,
                Token::Close(_) | Token::GroupClose => depth = depth.saturating_sub(1),
                Token::Plus | Token::Minus if depth == 1 => sum = true,
                Token::Comma if depth == 1 => return false,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
        self.ambiguous.calls |= sum;
        sum && !self.reading.calls
    }

    /// What stands behind a caret.
    fn raise(&mut self, base: Node) -> Parsed<Node> {
        if self.peek() == Some(Token::Degree) {
            self.at += 1;
            return Ok(Node::Degrees(Box::new(base)));
        }
        if self.peek() == Some(Token::GroupOpen) {
            match (self.peek_at(1), self.peek_at(2)) {
                (Some(Token::Degree), Some(Token::GroupClose)) => {
                    self.at += 3;
                    return Ok(Node::Degrees(Box::new(base)));
                }
                (Some(Token::Prime), _) => {
                    self.at += 1;
                    while self.accept(Token::Prime) {}
                    self.expect(Token::GroupClose)?;
                    return match base {
                        Node::Symbol(name) => Ok(Node::Symbol(format!("{name}'"))),
                        _ => Err(NoParse::Unparsable),
                    };
                }
                _ => {}
            }
        }
        if self.peek() == Some(Token::Prime) {
            return Ok(base);
        }
        if let Node::Named(set) = base {
            // R^+, R^2: a set of its own.
            let name = format!("{set:?}^{:?}", self.peek());
            self.at += 1;
            return Ok(Node::Text(name));
        }
        let exponent = self.exponent()?;
        // f^{-1}(x) is a function of its own.
        if let Node::Symbol(name) = &base
            && is_function_name(&base)
            && matches!(&exponent, Node::Number(literal) if literal.value == -Literal::integer(1).value)
            && self.peek() == Some(Token::Open('('))
        {
            let name = format!("{name}^-1");
            self.at += 1;
            return Ok(Node::Apply(name, self.arguments(')')?));
        }
        // x^2_i is x_i squared.
        if self.peek() == Some(Token::Underscore)
            && let Node::Symbol(_) = base
        {
            self.at += 1;
            let at = self.at;
            let indexed = self.subscript(base, at)?;
            return Ok(Node::power(indexed, exponent));
        }
        if let Node::Matrix(_) = base
            && matches!(&exponent, Node::Symbol(name) if name == "T")
        {
            return Ok(Node::call(Function::Transpose, base));
        }
        Ok(Node::power(base, exponent))
    }

    fn exponent(&mut self) -> Parsed<Node> {
        self.nested(|parser| {
            let mut minus = false;
            while let Some(token @ (Token::Minus | Token::Plus)) = parser.peek() {
                minus ^= token == Token::Minus;
                parser.at += 1;
            }
            // TeX would raise one digit alone: 2^10 is 2 to the 1, then 0. People mean 10.
            let start = parser.at;
            let value = parser.primary()?;
            // 2^3^2 is 2^(3^2).
            let value = match parser.peek() {
                Some(Token::Caret) if !matches!(parser.peek_at(1), Some(Token::Degree)) => {
                    parser.postfix(value, start)?
                }
                Some(Token::Bang) if parser.peek_at(1) != Some(Token::Relation(Relation::Equal)) => {
                    parser.at += 1;
                    Node::call(Function::Factorial, value)
                }
                _ => value,
            };
            Ok(if minus { value.negated() } else { value })
        })
    }

    /// A subscript: part of a name, or the base of a number.
    fn subscript(&mut self, value: Node, start: usize) -> Parsed<Node> {
        let index = self.index()?;
        match value {
            Node::Symbol(name) => Ok(Node::Symbol(format!("{name}_{index}"))),
            Node::Number(_) => match self.tokens.get(start).map(|lexeme| lexeme.token) {
                Some(Token::Number(digits)) if self.at >= start => {
                    number::based(digits, &index).ok_or(NoParse::Unparsable)
                }
                _ => Err(NoParse::Unparsable),
            },
            Node::Constant(Constant::E) => Ok(Node::Symbol(format!("e_{index}"))),
            Node::Constant(Constant::I) => Ok(Node::Symbol(format!("i_{index}"))),
            // \mathbb{Z}_5 and the like.
            Node::Named(set) => Ok(Node::Text(format!("{set:?}_{index}"))),
            _ => Err(NoParse::Unparsable),
        }
    }

    /// The text of a subscript, without layout.
    fn index(&mut self) -> Parsed<String> {
        let mut index = String::new();
        if !self.accept(Token::GroupOpen) {
            let lexeme = self.tokens.get(self.at).ok_or(NoParse::Unparsable)?;
            self.at += 1;
            index.push_str(&self.text[lexeme.start..lexeme.end]);
            return Ok(index);
        }
        let mut depth = 1_usize;
        while let Some(lexeme) = self.tokens.get(self.at) {
            self.at += 1;
            match lexeme.token {
                Token::GroupOpen => depth += 1,
                Token::GroupClose => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(index);
                    }
                }
                _ => index.push_str(&self.text[lexeme.start..lexeme.end]),
            }
            if index.len() > 64 {
                return Err(NoParse::Budget);
            }
        }
        Err(NoParse::Unparsable)
    }

    pub(super) fn primary(&mut self) -> Parsed<Node> {
        self.count()?;
        let token = self.peek().ok_or(NoParse::Unparsable)?;
        let start = self.at;
        self.at += 1;
        match token {
            Token::Number(digits) => self.number(digits, start),
            Token::Repeating(before, period) => Ok(Node::Number(number::repeating(before, period)?)),
            Token::Symbol(name) => Ok(Node::Symbol(name.to_owned())),
            Token::Constant(Constant::I) if self.index_i > 0 => Ok(Node::Symbol("i".to_owned())),
            // E[X] is an expected value.
            Token::Constant(Constant::E)
                if matches!(self.peek(), Some(Token::Open('(' | '[')))
                    && self.tokens.get(start).is_some_and(|lexeme| &self.text[lexeme.start..lexeme.end] == "E") =>
            {
                Ok(Node::Symbol("E".to_owned()))
            }
            Token::Constant(constant) => Ok(Node::Constant(constant)),
            Token::Named(set) => Ok(Node::Named(set)),
            Token::Ellipsis => Ok(Node::Ellipsis),
            Token::Open(open) => self.bracketed(open),
            Token::GroupOpen => self.group(),
            Token::Relation(Relation::Less) => self.angle(),
            Token::Bar(_) => self.absolute(),
            Token::Function(function) => self.function(function),
            Token::Logarithm(base) => self.logarithm(Some(base)),
            Token::Command(name) => self.command(name),
            Token::Begin(environment) => self.matrix(environment),
            Token::Currency(symbol) => {
                let value = self.factor()?;
                match super::super::unit::currency(symbol) {
                    Some(unit) if value.is_scalar() => Ok(Node::Quantity(Box::new(value), unit)),
                    _ => Ok(value),
                }
            }
            _ => {
                self.at = start;
                Err(NoParse::Unparsable)
            }
        }
    }

    /// A literal; a whole number may go on as a mixed number: `3\frac{1}{2}`, `3 1/2`.
    fn number(&mut self, digits: &'a str, start: usize) -> Parsed<Node> {
        let literal = number::literal(digits)?;
        if self.peek() == Some(Token::Ellipsis) && literal.places > 0 {
            let periodic = number::trailing_period(digits);
            let certain = periodic.as_ref().is_some_and(|(_, by_chance)| !by_chance);
            self.ambiguous.period |= !certain;
            if !self.reading.period && !certain {
                self.at += 1;
                return Ok(Node::Number(number::cut_off(literal)));
            }
            if let Some((periodic, _)) = periodic {
                self.at += 1;
                return Ok(Node::Number(periodic));
            }
        }
        if !literal.plain {
            return Ok(Node::Number(literal));
        }
        let after_caret = start > 0 && matches!(self.tokens[start - 1].token, Token::Caret | Token::Underscore);
        let part = match (self.peek(), self.peek_at(1), self.peek_at(2)) {
            (Some(Token::Command("frac")), ..) if !after_caret => self.proper_fraction()?,
            (Some(Token::Number(numerator)), Some(Token::Slash), Some(Token::Number(denominator)))
                if self.space_before() && !after_caret =>
            {
                let (numerator, denominator) = (number::literal(numerator)?, number::literal(denominator)?);
                if !numerator.plain || !denominator.plain {
                    return Ok(Node::Number(literal));
                }
                self.at += 3;
                Some(Node::Product(vec![Node::Number(numerator), Node::Number(denominator).inverse()]))
            }
            _ => None,
        };
        Ok(match part {
            Some(part) => Node::Sum(vec![Node::Number(literal), part]),
            None => Node::Number(literal),
        })
    }

    /// A fraction of two whole numbers, as in a mixed number; nothing is taken if it is anything else.
    fn proper_fraction(&mut self) -> Parsed<Option<Node>> {
        let start = self.at;
        self.at += 1;
        let fraction = self.fraction()?;
        let whole = |node: &Node| matches!(node, Node::Number(literal) if literal.plain);
        match &fraction {
            Node::Product(parts) if matches!(parts.as_slice(), [top, Node::Inverse(bottom)] if whole(top) && whole(bottom)) => {
                Ok(Some(fraction))
            }
            _ => {
                self.at = start;
                Ok(None)
            }
        }
    }
}

/// Letters that stand for a function where a parenthesis follows.
fn is_function_name(node: &Node) -> bool {
    let Node::Symbol(name) = node else { return false };
    let stem = name.split(['_', '\'']).next().unwrap_or("");
    matches!(stem, "f" | "g" | "h" | "F" | "G" | "H")
}

/// Whether factorials are all it is made of: `3!`, `(3!2!)`.
fn is_factorial(node: &Node) -> bool {
    match node {
        Node::Call(function, _) => matches!(function, Function::Factorial | Function::DoubleFactorial),
        Node::Product(factors) => factors.iter().all(is_factorial),
        _ => false,
    }
}

/// The product; braces around a factor only group it: `\{1+2\}\{3-4\}`.
pub(super) fn product_of(mut factors: Vec<Node>) -> Node {
    if factors.len() == 1 {
        return factors.swap_remove(0);
    }
    // What a letter ranges over may stand in parentheses behind a formula.
    if factors.last().is_some_and(is_range) {
        factors.pop();
        return product_of(factors);
    }
    for factor in &mut factors {
        if let Node::Set(items) = factor
            && items.len() == 1
        {
            *factor = items.swap_remove(0);
        }
    }
    Node::Product(factors)
}
