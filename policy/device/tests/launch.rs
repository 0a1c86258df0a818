//! Launches, memory, recorded work: on the emulator, or on the card with `RECIPE_TEST_DEVICE=cuda`.

use device::{Argument, Device, Grid, Kernel, Result, Source};

const SCALE: Source = Source {
    name: "scale.cu",
    text: "
KERNEL(scale, float* x, int n, float factor) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] *= factor * TWO;
}",
};

fn run(device: &Device, kernel: &Kernel, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
    // SAFETY: the kernel keeps to the first `n` numbers, of which there are as many.
    unsafe { device.launch(kernel, grid, arguments) }
}

#[test]
fn a_kernel_runs() {
    let device = Device::for_tests();
    let values: Vec<f32> = (0..1000_i16).map(f32::from).collect();
    let x = device.upload(&values, "x").unwrap();
    let kernel = device.kernel_of(SCALE, &[("TWO", 2)], "scale").unwrap();
    run(&device, &kernel, Grid::covering(999, 128), &[(&x).into(), 999_i32.into(), 3.0_f32.into()]).unwrap();
    let expected: Vec<f32> = values.iter().map(|value| if *value < 999.0 { 6.0 * value } else { *value }).collect();
    assert_eq!(x.download().unwrap(), expected);
}

#[test]
fn wrong_arguments_are_refused() {
    let device = Device::for_tests();
    let kernel = device.kernel_of(SCALE, &[("TWO", 2)], "scale").unwrap();
    let error = run(&device, &kernel, Grid::blocks(1, 32), &[Argument::null(), 1_u32.into(), 1.0_f32.into()]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "kernel scale: argument 2 is a number of type unsigned, but is declared as `int n`"
    );
    let error = run(&device, &kernel, Grid::blocks(1, 33), &[Argument::null(), 1_i32.into(), 1.0_f32.into()]);
    assert_eq!(error.unwrap_err().to_string(), "kernel scale: 33 threads: must be a multiple of 32, at most 1024");
    let other = Device::for_tests();
    let x = other.upload(&[1.0_f32], "x").unwrap();
    let error = run(&device, &kernel, Grid::blocks(1, 32), &[(&x).into(), 1_i32.into(), 1.0_f32.into()]);
    assert_eq!(error.unwrap_err().to_string(), "kernel scale: argument 1 lies on another device");
}
