//! AdamW against a computation by hand, against candle's own, and its state's way to disk and back.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use candle_nn::Optimizer;

use super::*;
use crate::checkpoint::TensorData;
use crate::optim::CHUNK;
use crate::random::Normal;

fn variable(name: &str, values: &[f32], shape: &[usize]) -> (String, Var) {
    (name.to_owned(), Var::from_slice(values, shape, &Device::Cpu).unwrap())
}

fn read(var: &Var) -> Vec<f32> {
    var.flatten_all().unwrap().to_vec1().unwrap()
}

fn gradients(params: &[(String, Var)], values: &[&[f32]]) -> Gradients {
    let mut gradients = Gradients::zeros(params);
    for ((name, _), values) in params.iter().zip(values) {
        gradients.add_slice(name, values, 1.0).unwrap();
    }
    gradients
}

fn close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < tolerance, "{found} {expected}");
    }
}

#[test]
fn two_steps_by_hand() {
    // lr 0.1, beta 0.9 and 0.99, decay 0.5 on the matrix only, eps 0.
    let params = [variable("matrix", &[1.0], &[1, 1]), variable("vector", &[1.0], &[1])];
    let config = AdamWConfig { beta1: 0.9, beta2: 0.99, eps: 0.0, weight_decay: 0.5 };
    let mut optimizer = AdamW::new(&params, config).unwrap();

    // Step 1: m = 0.1 g, v = 0.01 g^2; corrected, m / sqrt(v) is the gradient's sign.
    optimizer.step(&gradients(&params, &[&[2.0], &[-2.0]]), 0.1, None).unwrap();
    close(&read(&params[0].1), &[1.0 * 0.95 - 0.1], 1e-6);
    close(&read(&params[1].1), &[1.0 + 0.1], 1e-6);

    // Step 2, g = 4: m = 0.9 * 0.2 + 0.4 = 0.58, over 1 - 0.81 = 0.19;
    // v = 0.99 * 0.04 + 0.16 = 0.1996, over 1 - 0.9801 = 0.0199.
    optimizer.step(&gradients(&params, &[&[4.0], &[-4.0]]), 0.1, None).unwrap();
    let moved = 0.1 * (0.58 / 0.19) / (0.1996f64 / 0.0199).sqrt();
    close(&read(&params[0].1), &[0.85 * 0.95 - moved], 1e-6);
    close(&read(&params[1].1), &[1.1 + moved], 1e-6);
    assert_eq!(optimizer.steps(), 2);
}

#[test]
fn eps_is_added_to_the_corrected_root() {
    // Step 1, g = 2: m / (1 - 0.9) = 2, sqrt(v) / sqrt(1 - 0.99) = 2; so 2 / (2 + 0.5) of the learning rate.
    let params = [variable("w", &[1.0], &[1])];
    let config = AdamWConfig { beta1: 0.9, beta2: 0.99, eps: 0.5, weight_decay: 0.0 };
    let mut optimizer = AdamW::new(&params, config).unwrap();
    optimizer.step(&gradients(&params, &[&[2.0]]), 0.1, None).unwrap();
    close(&read(&params[0].1), &[1.0 - 0.1 * 0.8], 1e-6);
}

