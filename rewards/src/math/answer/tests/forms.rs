//! One answer in the forms that people give it: products of factorials, named values and sets, general solutions.

use super::{differ, same};

/// Only in this direction: reference and candidate.
#[track_caller]
fn accepts(pairs: &[(&str, &str)]) {
    pairs.iter().for_each(|(reference, candidate)| super::check(reference, candidate, Ok(())));
}

#[track_caller]
fn refuses(pairs: &[(&str, &str)]) {
    for (reference, candidate) in pairs {
        let (left, right) = (super::parse(reference).unwrap(), super::parse(candidate).unwrap());
        assert!(left.compare(&right).is_err(), "{reference:?} and {candidate:?}: {left:?} {right:?}");
    }
}

#[test]
fn factorials_side_by_side() {
    same(&[
        ("10", r"\frac{5!}{3!2!}"),
        ("4200", r"\frac{10!}{3!3!4!}"),
        ("4200", r"\frac{10!}{3!\,3!\,4!}"),
        ("4200", "10!/3!3!4!"),
        ("72", r"3!\,2!\,3!"),
        ("72", "3! 2! 3!"),
        ("864", "(3!)^2 4!"),
        ("864", "(3!)^{2} 4!"),
        ("360", "2^3 3^2 5"),
        ("120", r"\binom{5}{2} 2! 3!"),
        ("288", "(3! 2!) 4!"),
        ("30", "5!!2!"),
        ("48", "3!2^3"),
        ("3x+3", "(x+1) 3"),
        (r"3\sqrt2", r"\sqrt{2} 3"),
        ("2", r"3!\frac13"),
    ]);
    differ(&[
        ("6", "3 2"),
        ("6", "3 2!"),
        ("72", "3! 2! 2!"),
        ("7", "3 1/2 2"),
        (r"6\sqrt2", r"\sqrt 2 6"),
        ("720", "6!!"),
        ("(1,2,3)", "(1,2) 3"),
    ]);
    // What is a choice stays one.
    same(&[("(B) 42", "B"), ("(ab) 5", "(ab) 5")]);
}

#[test]
fn an_expression_and_its_value() {
    same(&[
        ("25", "m+n=25"),
        ("25", "25=m+n"),
        ("25", "a+b+c=25"),
        ("12", "ab=12"),
        ("25", r"\frac{a}{b}=25"),
        ("12", r"\gcd(a,b)=12"),
        ("3/4", r"P(X\ge 2)=\frac34"),
        ("25", "E[X]=25"),
        ("12", r"\lim_{n\to\infty}a_n=12"),
        ("12", r"\alpha+\beta=12"),
        ("12", r"|A\cup B|=12"),
        ("12", r"n(A\cup B)=12"),
        ("12", r"\angle{ABC}=12^\circ"),
        (r"-\frac7{25}", r"\cos2\theta=-\frac{7}{25}"),
        ("1/2", r"\sin(\alpha-\beta)=\frac12"),
        ("12", "AB+BC=12"),
        ("5", r"\max f(x)=5"),
        (r"P(X\ge 2)=\frac34", r"P(X\ge 2)=0.75"),
        ("m+n=25", "n+m=25"),
    ]);
    // A letter's own equation is to be solved, and says its root.
    differ(&[
        ("24", "2x=24"),
        ("28", "x+3=28"),
        ("25", "x^2=25"),
        ("120", "n!=120"),
        ("2", r"\lfloor x\rfloor=2"),
        ("45", r"\binom n2=45"),
        ("1", "2x+z=1"),
        ("36", "4x^2+9y^2=36"),
        ("1", r"\frac{x^2}4+\frac{y^2}9=1"),
        ("25", "m+n=26"),
        ("m+n=25", "m-n=25"),
        ("m+n=25", "m=25"),
        ("x=25", "x+y=25"),
        ("25, 12", "m+n=25"),
        (r"P(X\ge 2)=\frac34", r"P(X\ge 3)=\frac34"),
        (r"\cos2\theta=\frac35", r"\cos\theta=\frac35"),
        (r"|A\cup B|=12", r"|A\cap B|=12"),
        ("m+n", "m+n=25"),
        ("0", "y'+y=0"),
        ("12", "kx=12"),
    ]);
    // Of x, y and z it may be a curve; what a reference says of them is one.
    accepts(&[
        ("12", "x^2+y^2=12"),
        ("25", "x+y=25"),
        ("3", "x-y=3"),
        ("2/3", r"\frac xy=\frac23"),
        ("37", "10p+q=37"),
    ]);
    refuses(&[("x^2+y^2=12", "12"), ("x+y=25", "25"), ("xy=12", "12"), ("11a+c=7", "7")]);
}

