//! Launches of kernels: the grid, the arguments, and the check of both against what the kernel's source declares.
//!
//! A card takes arguments as bare bytes, and a wrong one shows as wrong numbers. The declaration `KERNEL(name, ...)` is
//! therefore read from the source, and each argument's type compared with it.

use std::ffi::c_void;
use std::sync::Arc;

use crate::backend::Function;
use crate::{Buffer, Device, DeviceError, Element, Result, Slice};

/// How many blocks of how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks in x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block: a multiple of 32, at most 1024.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
}

impl Grid {
    /// `blocks` blocks in a row.
    pub fn blocks(blocks: usize, threads: u32) -> Self {
        Grid::blocks_3d([blocks, 1, 1], threads)
    }

    /// Blocks in x, y and z. A number beyond what fits is refused by the launch.
    pub fn blocks_3d(blocks: [usize; 3], threads: u32) -> Self {
        Grid { blocks: blocks.map(|count| u32::try_from(count).unwrap_or(u32::MAX)), threads, shared_bytes: 0 }
    }

    /// Enough blocks in a row that each of `items` has a thread.
    pub fn covering(items: usize, threads: u32) -> Self {
        Grid::blocks(items.div_ceil(threads.max(1) as usize), threads)
    }

    /// The same with dynamic shared memory.
    pub fn with_shared(self, bytes: usize) -> Self {
        Grid { shared_bytes: u32::try_from(bytes).unwrap_or(u32::MAX), ..self }
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.threads == 0 || self.threads > 1024 || !self.threads.is_multiple_of(32) {
            return Err(format!("{} threads: must be a multiple of 32, at most 1024", self.threads));
        }
        // The limits of all cards: 2^31 - 1 in x, 2^16 - 1 in y and z.
        let [x, y, z] = self.blocks;
        if x > i32::MAX as u32 || y > 0xFFFF || z > 0xFFFF {
            return Err(format!("{x} x {y} x {z} blocks: at most 2147483647 x 65535 x 65535"));
        }
        Ok(())
    }
}

/// What a kernel's parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pointer(&'static str),
    Null,
    Number(&'static str),
}

/// An argument of a kernel: a place in memory, or a number.
#[derive(Debug, Clone, Copy)]
pub struct Argument<'a> {
    /// The value in the first of the bytes, as the machine lays it out.
    bits: u64,
    kind: Kind,
    /// The device of a place in memory.
    device: Option<&'a Device>,
}

impl<'a> Argument<'a> {
    /// No place in memory.
    pub fn null() -> Self {
        Argument { bits: 0, kind: Kind::Null, device: None }
    }

    /// A place in memory, if there is one.
    pub fn or_null<T: Element>(slice: Option<Slice<'a, T>>) -> Self {
        slice.map_or(Argument::null(), Into::into)
    }
}

impl<'a, T: Element> From<Slice<'a, T>> for Argument<'a> {
    fn from(slice: Slice<'a, T>) -> Self {
        Argument { bits: slice.address(), kind: Kind::Pointer(T::NAME), device: Some(slice.device()) }
    }
}

impl<'a, T: Element> From<&'a Buffer<T>> for Argument<'a> {
    fn from(buffer: &'a Buffer<T>) -> Self {
        buffer.view().into()
    }
}

macro_rules! numbers {
    ($($type:ty => $name:literal),*) => {
        $(impl From<$type> for Argument<'_> {
            fn from(value: $type) -> Self {
                let mut bytes = [0; 8];
                bytes[..size_of::<$type>()].copy_from_slice(&value.to_ne_bytes());
                Argument { bits: u64::from_ne_bytes(bytes), kind: Kind::Number($name), device: None }
            }
        })*
    };
}
numbers!(i32 => "int", u32 => "unsigned", u64 => "unsigned long long", f32 => "float", f64 => "double");

/// A compiled kernel.
#[derive(Clone)]
pub struct Kernel {
    name: Arc<str>,
    /// Absent where the source does not show the declaration, as when a macro makes it.
    parameters: Option<Arc<[Parameter]>>,
    function: Arc<dyn Function>,
}

impl Kernel {
    pub(crate) fn new(name: &str, source: &str, function: Arc<dyn Function>) -> Self {
        Kernel { name: name.into(), parameters: declaration(source, name).map(Into::into), function }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn launch(&self, device: &Device, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
        let wrong = |message| DeviceError::Kernel { kernel: self.name.to_string(), message };
        grid.check().map_err(wrong)?;
        if let Some(parameters) = &self.parameters {
            check_arguments(parameters, arguments).map_err(wrong)?;
        }
        let elsewhere = |argument: &Argument<'_>| argument.device.is_some_and(|other| !device.is(other));
        if let Some(index) = arguments.iter().position(elsewhere) {
            return Err(wrong(format!("argument {} lies on another device", index + 1)));
        }
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        let mut bits: Vec<u64> = arguments.iter().map(|argument| argument.bits).collect();
        let mut pointers: Vec<*mut c_void> = bits.iter_mut().map(|bits| std::ptr::from_mut(bits).cast()).collect();
        self.function.launch(grid, &mut pointers)
    }
}

/// A parameter as the source declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameter {
    /// The text of the declaration.
    text: String,
    pointer: bool,
    /// The type pointed to, or of the number.
    base: String,
}

