use device::ops::{AdamW, Judge, Verdict, Weights, move_towards};
use device::{Buffer, Device, bf16};

use super::support::{narrowed, numbers, on};

/// More than one block of squares, and no multiple of anything.
const LEN: usize = 70_001;

fn constants(t: i32) -> AdamW {
    let (lr, decay, beta1, beta2, eps) = (3e-3, 0.1, 0.9, 0.95, 1e-8);
    AdamW {
        keep: (1.0 - lr * decay) as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        step: (lr / (1.0 - f64::powi(beta1, t))) as f32,
        root_correction: (1.0 / (1.0 - f64::powi(beta2, t)).sqrt()) as f32,
        eps: eps as f32,
    }
}

/// As the policy's optimizer on the CPU computes.
fn step(constants: AdamW, scale: f32, weights: &mut [f32], gradient: &[f32], moments: [&mut [f32]; 2]) {
    let [first, second] = moments;
    for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
        let g = g * scale;
        *m += constants.one_minus_beta1 * (g - *m);
        *v = constants.beta2 * *v + constants.one_minus_beta2 * g * g;
        let denominator = v.sqrt() * constants.root_correction + constants.eps;
        *w = *w * constants.keep - constants.step * *m / denominator;
    }
}

fn norm(gradients: &[&[f32]]) -> f64 {
    gradients.iter().flat_map(|g| g.iter()).map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>().sqrt()
}

struct State {
    weights: Buffer<f32>,
    copy: Buffer<bf16>,
    moments: [Buffer<f32>; 2],
}

impl State {
    fn new(device: &Device, weights: &[f32]) -> Self {
        let moments = [(); 2].map(|()| device.zeros(weights.len(), "moments").unwrap());
        State { weights: on(device, weights), copy: on(device, &vec![bf16::NAN; weights.len()]), moments }
    }

    fn weights(&self) -> Weights<'_> {
        Weights { master: self.weights.view(), copy: Some(self.copy.view()) }
    }

    fn download(&self) -> [Vec<f32>; 3] {
        [&self.weights, &self.moments[0], &self.moments[1]].map(|buffer| buffer.download().unwrap())
    }
}

#[test]
fn steps_are_those_of_the_cpu_to_the_bit() {
    let device = Device::for_tests();
    let mut weights = numbers(LEN, 1);
    let (mut first, mut second) = (vec![0.0; LEN], vec![0.0; LEN]);
    let state = State::new(&device, &weights);
    // The same with moments on the host, staged in pieces.
    let other = State::new(&device, &weights);
    let (mut host_first, mut host_second) = (vec![0.0; LEN], vec![0.0; LEN]);
    let staging = [(); 2].map(|()| on(&device, &vec![f32::NAN; 9_000]));
    let judge = Judge::new(&device, [LEN, 10]).unwrap();
    let beside = numbers(10, 2);
    for t in 1..=3 {
        let gradient: Vec<f32> = numbers(LEN, 10 + t as u64).iter().map(|g| g * 0.01).collect();
        let expected_norm = norm(&[&gradient, &beside]);
        let max_norm = if t == 2 { None } else { Some(1.5) };
        let scale = max_norm.map_or(1.0, |most| most / expected_norm) as f32;
        let (on_card, beside) = (on(&device, &gradient), on(&device, &beside));
        judge.judge(&device, &[on_card.view(), beside.view()], max_norm).unwrap();
        let moments = [state.moments[0].view(), state.moments[1].view()];
        constants(t).step(&device, state.weights(), on_card.view(), moments, &judge).unwrap();
        let verdict = judge.verdict().unwrap();
        assert!(verdict.applied && (verdict.norm / expected_norm - 1.0).abs() < 1e-12, "{verdict:?} {expected_norm}");
        assert_eq!(verdict.scale as f32, scale);
        step(constants(t), scale, &mut weights, &gradient, [&mut first, &mut second]);
        assert_eq!(state.download(), [weights.clone(), first.clone(), second.clone()], "step {t}");
        assert_eq!(state.copy.download().unwrap(), narrowed(&weights), "step {t}");

        let staging = [staging[0].view(), staging[1].view()];
        let moments = [&mut host_first[..], &mut host_second[..]];
        let with_host = constants(t);
        with_host.step_with_host_moments(&device, other.weights(), on_card.view(), moments, (staging, &judge)).unwrap();
        assert_eq!(other.weights.download().unwrap(), weights, "step {t}");
        assert_eq!(other.copy.download().unwrap(), narrowed(&weights), "step {t}");
        assert!(host_first == first && host_second == second, "step {t}");
    }
}

#[test]
fn what_is_not_finite_changes_nothing() {
    let device = Device::for_tests();
    for (bad, norm_is_finite) in [(f32::NAN, false), (f32::INFINITY, false), (f32::MAX, true)] {
        for max_norm in [None, Some(1.0)] {
            let weights = numbers(300, 1);
            let state = State::new(&device, &weights);
            let mut gradient = numbers(300, 2);
            gradient[277] = bad;
            let gradient = on(&device, &gradient);
            let judge = Judge::new(&device, [300]).unwrap();
            judge.judge(&device, &[gradient.view()], max_norm).unwrap();
            let moments = [state.moments[0].view(), state.moments[1].view()];
            constants(1).step(&device, state.weights(), gradient.view(), moments, &judge).unwrap();
            let Verdict { norm, applied, .. } = judge.verdict().unwrap();
            assert_eq!(norm.is_finite(), norm_is_finite);
            // What is only large is clipped.
            assert_eq!(applied, norm_is_finite && max_norm.is_some(), "{bad} {max_norm:?}");
            if !applied {
                assert_eq!(state.download(), [weights, vec![0.0; 300], vec![0.0; 300]], "{bad}");
                let (mut first, mut second) = (vec![0.5; 300], vec![0.5; 300]);
                let staging = [state.moments[0].view(), state.moments[1].view()];
                let moments = [&mut first[..], &mut second[..]];
                let unmoved = constants(1);
                unmoved
                    .step_with_host_moments(&device, state.weights(), gradient.view(), moments, (staging, &judge))
                    .unwrap();
                assert_eq!((first, second), (vec![0.5; 300], vec![0.5; 300]));
            }
        }
    }
}

#[test]
fn weights_move_towards_others() {
    let device = Device::for_tests();
    let (weights, other) = (numbers(1_003, 1), numbers(1_003, 2));
    let state = State::new(&device, &weights);
    move_towards(&device, state.weights(), on(&device, &other).view(), 0.05).unwrap();
    let expected: Vec<f32> =
        weights.iter().zip(&other).map(|(w, o)| w * ((1.0 - 0.05) as f32) + o * (0.05_f64 as f32)).collect();
    assert_eq!(state.weights.download().unwrap(), expected);
    assert_eq!(state.copy.download().unwrap(), narrowed(&expected));
    // Without a copy.
    let masters = Weights { master: state.weights.view(), copy: None };
    move_towards(&device, masters, on(&device, &other).view(), 1.0).unwrap();
    assert_eq!(state.weights.download().unwrap(), other);
    assert_eq!(state.copy.download().unwrap(), narrowed(&expected));
}
