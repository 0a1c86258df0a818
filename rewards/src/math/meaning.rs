//! What an answer amounts to, once names, chains and approximations are seen through: `x = 4` says 4, `1/3 \approx 0.33`
//! says 1/3, `x \in [0, 1]` says the interval.

use super::domain;
use super::naming;
use super::node::{Function, Joint, NamedSet, Node, Relation};
use super::unit::{self, Behind, Unit};

/// The set of all real numbers in words.
const ALL_REALS: [&str; 6] = [
    "all real numbers",
    "all reals",
    "all real values",
    "the real numbers",
    "any real number",
    "the set of all real numbers",
];

/// The answer without what only leads to it.
pub(crate) fn meaning(node: Node) -> Node {
    match node {
        Node::Relation(terms, relations) => relation(terms, relations),
        Node::List(joint, items) => list(joint, items),
        // A(1, 2): the point's name.
        Node::Product(mut items)
            if matches!(items.as_slice(), [Node::Symbol(name), Node::Tuple(..)]
                if name.len() == 1 && name.starts_with(|letter: char| letter.is_ascii_uppercase())) =>
        {
            items.swap_remove(1)
        }
        Node::Text(words) if ALL_REALS.contains(&words.as_str()) => Node::Named(NamedSet::Reals),
        Node::Set(items) => Node::Set(items.into_iter().map(meaning).collect()),
        Node::Tuple(open, close, mut items) => {
            naming::in_order(&mut items);
            Node::Tuple(open, close, items)
        }
        // {x} as a set with one element is that element, wherever a value is asked for; compared as such.
        other => other,
    }
}

fn relation(mut terms: Vec<Node>, mut relations: Vec<Relation>) -> Node {
    // What stands behind an approximation adds nothing, unless a name is all that stands before it.
    if let Some(at) = relations.iter().position(|relation| *relation == Relation::Approximately) {
        if at == 0 && terms.first().is_some_and(is_name) {
            relations[0] = Relation::Equal;
            relations.truncate(1);
            terms.truncate(2);
        } else {
            relations.truncate(at);
            terms.truncate(at + 1);
        }
    }
    if relations.is_empty() {
        return terms.swap_remove(0);
    }
    if relations.iter().all(|relation| *relation == Relation::Equal) {
        if let [left @ Node::Tuple(..), Node::Tuple(_, _, values)] = terms.as_slice()
            && let Some(each) = by_name(left, values)
        {
            return each;
        }
        if terms.len() > 2 || is_worked_out(&terms) {
            return chain(terms, relations);
        }
    }
    if let ([Relation::In], [left, _]) = (relations.as_slice(), terms.as_slice())
        && (is_name(left) || matches!(left, Node::Tuple(..) | Node::List(..)))
    {
        return terms.swap_remove(1);
    }
    // A \cap B = \{x \in Z : 0 < x < 5\}
    if let ([Relation::Equal], [name, set @ Node::List(..)]) = (relations.as_slice(), terms.as_mut_slice())
        && naming::set_name(name).is_some()
    {
        *set = meaning(set.clone());
    }
    Node::Relation(terms, relations)
}

/// `(x, y) = (1, 2)` as `x = 1, y = 2`; `None` where the names do not say which value is which.
fn by_name(names: &Node, values: &[Node]) -> Option<Node> {
    let Node::Tuple('(' | '<', ')' | '>', names) = names else { return None };
    let named =
        |(name, value): (&Node, &Node)| Node::Relation(vec![name.clone(), value.clone()], vec![Relation::Equal]);
    let mut items: Vec<Node> = names.iter().zip(values).map(named).collect();
    naming::in_order(&mut items);
    let fits = names.len() == values.len() && names.iter().all(|name| matches!(name, Node::Symbol(_)));
    (fits && naming::names(&items).is_some()).then_some(Node::List(Joint::Comma, items))
}

/// A constant, or a formula for one.
pub(crate) fn is_value(node: &Node) -> bool {
    node.is_scalar() && node.symbols().is_empty()
}

