//! Which names mean what: LaTeX commands, functions in plain text, Greek letters, and words that are not products.

use super::lexer::Token;
use super::node::{Constant, Function, NamedSet, Relation};

/// What a piece of a letter run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Name {
    Symbol,
    Greek(&'static str),
    Word,
    Function(Function),
    Logarithm(&'static str),
    Constant(Constant),
    Command,
    Named(NamedSet),
    And,
    Or,
    Mod,
    In,
}

const GREEK: &[&str] = &[
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "varrho",
    "sigma",
    "tau",
    "upsilon",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Xi",
    "Sigma",
    "Phi",
    "Psi",
    "Omega",
    "ell",
    "hbar",
    "partial",
    "nabla",
    "aleph",
    "square",
    "Box",
    "star",
    "bullet",
];

/// Short words that a letter run may be; longer runs are words unless they are something else.
const SHORT_WORDS: &[&str] = &[
    "odd", "yes", "no", "not", "the", "all", "any", "one", "two", "six", "ten", "red", "day", "man", "men", "boy",
    "cat", "dog", "box", "sum", "is", "are", "it", "if", "of", "to", "at", "by", "for", "has", "was", "so", "we", "he",
    "she", "per", "each", "mon", "tue", "wed", "thu", "fri", "sat", "sun", "none", "true", "neither", "both", "only",
    "cannot", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "am", "pm", "than",
    "from", "km", "cm", "mm", "kg", "mg", "ml", "ft", "in", "mi", "lb", "lbs", "oz", "hr", "hrs", "min", "mins", "sec",
    "secs", "mph", "kph", "usd", "deg", "rad", "pct", "sq", "cu", "yd", "yds", "gal", "pts", "cal", "hz", "yrs", "amp",
    "atm", "yen", "net", "tax", "fee", "gas", "pay", "age", "new", "old", "her", "his", "our", "out",
];

/// The name of a Greek letter written as such; pi is a constant elsewhere.
pub(crate) fn greek_letter(letter: char) -> Option<&'static str> {
    const LETTERS: &str = "αalpha βbeta γgamma δdelta εepsilon ϵepsilon ζzeta ηeta θtheta ιiota κkappa λlambda μmu νnu \
                           ξxi ρrho σsigma τtau υupsilon φphi ϕphi χchi ψpsi ωomega ΓGamma ΔDelta ΘTheta ΛLambda \
                           ΞXi ΣSigma ΦPhi ΨPsi ΩOmega ℓell";
    LETTERS.split_whitespace().find_map(|pair| pair.strip_prefix(letter))
}

/// Numerator and denominator of a fraction that is one character.
pub(crate) fn vulgar_fraction(character: char) -> Option<(&'static str, &'static str)> {
    const FRACTIONS: &str =
        "½1/2 ⅓1/3 ⅔2/3 ¼1/4 ¾3/4 ⅕1/5 ⅖2/5 ⅗3/5 ⅘4/5 ⅙1/6 ⅚5/6 ⅐1/7 ⅛1/8 ⅜3/8 ⅝5/8 ⅞7/8 ⅑1/9 ⅒1/10";
    FRACTIONS.split_whitespace().find_map(|pair| pair.strip_prefix(character))?.split_once('/')
}

fn greek(name: &str) -> Option<&'static str> {
    GREEK.iter().find(|known| **known == name).copied().map(|known| match known {
        "varepsilon" => "epsilon",
        "vartheta" => "theta",
        "varphi" => "phi",
        "varrho" => "rho",
        other => other,
    })
}

fn function(name: &str) -> Option<Function> {
    Some(match name {
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" | "tg" => Function::Tan,
        "cot" | "ctg" | "cotan" => Function::Cot,
        "sec" => Function::Sec,
        "csc" | "cosec" => Function::Csc,
        "arcsin" | "asin" => Function::Asin,
        "arccos" | "acos" => Function::Acos,
        "arctan" | "atan" | "arctg" => Function::Atan,
        "arccot" | "acot" => Function::Acot,
        "arcsec" | "asec" => Function::Asec,
        "arccsc" | "acsc" => Function::Acsc,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "coth" => Function::Coth,
        "sech" => Function::Sech,
        "csch" => Function::Csch,
        "arcsinh" | "arsinh" | "asinh" => Function::Asinh,
        "arccosh" | "arcosh" | "acosh" => Function::Acosh,
        "arctanh" | "artanh" | "atanh" => Function::Atanh,
        "exp" => Function::Exp,
        "gcd" | "hcf" => Function::Gcd,
        "lcm" => Function::Lcm,
        "max" | "Max" => Function::Max,
        "min" | "Min" => Function::Min,
        "floor" => Function::Floor,
        "ceil" | "ceiling" => Function::Ceil,
        "abs" | "Abs" => Function::Abs,
        "det" => Function::Determinant,
        "Re" | "re" => Function::Re,
        "Im" | "im" => Function::Im,
        "conjugate" => Function::Conjugate,
        "factorial" => Function::Factorial,
        "binomial" | "binom" => Function::Binomial,
        "Mod" => Function::Mod,
        _ => return None,
    })
}

