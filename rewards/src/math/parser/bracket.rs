//! What stands in brackets: groups, tuples, sets, absolute values, arguments.

use super::super::lexer::Token;
use super::super::node::{Function, Joint, NamedSet, Node, Relation};
use super::{NoParse, Parsed, Parser};

impl Parser<'_> {
    /// `(`, `[`, `\{`, `\lfloor` ... and what is inside.
    pub(super) fn bracketed(&mut self, open: char) -> Parsed<Node> {
        let (bars, angles) = (std::mem::take(&mut self.bars), std::mem::take(&mut self.angles));
        let result = self.nested(|parser| {
            if open == '{' && parser.accept(Token::Close('}')) {
                return Ok(Node::Named(NamedSet::Empty));
            }
            // \{ x : x > 1 \}, \{ x \mid x > 1 \}: the set of what the condition says.
            if open == '{'
                && let Some(condition) = parser.set_builder()?
            {
                return Ok(condition);
            }
            let inside = parser.list(&|token| matches!(token, None | Some(Token::Close(_))))?;
            let Some(Token::Close(close)) = parser.peek() else { return Err(NoParse::Unparsable) };
            parser.at += 1;
            match (open, close) {
                ('⌊', '⌋') => return Ok(Node::call(Function::Floor, inside)),
                ('⌈', '⌉') => return Ok(Node::call(Function::Ceil, inside)),
                ('{', '}') => {
                    return Ok(match inside {
                        Node::List(_, items) => Node::Set(items),
                        // \{1+2\}\{3-4\}: braces that only group.
                        other => Node::Set(vec![other]),
                    });
                }
                ('(' | '[', ')' | ']') | ('<', '>') => {}
                _ => return Err(NoParse::Unparsable),
            }
            Ok(match inside {
                Node::List(_, items) => Node::Tuple(open, close, flatten(items)),
                single if open == '<' => Node::Tuple(open, close, vec![single]),
                single => single,
            })
        });
        (self.bars, self.angles) = (bars, angles);
        result
    }

    /// The condition of a set in set-builder notation; nothing is taken if it is none.
    fn set_builder(&mut self) -> Parsed<Option<Node>> {
        let start = self.at;
        let Some(Token::Symbol(name)) = self.peek() else { return Ok(None) };
        self.at += 1;
        let mut domain = None;
        if self.accept(Token::Relation(Relation::In)) {
            // A bar behind the set begins the condition, and no absolute value.
            self.bars += 1;
            let set = self.sum();
            self.bars -= 1;
            let Ok(set) = set else {
                self.at = start;
                return Ok(None);
            };
            domain = Some(Node::Relation(vec![Node::Symbol(name.to_owned()), set], vec![Relation::In]));
        }
        if matches!(self.peek(), Some(Token::Bar(_) | Token::Colon)) {
            self.at += 1;
            let condition = self.list(&|token| matches!(token, None | Some(Token::Close(_))))?;
            self.expect(Token::Close('}'))?;
            // What the elements are taken from is a condition too.
            return Ok(Some(match domain {
                Some(domain) => Node::List(Joint::And, vec![condition, domain]),
                None => condition,
            }));
        }
        self.at = start;
        Ok(None)
    }

    /// `{...}`: TeX's grouping; several items make a bare list.
    pub(super) fn group(&mut self) -> Parsed<Node> {
        let (bars, angles) = (std::mem::take(&mut self.bars), std::mem::take(&mut self.angles));
        let result = self.nested(|parser| {
            let inside = parser
                .list(&|token| matches!(token, None | Some(Token::GroupClose | Token::Command("choose" | "over"))))?;
            let inside = parser.stacked(inside)?;
            parser.expect(Token::GroupClose)?;
            Ok(inside)
        });
        (self.bars, self.angles) = (bars, angles);
        result
    }

    /// `16 \choose 2`, `1 \over 2`: the rest of the group is what stands below.
    pub(super) fn stacked(&mut self, top: Node) -> Parsed<Node> {
        if self.accept(Token::Command("choose")) {
            return Ok(Node::Call(Function::Binomial, vec![top, self.sum()?]));
        }
        if self.accept(Token::Command("over")) {
            return Ok(Node::Product(vec![top, self.sum()?.inverse()]));
        }
        Ok(top)
    }

    /// `<1, 2, 3>`.
    pub(super) fn angle(&mut self) -> Parsed<Node> {
        self.angles += 1;
        let result = self.nested(|parser| {
            let inside = parser
                .list(&|token| matches!(token, None | Some(Token::Relation(Relation::Greater) | Token::Close('>'))))?;
            parser.at += 1;
            match inside {
                Node::List(_, items) => Ok(Node::Tuple('<', '>', items)),
                _ => Err(NoParse::Unparsable),
            }
        });
        self.angles -= 1;
        result
    }

    /// `|x|`, and `\|v\|`, whose second bar is a token of its own kind.
    pub(super) fn absolute(&mut self) -> Parsed<Node> {
        let directed =
            self.tokens.get(self.at.wrapping_sub(1)).map(|lexeme| lexeme.token) == Some(Token::Bar(Some(true)));
        let bars = self.bars;
        self.bars = if directed { 0 } else { bars + 1 };
        let inside = self.set_expression();
        self.bars = bars;
        let inside = inside?;
        match self.peek() {
            Some(Token::Bar(_)) => self.at += 1,
            _ => return Err(NoParse::Unparsable),
        }
        Ok(Node::call(Function::Abs, inside))
    }

    /// Arguments up to `close`.
    pub(super) fn arguments(&mut self, close: char) -> Parsed<Vec<Node>> {
        let (bars, angles) = (std::mem::take(&mut self.bars), std::mem::take(&mut self.angles));
        let inside = self.nested(|parser| parser.list(&|token| matches!(token, None | Some(Token::Close(_)))));
        (self.bars, self.angles) = (bars, angles);
        let inside = inside?;
        self.expect(Token::Close(close))?;
        Ok(match inside {
            Node::List(_, items) => items,
            single => vec![single],
        })
    }
}

/// `((1, 2), (3, 4))` keeps its tuples; a list in a list is one list: `(1,1;2,2)`.
fn flatten(items: Vec<Node>) -> Vec<Node> {
    items
        .into_iter()
        .flat_map(|item| match item {
            Node::List(_, inner) => inner,
            other => vec![other],
        })
        .collect()
}