/// `3 \cdot 4 = 12`: a calculation and its result.
fn is_worked_out(terms: &[Node]) -> bool {
    matches!(terms, [left, right] if is_value(left) && is_value(right) && !matches!(left, Node::Number(_)))
}

/// Several equations in one. Where the later ones only work out what the first side is, as in `x = 5 + 5 = 10`, the last says
/// it; where each says something, as in `x = 2y = 3z`, the chain stays as it is.
fn chain(mut terms: Vec<Node>, relations: Vec<Relation>) -> Node {
    let (Some(first), Some(last)) = (terms.first(), terms.last()) else { return Node::Relation(terms, relations) };
    let between = &terms[1..terms.len() - 1];
    let equation = |name: &Node| Node::Relation(vec![name.clone(), last.clone()], vec![Relation::Equal]);
    // x = y = 2
    if is_value(last) && !between.is_empty() && terms[..terms.len() - 1].iter().all(is_name) {
        return Node::List(Joint::Comma, terms[..terms.len() - 1].iter().map(equation).collect());
    }
    let worked_out = is_value(last) && between.iter().all(is_value);
    // y = 2x + 3x = 5x, but not x = y = z.
    let symbols = last.symbols();
    let rewritten =
        is_name(first) && !is_name(last) && between.iter().all(|term| term.is_scalar() && term.symbols() == symbols);
    if !worked_out && !rewritten {
        return Node::Relation(terms, relations);
    }
    if is_name(first) {
        return equation(first);
    }
    terms.swap_remove(terms.len() - 1)
}

/// The terms of a chain of equations that each say something.
pub(crate) fn chained(node: &Node) -> Option<&[Node]> {
    match node {
        Node::Relation(terms, relations)
            if terms.len() > 2 && relations.iter().all(|relation| *relation == Relation::Equal) =>
        {
            Some(terms)
        }
        _ => None,
    }
}

/// What a chain says of its first side, for what is no chain: `S = n(n+1)/2 = 55` is 55.
pub(crate) fn result(terms: &[Node]) -> Option<Node> {
    let (first, last) = (terms.first()?, terms.last()?);
    let named = is_name(first) && is_value(last) && !terms[1..terms.len() - 1].iter().any(is_name);
    named.then(|| Node::Relation(vec![first.clone(), last.clone()], vec![Relation::Equal]))
}

fn list(joint: Joint, mut items: Vec<Node>) -> Node {
    // 2k\pi, k \in Z: what k ranges over is no answer of its own. But x > 3, x \in Z speaks of whole numbers alone.
    if !items.iter().all(is_range) {
        let domain = items.iter().find_map(|item| restriction(item, &items)).cloned();
        items.retain(|item| !is_range(item));
        if let Some(domain) = domain {
            return Node::Intersection(vec![list(joint, items), domain]);
        }
    }
    // x \in (1, 3), x \ne 2: one condition among others on x.
    let conditions = items.iter().any(is_condition);
    let said = |item| if conditions && is_membership(&item) { item } else { meaning(item) };
    let items: Vec<Node> = memberships(items).into_iter().map(said).collect();
    // x = 2 and x = -2; x = 1, 2, 3: the names go where every item is a value or says its name.
    let mut flat = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Node::List(Joint::Or, inner) if joint != Joint::And => flat.extend(inner),
            other => flat.push(other),
        }
    }
    let joint = if exclude(&mut flat) { Joint::And } else { joint };
    naming::in_order(&mut flat);
    if flat.len() == 1 { flat.swap_remove(0) } else { Node::List(joint, flat) }
}

/// An inequality, or what a letter is not.
pub(crate) fn is_condition(node: &Node) -> bool {
    let Node::Relation(_, relations) = node else { return false };
    relations.iter().all(|relation| {
        use Relation as R;
        matches!(relation, R::Less | R::LessEqual | R::Greater | R::GreaterEqual | R::NotEqual | R::NotIn)
    })
}

/// `x \in A`.
fn is_membership(node: &Node) -> bool {
    matches!(node, Node::Relation(terms, relations)
        if relations.as_slice() == [Relation::In] && matches!(terms.first(), Some(Node::Symbol(_))))
}

