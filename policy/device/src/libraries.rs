//! Which of the libraries that a card needs are on this machine: what a person asks before the first run.

use crate::Result;

/// A library that a card needs.
#[derive(Debug, Clone)]
pub struct Library {
    /// Its name.
    pub name: &'static str,
    /// Its version; or why it could not be opened, and how to get it.
    pub found: Result<String>,
}

/// The libraries, each looked for by itself: what is wrong with one does not hide the others. None if the program was built
/// without the feature `cuda`, which then needs none.
pub fn libraries() -> Vec<Library> {
    #[cfg(feature = "cuda")]
    return crate::backend::driver::libraries::each();
    #[cfg(not(feature = "cuda"))]
    Vec::new()
}

#[cfg(all(test, feature = "cuda"))]
mod tests {
    use super::*;

    #[test]
    fn a_library_has_a_version_or_a_way_to_get_it() {
        let found = libraries();
        assert_eq!(
            found.iter().map(|library| library.name).collect::<Vec<_>>(),
            ["driver (libcuda)", "NVRTC", "cuBLAS"]
        );
        for Library { name, found } in found {
            match found {
                Ok(version) => assert!(version.contains('.'), "{name}: {version}"),
                Err(error) => assert!(error.to_string().contains("could not be opened"), "{name}: {error}"),
            }
        }
    }
}
