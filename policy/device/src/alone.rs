//! A lock of the whole process between recording and what waits for a whole card.
//!
//! A driver call that waits for all of a card's work, as cuBLAS's end does, fails while a stream of that card is being recorded,
//! whichever device's and thread's it is, and the recording is lost with it. So one does not happen during the other. A thread that
//! has the lock may take it again: what is dropped while it records waits for nobody.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// How often this thread has the lock.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The lock, until it is dropped.
struct Held(Option<MutexGuard<'static, ()>>);

impl Drop for Held {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        self.0.take();
    }
}

/// Does `work` while no other thread does such work.
pub(crate) fn alone<T>(work: impl FnOnce() -> T) -> T {
    let depth = DEPTH.get();
    let _held = Held((depth == 0).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner)));
    DEPTH.set(depth + 1);
    work()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::Device;

    #[test]
    fn other_threads_wait_for_a_recording_and_its_own_does_not() {
        let device = Device::for_tests();
        let buffer = device.zeros::<u32>(1, "test").unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let work = || {
                scope.spawn(|| alone(|| done.store(true, Ordering::SeqCst)));
                std::thread::sleep(Duration::from_millis(100));
                alone(|| alone(|| assert!(!done.load(Ordering::SeqCst))));
                buffer.fill_zero()
            };
            // SAFETY: the buffer outlives the graph, and the other thread gives no work.
            unsafe { device.capture("a test", work) }.unwrap();
        });
        assert!(done.load(Ordering::SeqCst));
    }

    #[test]
    fn a_panic_gives_the_lock_back() {
        let panics = || alone(|| alone(|| panic!("in the midst of it")));
        assert!(std::thread::spawn(panics).join().is_err());
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(std::thread::spawn(|| alone(|| DEPTH.get())).join().is_ok_and(|depth| depth == 1));
        assert_eq!(DEPTH.get(), 0);
    }
}