/// Functions that a plain text may name without an argument in parentheses, or with letters stuck to them.
fn is_elementary(name: &str) -> bool {
    matches!(
        name,
        "sin" | "cos" | "tan" | "cot" | "sec" | "csc" | "arcsin" | "arccos" | "arctan" | "ln" | "log" | "sqrt"
    )
}

/// Names of SymPy's that take arguments.
fn is_constructor(name: &str) -> bool {
    matches!(
        name,
        "Matrix"
            | "Interval"
            | "Union"
            | "Intersection"
            | "Complement"
            | "FiniteSet"
            | "Eq"
            | "Equality"
            | "Ne"
            | "Lt"
            | "Le"
            | "Gt"
            | "Ge"
            | "LessThan"
            | "GreaterThan"
            | "StrictLessThan"
            | "StrictGreaterThan"
            | "Tuple"
            | "Integral"
            | "Derivative"
            | "Limit"
            | "Sum"
            | "Product"
            | "Add"
            | "Mul"
            | "Pow"
            | "Integer"
            | "Rational"
            | "Float"
            | "Symbol"
            | "Function"
            | "MutableDenseMatrix"
            | "ImmutableDenseMatrix"
            | "Not"
            | "Unequality"
            | "UnevaluatedExpr"
    )
}

/// What the letters of `run` are, piece by piece, with the pieces' lengths. `behind` is the byte that follows.
pub(crate) fn resolve(
    run: &str,
    behind: Option<u8>,
    value_before: bool,
    number_before: bool,
    in_text: bool,
) -> Vec<(Name, usize)> {
    let whole = |name| vec![(name, run.len())];
    let called = behind == Some(b'(');
    if run.len() == 1 {
        return whole(match run {
            "e" => Name::Constant(Constant::E),
            // SymPy writes Euler's number so; behind a value it is a letter.
            "E" if !value_before => Name::Constant(Constant::E),
            "i" | "I" => Name::Constant(Constant::I),
            _ => Name::Symbol,
        });
    }
    let lower = run.to_ascii_lowercase();
    match lower.as_str() {
        "and" => return whole(Name::And),
        "or" => return whole(Name::Or),
        "mod" if run == "mod" => return whole(Name::Mod),
        "in" => return whole(if number_before { Name::Word } else { Name::In }),
        "pi" => return whole(Name::Constant(Constant::Pi)),
        "oo" | "inf" | "infinity" => return whole(Name::Constant(Constant::Infinity)),
        _ => {}
    }
    match run {
        "sqrt" | "cbrt" | "log" | "frac" => return whole(Name::Command),
        "cis" if called || in_text => return whole(Name::Command),
        "bar" | "hat" | "vec" if behind == Some(b'{') => return whole(Name::Command),
        "ln" => return whole(Name::Logarithm("e")),
        "lg" => return whole(Name::Logarithm("10")),
        "Reals" => return whole(Name::Named(NamedSet::Reals)),
        "Rationals" => return whole(Name::Named(NamedSet::Rationals)),
        "Integers" => return whole(Name::Named(NamedSet::Integers)),
        "Naturals" => return whole(Name::Named(NamedSet::Naturals)),
        "Complexes" => return whole(Name::Named(NamedSet::Complexes)),
        "EmptySet" => return whole(Name::Named(NamedSet::Empty)),
        _ => {}
    }
    if called && (is_constructor(run) || run == "Sum" || run == "Product") || run == "Interval" {
        return whole(Name::Command);
    }
    if let Some(function) = function(run)
        && (called || is_elementary(run) || in_text && !value_before || run.starts_with("arc") || run.ends_with('h'))
    {
        return whole(Name::Function(function));
    }
    if let Some(greek) = greek(run)
        && run.len() > 2
        && !matches!(run, "square" | "Box" | "star" | "bullet" | "partial" | "nabla" | "aleph" | "hbar" | "ell")
    {
        return whole(Name::Greek(greek));
    }
    // 1orW(x), 3andy
    for (word, name) in [("or", Name::Or), ("and", Name::And)] {
        if let Some(rest) = run.strip_prefix(word)
            && value_before
            && rest.starts_with(|next: char| next.is_ascii_uppercase())
        {
            let mut pieces = vec![(name, word.len())];
            pieces.extend(resolve(rest, behind, false, false, in_text));
            return pieces;
        }
    }
    // sinx, lnx
    if !in_text && let Some(split) = (2..=6).rev().find(|&split| run.len() == split + 1 && is_elementary(&run[..split]))
    {
        let mut pieces = resolve(&run[..split], None, value_before, number_before, in_text);
        pieces.extend(resolve(&run[split..], behind, false, false, in_text));
        return pieces;
    }
    // 4 kW
    if number_before && super::unit::symbol(run).is_some() {
        return whole(Name::Word);
    }
    if SHORT_WORDS.contains(&lower.as_str()) || is_capitalised(run) || run.len() >= 4 && !is_alphabet_run(run) {
        return whole(Name::Word);
    }
    if in_text && run.len() >= 2 && (run[1..].bytes().any(|byte| byte.is_ascii_lowercase())) {
        return whole(Name::Word);
    }
    letters(run)
}