#[test]
fn sets_by_name() {
    same(&[
        (r"A\cap B=\{2,3\}", r"A\cap B=\{3,2\}"),
        (r"A\cap B=\{2,3\}", r"B\cap A=\{2,3\}"),
        (r"A\cap B=\{2,3\}", r"\{2,3\}"),
        (r"A\cap B=[-2,3)", "[-2,3)"),
        (r"A\cap B=[-2,3)", r"-2\le x<3"),
        (r"A\cup B=\{x\mid -2\le x<3\}", "[-2,3)"),
        (r"A\cup B=\{x\mid -2\le x<3\}", r"A\cup B=[-2,3)"),
        (r"A\cap B=\{x\in\mathbb{Z}\mid 0<x<4\}", r"\{1,2,3\}"),
        (r"A\cap B=\emptyset", r"\emptyset"),
        (r"\complement_U A=\{1,2\}", r"\{2,1\}"),
        (r"\complement_U A=\{1,2\}", r"U\setminus A=\{2,1\}"),
        (r"\complement_{\mathbb{R}}(A\cup B)=(-\infty,1)", r"(-\infty,1)"),
        (r"(\complement_U A)\cap B=\{4\}", r"\{4\}"),
        (r"A^c\cap B=\{4\}", r"B\cap A^{\complement}=\{4\}"),
        (r"A\setminus B=\{1\}", r"A-B=\{1\}"),
        (r"A\cap B=\{2,3\}, A\cup B=\{1,2,3\}", r"A\cup B=\{3,2,1\}, A\cap B=\{2,3\}"),
        (r"\complement_{\mathbb{R}}[0,1]", r"(-\infty,0)\cup(1,\infty)"),
    ]);
    differ(&[
        (r"A\cap B=\{2,3\}", r"A\cup B=\{2,3\}"),
        (r"A\cap B=\{2,3\}", r"A\cap C=\{2,3\}"),
        (r"A\cap B=\{2,3\}", r"A\cap B=\{2,4\}"),
        (r"A\cap B=\{2,3\}", r"A=\{2,3\}"),
        (r"A\cap B=\{2,3\}", r"A\cap B"),
        (r"A\setminus B=\{1\}", r"B\setminus A=\{1\}"),
        (r"A\cap B=[-2,3)", "[-2,3]"),
        (r"A\cap B=\{2,3\}", "2"),
        (r"\complement_U A=\{1,2\}", r"\complement_U B=\{1,2\}"),
        (r"A\cap B=A", r"\{2,3\}"),
    ]);
}

#[test]
fn space_between_the_rows_of_a_matrix() {
    let matrix = r"\begin{pmatrix}1&2\\3&4\end{pmatrix}";
    same(&[
        (matrix, r"\begin{pmatrix}1&2\\[4pt]3&4\end{pmatrix}"),
        (matrix, r"\begin{pmatrix}1&2\\*[-0.5 em] 3&4\end{pmatrix}"),
        (matrix, r"\begin{pmatrix}1&2\\*3&4\end{pmatrix}"),
        (matrix, r"\begin{pmatrix}1&2\cr3&4\cr\end{pmatrix}"),
        (r"\begin{pmatrix}1\\ [2,3]\end{pmatrix}", r"\begin{pmatrix}1\\[2pt] [2,3]\end{pmatrix}"),
        (r"\begin{cases}x=1\\y=2\end{cases}", r"\begin{cases}x=1\\[6pt]y=2\end{cases}"),
    ]);
    differ(&[
        (matrix, r"\begin{pmatrix}1&2\\[4]3&4\end{pmatrix}"),
        (r"\begin{pmatrix}1\\[2,3]\end{pmatrix}", r"\begin{pmatrix}1\\ \ \end{pmatrix}"),
        (r"\begin{pmatrix}1\\[2,3]\end{pmatrix}", r"\begin{pmatrix}1\\[2,4]\end{pmatrix}"),
    ]);
}