/// `x \in A, y \in B` as `x = A, y = B`: what is which, is said by the names.
fn memberships(items: Vec<Node>) -> Vec<Node> {
    let name = |item: &Node| match item {
        Node::Relation(terms, relations) if relations.as_slice() == [Relation::In] => terms.first().cloned(),
        _ => None,
    };
    let names: Vec<Node> = items.iter().filter_map(name).filter(is_name).collect();
    if names.windows(2).all(|pair| pair[0] == pair[1]) {
        return items;
    }
    let named = |item| match item {
        Node::Relation(terms, relations) if relations.as_slice() == [Relation::In] => {
            Node::Relation(terms, vec![Relation::Equal])
        }
        other => other,
    };
    items.into_iter().map(named).collect()
}

/// Spreads what a name is not over the values behind it: `x \ne 0, 1` is `x \ne 0, x \ne 1`. Whether that is all there is: then
/// every one of them holds, whatever joins them.
fn exclude(items: &mut [Node]) -> bool {
    let mut excluded: Option<Node> = None;
    let mut all = true;
    for item in items {
        match (&*item, &excluded) {
            (Node::Relation(terms, relations), _) if relations.as_slice() == [Relation::NotEqual] => {
                excluded = terms.first().filter(|name| is_name(name)).cloned();
            }
            (value, Some(name)) if value.is_scalar() => {
                *item = Node::Relation(vec![name.clone(), value.clone()], vec![Relation::NotEqual]);
            }
            _ => {
                excluded = None;
                all = false;
            }
        }
    }
    all && excluded.is_some()
}

/// The letters that only count, with what they count over, as [`list`] leaves it out: k and Z in `2k\pi, k \in \mathbb{Z}`.
pub(crate) fn counted(node: &Node) -> Vec<(&String, &Node)> {
    let Node::List(_, items) = node else { return vec![] };
    if items.iter().all(is_range) || items.iter().any(|item| restriction(item, items).is_some()) {
        return vec![];
    }
    let ranges = items.iter().filter(|item| is_range(item)).filter_map(|item| match item {
        Node::Relation(terms, _) => match terms.as_slice() {
            // "For all x" does not say over what.
            [Node::Symbol(_), Node::Text(all)]
                if matches!(all.trim_start_matches('\\'), "all" | "any" | "every" | "each" | "forall" | "∀") =>
            {
                None
            }
            [Node::Symbol(name), set] => Some((name, set)),
            _ => None,
        },
        _ => None,
    });
    ranges.collect()
}

/// The domain that `item` says, where one of `items` is an inequality for the same unknown.
fn restriction<'a>(item: &'a Node, items: &[Node]) -> Option<&'a Node> {
    let Node::Relation(terms, _) = item else { return None };
    let ([Node::Symbol(name), set], true) = (terms.as_slice(), is_range(item)) else { return None };
    let speaks = |other: &Node| {
        let Node::Relation(terms, relations) = other else { return false };
        let equation = relations.iter().all(|relation| matches!(relation, Relation::Equal | Relation::Approximately));
        let alone = || terms.iter().all(|term| term.symbols().iter().all(|symbol| symbol == name));
        !equation && !is_range(other) && (terms.iter().any(|term| *term == Node::Symbol(name.clone())) || alone())
    };
    (domain::of(set) != Some(NamedSet::Reals) && items.iter().any(|other| other.any(&mut |part| speaks(part))))
        .then_some(set)
}

/// What a letter ranges over: `k \in Z`.
pub(crate) fn is_range(node: &Node) -> bool {
    let Node::Relation(terms, relations) = node else { return false };
    let is_set = |node: &Node| match node {
        Node::Named(set) => *set != NamedSet::Empty,
        Node::Symbol(name) => matches!(name.as_str(), "Z" | "N" | "Q" | "R"),
        Node::Text(_) => true,
        _ => false,
    };
    relations.as_slice() == [Relation::In] && matches!(terms.as_slice(), [Node::Symbol(_), set] if is_set(set))
}