/// The parameters in `KERNEL(name, ...)` or `KERNEL_BOUNDS(threads, blocks, name, ...)`.
fn declaration(source: &str, name: &str) -> Option<Vec<Parameter>> {
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or(""));
    let source = lines.collect::<Vec<_>>().join(" ");
    for (start, _) in source.match_indices("KERNEL") {
        let rest = &source[start + "KERNEL".len()..];
        let (rest, before_name) = match rest.strip_prefix("_BOUNDS(") {
            Some(rest) => (rest, 2),
            None => match rest.strip_prefix('(') {
                Some(rest) => (rest, 0),
                None => continue,
            },
        };
        let parts = comma_separated(rest);
        if parts.get(before_name).is_some_and(|part| part.trim() == name) {
            return Some(parts[before_name + 1..].iter().map(|text| parameter(text)).collect());
        }
    }
    None
}

/// The parts up to the closing parenthesis.
fn comma_separated(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' | '<' => depth += 1,
            ')' if depth == 0 => {
                parts.push(&text[start..at]);
                break;
            }
            ')' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts
}

fn parameter(text: &str) -> Parameter {
    let spaced = text.replace('*', " * ");
    let words: Vec<&str> =
        spaced.split_whitespace().filter(|word| !matches!(*word, "const" | "__restrict__" | "volatile")).collect();
    let pointer = words.contains(&"*");
    // The last word is the parameter's name.
    let base = match words.iter().position(|word| *word == "*") {
        Some(star) => words[..star].join(" "),
        None => words[..words.len().saturating_sub(1)].join(" "),
    };
    let base = match base.as_str() {
        "unsigned int" => "unsigned".into(),
        "size_t" => "unsigned long long".into(),
        _ => base,
    };
    Parameter { text: text.split_whitespace().collect::<Vec<_>>().join(" "), pointer, base }
}

fn check_arguments(parameters: &[Parameter], arguments: &[Argument<'_>]) -> std::result::Result<(), String> {
    const KNOWN: [&str; 8] =
        ["float", "double", "bf16", "unsigned", "int", "unsigned short", "unsigned char", "unsigned long long"];
    if parameters.len() != arguments.len() {
        return Err(format!("takes {} arguments, got {}", parameters.len(), arguments.len()));
    }
    for (index, (parameter, argument)) in parameters.iter().zip(arguments).enumerate() {
        // A type that the source itself defines is not looked at, but whether it is a pointer.
        let same = |name: &str| parameter.base == name || !KNOWN.contains(&parameter.base.as_str());
        let (fits, given) = match argument.kind {
            Kind::Pointer(name) => (parameter.pointer && same(name), format!("memory of {name}")),
            Kind::Null => (parameter.pointer, "no memory".into()),
            Kind::Number(name) => (!parameter.pointer && same(name), format!("a number of type {name}")),
        };
        if !fits {
            return Err(format!("argument {} is {given}, but is declared as `{}`", index + 1, parameter.text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, name: &str, arguments: &[Argument<'_>], expected: std::result::Result<(), &str>) {
        let parameters = declaration(source, name).unwrap();
        assert_eq!(check_arguments(&parameters, arguments), expected.map_err(String::from), "{source}");
    }

    #[test]
    fn arguments_are_compared_with_the_declaration() {
        let source = "KERNEL(first, float* x) {}\nKERNEL_BOUNDS(128, (1 + 1), second, int rows, // the rows, of which\n  size_t n) {}";
        check(source, "second", &[3_i32.into(), 4_u64.into()], Ok(()));
        check(source, "second", &[3_i32.into()], Err("takes 2 arguments, got 1"));
        check(
            source,
            "second",
            &[3_u32.into(), 4_u64.into()],
            Err("argument 1 is a number of type unsigned, but is declared as `int rows`"),
        );
        check(source, "first", &[Argument::null()], Ok(()));
        check(
            source,
            "first",
            &[1_i32.into()],
            Err("argument 1 is a number of type int, but is declared as `float* x`"),
        );
        assert_eq!(declaration(source, "third"), None);
    }

    #[test]
    fn a_kernel_without_parameters_has_none() {
        check("KERNEL(empty) {}", "empty", &[], Ok(()));
    }
}
