//! What the last number of a text is part of: `−4`, `3 / 4`, `2^4`, `4π`.

use super::number::{is_minus, last_value_digits, signed};

/// The last number with the rest of its term: `−4`, `3 / 4`, `2^4`, `4π`, `x + 2`, `(2, 3)`, `3 or 4`. Sums, differences and
/// products of plain numbers are still to be worked out, or are scores and ranges: there the last number stands for itself.
pub(super) fn last_term(text: &str) -> Option<&str> {
    let (start, end) = last_value_digits(text)?;
    let from =
        text[..start].rfind('\n').map_or(0, |at| at + 1).max(text.floor_char_boundary(start.saturating_sub(BESIDE)));
    let behind = &text[end..text.ceil_char_boundary(end + BESIDE)];
    let to = end + behind.find('\n').unwrap_or(behind.len());
    let pieces = pieces(&text[from..to]);
    let Some(number) = pieces.iter().position(|piece| piece.end == end - from) else {
        return Some(signed(text, start, end));
    };
    let mut term = Term { pieces: &pieces, from: number, to: number };
    term.grow();
    Some(&text[from + pieces[term.from].start..from + pieces[term.to].end])
}

/// How many bytes around a number are looked at for its term.
const BESIDE: usize = 120;

/// What a piece of a line is, as far as terms go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    /// A letter, or two glued to a number.
    Letters,
    /// `π`, `\pi`.
    Constant,
    /// `√`.
    Root,
    /// `sqrt`, `log`, `\frac`.
    Function,
    /// `%`, `°`, `²`, `½`, a factorial.
    Postfix,
    Slash,
    /// `^`, `_`.
    Script,
    Times,
    Plus,
    Minus,
    PlusMinus,
    Comma,
    Colon,
    Open,
    Close,
    /// `<`, `≥`.
    Relation,
    /// "or", "and", "choose".
    Joint,
    Currency,
    /// `=`, "is".
    Equals,
    /// Any other word.
    Word,
    /// Any other sign.
    Other,
}

impl Kind {
    fn ends_operand(self) -> bool {
        matches!(self, Self::Number | Self::Letters | Self::Constant | Self::Postfix | Self::Close)
    }

    fn begins_operand(self) -> bool {
        matches!(self, Self::Number | Self::Letters | Self::Constant | Self::Root | Self::Function | Self::Open)
    }

    /// Whether it may stand in the brackets of a term.
    fn is_inside(self) -> bool {
        let joins =
            matches!(self, Self::Slash | Self::Script | Self::Times | Self::Plus | Self::Minus | Self::PlusMinus);
        joins || self == Self::Comma || self.begins_operand() || self.ends_operand()
    }

    /// What a letter run is.
    fn of_word(word: &str, behind_number: bool) -> Self {
        match word {
            "sqrt" | "cbrt" | "log" | "ln" | "sin" | "cos" | "tan" | "exp" => Self::Function,
            "or" | "and" | "choose" => Self::Joint,
            "is" | "are" => Self::Equals,
            // Ordinals and hours are words.
            "st" | "nd" | "rd" | "th" | "am" | "pm" | "AM" | "PM" => Self::Word,
            // 240A, 72Mb: capitals behind a number are units.
            _ if behind_number && !word.starts_with(char::is_lowercase) => Self::Word,
            _ => match word.chars().count() {
                1 => Self::Letters,
                2 if behind_number => Self::Letters,
                _ => Self::Word,
            },
        }
    }

