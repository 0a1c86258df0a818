//! Who may write to a file or folder.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::path::Path;

/// Makes the folder, and those above it, where they are not there; nobody else can enter those that it makes. Where others may
/// write to it, as to folders made under the mask 002, that right is taken from them.
///
/// # Errors
/// As [`check`] of the folder, or the file system's.
pub(crate) fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let mut permissions = fs::metadata(folder)?.permissions();
        if permissions.mode() & OTHERS_WRITE != 0 {
            permissions.set_mode(permissions.mode() & !OTHERS_WRITE);
            // Refused where the folder is another user's, which the check says.
            let _ = fs::set_permissions(folder, permissions);
        }
    }
    check(&fs::metadata(folder)?)
}

/// The right of others to write, in a file's mode.
#[cfg(unix)]
const OTHERS_WRITE: u32 = 0o022;

/// An error where the file or folder is not this process's user's, or others may write to it.
#[cfg(unix)]
pub(crate) fn check(state: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    // SAFETY: in libc, as POSIX has it: no arguments, no failure, and an unsigned number of 32 bits on every system that Rust's
    // standard library calls unix.
    unsafe extern "C" {
        safe fn geteuid() -> u32;
    }
    let refuse = |reason| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    let (owner, user) = (state.uid(), geteuid());
    if owner != user {
        return refuse(format!(
            "it belongs to the user {owner}, and this program runs as {user}: choose another folder with XDG_CACHE_HOME"
        ));
    }
    if state.mode() & OTHERS_WRITE != 0 {
        return refuse("others may write to it, and its content is run: `chmod go-w` it".to_owned());
    }
    Ok(())
}

/// Where files have no such owner, whoever chose the folder answers for it.
#[cfg(not(unix))]
pub(crate) fn check(_: &Metadata) -> io::Result<()> {
    Ok(())
}