#[test]
fn agrees_with_candles_own() {
    let start = Normal::new(1, "weights").take(60, 1.0);
    let ours = [variable("w", &start, &[6, 10])];
    let theirs = variable("w", &start, &[6, 10]).1;
    let config = AdamWConfig { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    let mut optimizer = AdamW::new(&ours, config).unwrap();
    let mut reference = candle_nn::AdamW::new(
        vec![theirs.clone()],
        candle_nn::ParamsAdamW { lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 },
    )
    .unwrap();
    for step in 0..20 {
        let target = Normal::new(step, "target").take(60, 1.0);
        let target = Tensor::from_vec(target, (6, 10), &Device::Cpu).unwrap();
        let backward = |var: &Var| {
            let error = (var.as_tensor() - &target).unwrap();
            error.sqr().unwrap().sum_all().unwrap().backward().unwrap()
        };
        let mut gradients = Gradients::zeros(&ours);
        let gradient = backward(&ours[0].1).get(&ours[0].1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        gradients.add_slice("w", &gradient, 1.0).unwrap();
        optimizer.step(&gradients, 0.01, None).unwrap();
        reference.step(&backward(&theirs)).unwrap();
    }
    let expected: Vec<f64> = read(&theirs).into_iter().map(f64::from).collect();
    close(&read(&ours[0].1), &expected, 1e-6);
    assert_ne!(read(&ours[0].1), start);
}

#[test]
fn clipping_scales_the_gradient_to_the_limit() {
    fn check(max_norm: Option<f64>, clipped: bool, moved: [f64; 2]) {
        // eps of 1 makes the step depend on the gradient's size, not on its direction alone: the first is g / (g + 1) of
        // the learning rate.
        let config = AdamWConfig { eps: 1.0, ..AdamWConfig::default() };
        let params = [variable("w", &[1.0, 1.0], &[2])];
        let mut optimizer = AdamW::new(&params, config).unwrap();
        let report = optimizer.step(&gradients(&params, &[&[3.0, 4.0]]), 0.1, max_norm).unwrap();
        assert_eq!(report, StepReport { grad_norm: 5.0, clipped, applied: true });
        close(&read(&params[0].1), &moved.map(|moved| 1.0 - 0.1 * moved), 1e-6);
    }
    check(None, false, [3.0 / 4.0, 4.0 / 5.0]);
    check(Some(5.0), false, [3.0 / 4.0, 4.0 / 5.0]);
    // A gradient of 0.6 and 0.8.
    check(Some(1.0), true, [0.6 / 1.6, 0.8 / 1.8]);
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    for poison in [f32::NAN, f32::INFINITY, 1e30] {
        let params = [variable("w", &[1.0, 2.0], &[2])];
        let mut optimizer = AdamW::new(&params, AdamWConfig::default()).unwrap();
        optimizer.step(&gradients(&params, &[&[1.0, 1.0]]), 0.1, None).unwrap();
        let weights = read(&params[0].1);
        let state: Vec<Vec<f32>> =
            optimizer.state().unwrap().views().iter().map(|(_, _, values)| values.to_vec()).collect();

        let report = optimizer.step(&gradients(&params, &[&[1.0, poison]]), 0.1, None).unwrap();
        assert!(!report.applied, "{poison}");
        assert_eq!(read(&params[0].1), weights);
        let after: Vec<Vec<f32>> =
            optimizer.state().unwrap().views().iter().map(|(_, _, values)| values.to_vec()).collect();
        assert_eq!(after, state);
    }
}

#[test]
fn a_parameter_without_gradient_is_left_alone() {
    let params = [variable("seen", &[1.0], &[1, 1]), variable("unseen", &[1.0], &[1, 1])];
    let config = AdamWConfig { weight_decay: 0.5, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(&params, config).unwrap();
    optimizer.step(&gradients(&params, &[&[1.0]]), 0.1, None).unwrap();
    assert_ne!(read(&params[0].1), [1.0]);
    assert_eq!(read(&params[1].1), [1.0]);
}

fn random_steps(optimizer: &mut AdamW, params: &[(String, Var)], steps: std::ops::Range<u64>) {
    for step in steps {
        let mut gradients = Gradients::zeros(params);
        for (name, var) in params {
            let values = Normal::new(step, name).take(var.elem_count(), 1.0);
            gradients.add_slice(name, &values, 1.0).unwrap();
        }
        optimizer.step(&gradients, 0.01, Some(1.0)).unwrap();
    }
}

fn two_parameters() -> [(String, Var); 2] {
    let wide = Normal::new(0, "start").take(3 * CHUNK, 1.0);
    [variable("z", &wide, &[3, CHUNK]), variable("a", &[1.0, 2.0], &[2])]
}

#[test]
fn restored_from_its_state_it_goes_on_to_the_same_bits() {
    let (whole, split) = (two_parameters(), two_parameters());
    let config = AdamWConfig::default();
    let mut straight = AdamW::new(&whole, config).unwrap();
    random_steps(&mut straight, &whole, 0..6);

    let mut before = AdamW::new(&split, config).unwrap();
    random_steps(&mut before, &split, 0..3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    crate::checkpoint::save_tensors(&path, &before.state().unwrap().views(), &BTreeMap::new()).unwrap();
    let mut after = AdamW::new(&split, config).unwrap();
    after.restore(&crate::checkpoint::load_tensors(&path).unwrap()).unwrap();
    random_steps(&mut after, &split, 3..6);

    assert_eq!(after.steps(), 6);
    for (whole, split) in whole.iter().zip(&split) {
        assert_eq!(read(&whole.1), read(&split.1));
    }
}

#[test]
fn threads_do_not_change_the_result() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let params = two_parameters();
            let mut optimizer = AdamW::new(&params, AdamWConfig::default()).unwrap();
            random_steps(&mut optimizer, &params, 0..3);
            read(&params[0].1)
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_state_that_does_not_fit_is_refused_by_name() {
    fn check(change: impl FnOnce(&mut BTreeMap<String, TensorData>), expected: &str) {
        let params = [variable("w", &[1.0, 2.0], &[2])];
        let mut optimizer = AdamW::new(&params, AdamWConfig::default()).unwrap();
        random_steps(&mut optimizer, &params, 0..1);
        let mut state: BTreeMap<String, TensorData> = optimizer
            .state()
            .unwrap()
            .views()
            .into_iter()
            .map(|(name, shape, values)| (name, TensorData { shape, values: values.to_vec() }))
            .collect();
        change(&mut state);
        let message = optimizer.restore(&state).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(optimizer.steps(), 1);
    }
    check(|state| drop(state.remove("second_moment.w")), "`second_moment.w`: missing");
    check(
        |state| state.get_mut("first_moment.w").unwrap().shape = vec![2, 1],
        "`first_moment.w`: expected shape [2], found [2, 1]",
    );
    check(
        |state| {
            let extra = TensorData { shape: vec![1], values: vec![0.0] };
            state.insert("first_moment.x".to_owned(), extra);
        },
        "`first_moment.x`",
    );
    check(|state| state.get_mut("steps").unwrap().values[0] = 0.5, "0.5 is not a count");
}

#[test]
fn parameters_and_gradients_must_match() {
    let params = [variable("a", &[1.0], &[1])];
    let others = [variable("b", &[1.0], &[1])];
    let mut optimizer = AdamW::new(&params, AdamWConfig::default()).unwrap();
    let message = optimizer.step(&Gradients::zeros(&others), 0.1, None).unwrap_err().to_string();
    assert!(message.contains("`a`") && message.contains("`b`"), "{message}");

    let twice = [params[0].clone(), params[0].clone()];
    let message = AdamW::new(&twice, AdamWConfig::default()).unwrap_err().to_string();
    assert!(message.contains("`a`: is listed twice"), "{message}");

    let double = [("d".to_owned(), Var::new(&[1f64], &Device::Cpu).unwrap())];
    let message = AdamW::new(&double, AdamWConfig::default()).unwrap_err().to_string();
    assert!(message.contains("`d`") && message.contains("F64"), "{message}");
}