    /// What a command is.
    fn of_command(name: &str) -> Self {
        match name {
            "pi" => Self::Constant,
            "sqrt" | "frac" | "dfrac" | "tfrac" | "binom" | "log" | "ln" | "sin" | "cos" | "tan" => Self::Function,
            "cdot" | "times" => Self::Times,
            "pm" | "mp" => Self::PlusMinus,
            "le" | "leq" | "ge" | "geq" | "ne" | "neq" | "lt" | "gt" => Self::Relation,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    kind: Kind,
    start: usize,
    end: usize,
    /// Whether space stands before it.
    space: bool,
}

/// The pieces of a line.
fn pieces(line: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut at, mut space) = (0, false);
    while let Some(next) = line[at..].chars().next() {
        let rest = &line[at..];
        let is_letter = |next: &char| next.is_alphabetic() && *next != 'π';
        let letters = |text: &str| text.chars().take_while(is_letter).map(char::len_utf8).sum::<usize>();
        let last = pieces.last().map(|piece| piece.kind);
        let (kind, length) = match next {
            _ if next.is_whitespace() => {
                at += next.len_utf8();
                space = true;
                continue;
            }
            '0'..='9' => (Kind::Number, digits(rest)),
            '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) && (space || last != Some(Kind::Word)) => {
                (Kind::Number, digits(rest))
            }
            'π' => (Kind::Constant, next.len_utf8()),
            '\\' => {
                let length = letters(&rest[1..]);
                // What only sets a formula: \left, \,
                if matches!(&rest[1..1 + length], "left" | "right") || rest[1..].starts_with([',', ';', ':', '!', ' '])
                {
                    at += if length > 0 { 1 + length } else { 2 };
                    space |= length == 0;
                    continue;
                }
                match rest[1..].chars().next() {
                    Some('%') => (Kind::Postfix, 2),
                    Some('$') => (Kind::Currency, 2),
                    Some('{') => (Kind::Open, 2),
                    Some('}') => (Kind::Close, 2),
                    Some('(' | ')' | '[' | ']') => (Kind::Other, 2),
                    _ => (Kind::of_command(&rest[1..1 + length]), 1 + length),
                }
            }
            _ if next.is_alphabetic() => {
                let length = letters(rest);
                (Kind::of_word(&rest[..length], !space && last == Some(Kind::Number)), length)
            }
            '=' if rest.starts_with("=>") => (Kind::Other, 2),
            '-' if rest.starts_with("->") => (Kind::Other, 2),
            '*' if rest.starts_with("**") => (Kind::Other, 2),
            '!' if is_factorial(&rest[1..]) => (Kind::Postfix, 1),
            _ => (of_sign(next), next.len_utf8()),
        };
        pieces.push(Piece { kind, start: at, end: at + length, space });
        at += length;
        space = false;
    }
    pieces
}

/// How long the number is that `text` begins with: digits, and points and commas that digits follow.
fn digits(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    (0..bytes.len()).take_while(|&at| digit(at) || matches!(bytes[at], b'.' | b',') && digit(at + 1)).count()
}

fn of_sign(next: char) -> Kind {
    match next {
        '√' | '∛' | '∜' => Kind::Root,
        '%' | '°' | '⁻' => Kind::Postfix,
        // ², ½
        _ if next.is_numeric() => Kind::Postfix,
        '/' | '÷' | '⁄' | '∕' => Kind::Slash,
        '^' | '_' => Kind::Script,
        '*' | '×' | '·' | '⋅' => Kind::Times,
        '+' => Kind::Plus,
        '±' | '∓' => Kind::PlusMinus,
        _ if is_minus(next) => Kind::Minus,
        ',' => Kind::Comma,
        ':' => Kind::Colon,
        '(' | '[' | '{' => Kind::Open,
        ')' | ']' | '}' => Kind::Close,
        '<' | '>' | '≤' | '≥' | '≠' => Kind::Relation,
        '$' | '€' | '£' | '¥' | '₹' => Kind::Currency,
        '=' | '≈' => Kind::Equals,
        _ => Kind::Other,
    }
}

/// Whether an exclamation mark with `behind` behind it is a factorial: where the sentence goes on.
fn is_factorial(behind: &str) -> bool {
    let goes_on = |next: char| next.is_lowercase() || "+-−*×·/^=".contains(next);
    match behind.strip_prefix(' ') {
        Some(rest) => rest.starts_with(goes_on),
        None => behind.starts_with(|next: char| "+-−*×·/^=.,".contains(next)),
    }
}

/// A number and what belongs to it, from one piece to another.
struct Term<'a> {
    pieces: &'a [Piece],
    from: usize,
    to: usize,
}