/// The letters of `run`, each by itself: they multiply.
pub(crate) fn letters(run: &str) -> Vec<(Name, usize)> {
    let name = |letter| match letter {
        'e' if run.len() == 2 && run != "en" => Name::Constant(Constant::E),
        'i' => Name::Constant(Constant::I),
        'I' if run.len() == 2 => Name::Constant(Constant::I),
        _ => Name::Symbol,
    };
    run.chars().map(|letter| (name(letter), 1)).collect()
}

/// Three letters of which the first alone is a capital, with a vowel: `Tom`, `Tax`.
pub(crate) fn is_capitalised(run: &str) -> bool {
    let [first, rest @ ..] = run.as_bytes() else { return false };
    let vowel = run.bytes().any(|byte| b"aeiouyAEIOU".contains(&byte));
    run.len() == 3 && vowel && first.is_ascii_uppercase() && rest.iter().all(u8::is_ascii_lowercase)
}

/// Consecutive letters of the alphabet: `abcd`, `wxyz`.
fn is_alphabet_run(run: &str) -> bool {
    run.as_bytes().windows(2).all(|pair| pair[1] == pair[0] + 1)
}

pub(crate) fn is_matrix(environment: &str) -> bool {
    matches!(
        environment,
        "matrix"
            | "pmatrix"
            | "bmatrix"
            | "vmatrix"
            | "Bmatrix"
            | "Vmatrix"
            | "smallmatrix"
            | "array"
            | "tabular"
            | "cases"
            | "psmallmatrix"
            | "bsmallmatrix"
    )
}

pub(crate) fn is_command(name: &str) -> bool {
    command_token(name).is_some()
        || matches!(
            name,
            "left"
                | "right"
                | "mleft"
                | "mright"
                | "text"
                | "textbf"
                | "textit"
                | "textrm"
                | "textnormal"
                | "mbox"
                | "mathrm"
                | "mathbf"
                | "mathbb"
                | "begin"
                | "end"
                | "operatorname"
                | "displaystyle"
                | "quad"
                | "qquad"
                | "big"
                | "Big"
                | "bigl"
                | "bigr"
                | "Bigl"
                | "Bigr"
                | "hbox"
                | "emph"
                | "textsf"
                | "textup"
                | "boldsymbol"
                | "mathcal"
                | "mathit"
                | "mathsf"
                | "limits"
                | "leftarrow"
                | "leftrightarrow"
        )
}

/// The command that begins a name with letters stuck to it: `\leftx`, `\vertx`.
pub(crate) fn command_prefix(name: &str) -> Option<&'static str> {
    const STICKY: &[&str] = &[
        "mleft", "mright", "left", "right", "lvert", "rvert", "vert", "lgroup", "rgroup", "lbrace", "rbrace", "lbrack",
        "rbrack", "cdot", "times", "infty", "sqrt", "qquad", "quad", "div", "pi",
    ];
    STICKY.iter().find(|sticky| name.starts_with(**sticky)).copied()
}

