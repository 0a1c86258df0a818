//! What takes arguments: fractions, roots, functions, sums and integrals, matrices.

use super::super::budget::Budget;
use super::super::lexer::Token;
use super::super::matrix;
use super::super::node::{Constant, Function, Joint, Literal, NamedSet, Node, Relation};
use super::formula::product_of;
use super::{NoParse, Parsed, Parser, number};

/// Enough for a determinant of four rows.
const DETERMINANT_STEPS: u64 = 20_000;

impl<'a> Parser<'a> {
    pub(super) fn command(&mut self, name: &'a str) -> Parsed<Node> {
        match name {
            "frac" => self.fraction_or_derivative(),
            "sqrt" | "cbrt" => self.root(name == "cbrt"),
            "binom" => {
                let (top, bottom, rest) = self.two_arguments()?;
                Ok(times(Node::Call(Function::Binomial, vec![top, bottom]), rest))
            }
            "group" => self.argument(),
            "bar" | "hat" | "vec" | "tilde" => self.accented(name),
            "figure" => self.figure(),
            "complement" => self.complement(),
            "log" => self.logarithm(None),
            // cis x = cos x + i sin x
            "cis" => {
                let argument = self.function_arguments(Function::Cos)?;
                let angle = argument.into_iter().chain([Node::Constant(Constant::I)]).collect();
                Ok(Node::call(Function::Exp, Node::Product(angle)))
            }
            "sum" | "prod" => self.ranged(if name == "sum" { Function::Sum } else { Function::Product }),
            "int" => self.integral(),
            "lim" => self.limit(),
            _ if self.peek() == Some(Token::Open('(')) || name == "Interval" => self.constructor(name),
            _ => Err(NoParse::Unparsable),
        }
    }

    /// `{...}`, or the next single token: `\frac12`, `\sqrt3`.
    pub(super) fn argument(&mut self) -> Parsed<Node> {
        match self.peek() {
            Some(Token::GroupOpen) => {
                self.at += 1;
                self.group()
            }
            _ => self.nested(Self::primary),
        }
    }

    pub(super) fn fraction(&mut self) -> Parsed<Node> {
        let (top, bottom, rest) = self.two_arguments()?;
        Ok(times(Node::Product(vec![top, bottom.inverse()]), rest))
    }

