//! The emulator finds the defects that a card passes over in silence.

use device::{Argument, Buffer, Device, Grid, Kernel, Result, Source};

const FAULTY: Source = Source { name: "faulty.cu", text: include_str!("kernels/faulty.cu") };

fn run(device: &Device, kernel: &Kernel, grid: Grid, arguments: &[Argument<'_>]) -> Result<()> {
    // SAFETY: the emulator stops these kernels where they leave their memory, or they write to what is left over beside it.
    unsafe { device.launch(kernel, grid, arguments) }
}

/// What a launch says of 100 floats called `x`.
fn error(name: &str, grid: Grid, others: &[Argument<'_>]) -> String {
    let device = Device::emulated().expect("a compiler");
    let x: Buffer<f32> = device.zeros(100, "x").expect("memory");
    let kernel = device.kernel_of(FAULTY, &[("FROM", 0)], name).expect("it compiles");
    let arguments: Vec<Argument<'_>> = std::iter::once((&x).into()).chain(others.iter().copied()).collect();
    run(&device, &kernel, grid, &arguments).expect_err("a defect").to_string()
}

#[test]
fn what_lies_outside_of_a_buffer_is_named() {
    let check = |at: i32, expected: &str| {
        assert_eq!(error("write_past", Grid::blocks(1, 32), &[at.into()]), format!("kernel write_past: {expected}"));
    };
    let prefix = "block (0, 0, 0), thread 7: reads or writes memory that is not its own: ";
    check(100, &format!("{prefix}0 bytes past the end of `x` of 400 bytes"));
    check(110, &format!("{prefix}40 bytes past the end of `x` of 400 bytes"));
    check(-1, "wrote 4 bytes before `x` of 400 bytes");
    check(-16300, &format!("{prefix}65200 bytes before `x` of 400 bytes"));
    let device = Device::emulated().unwrap();
    let (x, y): (Buffer<f32>, Buffer<f32>) = (device.zeros(1, "x").unwrap(), device.zeros(3, "y").unwrap());
    let kernel = device.kernel_of(FAULTY, &[("FROM", 0)], "read_past").unwrap();
    let launch = |at: i32| run(&device, &kernel, Grid::blocks(1, 32), &[(&x).into(), (&y).into(), at.into()]);
    assert!(launch(4).unwrap_err().to_string().ends_with("4 bytes past the end of `y` of 12 bytes"));
    // The device is of use afterwards.
    launch(2).unwrap();
    assert_eq!(x.download().unwrap(), [0.0]);
    let kernel = device.kernel_of(FAULTY, &[("FROM", 0)], "write_past").unwrap();
    let error = run(&device, &kernel, Grid::blocks(1, 32), &[(&y).into(), 3_i32.into()]).unwrap_err();
    assert_eq!(error.to_string(), "kernel write_past: wrote 0 bytes past the end of `y` of 12 bytes");
}

#[test]
fn threads_that_part_are_named() {
    let check = |name: &str, expected: &str| {
        let error = error(name, Grid::blocks(1, 64), &[]);
        assert!(error.contains(expected), "{error}");
    };
    check("part_before_barrier", "waits at the barrier of faulty.cu:14, others of its block at that of faulty.cu:11");
    check("leave_the_warp", "no thread can go on: threads 0 to 31 have returned; threads 32 to 62 wait in shuffle_xor");
    check("part_in_the_warp", "is in shuffle (faulty.cu:23), other lanes of its warp in shuffle_xor (faulty.cu:22)");
}

#[test]
fn shared_memory_has_an_end() {
    let check = |name: &str, expected: &str| {
        let error = error(name, Grid::blocks(1, 32).with_shared(112), &[]);
        assert!(error.contains(expected), "{error}");
    };
    check("overrun_index", "thread 8: has an index outside of its array");
    check("overrun_shared", "wrote past the end of a shared array (the block's number 1)");
    check("overrun_dynamic", "thread 28: goes past the end of dynamic shared memory");
    check("unaligned", "thread 0: has an index outside of its array, an address that is not aligned");
    let error = error("deep", Grid::blocks(1, 32), &[Argument::from(100_000_i32)]);
    assert!(error.contains("goes past its stack: its local arrays are too large"), "{error}");
}

#[test]
fn what_was_not_waited_for_is_no_number() {
    let device = Device::emulated().unwrap();
    let (x, y) = (device.zeros::<f32>(128, "x").unwrap(), device.zeros::<f32>(128, "y").unwrap());
    let kernel = device.kernel_of(FAULTY, &[("FROM", 0)], "no_wait").unwrap();
    run(&device, &kernel, Grid::blocks(1, 32), &[(&x).into(), (&y).into()]).unwrap();
    assert!(x.download().unwrap()[..32].iter().all(|value| value.is_nan()));
    // From whichever neighbour a thread reads without a barrier: in some block that one has not come yet.
    for from in [1, 32, 63] {
        let kernel = device.kernel_of(FAULTY, &[("FROM", from)], "no_barrier").unwrap();
        let x = device.zeros::<f32>(256, "x").unwrap();
        run(&device, &kernel, Grid::blocks(4, 64), &[(&x).into()]).unwrap();
        assert!(x.download().unwrap().iter().any(|value| value.is_nan()), "{from}");
    }
    assert!(device.alloc::<f32>(5, "new").unwrap().download().unwrap().iter().all(|value| value.is_nan()));
}