#[test]
fn letters_that_only_count() {
    same(&[
        (r"2k\pi, k\in\mathbb{Z}", r"2n\pi, n\in\mathbb{Z}"),
        (r"2k\pi, k\in\mathbb{Z}", r"2n\pi\ (n\in\mathbb{Z})"),
        (r"2k\pi\ (k\in\mathbb{Z})", r"2n\pi\ (n\in\mathbb{Z})"),
        (r"x=\frac{\pi}{4}+k\pi,k\in\mathbb{Z}", r"x=\frac{\pi}{4}+n\pi, n\in\mathbb{Z}"),
        (r"x=\frac{\pi}{4}+k\pi,k\in\mathbb{Z}", r"x=\frac{\pi}{4}+n\pi \text{ where } n \text{ is an integer}"),
        (r"k\pi \text{ or } \frac\pi2+2k\pi, k\in\mathbb{Z}", r"\frac\pi2+2n\pi, n\pi\ (n\in\mathbb{Z})"),
        (r"x=\pm\frac\pi3+2k\pi, k\in\mathbb{Z}", r"x=2n\pi\pm\frac\pi3\ (n\in\mathbb{Z})"),
        (r"\{x\mid x=2k\pi,k\in\mathbb{Z}\}", r"x=2n\pi, n\in\mathbb{Z}"),
        (r"(k\pi-1,k\pi+1), k\in\mathbb{Z}", r"(n\pi-1,n\pi+1), n\in\mathbb{Z}"),
    ]);
    differ(&[
        (r"2k\pi, k\in\mathbb{Z}", r"2n\pi, n\in\mathbb{N}"),
        (r"2k\pi, k\in\mathbb{Z}", r"2n\pi, n\in\mathbb{N}^*"),
        (r"2k\pi, k\in\mathbb{Z}", r"3n\pi, n\in\mathbb{Z}"),
        (r"2k\pi+n, k\in\mathbb{Z}", r"2n\pi+n, n\in\mathbb{Z}"),
        (r"2k\pi+n, k\in\mathbb{Z}", r"2n\pi+k, n\in\mathbb{Z}"),
        (r"x>3, x\in\mathbb{Z}", r"n>2, n\in\mathbb{Z}"),
        (r"x>3\ (x\in\mathbb{Z})", "x>3"),
    ]);
}

#[test]
fn for_all_of_them() {
    same(&[
        ("f(x)=x+1", r"f(x)=x+1 \text{ for all } x \in \mathbb{R}"),
        ("f(x)=x+1", r"f(x)=x+1 \text{ for all } x"),
        ("f(x)=x+1", r"f(x)=x+1 \text{ for all real numbers } x"),
        ("f(x)=x+1", "f(x)=x+1 for all real numbers"),
        ("f(x)=x+1", r"f(x)=x+1, \forall x\in\mathbb{R}"),
        (r"f(x)=x+1, x\in\mathbb{R}", "f(x)=x+1 for all x"),
        (r"f(x)=x+1, x\in\mathbb{R}", r"f(x)=x+1, \forall x"),
        ("f(x)=x+1", r"\forall x\in\mathbb{R}, f(x)=x+1"),
        ("f(n)=n+1", r"f(n)=n+1 \text{ for every positive integer } n"),
        ("f(x)=x+1", "f(t)=t+1"),
        ("f(x)=ax+1", "f(t)=at+1"),
        ("f(x,y)=x-y", "f(y,x)=y-x"),
        ("f(x)=x+1", r"f(t)=t+1\text{ for all }t"),
        ("a_n=2n-1", r"a_n = 2n-1 \text{ for } n \ge 1"),
        ("a_n=2n-1", r"a_n = 2n-1, n\ge 1"),
        ("a_n=2n-1", r"a_n = 2n-1\ (n\in\mathbb{N}^*)"),
        (r"a_n=2n-1, n\ge 1", r"a_n = 2n-1\ (n\in\mathbb{N}^*)"),
        ("a_n=2n-1", r"a_n = 2n-1 \text{ for all integers } n \ge 1"),
        ("a_n=2n-1", "a_k=2k-1"),
        ("2n-1", r"a_n = 2n-1 \text{ for } n \ge 1"),
        (r"f(x)=x+1\text{ for }x>0", "f(x)=x+1, x>0"),
    ]);
    differ(&[
        ("f(x)=x+1", r"f(x)=x+1 \text{ for all } x > 0"),
        ("f(x)=x+1", r"f(x)=x+1, x>0"),
        ("f(x)=0", r"\forall x>0, f(x)=0"),
        (r"a_n=2n-1, n\ge 1", r"a_n = 2n-1, n\ge 2"),
        ("a_n=2n-1", r"a_n = 2n-1, n\ge 2"),
        (r"a_n=2n-1\ (n\in\mathbb{N}^*)", r"a_n = 2n-1, n\ge 2"),
        ("f(x)=x+1", "f(t)=t+2"),
        ("f(x)=ax", "f(a)=xa+1"),
        ("f(x)=ax+1", "f(a)=xa+2"),
        ("f(x,y)=x-y", "f(x,y)=y-x"),
        ("f(x,y)=x-y", "f(y,x)=x-y"),
        ("f(2)=5", "f(t)=5"),
        ("a_n=2a_{n-1}+n", "a_k=2a_{n-1}+k"),
        (r"x\text{ for }x>0, -x\text{ for }x<0", r"-x\text{ for }x>0, x\text{ for }x<0"),
        (
            r"1\text{ for }x\in\mathbb{Q}, 0\text{ for }x\in\mathbb{R}",
            r"0\text{ for }x\in\mathbb{Q}, 1\text{ for }x\in\mathbb{R}",
        ),
        ("4", r"4\text{ for }x>2"),
        ("5", r"5\text{ with }x=2"),
    ]);
}

