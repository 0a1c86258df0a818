//! Memory that shows a read or write outside of it.
//!
//! Each allocation ends at pages that cannot be touched, and begins after other such pages: a kernel that goes beyond
//! raises a signal, whose handler gives the kernel up. Buffers begin at multiples of 16 bytes, so between an end and its
//! page, and between a page and a beginning, bytes may be left over; these hold a pattern that is checked after a launch.
//! New memory is filled with 0xFF bytes, which are no number: what is used before it was written spreads.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};

use super::library::Fault;
use crate::{DeviceError, Result};

/// What cannot be touched on both sides: a multiple of the size of a page on each system.
const GUARD: usize = 65536;
const ALIGNMENT: usize = 16;
const PATTERN: u8 = 0xFB;

struct Allocation {
    bytes: usize,
    what: &'static str,
    /// The pages, with the untouchable ones.
    map: usize,
    map_bytes: usize,
}

/// All memory of an emulator, by address.
#[derive(Default)]
pub(super) struct Allocations(Mutex<BTreeMap<u64, Allocation>>);

impl Allocations {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Allocation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn allocate(&self, bytes: usize, what: &'static str) -> Result<u64> {
        let padded = bytes.next_multiple_of(ALIGNMENT);
        // SAFETY: only reads a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(GUARD);
        let body = padded.next_multiple_of(page);
        let map_bytes = body + 2 * GUARD;
        let failed = || {
            DeviceError::operation("allocation", format!("{what}: {bytes} bytes: {}", std::io::Error::last_os_error()))
        };
        // SAFETY: new pages, none of which is anybody's.
        let map = unsafe {
            libc::mmap(std::ptr::null_mut(), map_bytes, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        if map == libc::MAP_FAILED {
            return Err(failed());
        }
        let start = map as usize + GUARD;
        // SAFETY: the pages between the first and the last of the new ones.
        if unsafe { libc::mprotect(start as *mut c_void, body, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            let error = failed();
            // SAFETY: the pages just mapped, which nobody knows.
            unsafe { libc::munmap(map, map_bytes) };
            return Err(error);
        }
        let address = start + body - padded;
        // SAFETY: all within the writable pages, which nobody else knows yet.
        unsafe {
            std::ptr::write_bytes(start as *mut u8, PATTERN, address - start);
            std::ptr::write_bytes(address as *mut u8, 0xFF, bytes);
            std::ptr::write_bytes((address + bytes) as *mut u8, PATTERN, padded - bytes);
        }
        self.all().insert(address as u64, Allocation { bytes, what, map: map as usize, map_bytes });
        Ok(address as u64)
    }

    pub(super) fn free(&self, address: u64) {
        if let Some(allocation) = self.all().remove(&address) {
            // SAFETY: the pages that `allocate` mapped, and their only owner gives them up.
            unsafe { libc::munmap(allocation.map as *mut c_void, allocation.map_bytes) };
        }
    }

    /// Bytes of all of it.
    pub(super) fn held(&self) -> usize {
        self.all().values().map(|allocation| allocation.bytes).sum()
    }

    /// Checks the bytes around the allocations in which these addresses lie; other values are passed over.
    pub(super) fn check_guards(&self, addresses: &[u64]) -> std::result::Result<(), String> {
        let all = self.all();
        for &address in addresses {
            let Some((&start, allocation)) = all.range(..=address).next_back() else { continue };
            if address > start + allocation.bytes as u64 {
                continue;
            }
            let (first, end) = (allocation.map + GUARD, allocation.map + allocation.map_bytes - GUARD);
            let after = start as usize + allocation.bytes;
            // SAFETY: within the allocation's readable pages, which stay while the map of allocations is locked.
            let [before, behind] = [(first, start as usize), (after, end)]
                .map(|(from, to)| unsafe { std::slice::from_raw_parts(from as *const u8, to - from) });
            let Allocation { what, bytes, .. } = allocation;
            if let Some(at) = before.iter().position(|&byte| byte != PATTERN) {
                return Err(format!("wrote {} bytes before `{what}` of {bytes} bytes", before.len() - at));
            }
            if let Some(at) = behind.iter().position(|&byte| byte != PATTERN) {
                return Err(format!("wrote {at} bytes past the end of `{what}` of {bytes} bytes"));
            }
        }
        Ok(())
    }

    /// Which allocation an address is close to.
    pub(super) fn nearest(&self, address: u64) -> Option<String> {
        let all = self.all();
        let near = |allocation: &&Allocation| {
            let (start, end) = (allocation.map as u64, (allocation.map + allocation.map_bytes) as u64);
            (start..end).contains(&address)
        };
        let (start, allocation) = all.iter().find(|(_, allocation)| near(allocation))?;
        let Allocation { what, bytes, .. } = allocation;
        Some(match address.checked_sub(start + *bytes as u64) {
            Some(past) => format!("{past} bytes past the end of `{what}` of {bytes} bytes"),
            None => format!("{} bytes before `{what}` of {bytes} bytes", start.saturating_sub(address)),
        })
    }
}

impl Drop for Allocations {
    fn drop(&mut self) {
        for allocation in self.all().values() {
            // SAFETY: as for `free`. Buffers keep the device alive, so there is none left but by a leak.
            unsafe { libc::munmap(allocation.map as *mut c_void, allocation.map_bytes) };
        }
    }
}

thread_local! {
    /// The running kernel's library on this thread.
    static RUNNING: Cell<Option<Fault>> = const { Cell::new(None) };
    static FAULT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs a kernel with its faults caught. Its error comes with the address of the fault, if that was the cause.
pub(super) fn watch(
    fault: Fault,
    run: impl FnOnce() -> std::result::Result<(), String>,
) -> std::result::Result<(), (String, Option<u64>)> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
    RUNNING.set(Some(fault));
    let outcome = run();
    RUNNING.set(None);
    outcome.map_err(|message| (message, FAULT.take()))
}

/// The last two are those of a check that the compiler has put in.
const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGTRAP];
/// The handlers that were there before.
static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

fn install() {
    // SAFETY: all zeros is a valid `sigaction`; the first call of each only reads the present handler.
    let before = SIGNALS.map(|signal| unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action);
        action
    });
    BEFORE.get_or_init(|| before);
    for signal in SIGNALS {
        // SAFETY: the handler has the signature that SA_SIGINFO asks for, and touches only what a handler may: cells of
        // its thread without destructors, and a library's function that leaves the handler for another stack.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn handle(signal: c_int, information: *mut libc::siginfo_t, _context: *mut c_void) {
    if let Some(fault) = RUNNING.get() {
        // SAFETY: the system gives the handler a valid description of these signals.
        let address = unsafe { (*information).si_addr() };
        FAULT.set(Some(address as u64));
        // SAFETY: the library of the kernel that runs on this thread. Returns only if the fault is not the kernel's.
        unsafe { fault(address, signal) };
        FAULT.set(None);
    }
    // Not ours: what was there before gets it when the instruction is run again.
    if let (Some(before), Some(index)) = (BEFORE.get(), SIGNALS.iter().position(|&known| known == signal)) {
        // SAFETY: an action that the system itself gave.
        unsafe { libc::sigaction(signal, &raw const before[index], std::ptr::null_mut()) };
    }
}
