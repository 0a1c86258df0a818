//! The router and the sorting by expert, against plain loops.

use device::ops::{Grouping, GroupingScratch, Router};
use device::{Device, bf16};

use crate::support::numbers;

/// Numbers from -1 to 1 on a grid of 33, so that many are equal.
fn coarse(seed: u64, count: usize) -> Vec<f32> {
    numbers(seed, count).iter().map(|x| (x * 16.0).round() / 16.0).collect()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The best `count` of the scores, ties to the lower number, NaN below all.
fn best(scores: &[(usize, f32)], count: usize) -> Vec<usize> {
    let key = |x: f32| if x.is_nan() { f32::NEG_INFINITY } else { x };
    let mut order = scores.to_vec();
    order.sort_by(|a, b| key(b.1).total_cmp(&key(a.1)).then(a.0.cmp(&b.0)));
    order.iter().take(count).map(|(number, _)| *number).collect()
}

/// One token's experts and gates.
fn choose(router: &Router, logits: &[f32], bias: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let scores: Vec<(usize, f32)> = logits.iter().zip(bias).map(|(z, b)| sigmoid(*z) + b).enumerate().collect();
    let groups: Vec<(usize, f32)> = scores
        .chunks(router.experts / router.groups)
        .map(|group| {
            let two = best(group, 2);
            two.iter().map(|expert| scores[*expert].1).sum()
        })
        .enumerate()
        .collect();
    let open = best(&groups, router.top_groups);
    let inside: Vec<_> = scores
        .iter()
        .filter(|(expert, _)| open.contains(&(expert / (router.experts / router.groups))))
        .copied()
        .collect();
    let mut chosen = best(&inside, router.top_k);
    chosen.sort_unstable();
    let total: f32 = chosen.iter().map(|expert| sigmoid(logits[*expert])).sum::<f32>() + 1e-20;
    let factor = if router.normalise { router.scale / total } else { router.scale };
    let gates = chosen.iter().map(|expert| sigmoid(logits[*expert]) * factor).collect();
    (chosen, gates)
}

fn router(experts: usize, top_k: usize, groups: usize, top_groups: usize) -> Router {
    Router { experts, top_k, groups, top_groups, normalise: !top_k.is_multiple_of(3), scale: 2.5 }
}

const ROUTERS: [(usize, usize, usize, usize); 8] = [
    (7, 2, 1, 1),
    (64, 6, 8, 3),
    (256, 8, 8, 4),
    (256, 16, 64, 9),
    (40, 5, 4, 2),
    (33, 3, 11, 2),
    (5, 5, 1, 1),
    (96, 4, 96, 7),
];

#[test]
fn choices_and_gates_are_those_of_plain_loops() {
    let device = Device::for_tests();
    for (experts, top_k, groups, top_groups) in ROUTERS {
        let router = router(experts, top_k, groups, top_groups);
        let rows = 37;
        let mut logits: Vec<f32> = coarse(1, rows * experts).iter().map(|x| x * 4.0).collect();
        // A row that is no number, one that is none in parts, and one without a bottom.
        logits[..experts].fill(f32::NAN);
        (0..experts).step_by(3).for_each(|expert| logits[experts + expert] = f32::NAN);
        logits[2 * experts..3 * experts].fill(f32::NEG_INFINITY);
        let bias: Vec<f32> = coarse(2, experts).iter().map(|x| x * 0.25).collect();
        let z = device.upload(&logits, "logits").unwrap();
        let b = device.upload(&bias, "bias").unwrap();
        let chosen = device.zeros::<u16>(rows * top_k, "chosen").unwrap();
        let gates = device.zeros::<f32>(rows * top_k, "gates").unwrap();
        router.choose(&device, (chosen.view(), gates.view()), z.view(), b.view()).unwrap();
        let again = device.zeros::<f32>(rows * top_k, "gates").unwrap();
        router.gates(&device, again.view(), z.view(), chosen.view()).unwrap();

        let (chosen, gates, again) = (chosen.download().unwrap(), gates.download().unwrap(), again.download().unwrap());
        for row in 0..rows {
            let expected = choose(&router, &logits[row * experts..][..experts], &bias);
            let found = row * top_k..(row + 1) * top_k;
            let numbers: Vec<usize> = chosen[found.clone()].iter().map(|expert| usize::from(*expert)).collect();
            assert_eq!(numbers, expected.0, "row {row} of {router:?}");
            for ((gate, again), expected) in gates[found.clone()].iter().zip(&again[found]).zip(&expected.1) {
                assert!(gate.to_bits() == again.to_bits() || gate.is_nan() && again.is_nan());
                assert!(gate.is_nan() && expected.is_nan() || (gate - expected).abs() <= 1e-6 * expected.abs());
            }
        }
    }
}

#[test]
fn impossible_routers_are_refused() {
    let device = Device::for_tests();
    let logits = device.zeros::<f32>(12, "logits").unwrap();
    let bias = device.zeros::<f32>(6, "bias").unwrap();
    let chosen = device.zeros::<u16>(8, "chosen").unwrap();
    let gates = device.zeros::<f32>(8, "gates").unwrap();
    let message = |router: Router| {
        let outcome = router.choose(&device, (chosen.view(), gates.view()), logits.view(), bias.view());
        outcome.unwrap_err().to_string()
    };
    assert_eq!(
        message(router(6, 4, 3, 1)),
        "router, choice: 4 experts for each token: at most 16, and of the 2 that are open to it"
    );
    assert_eq!(message(router(6, 4, 4, 1)), "router, choice: 6 experts in 4 groups, of which 1 are chosen");
    assert_eq!(message(router(5, 4, 1, 1)), "router, choice: the logits: expected 10 numbers, found 12");
}

/// The loss whose gradient the router's backward pass gives: `sum(gates * c)`, and the balance loss for a given load.
fn loss(router: &Router, logits: &[f64], chosen: &[u16], c: &[f32], load: &[u32], balance: f64) -> f64 {
    let (experts, top_k) = (router.experts, router.top_k);
    let tokens = logits.len() / experts;
    let mut loss = 0.0;
    let mut shares = vec![0.0; experts];
    for (row, z) in logits.chunks(experts).enumerate() {
        let s: Vec<f64> = z.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect();
        let own = &chosen[row * top_k..(row + 1) * top_k];
        let total: f64 = own.iter().map(|expert| s[usize::from(*expert)]).sum();
        let factor = f64::from(router.scale) / if router.normalise { total } else { 1.0 };
        for (expert, c) in own.iter().zip(&c[row * top_k..]) {
            loss += s[usize::from(*expert)] * factor * f64::from(*c);
        }
        let all: f64 = s.iter().sum();
        shares.iter_mut().zip(&s).for_each(|(share, s)| *share += s / all / tokens as f64);
    }
    let frequency = experts as f64 / (top_k * tokens) as f64;
    loss + balance * load.iter().zip(&shares).map(|(load, share)| f64::from(*load) * frequency * share).sum::<f64>()
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let device = Device::for_tests();
    for ((experts, top_k, groups, top_groups), balance) in
        ROUTERS.into_iter().zip([0.0, 0.0, 7.0, 0.5].into_iter().cycle())
    {
        let router = router(experts, top_k, groups, top_groups);
        let rows = 5;
        let logits: Vec<f32> = numbers(3, rows * experts).iter().map(|x| x * 2.0).collect();
        let c = numbers(4, rows * top_k);
        let z = device.upload(&logits, "logits").unwrap();
        let bias = device.zeros::<f32>(experts, "bias").unwrap();
        let chosen = device.zeros::<u16>(rows * top_k, "chosen").unwrap();
        let gates = device.zeros::<f32>(rows * top_k, "gates").unwrap();
        router.choose(&device, (chosen.view(), gates.view()), z.view(), bias.view()).unwrap();
        let scratch = GroupingScratch::new(&device, rows, experts, top_k).unwrap();
        let grouping = Grouping::new(&device, &scratch).unwrap();
        let load = device.zeros::<u32>(experts, "load").unwrap();
        let grouped = grouping.sort(&device, &scratch, chosen.view(), Some(load.view())).unwrap();
        let d_gates = device.upload(&c, "gradient").unwrap();
        let d_logits = device.alloc::<bf16>(rows * experts, "gradient").unwrap();
        router
            .backward(&device, d_logits.view(), (z.view(), chosen.view()), d_gates.view(), &grouped, balance)
            .unwrap();

        let (chosen, load) = (chosen.download().unwrap(), load.download().unwrap());
        let mut at: Vec<f64> = logits.iter().map(|z| f64::from(*z)).collect();
        for (i, d) in d_logits.download().unwrap().iter().enumerate() {
            let mut side = |step: f64| {
                at[i] = f64::from(logits[i]) + step;
                let loss = loss(&router, &at, &chosen, &c, &load, balance);
                at[i] = f64::from(logits[i]);
                loss
            };
            let expected = (side(1e-5) - side(-1e-5)) / 2e-5;
            // Half a unit in bf16's last place, and what the differences leave.
            assert!(
                (d.to_f64() - expected).abs() <= expected.abs() / 256.0 + 1e-7,
                "logit {i} of {router:?}: {d}, expected {expected}"
            );
        }
    }
}

/// Choices of `rows` tokens: ascending and different inside a token, some experts more often than others.
fn choices(rows: usize, experts: usize, top_k: usize, only_first: bool) -> Vec<u16> {
    let mut chosen = Vec::new();
    for (row, x) in numbers(5, rows * experts).chunks(experts).enumerate() {
        // Odd experts are rarely chosen, and every seventh never while there are others.
        let weigh = |expert: usize, x: f32| x - [0.0, 0.9][expert % 2] - if expert % 7 == 3 { 9.0 } else { 0.0 };
        let scores: Vec<_> = x.iter().enumerate().map(|(expert, x)| (expert, weigh(expert, *x))).collect();
        let mut own = best(&scores, top_k);
        own.sort_unstable();
        if only_first {
            own = (0..top_k).collect();
        }
        chosen.extend(own.iter().map(|expert| *expert as u16));
        assert_eq!(chosen.len(), (row + 1) * top_k);
    }
    chosen
}

#[test]
fn sorting_keeps_the_order_of_tokens() {
    let device = Device::for_tests();
    for (rows, experts, top_k, only_first) in [
        (0, 4, 2, false),
        (1, 4, 2, false),
        (37, 10, 3, false),
        (300, 256, 8, false),
        (300, 12, 2, true),
        // More than one chunk of 4096 pairs.
        (2100, 8, 2, false),
        (1700, 256, 6, false),
    ] {
        let chosen = choices(rows, experts, top_k, only_first);
        let scratch = GroupingScratch::new(&device, rows + 3, experts, top_k).unwrap();
        let grouping = Grouping::new(&device, &scratch).unwrap();
        let load = device.upload(&vec![5_u32; experts], "load").unwrap();
        let on_device = device.upload(&chosen, "chosen").unwrap();
        let grouped = grouping.sort(&device, &scratch, on_device.view(), Some(load.view())).unwrap();

        let mut order: Vec<usize> = (0..chosen.len()).collect();
        order.sort_by_key(|pair| chosen[*pair]);
        let token: Vec<u32> = order.iter().map(|pair| (pair / top_k) as u32).collect();
        let mut place = vec![0; chosen.len()];
        order.iter().enumerate().for_each(|(at, pair)| place[*pair] = at as u32);
        let count = |expert: usize| chosen.iter().filter(|e| usize::from(**e) == expert).count() as u32;
        let offsets: Vec<u32> = (0..=experts).map(|expert| (0..expert).map(count).sum()).collect();
        assert_eq!(grouped.offsets.download().unwrap(), offsets, "{rows} tokens, {experts} experts");
        assert_eq!(grouped.token.download().unwrap(), token);
        assert_eq!(grouped.place.download().unwrap(), place);
        assert_eq!(load.download().unwrap(), (0..experts).map(|expert| count(expert) + 5).collect::<Vec<_>>());
    }
}