    /// The two arguments of `\frac` or `\binom`. Where digits stand together, each is one of them (`\frac12`, `\binom52`), and
    /// the rest of them multiplies.
    fn two_arguments(&mut self) -> Parsed<(Node, Node, Option<Node>)> {
        match self.peek() {
            Some(Token::Number(digits)) if digits.len() >= 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.at += 1;
                // \frac1{72} has one digit; \frac12 and \frac123 take one digit each.
                let (top, bottom) = digits.split_at(1);
                let (bottom, rest) = bottom.split_at(1);
                let literal = |digits: &str| number::literal(digits).map(Node::Number);
                let rest = if rest.is_empty() { None } else { Some(literal(rest)?) };
                Ok((literal(top)?, literal(bottom)?, rest))
            }
            _ => Ok((self.argument()?, self.argument()?, None)),
        }
    }

    /// `\frac{d}{dx} f`, else a fraction.
    fn fraction_or_derivative(&mut self) -> Parsed<Node> {
        let differential = |token: Option<Token<'_>>| matches!(token, Some(Token::Symbol("d" | "partial")));
        let shape = [self.peek(), self.peek_at(2), self.peek_at(3), self.peek_at(6)];
        if let (Some(Token::GroupOpen), true, true) =
            (shape[0], differential(self.peek_at(1)), differential(self.peek_at(4)))
            && shape[1] == Some(Token::GroupClose)
            && shape[2] == Some(Token::GroupOpen)
            && shape[3] == Some(Token::GroupClose)
            && let Some(Token::Symbol(variable)) = self.peek_at(5)
        {
            self.at += 7;
            let body = self.product()?;
            return Ok(Node::Call(Function::Derivative, vec![body, Node::Symbol(variable.to_owned())]));
        }
        self.fraction()
    }

    fn root(&mut self, cubic: bool) -> Parsed<Node> {
        let degree = if cubic {
            Some(Node::integer(3))
        } else if self.peek() == Some(Token::Open('[')) {
            self.at += 1;
            let degree = self.nested(Self::sum)?;
            self.expect(Token::Close(']'))?;
            Some(degree)
        } else {
            None
        };
        let radicand = match self.peek() {
            // \sqrt12 is TeX's \sqrt{1}2, which nobody means.
            Some(Token::GroupOpen) => self.argument()?,
            _ => self.nested(Self::primary)?,
        };
        let exponent = degree.unwrap_or_else(|| Node::integer(2)).inverse();
        Ok(Node::power(radicand, exponent))
    }

    /// `\overline{x}` is a name of its own; `\overline{z}` of a formula is its conjugate; `\overline{AB}` a segment.
    fn accented(&mut self, accent: &str) -> Parsed<Node> {
        let inside = self.argument()?;
        Ok(match (accent, inside) {
            ("vec", other) => other,
            (_, Node::Symbol(name)) => Node::Symbol(format!("{accent}{{{name}}}")),
            ("bar", other) => Node::call(Function::Conjugate, other),
            (_, other) => other,
        })
    }

    /// `\angle ABC`, `\triangle ABC`: a name.
    fn figure(&mut self) -> Parsed<Node> {
        let mut name = String::from("angle ");
        let grouped = self.accept(Token::GroupOpen);
        while let Some(Token::Symbol(letter)) = self.peek() {
            name.push_str(letter);
            self.at += 1;
        }
        if let Some(Token::Number(digits)) = self.peek() {
            name.push_str(digits);
            self.at += 1;
        }
        if grouped {
            self.expect(Token::GroupClose)?;
        }
        Ok(Node::Symbol(name))
    }

    /// `\complement_U A`, as U without A; a bare sign is an exponent's.
    fn complement(&mut self) -> Parsed<Node> {
        let universe = if self.accept(Token::Underscore) { Some(self.argument()?) } else { None };
        if universe.is_none() && !self.peek().is_some_and(|token| self.begins_factor(token)) {
            return Ok(Node::Symbol("complement".to_owned()));
        }
        let set = self.power()?;
        Ok(Node::Difference(Box::new(universe.unwrap_or_else(whole_space)), Box::new(set)))
    }

    /// `\sin x`, `\sin^2 x`, `\sin^{-1} x`, `\max(1, 2)`.
    pub(super) fn function(&mut self, function: Function) -> Parsed<Node> {
        let mut exponent = None;
        let mut function = function;
        if self.accept(Token::Caret) {
            let raised = match self.peek() {
                Some(Token::GroupOpen) => self.argument()?,
                Some(Token::Minus) => {
                    self.at += 1;
                    self.nested(Self::primary)?.negated()
                }
                _ => self.nested(Self::primary)?,
            };
            let minus_one = matches!(&raised, Node::Number(literal) if literal.value == (-Literal::integer(1).value));
            match inverse_of(function).filter(|_| minus_one) {
                Some(inverse) => function = inverse,
                None => exponent = Some(raised),
            }
        }
        let arguments = self.function_arguments(function)?;
        if let (Function::Determinant, [Node::Matrix(rows)]) = (function, arguments.as_slice()) {
            let determinant = matrix::determinant(rows, &mut Budget::new(DETERMINANT_STEPS));
            return determinant.ok().flatten().ok_or(NoParse::Unparsable);
        }
        let call = Node::Call(function, arguments);
        Ok(match exponent {
            Some(exponent) => Node::power(call, exponent),
            None => call,
        })
    }

    fn function_arguments(&mut self, function: Function) -> Parsed<Vec<Node>> {
        use Function as F;
        let several = matches!(function, F::Gcd | F::Lcm | F::Max | F::Min | F::Binomial | F::Mod);
        let begin = self.at;
        match self.peek() {
            Some(Token::Open(open @ ('(' | '[' | '{'))) => {
                self.at += 1;
                let close = if open == '(' {
                    ')'
                } else if open == '[' {
                    ']'
                } else {
                    '}'
                };
                let arguments = self.arguments(close)?;
                let arguments = match arguments.as_slice() {
                    // \max\{1, 2\}
                    [Node::Set(items)] if several => items.clone(),
                    _ => arguments,
                };
                if several || arguments.len() == 1 {
                    // \sin (x)^2 is the square of the sine to those who write it, but \sin(x)y is a product.
                    return Ok(arguments);
                }
                self.at = begin;
                Err(NoParse::Unparsable)
            }
            Some(Token::GroupOpen) => {
                self.at += 1;
                Ok(match self.group()? {
                    Node::List(_, items) if several => items,
                    other => vec![other],
                })
            }
            _ => Ok(vec![self.bare_argument()?]),
        }
    }

    /// `\sin 2x`: the product up to the next operator or function.
    fn bare_argument(&mut self) -> Parsed<Node> {
        self.nested(|parser| {
            let minus = parser.accept(Token::Minus);
            let mut factors = vec![parser.power()?];
            while let Some(token) = parser.peek() {
                let goes_on = matches!(token, Token::Symbol(_) | Token::Constant(_) | Token::Command("frac" | "sqrt"));
                if !goes_on || !parser.begins_factor(token) {
                    // sin pi/4, sin x/2: the quotient of what is set tight.
                    if token == Token::Slash && !parser.space_before() && factors.len() == 1 {
                        parser.at += 1;
                        factors.push(parser.power()?.inverse());
                        continue;
                    }
                    break;
                }
                factors.push(parser.power()?);
                parser.count()?;
            }
            let argument = product_of(factors);
            Ok(if minus { argument.negated() } else { argument })
        })
    }

    /// `\log_2 8`, `\ln x`, `\log x`, whose base depends on the reading, `log(x, 2)`.
    pub(super) fn logarithm(&mut self, base: Option<&str>) -> Parsed<Node> {
        let mut exponent = None;
        let mut given = None;
        for _ in 0..2 {
            if self.accept(Token::Underscore) {
                given = Some(match self.peek() {
                    Some(Token::GroupOpen) => self.argument()?,
                    // \log_28: one digit is the base, the rest the argument.
                    Some(Token::Number(digits)) if digits.len() == 2 && !self.value_follows(1) => {
                        let (base, rest) = digits.split_at(1);
                        let base = Node::Number(number::literal(base)?);
                        let argument = Node::Number(number::literal(rest)?);
                        self.at += 1;
                        return Ok(Node::Call(Function::Log, vec![argument, base]));
                    }
                    _ => self.nested(Self::primary)?,
                });
            }
            if self.accept(Token::Caret) {
                exponent = Some(self.argument()?);
            }
        }
        let mut arguments = match self.peek() {
            Some(Token::Open('(' | '[' | '{')) | Some(Token::GroupOpen) => {
                let close = match self.peek() {
                    Some(Token::Open('(')) => Some(')'),
                    Some(Token::Open('[')) => Some(']'),
                    Some(Token::Open(_)) => Some('}'),
                    _ => None,
                };
                self.at += 1;
                match close {
                    Some(close) => self.arguments(close)?,
                    None => vec![self.group()?],
                }
            }
            _ => vec![self.bare_argument()?],
        };
        if given.is_none() && arguments.len() == 2 {
            given = arguments.pop();
        }
        if arguments.len() != 1 {
            return Err(NoParse::Unparsable);
        }
        let base = match (given, base) {
            (Some(base), _) => base,
            (None, Some("10")) => Node::integer(10),
            (None, Some(_)) => Node::Constant(Constant::E),
            (None, None) => {
                self.ambiguous.natural = true;
                if self.reading.natural { Node::Constant(Constant::E) } else { Node::integer(10) }
            }
        };
        arguments.push(base);
        let call = Node::Call(Function::Log, arguments);
        Ok(match exponent {
            Some(exponent) => Node::power(call, exponent),
            None => call,
        })
    }

    /// Whether a value stands `offset` tokens ahead.
    fn value_follows(&self, offset: usize) -> bool {
        self.peek_at(offset).is_some_and(|token| matches!(token, Token::Number(_)) || self.begins_factor(token))
    }

    /// `\sum_{k=1}^{n} body`, `\prod`.
    fn ranged(&mut self, function: Function) -> Parsed<Node> {
        let (mut range, mut top) = (None, None);
        let mut index_is_i = false;
        for _ in 0..2 {
            if self.accept(Token::Underscore) {
                self.expect(Token::GroupOpen)?;
                let variable = match self.peek() {
                    Some(Token::Symbol(variable)) => variable,
                    Some(Token::Constant(Constant::I)) => {
                        index_is_i = true;
                        "i"
                    }
                    _ => return Err(NoParse::Unparsable),
                };
                self.at += 1;
                self.expect(Token::Relation(Relation::Equal))?;
                let from = self.nested(Self::sum)?;
                self.expect(Token::GroupClose)?;
                range = Some((Node::Symbol(variable.to_owned()), from));
            } else if self.accept(Token::Caret) {
                top = Some(self.argument()?);
            }
        }
        let ((variable, from), to) = range.zip(top).ok_or(NoParse::Unparsable)?;
        self.index_i += usize::from(index_is_i);
        let body = self.nested(Self::product);
        self.index_i -= usize::from(index_is_i);
        Ok(Node::Call(function, vec![body?, variable, from, to]))
    }

    /// `\int_a^b body dx`: the body as it stands up to the last `d` of a variable.
    fn integral(&mut self) -> Parsed<Node> {
        let (mut from, mut to) = (None, None);
        for _ in 0..2 {
            let lower = self.peek() == Some(Token::Underscore);
            if !lower && self.peek() != Some(Token::Caret) {
                break;
            }
            self.at += 1;
            // \int_{}^{}: no bounds.
            let bound = if self.peek() == Some(Token::GroupOpen) && self.peek_at(1) == Some(Token::GroupClose) {
                self.at += 2;
                None
            } else {
                Some(self.argument()?)
            };
            if lower { from = bound } else { to = bound }
        }
        let body = match self.nested(Self::sum)? {
            Node::Set(mut items) if items.len() == 1 => items.swap_remove(0),
            other => other,
        };
        let (body, variable) = without_differential(body);
        let variable = variable.unwrap_or_else(|| "x".to_owned());
        let mut parts = vec![body, Node::Symbol(variable)];
        if let (Some(from), Some(to)) = (from, to) {
            parts.extend([from, to]);
        }
        Ok(Node::Call(Function::Integral, parts))
    }

    fn limit(&mut self) -> Parsed<Node> {
        self.expect(Token::Underscore)?;
        self.expect(Token::GroupOpen)?;
        let Some(Token::Symbol(variable)) = self.peek() else { return Err(NoParse::Unparsable) };
        self.at += 1;
        self.expect(Token::Command("to"))?;
        let point = self.nested(Self::sum)?;
        self.expect(Token::GroupClose)?;
        let body = self.nested(Self::product)?;
        Ok(Node::Call(Function::Limit, vec![body, Node::Symbol(variable.to_owned()), point]))
    }

    pub(super) fn matrix(&mut self, environment: &str) -> Parsed<Node> {
        let (bars, angles) = (std::mem::take(&mut self.bars), std::mem::take(&mut self.angles));
        let mut rows: Vec<Vec<Node>> = vec![vec![]];
        // An empty cell of a matrix has its place; elsewhere the signs between cells may only align them.
        let aligned = !environment.ends_with("matrix");
        let mut filled = false;
        loop {
            let token = self.peek();
            if let (Some(Token::End | Token::RowBreak | Token::Ampersand), Some(row)) = (token, rows.last_mut()) {
                let blank = row.is_empty() && token != Some(Token::Ampersand);
                if !filled && !blank && !aligned {
                    row.push(Node::Text(String::new()));
                }
                filled = false;
            }
            match token {
                Some(Token::End) => {
                    self.at += 1;
                    break;
                }
                Some(Token::RowBreak) => {
                    self.at += 1;
                    rows.push(vec![]);
                }
                Some(Token::Ampersand) => self.at += 1,
                None => return Err(NoParse::Unparsable),
                _ => {
                    let ends = |token: Option<Token<'_>>| {
                        matches!(token, None | Some(Token::End | Token::RowBreak | Token::Ampersand))
                    };
                    let cell = self.nested(|parser| parser.list(&ends))?;
                    if let Some(row) = rows.last_mut() {
                        row.push(cell);
                    }
                    filled = true;
                }
            }
            self.count()?;
        }
        (self.bars, self.angles) = (bars, angles);
        rows.retain(|row| !row.is_empty());
        if rows.is_empty() {
            return Err(NoParse::Unparsable);
        }
        if environment == "vmatrix" {
            let determinant = matrix::determinant(&rows, &mut Budget::new(DETERMINANT_STEPS));
            return determinant.ok().flatten().ok_or(NoParse::Unparsable);
        }
        // A system of conditions below each other.
        if rows.iter().flatten().all(|cell| matches!(cell, Node::Relation(..))) {
            return Ok(Node::List(Joint::Comma, rows.into_iter().flatten().collect()));
        }
        // A function by cases, in any order.
        if environment == "cases" && rows.iter().all(|row| row.len() == 2) {
            return Ok(Node::Set(rows.into_iter().map(|row| Node::Tuple('(', ')', row)).collect()));
        }
        Ok(Node::Matrix(rows))
    }
}

