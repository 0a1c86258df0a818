//! The process's largest resident memory, as Linux counts it.

use std::fs;

/// Begins to count anew.
pub(super) fn forget_peak() {
    // Where this is not allowed, or not Linux, the peak is that of the whole process so far, or is not known.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The largest resident memory since then, in bytes.
pub(super) fn peak() -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_peak_is_read_from_the_status() {
        assert_eq!(parse("Name:\trecipe\nVmHWM:\t    1536 kB\nVmRSS:\t 12 kB\n"), Some(1536 << 10));
        assert_eq!(parse("Name:\trecipe\n"), None);
        assert_eq!(parse("VmHWM:\t many kB\n"), None);
    }
}
