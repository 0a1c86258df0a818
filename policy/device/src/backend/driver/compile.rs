//! Kernels compiled by NVRTC, for the card that is there, and kept on disk.

use std::ffi::{CString, c_char, c_int};

use cudarc::nvrtc::{result, sys};

use crate::{DeviceError, Result, Source, cache, kernels};

/// NVRTC's version.
pub(super) fn version() -> Result<(i32, i32)> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two numbers.
    unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) }
        .result()
        .map_err(|error| DeviceError::operation("version of NVRTC", error.to_string()))?;
    Ok((major, minor))
}

/// What the file compiles to for compute capability `capability` (90 for 9.0): machine code, or, where NVRTC is older than
/// the card, intermediate code for the newest that it knows, which the driver translates.
pub(super) fn compile(source: Source, defines: &[(&'static str, i64)], capability: i32) -> Result<Vec<u8>> {
    let (text, failed) = (kernels::text(source, defines, false), |log: String| failed(source, defines, log));
    let (major, minor) = version()?;
    let known = architectures().map_err(|error| failed(error.to_string()))?;
    let options = options(capability, &known).map_err(failed)?;
    let parts = [text.as_str(), &options.join(" "), &format!("NVRTC {major}.{minor}")];
    let (_, code) = cache::file("kernels", "cubin", &parts, |aside| {
        let code = run(source, &text, &options).map_err(failed)?;
        std::fs::write(aside, code).map_err(|error| failed(error.to_string()))
    })?;
    Ok(code)
}

fn failed(source: Source, defines: &[(&'static str, i64)], log: String) -> DeviceError {
    DeviceError::Compile { file: source.name, defines: kernels::describe(defines), log }
}

/// The capabilities that NVRTC compiles for.
fn architectures() -> std::result::Result<Vec<i32>, result::NvrtcError> {
    let mut count: c_int = 0;
    // SAFETY: writes one number.
    unsafe { sys::nvrtcGetNumSupportedArchs(&raw mut count) }.result()?;
    let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: writes as many numbers as it has just counted.
    unsafe { sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) }.result()?;
    Ok(known)
}

/// The capability that is compiled for: the card's, or the newest that NVRTC knows.
fn target(capability: i32, known: &[i32]) -> std::result::Result<i32, String> {
    let usable = known.iter().copied().filter(|&known| known <= capability);
    usable.max().ok_or(format!("NVRTC knows no card as old as {capability}"))
}

/// Whether what is compiled for a card is for capability `needed` or newer.
pub(super) fn is_for(capability: i32, needed: i32) -> bool {
    architectures().is_ok_and(|known| target(capability, &known).is_ok_and(|target| target >= needed))
}

fn options(capability: i32, known: &[i32]) -> std::result::Result<Vec<String>, String> {
    let target = target(capability, known)?;
    let kind = if target == capability { "sm" } else { "compute" };
    let architecture = format!("{kind}_{target}");
    Ok(vec![format!("--gpu-architecture={architecture}"), "--std=c++17".into(), "--generate-line-info".into()])
}

/// The code for the card.
fn run(source: Source, text: &str, options: &[String]) -> std::result::Result<Vec<u8>, String> {
    let [text, name] = [text, source.name].map(CString::new);
    let (text, name) = (text.map_err(|error| error.to_string())?, name.map_err(|error| error.to_string())?);
    let program = result::create_program(&text, Some(&name)).map_err(|error| error.to_string())?;
    // SAFETY: the program was just created and is destroyed below; its text and name live until then.
    let outcome = unsafe { result::compile_program(program, options) };
    let code = match outcome {
        Ok(()) => code(program).map_err(|error| error.to_string()),
        // SAFETY: as above.
        Err(error) => Err(match unsafe { result::get_program_log(program) } {
            Ok(log) => log.iter().map(|&byte| char::from(byte as u8)).filter(|&character| character != '\0').collect(),
            Err(_) => error.to_string(),
        }),
    };
    // SAFETY: not used any more.
    unsafe { result::destroy_program(program) }.map_err(|error| error.to_string())?;
    code
}

/// Machine code of a compiled program, or its intermediate code, which ends with a zero, if there is none.
fn code(program: sys::nvrtcProgram) -> std::result::Result<Vec<u8>, result::NvrtcError> {
    let mut size = 0;
    // SAFETY: the caller's program, compiled.
    unsafe { sys::nvrtcGetCUBINSize(program, &raw mut size) }.result()?;
    let mut code = vec![0_u8; size];
    if size > 0 {
        // SAFETY: as above; it writes as many bytes as it has just told.
        unsafe { sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast::<c_char>()) }.result()?;
        return Ok(code);
    }
    // SAFETY: as above.
    Ok(unsafe { result::get_ptx(program) }?.into_iter().map(|byte| byte as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_newer_than_nvrtc_gets_intermediate_code() {
        let check = |capability, expected: &str| {
            let options = options(capability, &[75, 80, 86, 90]).unwrap();
            assert_eq!(options[0], format!("--gpu-architecture={expected}"));
        };
        check(90, "sm_90");
        check(120, "compute_90");
        check(89, "compute_86");
        assert!(options(70, &[75]).is_err());
        assert_eq!(target(90, &[75, 80, 86]), Ok(86));
    }
}