/// The name and the value of `x = 4`, `f(x) = e`, `AB = 5`, `4 = x`.
pub(crate) fn named_value(node: &Node) -> Option<(&Node, &Node)> {
    let Node::Relation(terms, relations) = node else { return None };
    match (terms.as_slice(), relations.as_slice()) {
        ([left, right], [Relation::Equal]) if is_name(left) && !mentions(right, left) => Some((left, right)),
        ([left, right], [Relation::Equal]) if is_name(right) && left.symbols().is_empty() => Some((right, left)),
        // A \cap B = \{2, 3\}
        ([left, right], [Relation::Equal]) if is_set(right) && naming::set_name(left).is_some() => Some((left, right)),
        _ => None,
    }
}

/// A set that is written out, or the condition for its elements.
fn is_set(node: &Node) -> bool {
    match node {
        Node::Set(_) | Node::Named(_) => true,
        Node::Tuple(_, _, items) => items.len() == 2,
        Node::Union(_) | Node::Intersection(_) | Node::Difference(..) => naming::set_name(node).is_none(),
        Node::List(_, items) => items.iter().all(is_condition),
        other => is_condition(other),
    }
}

/// Whether the name itself stands in the value: then it is an equation to be solved.
fn mentions(value: &Node, name: &Node) -> bool {
    match name {
        Node::Symbol(own) => value.symbols().iter().any(|symbol| symbol == own),
        _ => false,
    }
}

/// What stands for a quantity: a letter, a function at a point, a segment, a ratio or measure of such.
pub(crate) fn is_name(node: &Node) -> bool {
    match node {
        Node::Symbol(_) | Node::Text(_) | Node::Apply(..) => true,
        Node::Call(Function::Abs | Function::Conjugate | Function::Determinant, inner) => inner.iter().all(is_name),
        // \sin\theta = \frac35
        Node::Call(
            Function::Sin | Function::Cos | Function::Tan | Function::Cot | Function::Sec | Function::Csc,
            inner,
        ) => matches!(inner.as_slice(), [Node::Symbol(_)]),
        Node::Inverse(inner) => is_name(inner),
        Node::Ratio(parts, _) => parts.iter().all(is_name),
        // (x, y) = (1, 2)
        Node::Tuple(_, _, items) => items.iter().all(|item| matches!(item, Node::Symbol(_))),
        Node::Power(base, exponent) => matches!(**base, Node::Apply(..)) && matches!(**exponent, Node::Symbol(_)),
        // \frac{dy}{dx}
        Node::Product(items) if matches!(items.first(), Some(Node::Symbol(d)) if d == "d") => {
            items.iter().all(|item| matches!(item, Node::Symbol(_) | Node::Inverse(_)))
                && matches!(items.last(), Some(Node::Inverse(inner)) if inner.symbols().iter().any(|name| name == "d"))
        }
        // \frac{dy}{dx} as \frac makes it: a product of the top, which is one, and the bottom.
        Node::Product(items)
            if matches!(items.as_slice(), [Node::Product(top), Node::Inverse(_)]
                if matches!(top.first(), Some(Node::Symbol(d)) if d == "d")) =>
        {
            items.iter().all(|item| item.symbols().len() <= 2)
        }
        // AB, W(n), \frac{NO}{BO}: capitals, or a capital with its argument.
        Node::Product(items) => {
            let capital = |name: &str| name.starts_with(|letter: char| letter.is_uppercase());
            let quotient = items.iter().any(|item| matches!(item, Node::Inverse(_)));
            let first = match items.first() {
                Some(Node::Symbol(name)) => capital(name),
                Some(inner) => is_name(inner),
                None => false,
            };
            let fits = |item: &Node| match item {
                Node::Symbol(name) => capital(name) || items.len() == 2 || quotient,
                Node::Constant(_) => items.len() == 2,
                Node::Number(_) => items.len() == 2 && !quotient,
                other => is_name(other),
            };
            first && items.iter().all(fits) && !matches!(items.first(), Some(Node::Number(_)))
        }
        _ => false,
    }
}

/// A scalar, taken apart: the value, and what it is said to measure.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) value: Node,
    pub(crate) unit: Option<Unit>,
    pub(crate) percent: bool,
    pub(crate) degrees: bool,
}