/// What a complement is taken in, where that is not said.
fn whole_space() -> Node {
    Node::Symbol("whole space".to_owned())
}

fn times(value: Node, factor: Option<Node>) -> Node {
    match factor {
        Some(factor) => Node::Product(vec![value, factor]),
        None => value,
    }
}

/// What `f^{-1}` means.
fn inverse_of(function: Function) -> Option<Function> {
    use Function as F;
    Some(match function {
        F::Sin => F::Asin,
        F::Cos => F::Acos,
        F::Tan => F::Atan,
        F::Cot => F::Acot,
        F::Sec => F::Asec,
        F::Csc => F::Acsc,
        F::Sinh => F::Asinh,
        F::Cosh => F::Acosh,
        F::Tanh => F::Atanh,
        _ => return None,
    })
}

/// The integrand without its `dx`, and the variable.
fn without_differential(body: Node) -> (Node, Option<String>) {
    fn take(factors: &mut Vec<Node>) -> Option<String> {
        let at = factors.windows(2).position(|pair| {
            matches!(&pair[0], Node::Symbol(name) if name == "d") && matches!(&pair[1], Node::Symbol(_))
        })?;
        let variable = factors.remove(at + 1);
        factors.remove(at);
        match variable {
            Node::Symbol(name) => Some(name),
            _ => None,
        }
    }
    fn from_product(node: Node) -> (Node, Option<String>) {
        match node {
            Node::Product(mut factors) => {
                let mut found = take(&mut factors);
                if found.is_none() {
                    for factor in &mut factors {
                        if let Node::Product(_) = factor {
                            let (inner, variable) = from_product(std::mem::replace(factor, Node::Ellipsis));
                            *factor = inner;
                            found = found.or(variable);
                        }
                    }
                }
                if factors.is_empty() {
                    factors.push(Node::integer(1));
                }
                (product_of(factors), found)
            }
            other => (other, None),
        }
    }
    match body {
        Node::Sum(mut terms) => {
            let last = terms.pop().unwrap_or(Node::Named(NamedSet::Empty));
            let (last, variable) = from_product(last);
            terms.push(last);
            (Node::Sum(terms), variable)
        }
        other => from_product(other),
    }
}
