//! `recipe doctor`: what this machine has, what this program can use of it, what is prepared, and what is missing.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::sandbox::{CacheState, Packages};
use device::{DeviceError, Library};
use policy::Place;

use super::print;

/// Below so much memory the shipped recipe may not run beside much else: it takes about half of it.
const SMALL_MEMORY: u64 = 2 << 30;

/// What is said: lines of name and value, and what is missing with how to get it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    lines: Vec<(&'static str, String)>,
    missing: Vec<String>,
}

impl Findings {
    fn say(&mut self, name: &'static str, value: impl Into<String>) {
        self.lines.push((name, value.into()));
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.lines {
            let _ = writeln!(text, "{name:16} {value}");
        }
        if self.missing.is_empty() {
            text.push_str("\nNothing is missing.\n");
            return text;
        }
        text.push_str("\nMissing, or worth knowing:\n");
        for missing in &self.missing {
            let _ = writeln!(text, "- {missing}");
        }
        text
    }
}

pub(super) fn doctor() -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    let say = &mut findings;
    say.say(
        "program",
        format!("recipe {}, {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH),
    );
    processor(say, &read("/proc/cpuinfo"));
    memory(say, &read("/proc/meminfo"), control_group_limit());
    let expected = graphics(say, &read("/proc/driver/nvidia/version"), &device::libraries());
    card(say, &crate::place::open(Some("cuda")), expected);
    caches(say, &::sandbox::default_cache_dir())?;
    print(&findings.text())
}

/// A file's text; empty where there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn processor(findings: &mut Findings, cpuinfo: &str) {
    let model = value_of(cpuinfo, "model name").unwrap_or("not known");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let in_all = cpuinfo.lines().filter(|line| line.starts_with("processor")).count().max(cores);
    findings.say("processor", model);
    let share = if in_all > cores { format!("{cores} of {in_all} may be used") } else { cores.to_string() };
    findings.say("cores", format!("{share}; a run takes all of them, --threads N fewer"));
    let features = vector_features();
    let found: Vec<&str> = features.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    findings.say("vectors", if found.is_empty() { "none that are used".to_owned() } else { found.join(", ") });
    if !(features.is_empty() || found.contains(&"avx2") && found.contains(&"fma")) {
        findings.missing.push(
            "the processor has no AVX2 with FMA (or the machine hides them): everything works, several times slower. A \
             processor made after 2015 has them; in a virtual machine, let the guest see the host's processor"
                .to_owned(),
        );
    }
}

