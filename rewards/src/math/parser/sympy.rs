//! SymPy's constructors, as `str` and `srepr` write them: models answer in that notation too.

use super::super::lexer::Token;
use super::super::node::{Constant, Function, Node, Relation};
use super::{NoParse, Parsed, Parser, number};

impl Parser<'_> {
    /// SymPy's names, as `str` and `srepr` write them.
    pub(super) fn constructor(&mut self, name: &str) -> Parsed<Node> {
        // Interval.open(a, b)
        let mut brackets = ('[', ']');
        if name == "Interval" {
            for (kind, found) in [("open", ('(', ')')), ("Ropen", ('[', ')')), ("Lopen", ('(', ']'))] {
                if matches!(self.peek(), Some(Token::Word(word)) if word == kind) {
                    self.at += 1;
                    brackets = found;
                }
            }
        }
        self.expect(Token::Open('('))?;
        if matches!(name, "Symbol" | "Float" | "Function") {
            return self.quoted(name);
        }
        // What a sum runs over may be called i; SymPy's imaginary unit is I.
        let indexed = usize::from(matches!(name, "Sum" | "Product"));
        self.index_i += indexed;
        let items = if self.accept(Token::Close(')')) { Ok(vec![]) } else { self.arguments(')') };
        self.index_i -= indexed;
        let mut items = items?;
        let relation = |relation| {
            move |items: Vec<Node>| {
                if items.len() == 2 { Ok(Node::Relation(items, vec![relation])) } else { Err(NoParse::Unparsable) }
            }
        };
        match name {
            "Matrix" | "MutableDenseMatrix" | "ImmutableDenseMatrix" => {
                let [Node::Tuple(_, _, rows)] = items.as_slice() else {
                    // Matrix([[1, 2]]): one row is a tuple in brackets that hold nothing else.
                    return Err(NoParse::Unparsable);
                };
                let nested = rows.iter().any(|row| matches!(row, Node::Tuple(..)));
                let rows = if nested || rows.len() < 2 {
                    rows.iter()
                        .map(|row| match row {
                            Node::Tuple(_, _, cells) => cells.clone(),
                            single => vec![single.clone()],
                        })
                        .collect()
                } else {
                    rows.iter().map(|cell| vec![cell.clone()]).collect()
                };
                Ok(Node::Matrix(rows))
            }
            // Interval(a, b, left_open, right_open)
            "Interval" if items.len() == 4 => {
                let open = |item: &Node| matches!(item, Node::Text(word) if word == "true");
                let left = if open(&items[2]) { '(' } else { '[' };
                let right = if open(&items[3]) { ')' } else { ']' };
                items.truncate(2);
                Ok(Node::Tuple(left, right, items))
            }
            "Interval" if items.len() == 2 => Ok(Node::Tuple(brackets.0, brackets.1, items)),
            "Union" => Ok(Node::Union(items)),
            "Intersection" => Ok(Node::Intersection(items)),
            "Complement" if items.len() == 2 => {
                let right = items.remove(1);
                Ok(Node::Difference(Box::new(items.remove(0)), Box::new(right)))
            }
            "FiniteSet" => Ok(Node::Set(items)),
            "Tuple" => Ok(Node::Tuple('(', ')', items)),
            "Eq" | "Equality" => relation(Relation::Equal)(items),
            "Ne" | "Unequality" => relation(Relation::NotEqual)(items),
            "Lt" | "StrictLessThan" => relation(Relation::Less)(items),
            "Le" | "LessThan" => relation(Relation::LessEqual)(items),
            "Gt" | "StrictGreaterThan" => relation(Relation::Greater)(items),
            "Ge" | "GreaterThan" => relation(Relation::GreaterEqual)(items),
            "Add" => Ok(Node::Sum(items)),
            "Mul" => Ok(Node::Product(items)),
            "Pow" | "Rational" if items.len() == 2 => {
                let right = items.remove(1);
                let left = items.remove(0);
                Ok(if name == "Pow" { Node::power(left, right) } else { Node::Product(vec![left, right.inverse()]) })
            }
            "Integer" | "UnevaluatedExpr" if items.len() == 1 => Ok(items.remove(0)),
            "Sum" | "Product" | "Integral" if items.len() == 2 => {
                let function = match name {
                    "Sum" => Function::Sum,
                    "Product" => Function::Product,
                    _ => Function::Integral,
                };
                let range = items.remove(1);
                match range {
                    Node::Tuple(_, _, range) => items.extend(range),
                    variable => items.push(variable),
                }
                Ok(Node::Call(function, items))
            }
            "Derivative" if items.len() == 2 => {
                // The variable, alone or with its order; one above the first has no node.
                if let Some(Node::Tuple(_, _, parts)) = items.get(1) {
                    let [variable, order] = &parts[..] else { return Err(NoParse::Unparsable) };
                    if *order != Node::integer(1) {
                        return Err(NoParse::Unparsable);
                    }
                    items[1] = variable.clone();
                }
                Ok(Node::Call(Function::Derivative, items))
            }
            // A direction has no node. SymPy writes '+' where none was given, and '-' at infinity, which has no other.
            "Limit" if items.len() >= 3 => {
                let before = self.tokens.get(self.at - 1).map_or("", |close| &self.text[..close.start]);
                let is_from_below = before.trim_end_matches([')', ' ']).ends_with("'-'");
                items.truncate(3);
                match items.last() {
                    Some(point) if is_from_below && *point != Node::Constant(Constant::Infinity) => {
                        Err(NoParse::Unparsable)
                    }
                    _ => Ok(Node::Call(Function::Limit, items)),
                }
            }
            _ => Err(NoParse::Unparsable),
        }
    }

    /// `Symbol('x_1')`, `Float('1.1000000000000001', precision=53)`.
    fn quoted(&mut self, name: &str) -> Parsed<Node> {
        let start = self.tokens.get(self.at).ok_or(NoParse::Unparsable)?.start;
        while !matches!(self.peek(), None | Some(Token::Close(')'))) {
            self.at += 1;
        }
        let end = self.tokens.get(self.at).ok_or(NoParse::Unparsable)?.start;
        self.at += 1;
        let inside = &self.text[start..end];
        let mut quotes = inside.split('\'');
        let content = quotes.nth(1).ok_or(NoParse::Unparsable)?;
        if name == "Function" {
            self.expect(Token::Open('('))?;
            return Ok(Node::Apply(content.to_owned(), self.arguments(')')?));
        }
        if name == "Symbol" {
            let inner = super::parse_as(content, self.reading).0;
            return Ok(match inner {
                Ok(symbol @ Node::Symbol(_)) => symbol,
                _ => Node::Symbol(content.to_owned()),
            });
        }
        // A float of 53 bits is the shortest decimal that it rounds to.
        let short = if inside.contains("precision=53") {
            content.parse::<f64>().map(|value| value.to_string()).map_err(|_| NoParse::Unparsable)?
        } else {
            content.to_owned()
        };
        let (minus, digits) = short.strip_prefix('-').map_or((false, short.as_str()), |rest| (true, rest));
        let value = Node::Number(number::literal(digits)?);
        Ok(if minus { value.negated() } else { value })
    }
}
