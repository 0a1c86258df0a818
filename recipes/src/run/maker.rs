//! What computes: this program, on this processor.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The program and the processor that it runs on. Where either is another, the same recipe and seed may come to other bits:
/// another commit may draw or compute otherwise, and another processor has other vector instructions, which round otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Maker {
    /// The version of this program.
    pub version: String,
    /// The commit that it was built from, with `changed` after it where the sources were not those of the commit; none if it
    /// was not built in a checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The processor, and the widest vector instructions that the matrix products and fused operations take on it.
    #[serde(default)]
    pub processor: String,
}

impl Maker {
    /// This process.
    #[must_use]
    pub fn here() -> Maker {
        Maker {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("RECIPE_COMMIT").map(str::to_owned),
            processor: format!("{}, {}", processor(), vectors()),
        }
    }

    /// Whether nothing is known to be different.
    #[must_use]
    pub fn is_like(&self, other: &Maker) -> bool {
        let commits = self.commit.as_ref().zip(other.commit.as_ref());
        let known = !self.processor.is_empty() && !other.processor.is_empty();
        self.version == other.version
            && commits.is_none_or(|(one, other)| one == other)
            && (!known || self.processor == other.processor)
    }
}

/// `recipe 0.1.0 (commit 0123456789ab) on AMD EPYC, AVX-512`.
impl fmt::Display for Maker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "recipe {}", self.version)?;
        if let Some(commit) = &self.commit {
            write!(formatter, " (commit {commit})")?;
        }
        if self.processor.is_empty() { Ok(()) } else { write!(formatter, " on {}", self.processor) }
    }
}

/// The processor as the system calls it; else its architecture.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    named.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// What is chosen between where the program starts: the widest of these that the processor has.
#[cfg(target_arch = "x86_64")]
fn vectors() -> &'static str {
    use std::arch::is_x86_feature_detected as has;
    let wide = has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match has!("avx2") && has!("fma") {
        true if wide => "AVX-512",
        true => "AVX2",
        false => "no AVX2",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> &'static str {
    "its own vectors"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_differ_in_what_is_known_of_both() {
        let maker = |commit: Option<&str>, processor: &str| Maker {
            version: "0.1.0".to_owned(),
            commit: commit.map(str::to_owned),
            processor: processor.to_owned(),
        };
        let one = maker(Some("a1"), "EPYC, AVX-512");
        assert!(one.is_like(&one) && one.is_like(&maker(None, "")));
        assert!(!one.is_like(&maker(Some("a1"), "EPYC, AVX2")) && !one.is_like(&maker(Some("b2"), "EPYC, AVX-512")));
        assert!(!one.is_like(&Maker { version: "0.2.0".to_owned(), ..one.clone() }));
        assert_eq!(one.to_string(), "recipe 0.1.0 (commit a1) on EPYC, AVX-512");
        assert_eq!(maker(None, "").to_string(), "recipe 0.1.0");
        let here = Maker::here();
        assert!(!here.processor.is_empty() && here.is_like(&here));
    }
}