#[test]
fn solutions_in_other_forms() {
    same(&[
        (r"(1,2)\cup(2,3)", r"x\in(1,3), x\neq 2"),
        (r"(1,2)\cup(2,3)", r"x\in(1,3)\text{ and }x\neq 2"),
        (r"(1,2)\cup(2,3)", r"1<x<3, x\neq 2"),
        (r"x\in(1,3), y>2", r"y>2, x\in(1,3)"),
        ("(1,2),(2,1)", r"x=1,y=2\text{ or }x=2,y=1"),
        ("(1,2),(2,1)", r"a=1,b=2\text{ or }b=1,a=2"),
        ("(1,2),(2,1)", r"x=1\text{ and }y=2,\text{ or }y=1\text{ and }x=2"),
        ("x=1,y=2; x=2,y=1", r"x=2,y=1\text{ or }x=1,y=2"),
        ("(1,2)", "y=2, x=1"),
        ("(1,2,3)", "z=3, y=2, x=1"),
        ("1, 2", "y=2, x=1"),
        ("(5,2)", "n=5, k=2"),
        ("[a,b]", r"a\le x\le b"),
        ("[a,b]", r"b\ge x\ge a"),
        (r"(a,\infty)", "x>a"),
        (r"(-\infty,a]", r"a\ge t"),
        (r"(a-1,a+1)", "a-1<x<1+a"),
    ]);
    differ(&[
        (r"(1,2)\cup(2,3)", r"x\in(1,4), x\neq 2"),
        ("(1,3)", r"x\in(1,3), x\neq 2"),
        (r"(1,2)\cup(2,3)", r"x\in(1,3), y\neq 2"),
        ("(1,2),(2,1)", r"x=1,y=2\text{ or }x=1,y=2"),
        ("(1,2),(2,1)", r"a=1,b=2\text{ or }b=2,a=1"),
        ("(1,2),(2,1)", r"x=2,y=2\text{ or }x=1,y=1"),
        ("(1,2),(3,4)", r"x=1,x=2\text{ or }x=3,x=4"),
        ("(1,2)", "y=1, x=2"),
        ("(2,1)", "y=2, x=1"),
        ("[a,b]", r"a<x\le b"),
        ("[a,b]", r"a\le x\le c"),
        (r"(a,\infty)", "x<a"),
        (r"(a,\infty)", r"x\ge a"),
        (r"(a,\infty)", "x>b"),
        (r"(x,\infty)", "x>a"),
    ]);
}

/// What SymPy's constructors say besides their function is not lost.
#[test]
fn orders_and_directions_of_sympy() {
    same(&[(r"\frac{d}{dx} f(x)", "Derivative(f(x), x)"), (r"\frac{d}{dx} f(x)", "Derivative(f(x), (x, 1))")]);
    refuses(&[
        (r"\frac{d}{dx} f(x)", "Derivative(f(x), (x, 2))"),
        ("Derivative(f(x), (x, 3))", "Derivative(f(x), (x, 2))"),
        ("Limit(1/x, x, 0, '+')", "Limit(1/x, x, 0, '-')"),
    ]);
}