impl Measured {
    pub(crate) fn of(node: &Node) -> Self {
        let mut measured = Self { value: node.clone(), unit: None, percent: false, degrees: false };
        loop {
            measured.value = match measured.value {
                Node::Quantity(inner, unit) => {
                    measured.unit = Some(unit);
                    *inner
                }
                Node::Percent(inner) => {
                    measured.percent = true;
                    *inner
                }
                Node::Degrees(inner) => {
                    measured.degrees = true;
                    *inner
                }
                _ => return measured,
            };
        }
    }

    /// Whether a percentage or degrees, if this is one, may be what `other` measures: no length is an angle.
    pub(crate) fn allows(&self, other: &Self) -> bool {
        let percent = !self.percent
            || other.percent
            || !other.degrees && other.unit.as_ref().is_none_or(|unit| unit.mentions("percentage"));
        let degrees =
            !self.degrees || other.degrees || !other.percent && other.unit.as_ref().is_none_or(Unit::is_in_degrees);
        percent && degrees
    }

    /// Takes letters at the end for a unit: `5 m`, `10 m/s`. Beside a unit that is written out in `other`, what this is compared
    /// with, any letters may be one, also in capitals (`5 N` is 5 newtons, and `2N` is not 2). Else they are symbols, as in `2gh`,
    /// but for a speed or acceleration and, where `lone` says so, one letter alone: `5 m` for 5.
    pub(crate) fn with_letters_as_unit(mut self, other: &Self, lone: bool) -> Self {
        let Node::Product(items) = &self.value else { return self };
        // 100^\circ C
        if let [Node::Degrees(inner), Node::Symbol(scale)] = items.as_slice()
            && let Some(unit) = unit::temperature(scale)
        {
            return Self { value: (**inner).clone(), unit: Some(unit), ..self };
        }
        let count = items.iter().take_while(|item| item.symbols().is_empty()).count();
        let mut words = String::new();
        for item in &items[count..] {
            match item {
                // \frac{m}{s^2}
                Node::Product(inner) => inner.iter().for_each(|item| factor(item, &mut words)),
                other => factor(other, &mut words),
            }
        }
        let words = if other.unit.is_some() { words } else { words.to_lowercase() };
        if count > 0
            && self.unit.is_none()
            && let Some(Some(Behind::Unit(unit @ Unit::Known { .. }))) = unit::parse(&words)
            && (other.unit.is_some()
                || unit.is_motion()
                || lone && is_lone(&words, &unit) && !items[..count].iter().any(is_constant))
        {
            let mut rest = items[..count].to_vec();
            self.value = if rest.len() == 1 { rest.swap_remove(0) } else { Node::Product(rest) };
            self.unit = Some(unit);
        }
        self
    }
}

/// Whether it is one unit as it stands, or an area or volume of one: `m`, `m^2`. `s^2` alone measures nothing.
fn is_lone(words: &str, unit: &Unit) -> bool {
    words.split_whitespace().count() == 1 && !words.contains('/') && (!words.contains('^') || unit.is_extent())
}

/// Whether a constant stands in it: behind one, letters are variables, as in `2\pi h`.
fn is_constant(node: &Node) -> bool {
    node.any(&mut |part| matches!(part, Node::Constant(_)))
}

/// A letter above or below the stroke, as the text of a unit.
fn factor(node: &Node, words: &mut String) {
    match node {
        Node::Inverse(inner) => {
            words.push('/');
            letter(inner, words);
        }
        other => {
            words.push(' ');
            letter(other, words);
        }
    }
}

/// A letter, perhaps raised, as the text of a unit; anything else as what no unit is.
fn letter(node: &Node, words: &mut String) {
    match node {
        Node::Symbol(name) => words.push_str(name),
        Node::Power(base, exponent) => {
            letter(base, words);
            match &**exponent {
                Node::Number(literal) => words.push_str(&format!("^{}", literal.value)),
                _ => words.push('?'),
            }
        }
        _ => words.push('?'),
    }
}
