//! The `recipe` command: see `recipes::command`.

use std::process::ExitCode;

/// The training pass takes and gives back megabytes for every operation; the system's allocator returns such blocks to the
/// kernel each time and fetches them anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, in milliseconds.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    // A block that one step gives back, the next step wants again; to fetch it anew and cleared took up to a third of the
    // time. When the delay is over all that is free goes back, so it is long beside a step: ten minutes.
    // SAFETY: sets a number inside the allocator, which may be done at any time.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 600_000) };
    // candle's own threads wait for work by spinning, on the cores that ours work on. The sums that they would make for us
    // are small.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: nothing has started another thread yet, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    recipes::command::main()
}
