//! The `recipe` command: see `recipes::command`.

use std::process::ExitCode;

/// The training pass takes and gives back megabytes for every operation; the system's allocator returns such blocks to the
/// kernel each time and fetches them anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // candle's own threads wait for work by spinning, on the cores that ours work on. The sums that they would make for us
    // are small.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: nothing has started another thread yet, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    recipes::command::main()
}
