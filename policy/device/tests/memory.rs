//! Memory, work that is recorded, numbers read back while work goes on.

use std::time::Duration;

use device::{Argument, Buffer, Device, Graph, Grid, Kernel, Result, Source};

const STEP: Source = Source {
    name: "step.cu",
    text: "
// One block, so that its threads follow each other.
KERNEL(step, unsigned* state, unsigned add) {
    if (threadIdx.x == 0) state[0] = state[0] * 3 + add;
}",
};

fn step(device: &Device) -> Kernel {
    device.kernel_of(STEP, &[], "step").expect("it compiles")
}

/// Runs a kernel on the one number that it changes.
fn run<'a>(device: &Device, kernel: &Kernel, grid: Grid, state: impl Into<Argument<'a>>, add: u32) -> Result<()> {
    // SAFETY: the kernels of this file keep to the first number, and each buffer has one.
    unsafe { device.launch(kernel, grid, &[state.into(), add.into()]) }
}

fn capture(device: &Device, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
    // SAFETY: buffers that are used by what is recorded live to the end of their test, whose thread alone has the device.
    unsafe { device.capture("a test's work", work) }
}

#[test]
fn numbers_come_back_as_they_were() {
    let device = Device::for_tests();
    // More than one piece of the card's staging memory, and not a multiple of it.
    let values: Vec<u32> = (0..5_000_001).collect();
    let buffer = device.upload(&values, "values").unwrap();
    assert_eq!(buffer.download().unwrap(), values);
    buffer.write(2, &[70, 80]).unwrap();
    let copy = device.zeros::<u32>(6, "copy").unwrap();
    copy.copy_from(&buffer.slice(1..5)).unwrap();
    assert_eq!(copy.download().unwrap(), [1, 70, 80, 4, 0, 0]);
    copy.slice(1..3).fill_zero().unwrap();
    copy.slice(..1).write(&[9]).unwrap();
    assert_eq!(copy.slice(..=3).download().unwrap(), [9, 0, 0, 4]);
    assert_eq!(copy.slice(2..).slice(1..2).download().unwrap(), [4]);
}

#[test]
fn parts_side_by_side_are_joined() {
    let device = Device::for_tests();
    let values = device.upload(&[1_u32, 2, 3, 4, 5], "values").unwrap();
    let part = |from: usize, to: usize| values.slice(from..to);
    assert_eq!(part(1, 3).joined(part(3, 4)).unwrap().download().unwrap(), [2, 3, 4]);
    assert_eq!(part(0, 0).joined(part(0, 2)).unwrap().download().unwrap(), [1, 2]);
    for (first, second) in [(part(0, 2), part(3, 4)), (part(2, 3), part(0, 2)), (part(0, 2), part(1, 3))] {
        assert!(first.joined(second).unwrap_err().to_string().contains("side by side"));
    }
}