/// The token of a command without arguments, or whose arguments the parser reads.
pub(crate) fn command_token(name: &str) -> Option<Token<'static>> {
    if let Some(greek) = greek(name) {
        return Some(Token::Symbol(greek));
    }
    Some(match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" => Token::Command("frac"),
        "sqrt" => Token::Command("sqrt"),
        "binom" | "dbinom" | "tbinom" => Token::Command("binom"),
        "choose" => Token::Command("choose"),
        "over" => Token::Command("over"),
        "cis" => Token::Command("cis"),
        "overline" | "bar" => Token::Command("bar"),
        "hat" | "widehat" => Token::Command("hat"),
        "vec" | "overrightarrow" => Token::Command("vec"),
        "tilde" | "widetilde" => Token::Command("tilde"),
        "underline" | "boxed" | "fbox" | "mathop" | "variable" => Token::Command("group"),
        "sum" => Token::Command("sum"),
        "prod" => Token::Command("prod"),
        "int" => Token::Command("int"),
        "lim" => Token::Command("lim"),
        "log" => Token::Command("log"),
        "ln" => Token::Logarithm("e"),
        "lg" => Token::Logarithm("10"),
        "angle" | "triangle" | "measuredangle" | "widearc" | "overarc" => Token::Command("figure"),
        "to" | "rightarrow" | "longrightarrow" | "Longrightarrow" | "Rightarrow" | "implies" => Token::Command("to"),
        "pmod" | "pod" => Token::Command("pmod"),
        "bmod" | "mod" => Token::Mod,
        "not" => Token::Command("not"),
        "lfloor" | "llcorner" => Token::Open('⌊'),
        "rfloor" | "lrcorner" => Token::Close('⌋'),
        "lceil" | "ulcorner" => Token::Open('⌈'),
        "rceil" | "urcorner" => Token::Close('⌉'),
        "langle" => Token::Open('<'),
        "rangle" => Token::Close('>'),
        "lbrace" => Token::Open('{'),
        "rbrace" => Token::Close('}'),
        "lbrack" => Token::Open('['),
        "rbrack" => Token::Close(']'),
        "lgroup" | "lparen" => Token::Open('('),
        "rgroup" | "rparen" => Token::Close(')'),
        "lvert" | "lVert" => Token::Bar(Some(true)),
        "rvert" | "rVert" => Token::Bar(Some(false)),
        "vert" | "Vert" | "mid" => Token::Bar(None),
        "cdot" | "times" | "ast" => Token::Times,
        "div" => Token::Slash,
        "pm" => Token::PlusMinus,
        "mp" => Token::MinusPlus,
        "le" | "leq" | "leqslant" | "leqq" => Token::Relation(Relation::LessEqual),
        "ge" | "geq" | "geqslant" | "geqq" => Token::Relation(Relation::GreaterEqual),
        "lt" => Token::Relation(Relation::Less),
        "gt" => Token::Relation(Relation::Greater),
        "ne" | "neq" => Token::Relation(Relation::NotEqual),
        "approx" | "simeq" | "doteq" | "approxeq" | "sim" => Token::Relation(Relation::Approximately),
        "equiv" => Token::Relation(Relation::Congruent),
        "in" => Token::Relation(Relation::In),
        "notin" => Token::Relation(Relation::NotIn),
        "cup" | "bigcup" => Token::Union,
        "cap" | "bigcap" => Token::Intersection,
        "setminus" | "backslash" | "smallsetminus" => Token::SetMinus,
        "infty" | "infin" => Token::Constant(Constant::Infinity),
        "pi" => Token::Constant(Constant::Pi),
        "exponentialE" => Token::Constant(Constant::E),
        "imaginaryI" | "imath" | "imaginaryJ" => Token::Constant(Constant::I),
        "emptyset" | "varnothing" => Token::Named(NamedSet::Empty),
        "R" | "Reals" | "reals" => Token::Named(NamedSet::Reals),
        "Z" => Token::Named(NamedSet::Integers),
        "N" => Token::Named(NamedSet::Naturals),
        "Q" => Token::Named(NamedSet::Rationals),
        "circ" | "degree" => Token::Degree,
        "prime" => Token::Prime,
        "ldots" | "cdots" | "dots" | "dotsc" | "dotsb" | "vdots" | "ddots" | "dotsm" => Token::Ellipsis,
        "colon" | "ratio" => Token::Colon,
        "percent" => Token::Percent,
        "dollar" => Token::Currency("$"),
        "pounds" => Token::Currency("£"),
        "euro" => Token::Currency("€"),
        "land" | "wedge" => Token::And,
        "lor" | "vee" => Token::Or,
        _ => Token::Function(function(name)?),
    })
}
