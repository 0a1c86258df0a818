//! Every fused operation, in f64: the forward pass against the plain composition of candle's operations, the gradient
//! against candle's through that composition and against finite differences.

use std::sync::Arc;

use candle_core::{D, Device, Result, Tensor, Var};
use policy::ops::bias::{add_bias, add_bias_backward};
use policy::ops::embedding::{gather_rows, gather_rows_backward};
use policy::ops::experts::{Experts, add_swiglu, add_swiglu_backward};
use policy::ops::grouped_attention::{GroupedAttention, GroupedConfig};
use policy::ops::latent_attention::{LatentAttention, LatentConfig};
use policy::ops::layouts::{Layouts, Segment};
use policy::ops::linear::{add_linear, linear, linear_backward};
use policy::ops::logprob::{Logprob, Logprobs};
use policy::ops::rms_norm::{rms_norm, rms_norm_backward};
use policy::ops::rope::RopeTable;
use policy::ops::router::{RouterConfig, Routing, add_balance_backward, route, router_gates, router_gates_backward};
use policy::random::Normal;

fn random(name: &str, shape: &[usize]) -> Var {
    let count = shape.iter().product();
    let values: Vec<f64> = Normal::new(7, name).take(count, 1.0).into_iter().map(f64::from).collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

/// Factors that weigh every element of a result differently, so that no gradient can hide in the sum.
fn objective_weights(count: usize) -> Vec<f64> {
    Normal::new(7, "objective").take(count, 1.0).into_iter().map(f64::from).collect()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Compares an operation with its plain composition, forward and gradient, and its gradient with finite differences.
///
/// `forward` makes the result of the inputs; `backward` adds to zeros, one for each input, for the result's gradient.
fn check(
    name: &str,
    inputs: &[&Var],
    forward: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    backward: impl Fn(&[Vec<f64>], &[f64], &mut [Vec<f64>]),
    plain: &dyn Fn() -> Result<Tensor>,
) {
    let mut values: Vec<Vec<f64>> = inputs.iter().map(|var| numbers(var)).collect();
    let y = forward(&values);
    let weights = objective_weights(y.len());
    let gradient = |sums: f64| {
        let mut gradients: Vec<Vec<f64>> = values.iter().map(|values| vec![sums; values.len()]).collect();
        backward(&values, &weights, &mut gradients);
        gradients
    };
    let gradients = gradient(0.0);

    let expected = plain().unwrap();
    assert!(largest_difference(&y, &numbers(&expected)) < 1e-10, "{name}: forward differs from the plain composition");
    let objective = Tensor::from_slice(&weights, expected.shape(), &Device::Cpu).unwrap();
    let expected = (expected * objective).unwrap().sum_all().unwrap().backward().unwrap();
    for (index, (var, gradient)) in inputs.iter().zip(&gradients).enumerate() {
        let difference = largest_difference(gradient, &numbers(expected.get(var).unwrap()));
        assert!(difference < 1e-9, "{name}: gradient of input {index} differs by {difference:e} from the plain one");
    }
    // Gradients are added to what is there.
    for (sum, gradient) in gradient(3.0).iter().zip(&gradients) {
        let moved: Vec<f64> = gradient.iter().map(|g| g + 3.0).collect();
        assert!(largest_difference(sum, &moved) < 1e-9, "{name}: a gradient is not added to its sum");
    }

    let step = 1e-5;
    for (index, gradient) in gradients.iter().enumerate() {
        // Every element of small inputs, some forty of larger ones.
        for element in (0..gradient.len()).step_by((gradient.len() / 40).max(1)) {
            let original = values[index][element];
            let mut at = |delta: f64| -> f64 {
                values[index][element] = original + delta;
                forward(&values).iter().zip(&weights).map(|(y, w)| y * w).sum()
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            values[index][element] = original;
            let tolerance = 1e-6 * (1.0 + slope.abs());
            assert!(
                (slope - gradient[element]).abs() < tolerance,
                "{name}: input {index}, element {element}: finite difference {slope}, gradient {}",
                gradient[element]
            );
        }
    }
}

/// `sum += values`, for an operation that returns a gradient.
fn add(sum: &mut [f64], values: &[f64]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

#[test]
fn linear_layers() {
    // More rows than one block, and a width at which the product is made of dot products.
    for outputs in [70, 5] {
        let (x, w) = (random("x", &[300, 12]), random("w", &[outputs, 12]));
        check(
            "linear",
            &[&x, &w],
            |v| linear(&v[0], &v[1], 12),
            |v, d_y, d| {
                let [d_x, d_w] = d else { unreachable!() };
                linear_backward(d_x, d_w, &v[0], &v[1], d_y, 12);
            },
            &|| x.matmul(&w.t()?),
        );
        let mut sum = vec![2.0; 300 * outputs];
        add_linear(&mut sum, &numbers(&x), &numbers(&w), 12);
        let expected: Vec<f64> = linear(&numbers(&x), &numbers(&w), 12).iter().map(|y| y + 2.0).collect();
        assert!(largest_difference(&sum, &expected) < 1e-12);
    }
}

#[test]
fn biases() {
    let (x, b) = (random("x", &[300, 7]), random("b", &[7]));
    let forward = |v: &[Vec<f64>]| {
        let mut y = v[0].clone();
        add_bias(&mut y, &v[1]);
        y
    };
    let backward = |_: &[Vec<f64>], d_y: &[f64], d: &mut [Vec<f64>]| {
        add(&mut d[0], d_y);
        add_bias_backward(&mut d[1], d_y);
    };
    check("add_bias", &[&x, &b], forward, backward, &|| x.broadcast_add(&b));
}

#[test]
fn rows_of_a_table() {
    let table = random("table", &[9, 5]);
    let ids: Vec<u32> = (0..300).map(|i| i * 5 % 9).collect();
    let index = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap();
    check(
        "gather_rows",
        &[&table],
        |v| gather_rows(&v[0], &ids, 5),
        |_, d_y, d| gather_rows_backward(&mut d[0], &ids, d_y, 5),
        &|| table.index_select(&index, 0),
    );
}

#[test]
fn root_mean_square_norm() {
    // Whole rows, and the first part of wider ones.
    for stride in [20, 23] {
        let (x, w) = (random("x", &[260, stride]), random("w", &[20]));
        let plain = || {
            let x = x.narrow(1, 0, 20)?;
            let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
            x.broadcast_div(&(mean + 1e-3)?.sqrt()?)?.broadcast_mul(&w)
        };
        check(
            "rms_norm",
            &[&x, &w],
            |v| rms_norm(&v[0], stride, &v[1], 1e-3),
            |v, d_y, d| {
                let [d_x, d_w] = d else { unreachable!() };
                rms_norm_backward((d_x, d_w), (&v[0], stride), &v[1], d_y, 1e-3);
            },
            &plain,
        );
    }
}

/// One SwiGLU layer from a fused weight `[3 * inner, width]`.
fn plain_swiglu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let inner = weight.dim(0)? / 3;
    let gate = x.matmul(&weight.narrow(0, 0, inner)?.t()?)?;
    let up = x.matmul(&weight.narrow(0, inner, inner)?.t()?)?;
    (silu(&gate)? * up)?.matmul(&weight.narrow(0, 2 * inner, inner)?)
}

fn silu(x: &Tensor) -> Result<Tensor> {
    x / (x.neg()?.exp()? + 1.0)?
}

#[test]
fn dense_feed_forward() {
    let (x, w) = (random("x", &[150, 6]), random("w", &[1, 12, 6]));
    check(
        "swiglu",
        &[&x, &w],
        |v| {
            let mut y = vec![0.0; v[0].len()];
            add_swiglu(&mut y, &v[0], &v[1], 6);
            y
        },
        |v, d_y, d| {
            let [d_x, d_w] = d else { unreachable!() };
            let gate_up = add_swiglu(&mut vec![0.0; v[0].len()], &v[0], &v[1], 6);
            add_swiglu_backward((d_x, d_w), (&v[0], &v[1]), &gate_up, d_y, 6);
        },
        &|| plain_swiglu(&x, &w.squeeze(0)?),
    );
}

/// The affinities `[tokens, 4]` of a router's logits, and which of them were chosen.
fn plain_affinities(logits: &Tensor, routing: &Routing) -> Result<Tensor> {
    let tokens = logits.dim(0)?;
    let chosen: Vec<f64> = (0..tokens * 4)
        .map(|i| f64::from(u8::from(routing.chosen[i / 4 * 2..i / 4 * 2 + 2].contains(&(i as u32 % 4)))))
        .collect();
    let chosen = Tensor::from_vec(chosen, (tokens, 4), &Device::Cpu)?;
    (logits.neg()?.exp()? + 1.0)?.recip()? * &chosen
}

#[test]
fn mixture_of_experts() {
    let config = RouterConfig { experts: 4, top_k: 2, groups: 1, top_groups: 1, normalise: true, scale: 1.7 };
    let (x, logits, w) = (random("x", &[90, 6]), random("z", &[90, 4]), random("w", &[4, 9, 6]));
    let routing = route(&numbers(&logits), &[0.1, -0.1, 0.0, 0.3], &config);
    let mixture = Experts::new(&routing);
    let plain = || {
        let affinities = plain_affinities(&logits, &routing)?;
        let gates = (affinities.broadcast_div(&affinities.sum_keepdim(1)?)? * 1.7)?;
        let mut y = x.zeros_like()?;
        for expert in 0..4 {
            let result = plain_swiglu(&x, &w.get(expert)?)?;
            y = (y + result.broadcast_mul(&gates.narrow(1, expert, 1)?)?)?;
        }
        Ok(y)
    };
    check(
        "experts",
        &[&x, &logits, &w],
        |v| {
            let mut y = vec![0.0; v[0].len()];
            mixture.add(&mut y, &v[0], &router_gates(&v[1], &routing, &config), &v[2], 6);
            y
        },
        |v, d_y, d| {
            let [d_x, d_logits, d_w] = d else { unreachable!() };
            let gates = router_gates(&v[1], &routing, &config);
            let kept = mixture.add(&mut vec![0.0; v[0].len()], &v[0], &gates, &v[2], 6);
            let d_gates = mixture.backward((d_x, d_w), (&v[0], &gates, &v[2]), &kept, d_y, 6);
            add(d_logits, &router_gates_backward(&v[1], &routing, &config, &d_gates));
        },
        &plain,
    );
}

#[test]
fn gates_without_normalisation() {
    let config = RouterConfig { experts: 4, top_k: 2, groups: 2, top_groups: 1, normalise: false, scale: 2.5 };
    let logits = random("z", &[30, 4]);
    let routing = route(&numbers(&logits), &[0.0; 4], &config);
    let index = Tensor::from_slice(&routing.chosen, (30, 2), &Device::Cpu).unwrap();
    check(
        "router_gates",
        &[&logits],
        |v| router_gates(&v[0], &routing, &config),
        |v, d_y, d| add(&mut d[0], &router_gates_backward(&v[0], &routing, &config, d_y)),
        &|| plain_affinities(&logits, &routing)?.gather(&index, 1)? * 2.5,
    );
}

/// `0.3 * sum_i f_i P_i`, as the report writes it.
#[test]
fn balance_loss() {
    let config = RouterConfig { experts: 4, top_k: 2, groups: 1, top_groups: 1, normalise: true, scale: 1.0 };
    let logits = random("z", &[50, 4]);
    let routing = route(&numbers(&logits), &[0.0; 4], &config);
    let used: Vec<f64> = routing.load.iter().map(|load| f64::from(*load) * 4.0 / (2.0 * 50.0)).collect();
    let used = Tensor::from_vec(used, 4, &Device::Cpu).unwrap();
    let plain = || {
        let affinities = (logits.neg()?.exp()? + 1.0)?.recip()?;
        let shares = affinities.broadcast_div(&affinities.sum_keepdim(1)?)?.mean(0)?;
        (shares * &used)?.sum_all()? * 0.3
    };
    let expected = plain().unwrap().backward().unwrap();
    let mut found = vec![0.0; 200];
    add_balance_backward(&mut found, &numbers(&logits), &routing, &config, 0.3);
    let difference = largest_difference(&found, &numbers(expected.get(&logits).unwrap()));
    assert!(difference < 1e-12, "the gradient differs by {difference:e}");
    // It pushes tokens from the expert that has most to the one that has least.
    let most = (0..4).max_by_key(|expert| routing.load[*expert]).unwrap();
    let least = (0..4).min_by_key(|expert| routing.load[*expert]).unwrap();
    let slope = |expert: usize| found.iter().skip(expert).step_by(4).sum::<f64>();
    assert!(routing.load[most] > routing.load[least] && slope(most) > 0.0 && slope(least) < 0.0);
}

#[test]
fn log_probabilities_and_entropy() {
    // A vocabulary that lies in one panel, and one that takes three; rows of two chunks.
    for (rows, vocabulary, width) in [(70, 33, 8), (131, 9000, 3)] {
        let (h, w) = (random("h", &[rows, width]), random("w", &[vocabulary, width]));
        let targets: Vec<u32> = (0..rows).map(|i| (i * 4099 % vocabulary) as u32).collect();
        let index = Tensor::new(targets.as_slice(), &Device::Cpu).unwrap().unsqueeze(1).unwrap();
        let log_softmax = || {
            let z = (h.matmul(&w.t()?)? / 0.7)?;
            let shifted = z.broadcast_sub(&z.max_keepdim(1)?.detach())?;
            shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)
        };
        let plain = || log_softmax()?.gather(&index, 1)?.squeeze(1);
        let plain_entropy = || (log_softmax()?.exp()? * log_softmax()?)?.sum(1)?.neg();
        let of = |v: &[Vec<f64>]| -> Logprobs<f64> {
            Logprob { head: &v[1], width, targets: &targets, temperature: 0.7 }.forward(&v[0])
        };
        let backward = |v: &[Vec<f64>], d: &mut [Vec<f64>], slopes: (&[f64], &[f64])| {
            let [d_h, d_w] = d else { unreachable!() };
            let op = Logprob { head: &v[1], width, targets: &targets, temperature: 0.7 };
            add(d_h, &op.backward(d_w, &v[0], &of(v), slopes));
        };
        check("logprob", &[&h, &w], |v| of(v).logprobs, |v, d_y, d| backward(v, d, (d_y, &[])), &plain);
        // Both at once, from one pass.
        check(
            "logprob and entropy",
            &[&h, &w],
            |v| [of(v).logprobs, of(v).entropy].concat(),
            |v, d_y, d| backward(v, d, d_y.split_at(rows)),
            &|| Tensor::cat(&[plain()?, plain_entropy()?], 0),
        );
    }
}

/// Two trees: a prompt with two children, one of which has a child of its own, and a long sequence alone.
fn layouts() -> Layouts {
    let segment = |rows, parent, position| Segment { rows, parent, position };
    Layouts::new(vec![
        segment(0..5, None, 0),
        segment(5..9, Some(0), 5),
        segment(9..12, Some(1), 9),
        segment(12..14, Some(0), 5),
        segment(14..90, None, 0),
    ])
    .unwrap()
}

/// For each row, the rows that it may attend to, by walking the same trees token by token.
fn visible() -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    for row in 0..90usize {
        let mut seen: Vec<usize> = match row {
            0..5 => vec![],
            5..9 => (0..5).collect(),
            9..12 => (0..9).collect(),
            12..14 => (0..5).collect(),
            _ => vec![],
        };
        let start = [0, 5, 9, 12, 14].into_iter().rev().find(|start| *start <= row).unwrap();
        seen.extend(start..=row);
        out.push(seen);
    }
    out
}

/// Rows `[90, width]` turned to their positions: pairs by `position * 100^(-2i/width)`.
fn rotated(x: &Tensor, interleaved: bool) -> Result<Tensor> {
    let half = x.dim(1)? / 2;
    let position = |row: usize| match row {
        12..14 => row - 7,
        14.. => row - 14,
        _ => row,
    };
    let angle = |row: usize, pair: usize| position(row) as f64 * 100f64.powf(-(pair as f64) / half as f64);
    let table = |f: fn(f64) -> f64| {
        let values: Vec<f64> = (0..90).flat_map(|row| (0..half).map(move |pair| f(angle(row, pair)))).collect();
        Tensor::from_vec(values, (90, half), &Device::Cpu)
    };
    let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
    let pick = |offset: usize| -> Result<Tensor> {
        let at = |pair: usize| if interleaved { 2 * pair + offset } else { pair + offset * half };
        let index: Vec<u32> = (0..half).map(|pair| at(pair) as u32).collect();
        x.contiguous()?.index_select(&Tensor::new(index, &Device::Cpu)?, 1)
    };
    let (a, b) = (pick(0)?, pick(1)?);
    Tensor::cat(&[((&a * &cos)? - (&b * &sin)?)?, ((&b * &cos)? + (&a * &sin)?)?], 1)
}

/// One head of attention over the rows that each row may attend to.
fn plain_attention(query: &Tensor, key: &Tensor, value: &Tensor, scale: f64) -> Result<Tensor> {
    let mut mask = vec![f64::NEG_INFINITY; 90 * 90];
    for (row, seen) in visible().into_iter().enumerate() {
        seen.into_iter().for_each(|column| mask[row * 90 + column] = 0.0);
    }
    let mask = Tensor::from_vec(mask, (90, 90), &Device::Cpu)?;
    let scores = ((query.matmul(&key.t()?)? * scale)? + &mask)?;
    let p = scores.broadcast_sub(&scores.max_keepdim(1)?.detach())?.exp()?;
    p.broadcast_div(&p.sum_keepdim(1)?)?.matmul(&value.contiguous()?)
}

/// Keys and values are the weight's products with the latents.
#[test]
fn latent_attention_over_trees() {
    let (heads, nope, rope, value, latent) = (2, 6, 4, 5, 7);
    for interleaved in [true, false] {
        let table = Arc::new(RopeTable::new(128, rope, 100.0, interleaved));
        let config = LatentConfig { heads, nope, rope, value, scale: 0.3, table };
        let q = random("q", &[90, heads * (nope + rope)]);
        let (c, k) = (random("c", &[90, latent]), random("k", &[90, rope]));
        let w = random("expand", &[heads * (nope + value), latent]);
        let layouts = layouts();
        let plain = || {
            let kv = c.matmul(&w.t()?)?;
            let mut outputs = Vec::new();
            for head in 0..heads {
                let query = q.narrow(1, head * (nope + rope), nope + rope)?;
                let turned = rotated(&query.narrow(1, nope, rope)?, interleaved)?;
                let query = Tensor::cat(&[query.narrow(1, 0, nope)?, turned], 1)?;
                let both = kv.narrow(1, head * (nope + value), nope + value)?;
                let key = Tensor::cat(&[both.narrow(1, 0, nope)?, rotated(&k, interleaved)?], 1)?;
                outputs.push(plain_attention(&query, &key, &both.narrow(1, nope, value)?, 0.3)?);
            }
            Tensor::cat(&outputs, 1)
        };
        let operation = LatentAttention { config: &config, layouts: &layouts };
        let forward = |v: &[Vec<f64>]| operation.forward(&v[0], &v[1], &v[2], &v[3]);
        check(
            "latent attention",
            &[&q, &c, &k, &w],
            |v| forward(v).out,
            |v, d_y, d| {
                let (d_w, rest) = d.split_last_mut().unwrap();
                let gradients = operation.backward(d_w, [&v[0], &v[1], &v[2], &v[3]], &forward(v), d_y);
                rest.iter_mut().zip(&gradients).for_each(|(sum, gradient)| add(sum, gradient));
            },
            &plain,
        );
    }
}

#[test]
fn grouped_attention_over_trees() {
    let (width, scale) = (6, 0.3);
    // Shared by all, by two each, by none.
    for (heads, key_heads) in [(3, 1), (4, 2), (2, 2)] {
        let table = Arc::new(RopeTable::new(128, width, 100.0, false));
        let config = GroupedConfig { heads, key_heads, width, scale, table };
        let q = random("q", &[90, heads * width]);
        let (k, v) = (random("k", &[90, key_heads * width]), random("v", &[90, key_heads * width]));
        let layouts = layouts();
        let plain = || {
            let mut outputs = Vec::new();
            for head in 0..heads {
                let query = rotated(&q.narrow(1, head * width, width)?, false)?;
                let shared = head / (heads / key_heads) * width;
                let key = rotated(&k.narrow(1, shared, width)?, false)?;
                outputs.push(plain_attention(&query, &key, &v.narrow(1, shared, width)?, scale)?);
            }
            Tensor::cat(&outputs, 1)
        };
        let operation = GroupedAttention { config: &config, layouts: &layouts };
        let forward = |v: &[Vec<f64>]| operation.forward([&v[0], &v[1], &v[2]]);
        check(
            "grouped attention",
            &[&q, &k, &v],
            |v| forward(v).out,
            |v, d_y, d| {
                let gradients = operation.backward([&v[0], &v[1], &v[2]], &forward(v), d_y);
                d.iter_mut().zip(&gradients).for_each(|(sum, gradient)| add(sum, gradient));
            },
            &plain,
        );
    }
}