#[test]
fn uploads_follow_each_other_whatever_their_lengths() {
    let device = Device::for_tests();
    // Some 60 MiB in all: each piece of the card's staging memory is filled more than once, and begun anew in the midst.
    let numbers = |upload: usize| -> Vec<u32> {
        let len = upload * upload * 97 % 300_000 + 1;
        (0..len).map(|at| (at * 31 + upload) as u32).collect()
    };
    let uploaded: Vec<Buffer<u32>> =
        (0..100).map(|upload| device.upload(&numbers(upload), "numbers").unwrap()).collect();
    for (upload, buffer) in uploaded.iter().enumerate() {
        assert!(buffer.download().unwrap() == numbers(upload), "upload {upload}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Device::for_tests();
    let buffer = device.zeros::<u32>(4, "four").unwrap();
    let check = |outcome: Result<()>, expected: &str| {
        assert_eq!(outcome.unwrap_err().to_string(), expected);
    };
    check(buffer.write(3, &[1, 2]), "write: 2 numbers from number 3 on do not fit into 4");
    check(buffer.view().write(&[1]), "write: 1 numbers for a place of 4");
    check(buffer.slice(..2).copy_from(&buffer.slice(1..)), "copy: 3 numbers for a place of 2");
    check(
        device.alloc::<u64>(usize::MAX / 4, "everything").map(drop),
        &format!("allocation: everything: {} numbers are too many", usize::MAX / 4),
    );
    check(
        device.readback::<u64>(usize::MAX / 8 + 2, "everything").map(drop),
        &format!("readback: everything: {} numbers are too many", usize::MAX / 8 + 2),
    );
    let elsewhere = Device::for_tests().zeros::<u32>(4, "elsewhere").unwrap();
    check(buffer.copy_from(&elsewhere.view()), "copy: from another device");
    check(device.readback(4, "four").unwrap().start(&elsewhere.view()), "readback: from another device");
    assert_eq!(buffer.download().unwrap(), [0; 4]);
}

#[test]
fn nothing_is_a_number_of_numbers_too() {
    let device = Device::for_tests();
    let nothing: Buffer<f32> = device.zeros(0, "nothing").unwrap();
    assert_eq!(nothing.download().unwrap(), []);
    nothing.copy_from(&nothing.view()).unwrap();
    run(&device, &step(&device), Grid::blocks(0, 32), Argument::null(), 1).unwrap();
}

#[test]
fn recorded_work_is_done_at_each_launch() {
    let device = Device::for_tests();
    let step = step(&device);
    let state = device.upload(&[1_u32], "state").unwrap();
    let last = device.zeros::<u32>(2, "last").unwrap();
    let launch = |add: u32| run(&device, &step, Grid::blocks(1, 32), &state, add);
    let graph = capture(&device, || {
        last.slice(1..).fill_zero()?;
        last.copy_from(&state.view())?;
        launch(1)?;
        launch(2)
    })
    .unwrap();
    // Nothing has been done yet; then (1 * 3 + 1) * 3 + 2.
    assert_eq!(state.download().unwrap(), [1]);
    graph.launch().unwrap();
    assert_eq!(state.download().unwrap(), [14]);
    last.write(1, &[5]).unwrap();
    graph.launch().unwrap();
    assert_eq!((state.download().unwrap(), last.download().unwrap()), (vec![131], vec![14, 0]));
}

#[test]
fn what_cannot_be_recorded_is_refused_and_recording_ends() {
    let device = Device::for_tests();
    let state = device.upload(&[1_u32], "state").unwrap();
    let error = capture(&device, || state.download().map(drop)).unwrap_err();
    assert_eq!(error.to_string(), "download: cannot be done while work is being recorded");
    let error = capture(&device, || device.alloc::<u32>(1, "more").map(drop)).unwrap_err();
    assert_eq!(error.to_string(), "allocation: cannot be done while work is being recorded");
    assert_eq!(state.download().unwrap(), [1]);
    // A buffer that is dropped meanwhile.
    let (copy, kept) = (device.upload(&[7_u32], "copy").unwrap(), device.zeros::<u32>(1, "kept").unwrap());
    let dropping = || {
        drop(copy);
        Ok(())
    };
    capture(&device, dropping).unwrap().launch().unwrap();
    kept.copy_from(&state.view()).unwrap();
    assert_eq!(kept.download().unwrap(), [1]);
}

#[test]
fn numbers_are_read_back_while_work_goes_on() {
    let device = Device::for_tests();
    let step = step(&device);
    let state = device.upload(&[1_u32], "state").unwrap();
    let mut places = [2, 1].map(|len| device.readback::<u32>(len, "numbers").unwrap());
    let mut seen = Vec::new();
    for number in 0..6_usize {
        run(&device, &step, Grid::blocks(1, 32), &state, 1).unwrap();
        places[number % 2].start(&state.view()).unwrap();
        if number > 0 {
            seen.extend_from_slice(places[(number - 1) % 2].wait().unwrap());
        }
    }
    assert_eq!(seen, [4, 13, 40, 121, 364]);
    let two = device.upload(&[1_u32, 2], "two").unwrap();
    places[0].start(&two.view()).unwrap();
    assert_eq!(places[0].wait().unwrap(), [1, 2]);
    let error = places[1].start(&two.view()).unwrap_err().to_string();
    assert_eq!(error, "readback: 2 numbers for a place of 1");
}

#[test]
fn the_device_describes_itself() {
    let device = Device::for_tests();
    let description = device.describe().unwrap();
    assert_eq!(description.name, device.name());
    assert!(description.memory.total >= description.memory.free && description.memory.free > 0, "{description:?}");
    assert!(description.capability.0 >= 8 && !description.versions.is_empty(), "{description:?}");
    let time = device.time(|| device.zeros::<f32>(1000, "zeros").map(drop)).unwrap();
    assert!(time > Duration::ZERO);
}

#[test]
fn a_kernel_can_be_asked_for_by_many_at_once() {
    // A number that no run before had, so that it is compiled now.
    let number = std::process::id();
    let outputs: Vec<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let device = Device::for_tests();
                    let kernel = device.kernel_of(STEP, &[("NUMBER", i64::from(number))], "step").unwrap();
                    let state = device.upload(&[2_u32], "state").unwrap();
                    for _ in 0..50 {
                        run(&device, &kernel, Grid::blocks(1, 1024), &state, 1).unwrap();
                    }
                    state.download().unwrap()[0]
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let expected = (0..50).fold(2_u32, |state, _| state.wrapping_mul(3).wrapping_add(1));
    assert_eq!(outputs, [expected; 4]);
}

#[test]
fn what_many_threads_give_is_done_one_after_the_other() {
    const SLOW: Source = Source {
        name: "slow.cu",
        text: "
// Long enough that another launch could come between.
KERNEL(slow, unsigned* state, unsigned add) {
    if (threadIdx.x != 0) return;
    unsigned before = *(volatile unsigned*)state;
    for (volatile int i = 0; i < 10000; i++) {}
    *(volatile unsigned*)state = before + add;
}",
    };
    let device = Device::for_tests();
    let kernel = device.kernel_of(SLOW, &[], "slow").unwrap();
    let state = device.zeros::<u32>(1, "state").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| run(&device, &kernel, Grid::blocks(1, 32), &state, 1).unwrap()));
        }
    });
    assert_eq!(state.download().unwrap(), [200]);
}