impl Term<'_> {
    fn kind(&self, at: usize) -> Option<Kind> {
        self.pieces.get(at).map(|piece| piece.kind)
    }

    /// Whether no space stands before the piece.
    fn glued(&self, at: usize) -> bool {
        self.pieces.get(at).is_some_and(|piece| !piece.space)
    }

    /// Whether as much space stands before the sign as behind it.
    fn even(&self, sign: usize) -> bool {
        self.glued(sign) == self.glued(sign + 1)
    }

    fn grow(&mut self) {
        loop {
            while self.right() || self.left() {}
            let (from, to) = (self.from, self.to);
            let Some((open, close)) = self.brackets() else { return };
            (self.from, self.to) = (open, close);
            while self.right() || self.left() {}
            // (42): the brackets hold only what was there, and belong to nothing.
            if (self.from, self.to, from, to) == (open, close, open + 1, close - 1) || self.is_sum(open, close) {
                (self.from, self.to) = (from, to);
                return;
            }
        }
    }

    /// Whether brackets hold a calculation with plain numbers alone, and belong to nothing.
    fn is_sum(&self, open: usize, close: usize) -> bool {
        let plain = |at: usize| matches!(self.pieces[at].kind, Kind::Number | Kind::Plus | Kind::Minus | Kind::Times);
        (self.from, self.to) == (open, close) && (open + 1..close).all(plain)
    }

    /// The brackets right around the term, with what else they hold: `(2, 3)`.
    fn brackets(&self) -> Option<(usize, usize)> {
        let open = self.unmatched((0..self.from).rev(), Kind::Open, Kind::Close)?;
        Some((open, self.unmatched(self.to + 1..self.pieces.len(), Kind::Close, Kind::Open)?))
    }

    /// The first piece of `kind` on the way that `other` does not match, where nothing but parts of terms stands before it.
    fn unmatched(&self, mut way: impl Iterator<Item = usize>, kind: Kind, other: Kind) -> Option<usize> {
        let mut depth = 0_usize;
        way.find(|&at| {
            let here = self.pieces[at].kind;
            let found = here == kind && depth == 0;
            depth = if here == other { depth + 1 } else { depth - usize::from(here == kind && depth > 0) };
            found || !here.is_inside()
        })
        .filter(|&at| self.pieces[at].kind == kind)
    }

    /// Where the operand begins that ends at `at`.
    fn begin(&self, mut at: usize) -> Option<usize> {
        while self.kind(at)? == Kind::Postfix && self.glued(at) {
            at = at.checked_sub(1)?;
        }
        match self.kind(at)? {
            Kind::Close => self.unmatched((0..at).rev(), Kind::Open, Kind::Close),
            kind => kind.ends_operand().then_some(at),
        }
    }

    /// Where the operand ends that begins at `at`.
    fn end(&self, at: usize) -> Option<usize> {
        match self.kind(at)? {
            Kind::Open => self.unmatched(at + 1..self.pieces.len(), Kind::Close, Kind::Open),
            Kind::Root | Kind::Function => self.end(at + 1),
            kind => kind.begins_operand().then_some(at),
        }
    }

    /// Whether the term, and what ends at `before` it, are no more than plain numbers and fractions.
    fn is_plain(&self, before: usize) -> bool {
        let plain = |at: usize| matches!(self.pieces[at].kind, Kind::Number | Kind::Slash);
        let made = before.checked_sub(1).and_then(|at| self.kind(at));
        let made = matches!(made, Some(Kind::Root | Kind::Function | Kind::Script));
        (self.from..=self.to).all(plain) && plain(before) && !made
    }

    /// Takes in what stands behind, if it belongs to the term.
    fn right(&mut self) -> bool {
        let at = self.to + 1;
        let Some(kind) = self.kind(at) else { return false };
        let glued = self.glued(at);
        let next = self.kind(at + 1);
        let letter = |end: &usize| self.pieces[*end].kind != Kind::Letters || self.ends_clause(*end + 1);
        let end = match kind {
            Kind::Postfix | Kind::Letters if glued => Some(at),
            Kind::Constant => Some(at),
            Kind::Open if glued => self.end(at),
            Kind::Root | Kind::Function => self.end(at),
            Kind::PlusMinus => self.end(at + 1),
            Kind::Script if glued && self.glued(at + 1) => self.end(at + 1),
            Kind::Slash | Kind::Plus | Kind::Minus | Kind::Times if self.even(at) && next != Some(Kind::Number) => {
                self.end(at + 1).filter(letter)
            }
            Kind::Relation if self.even(at) && !glued && next != Some(Kind::Number) => self.end(at + 1).filter(letter),
            _ => None,
        };
        self.to = end.unwrap_or(self.to);
        end.is_some()
    }

    /// Whether no word goes on at `at`: "5 - a" is a difference, "5 - a dozen" is not.
    fn ends_clause(&self, at: usize) -> bool {
        self.kind(at).is_none_or(|kind| !matches!(kind, Kind::Letters | Kind::Word) || self.glued(at))
    }

    /// Takes in what stands before, if it belongs to the term.
    fn left(&mut self) -> bool {
        let from = self.left_end();
        self.from = from.unwrap_or(self.from);
        from.is_some()
    }

    fn left_end(&self) -> Option<usize> {
        let sign = self.from.checked_sub(1)?;
        let first = self.kind(self.from)?;
        let before = sign.checked_sub(1);
        let kind = self.kind(sign)?;
        let operand = before.and_then(|at| self.begin(at));
        let glued = self.glued(self.from);
        match kind {
            Kind::Root | Kind::Function => Some(sign),
            Kind::PlusMinus => operand.or(Some(sign)),
            Kind::Script if glued && self.glued(sign) => operand,
            Kind::Slash if self.even(sign) => operand,
            // "Day 2:3" is no ratio.
            Kind::Colon if glued && self.glued(sign) => {
                operand.filter(|at| at.checked_sub(1).and_then(|at| self.kind(at)) == Some(Kind::Equals))
            }
            // What compares two numbers is a reason, no answer.
            Kind::Relation if !glued && self.even(sign) => operand.filter(|at| self.kind(*at) != Some(Kind::Number)),
            Kind::Joint if self.kind(self.to + 1) != Some(Kind::Equals) => {
                operand.filter(|at| self.kind(*at) != Some(Kind::Letters))
            }
            Kind::Plus | Kind::Minus | Kind::Times if operand.is_some() && self.even(sign) => {
                operand.filter(|_| !before.is_some_and(|at| self.is_plain(at)))
            }
            // A sign is glued to its number, or stands behind what says that a value follows.
            Kind::Minus => {
                let value = before.and_then(|at| self.kind(at)) == Some(Kind::Equals);
                (glued && self.is_sign(sign) || value).then_some(sign)
            }
            // −$5
            Kind::Currency if glued && self.glued(sign) => {
                before.filter(|at| self.kind(*at) == Some(Kind::Minus) && self.is_sign(*at))
            }
            // 3 1/2
            Kind::Number if first == Kind::Number && !glued && self.kind(self.from + 1) == Some(Kind::Slash) => {
                Some(sign)
            }
            // 3√4, 2 π, 4(3), f(3), \pi r^2
            _ if kind.ends_operand() => {
                let near = glued && first.begins_operand() && first != Kind::Number;
                let behind_value = before.and_then(|at| self.kind(at)).is_some_and(Kind::ends_operand);
                let number = kind != Kind::Letters || behind_value && self.glued(sign);
                let apart = number && matches!(first, Kind::Root | Kind::Constant | Kind::Function);
                let circle = kind == Kind::Constant && first == Kind::Letters;
                self.begin(sign).filter(|_| near || apart || circle)
            }
            _ => None,
        }
    }

    /// Whether the minus at `at` is no stroke behind a word or an operand: `COVID-19`, `7-3`.
    fn is_sign(&self, at: usize) -> bool {
        let before = at.checked_sub(1).and_then(|before| self.kind(before));
        !self.glued(at) || !before.is_some_and(|kind| kind == Kind::Word || kind.ends_operand())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)]) {
        for (text, term) in pairs {
            assert_eq!(last_term(text), Some(*term), "{text:?}");
        }
    }

    #[test]
    fn a_number_with_the_rest_of_its_term() {
        check(&[
            ("the minimum is −4.", "−4"),
            ("it is - 4.", "- 4"),
            ("he is at -$4 now", "-$4"),
            ("the area is 4π square units", "4π"),
            ("a chance of 3 / 4.", "3 / 4"),
            ("a total of 2^4.", "2^4"),
            ("it is 2^(n-1).", "2^(n-1)"),
            ("a length of 3√4.", "3√4"),
            ("it is 2*sqrt(3)/5", "2*sqrt(3)/5"),
            ("we get \\frac{3}{4}.", "\\frac{3}{4}"),
            ("it is 3 + 4i.", "3 + 4i"),
            ("it is x - 2", "x - 2"),
            ("so x ≥ 2.", "x ≥ 2"),
            ("there are 5! ways", "5!"),
            ("10 choose 4.", "10 choose 4"),
            ("it is 3 or 4.", "3 or 4"),
            ("it is 3 × 10^8 m", "3 × 10^8"),
            ("it takes 3 1/2 cups", "3 1/2"),
            ("it takes 3½ cups", "3½"),
            ("the point (2, 3).", "(2, 3)"),
            ("at f(3)", "f(3)"),
            ("the ratio is 2:3.", "2:3"),
            ("it is 3 \\sqrt{5}.", "3 \\sqrt{5}"),
            ("at \\left(2, 3\\right).", "(2, 3\\right)"),
            ("an angle of 60°", "60°"),
            ("it is ±3.", "±3"),
            ("it is 3 \\pm 2\\sqrt{2}.", "3 \\pm 2\\sqrt{2}"),
            ("it's \\sqrt{4}", "\\sqrt{4}"),
        ]);
    }

    #[test]
    fn a_number_alone() {
        check(&[
            ("it was 7-3", "3"),
            ("it was 7–3", "3"),
            ("8 + 9", "9"),
            ("12 * 3 = 36 apples", "36"),
            ("in all (8 + 9)", "9"),
            ("of COVID-19", "19"),
            ("the answer - 42", "42"),
            ("- 42", "42"),
            ("**Total:** 42", "42"),
            ("on the 5th day", "5"),
            ("at 5pm", "5"),
            ("She has 42!", "42"),
            ("She has 42! Done", "42"),
            ("5 - a dozen less", "5"),
            ("the 10-year plan", "10"),
            ("she eats 5 a day", "5"),
            ("in all (42)", "42"),
            ("(42 in all)", "42"),
            ("w/ 4 kids", "4"),
            ("In 2010, 42 came", "42"),
            ("it costs $5/hour", "5"),
            ("Week 3:210 pages", "210"),
            ("it carries 240A", "240"),
            ("as 200 < 220 she wins", "220"),
            ("5A/5 or 20 = A", "20"),
        ]);
    }
}
