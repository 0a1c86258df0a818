//! The kernels' sources.

/// A file of kernels.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Its name in messages, such as `norm.cu`. A device takes two files of one name for the same.
    pub name: &'static str,
    /// Its text, without what [`COMMON`] gives.
    pub text: &'static str,
}

/// What stands in front of each file.
const COMMON: &str = include_str!("kernels/common.cuh");
/// What stands in front of that for the emulator, with the files' names.
const EMULATION: [(&str, &str); 2] =
    [("emulation.hpp", include_str!("kernels/emulation.hpp")), ("emulated.hpp", include_str!("kernels/emulated.hpp"))];

/// A file's text with that of a header of tiles in front.
macro_rules! with {
    ($header:literal, $file:literal) => {
        concat!(include_str!(concat!("kernels/", $header)), include_str!(concat!("kernels/", $file)))
    };
}

/// The files that [`crate::Device::kernel`] knows, by their names without `.cu`.
const FILES: &[(&str, Source)] = &[
    ("advance", Source { name: "advance.cu", text: include_str!("kernels/advance.cu") }),
    ("attention", Source { name: "attention.cu", text: with!("tiles.cuh", "attention.cu") }),
    ("attention_backward", Source { name: "attention_backward.cu", text: with!("tiles.cuh", "attention_backward.cu") }),
    ("combine", Source { name: "combine.cu", text: include_str!("kernels/combine.cu") }),
    ("decode_attention", Source { name: "decode_attention.cu", text: with!("tiles.cuh", "decode_attention.cu") }),
    ("decode_heads", Source { name: "decode_heads.cu", text: include_str!("kernels/decode_heads.cu") }),
    ("few_rows", Source { name: "few_rows.cu", text: with!("gemm_tiles.cuh", "few_rows.cu") }),
    ("grouped_gemm", Source { name: "grouped_gemm.cu", text: with!("gemm_tiles.cuh", "grouped_gemm.cu") }),
    ("grouping", Source { name: "grouping.cu", text: include_str!("kernels/grouping.cu") }),
    ("heads", Source { name: "heads.cu", text: include_str!("kernels/heads.cu") }),
    ("logprob", Source { name: "logprob.cu", text: include_str!("kernels/logprob.cu") }),
    ("norm", Source { name: "norm.cu", text: include_str!("kernels/norm.cu") }),
    ("optimizer", Source { name: "optimizer.cu", text: include_str!("kernels/optimizer.cu") }),
    ("paged_cache", Source { name: "paged_cache.cu", text: include_str!("kernels/paged_cache.cu") }),
    ("rope", Source { name: "rope.cu", text: include_str!("kernels/rope.cu") }),
    ("router", Source { name: "router.cu", text: include_str!("kernels/router.cu") }),
    ("rows", Source { name: "rows.cu", text: include_str!("kernels/rows.cu") }),
    ("sampler", Source { name: "sampler.cu", text: include_str!("kernels/sampler.cu") }),
    ("slots", Source { name: "slots.cu", text: include_str!("kernels/slots.cu") }),
    ("swiglu", Source { name: "swiglu.cu", text: include_str!("kernels/swiglu.cu") }),
];

/// The file of this name.
pub(crate) fn source(name: &str) -> Option<Source> {
    FILES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

/// Whether the file's kernels wait for those before them where they may begin earlier.
pub(crate) fn waits(source: Source) -> bool {
    source.text.contains("await_previous();")
}

/// The text for a compiler: the defined names, what all kernels use, the file.
pub(crate) fn text(source: Source, defines: &[(&'static str, i64)], emulated: bool) -> String {
    let defines: String = defines.iter().map(|(name, value)| format!("#define {name} {value}\n")).collect();
    let emulation = if emulated { &EMULATION[..] } else { &[] };
    let files = emulation.iter().copied().chain([("common.cuh", COMMON), (source.name, source.text)]);
    // The compiler counts lines anew in each, so that its messages name them.
    let files: String = files.map(|(name, text)| format!("#line 1 \"{name}\"\n{text}\n")).collect();
    defines + &files
}

/// The defined names, for messages.
pub(crate) fn describe(defines: &[(&'static str, i64)]) -> String {
    match defines {
        [] => "no names defined".into(),
        _ => defines.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that did not would read what is not written yet, where the launch says that it may begin early.
    #[test]
    fn every_kernel_waits_for_the_one_before() {
        for (file, source) in FILES {
            let mut kernels = source.text.split("KERNEL").skip(1).peekable();
            assert!(kernels.peek().is_some() && waits(*source), "{file}");
            for kernel in kernels {
                let (_, body) = kernel.split_once(") {").expect("a kernel has a body");
                let body = body.trim_start_matches(['\\', ' ', '\n']);
                // Those of one file wait in what they share, when they have begun to read weights.
                let waits = body.starts_with("await_previous();")
                    || (*file == "few_rows"
                        && ["multiply_few<", "multiply_parts<"].iter().any(|call| body.contains(call)));
                assert!(waits, "{file}: KERNEL{}", kernel.lines().next().unwrap_or_default());
            }
        }
    }
}