/// The vector instructions that the matrix products and fused operations choose between.
#[cfg(target_arch = "x86_64")]
fn vector_features() -> Vec<(&'static str, bool)> {
    vec![
        ("avx", std::arch::is_x86_feature_detected!("avx")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

fn memory(findings: &mut Findings, meminfo: &str, limit: Option<u64>) {
    let bytes = |key| value_of(meminfo, key)?.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10);
    let Some(total) = bytes("MemTotal") else {
        findings.say("memory", "not known");
        return;
    };
    let available = bytes("MemAvailable").unwrap_or(total);
    let limit = limit.filter(|limit| *limit < total);
    let bound = limit.map_or_else(String::new, |limit| format!("; this process may use {}", gib(limit)));
    findings.say("memory", format!("{}, {} of it free{bound}", gib(total), gib(available)));
    if limit.unwrap_or(total).min(available) < SMALL_MEMORY {
        findings.missing.push(format!(
            "less than {} of memory is free: lower grpo.micro_batch_tokens, or close other programs; `recipe model info` \
             says what a model needs",
            gib(SMALL_MEMORY)
        ));
    }
}

/// What a container may use, where it says so.
fn control_group_limit() -> Option<u64> {
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// The driver as the system shows it, and the libraries that a card needs, the driver's first. Without a driver they are not
/// missed; a container or WSL may have one that the system does not show, and a system one that its container cannot open. Returns
/// whether there is one in either way.
fn graphics(findings: &mut Findings, driver: &str, libraries: &[Library]) -> bool {
    let Some(opened) = libraries.first() else {
        findings.say("device", "cpu (this program is built without the feature `cuda`)");
        return false;
    };
    findings.say("device", "cpu, and with --device cuda an NVIDIA card of compute capability 8.0 or newer");
    let version = driver.lines().next().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let expected = version.is_some() || opened.found.is_ok();
    let unshown = if expected { "there, of a version that the system does not show" } else { "no NVIDIA driver" };
    findings.say("graphics driver", version.unwrap_or_else(|| unshown.to_owned()));
    for Library { name, found } in libraries {
        match found {
            Ok(version) => findings.say(name, version.as_str()),
            Err(error) => {
                findings.say(name, "not found");
                if expected {
                    findings.missing.push(format!("for --device cuda: {error}"));
                }
            }
        }
    }
    expected
}

/// The first card, if it can be used. On a machine without a driver nobody expects one.
fn card(findings: &mut Findings, opened: &anyhow::Result<Place>, expected: bool) {
    let place = match opened {
        Ok(place) => place,
        Err(error) => {
            let cause = error.root_cause();
            findings.say("card", cause.to_string().split(": ").next().unwrap_or("none").to_owned());
            // What a missing library is has been said with the libraries.
            let library = matches!(cause.downcast_ref(), Some(DeviceError::NoDriver | DeviceError::NoLibrary { .. }));
            if expected && !library {
                findings.missing.push(format!("for --device cuda: {cause}"));
            }
            return;
        }
    };
    let Some(described) = crate::place::card(place).map(device::Device::describe) else { return };
    match described {
        Ok(card) => {
            let (major, minor) = card.capability;
            let memory = format!("{}, {} of it free", gib(card.memory.total as u64), gib(card.memory.free as u64));
            findings.say("card", format!("{}, compute capability {major}.{minor}, {memory}", card.name));
        }
        Err(error) => findings.missing.push(format!("the card does not answer: {error}")),
    }
}

fn caches(findings: &mut Findings, folder: &Path) -> anyhow::Result<()> {
    findings.say("cache", format!("{} (safe to delete; XDG_CACHE_HOME moves it)", folder.display()));
    let python = CacheState::look(folder, &Packages::default())?;
    let (state, missing) = match (python.bytes, python.whole) {
        (Some(bytes), true) => (format!("prepared, {} MiB", bytes >> 20), false),
        (Some(_), false) => ("damaged; the next run makes it anew".to_owned(), true),
        (None, _) => ("not prepared yet".to_owned(), true),
    };
    findings.say("Python sandbox", state);
    if missing {
        findings.missing.push(
            "the Python sandbox is prepared by the first run that needs it, in about a minute; `recipe sandbox prepare` does \
             it now, and `recipe sandbox doctor` tries what it must be able to do"
                .to_owned(),
        );
    }
    let bases = fs::read_dir(folder.join("bases")).into_iter().flatten().flatten().map(|entry| entry.path());
    let bases: Vec<PathBuf> = bases.filter(|path| path.join("config.json").is_file()).collect();
    let size: u64 = bases.iter().map(|path| size_of_folder(path)).sum();
    findings.say("bases", format!("{} kept, {} MiB", bases.len(), size >> 20));
    if let Err(error) = fs::create_dir_all(folder).and_then(|()| tempfile_in(folder)) {
        findings.missing.push(format!(
            "the cache cannot be written ({error}): every run would prepare Python and make its base again. Set \
             XDG_CACHE_HOME to a folder that can be written"
        ));
    }
    Ok(())
}

/// Whether a file can be made in the folder; it is removed again.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    fs::write(&path, b"")?;
    fs::remove_file(&path)
}

fn size_of_folder(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// The value of `key : value` in a file of /proc.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / 2f64.powi(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_may_be_used() {
        let meminfo = "MemTotal:       16384000 kB\nMemFree:  1 kB\nMemAvailable:   8192000 kB\n";
        let mut findings = Findings::default();
        memory(&mut findings, meminfo, Some(4 << 30));
        assert_eq!(
            findings.lines,
            [("memory", "15.6 GiB, 7.8 GiB of it free; this process may use 4.0 GiB".to_owned())]
        );
        assert_eq!(findings.missing, [""; 0]);
        memory(&mut findings, meminfo, Some(1 << 30));
        assert!(findings.missing[0].contains("less than 2.0 GiB of memory is free"), "{findings:?}");
        let mut unknown = Findings::default();
        memory(&mut unknown, "", None);
        assert_eq!(unknown.lines[0].1, "not known");
    }

    #[test]
    fn what_is_not_prepared_is_said_with_how_to_get_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut findings = Findings::default();
        caches(&mut findings, folder.path()).unwrap();
        let text = findings.text();
        for expected in
            ["Python sandbox   not prepared yet", "recipe sandbox prepare", "bases            0 kept, 0 MiB"]
        {
            assert!(text.contains(expected), "{text}");
        }
        assert!(!text.contains("Nothing is missing"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the doctor leaves nothing behind");
    }

    #[test]
    fn what_a_card_needs_is_missed_where_there_is_a_driver() {
        let found = |name, version: &str| Library { name, found: Ok(version.to_owned()) };
        let missing = |name| Library {
            name,
            found: Err(DeviceError::NoLibrary { library: "libcublas", package: "nvidia-cublas" }),
        };
        let no_driver = || Library { name: "driver (libcuda)", found: Err(DeviceError::NoDriver) };
        let say = |driver: &str, libraries: &[Library]| {
            let mut findings = Findings::default();
            graphics(&mut findings, driver, libraries);
            findings
        };
        let driver = "NVRM version: NVIDIA  550.54\nGCC version: 12\n";
        let opened = || found("driver (libcuda)", "for CUDA up to 12.4");
        let findings = say(driver, &[opened(), found("NVRTC", "12.4"), missing("cuBLAS")]);
        let text = findings.text();
        for expected in [
            "graphics driver  NVRM version: NVIDIA 550.54\n",
            "NVRTC            12.4\n",
            "cuBLAS           not found\n",
            "- for --device cuda: libcublas could not be opened",
            "pip install nvidia-cublas",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        let nothing = say("", &[no_driver(), missing("cuBLAS")]);
        assert_eq!(nothing.missing, [""; 0], "no card is expected without a driver");
        assert!(nothing.text().contains("graphics driver  no NVIDIA driver\n"), "{}", nothing.text());
        assert_eq!(say(driver, &[opened(), found("NVRTC", "12.4")]).missing, [""; 0]);
        assert!(say(driver, &[]).text().contains("without the feature `cuda`"));
        // A container, or WSL: the driver can be used, though the system does not show it.
        let hidden = say("", &[opened(), missing("cuBLAS")]);
        assert!(hidden.text().contains("graphics driver  there, of a version that"), "{}", hidden.text());
        assert!(hidden.missing[0].contains("LD_LIBRARY_PATH"), "{hidden:?}");
        // A container that was started without it: the system shows it, and it cannot be used.
        let shut = say(driver, &[no_driver(), found("cuBLAS", "12.4")]);
        assert!(shut.missing.len() == 1 && shut.missing[0].contains("--gpus all"), "{shut:?}");
    }

    #[test]
    fn a_card_that_cannot_be_had_is_said_in_short() {
        let say = |error: DeviceError, expected| {
            let error = anyhow::Error::from(error).context("cannot compute on cuda");
            let mut findings = Findings::default();
            card(&mut findings, &Err(error), expected);
            (findings.lines[0].1.clone(), findings.missing.join(""))
        };
        for expected in [false, true] {
            assert_eq!(say(DeviceError::NoDriver, expected), ("no NVIDIA driver".to_owned(), String::new()));
        }
        let none = || DeviceError::NoCard { ordinal: 0, count: 0 };
        assert_eq!(say(none(), false), ("there is no card number 0".to_owned(), String::new()));
        let (_, missing) = say(none(), true);
        assert!(missing.contains("for --device cuda") && missing.contains("CUDA_VISIBLE_DEVICES"), "{missing}");
    }
}
