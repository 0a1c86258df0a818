//! Every fused operation, in f64: the forward pass against the plain composition of candle's operations, the gradient
//! against candle's through that composition and against finite differences.

use std::sync::Arc;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use policy::ops::attention::{AttentionConfig, Layouts, Segment, latent_attention};
use policy::ops::bias::add_bias;
use policy::ops::experts::{experts, swiglu};
use policy::ops::grouped_attention::{GroupedConfig, grouped_attention};
use policy::ops::linear::linear;
use policy::ops::logprob::logprob;
use policy::ops::rms_norm::rms_norm;
use policy::ops::rope::RopeTable;
use policy::ops::router::{RouterConfig, route, router_gates};
use policy::random::Normal;

fn random(name: &str, shape: &[usize]) -> Var {
    let count = shape.iter().product();
    let values: Vec<f64> = Normal::new(7, name).take(count, 1.0).into_iter().map(f64::from).collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

/// A scalar that weighs every element of the result differently, so that no gradient can hide.
fn objective(y: &Tensor) -> Result<Tensor> {
    let weights = random("objective", y.dims());
    (y * weights.as_tensor().detach())?.sum_all()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f64>().unwrap()
}

/// Compares an operation with its plain composition, forward and gradient, and its gradient with finite differences.
fn check(name: &str, inputs: &[&Var], fused: impl Fn() -> Result<Tensor>, plain: Option<&dyn Fn() -> Result<Tensor>>) {
    let y = fused().unwrap();
    let grads = objective(&y).unwrap().backward().unwrap();
    if let Some(plain) = plain {
        let expected = plain().unwrap();
        assert!(largest_difference(&y, &expected) < 1e-10, "{name}: forward differs from the plain composition");
        let expected_grads = objective(&expected).unwrap().backward().unwrap();
        for (index, var) in inputs.iter().enumerate() {
            let difference = largest_difference(grads.get(var).unwrap(), expected_grads.get(var).unwrap());
            assert!(
                difference < 1e-9,
                "{name}: gradient of input {index} differs by {difference:e} from the plain one"
            );
        }
    }
    let step = 1e-5;
    for (index, var) in inputs.iter().enumerate() {
        let original = var.copy().unwrap();
        let values: Vec<f64> = original.flatten_all().unwrap().to_vec1().unwrap();
        let gradient: Vec<f64> = grads.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        // Every element of small inputs, some forty of larger ones.
        for element in (0..values.len()).step_by((values.len() / 40).max(1)) {
            let at = |delta: f64| -> f64 {
                let mut moved = values.clone();
                moved[element] += delta;
                var.set(&Tensor::from_vec(moved, original.dims(), &Device::Cpu).unwrap()).unwrap();
                objective(&fused().unwrap()).unwrap().to_scalar().unwrap()
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            let tolerance = 1e-6 * (1.0 + slope.abs());
            assert!(
                (slope - gradient[element]).abs() < tolerance,
                "{name}: input {index}, element {element}: finite difference {slope}, gradient {}",
                gradient[element]
            );
        }
        var.set(&original).unwrap();
    }
}

#[test]
fn linear_layers() {
    // More rows than one block, and a width at which the product is made of dot products.
    for outputs in [70, 5] {
        let (x, w) = (random("x", &[300, 12]), random("w", &[outputs, 12]));
        check("linear", &[&x, &w], || linear(&x, &w), Some(&|| x.matmul(&w.t()?)));
    }
}

#[test]
fn biases() {
    let (x, b) = (random("x", &[300, 7]), random("b", &[7]));
    check("add_bias", &[&x, &b], || add_bias(&x, &b), Some(&|| x.broadcast_add(&b)));
}

#[test]
fn root_mean_square_norm() {
    let (x, w) = (random("x", &[260, 20]), random("w", &[20]));
    let plain = || {
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        x.broadcast_div(&(mean + 1e-3)?.sqrt()?)?.broadcast_mul(&w)
    };
    check("rms_norm", &[&x, &w], || rms_norm(&x, &w, 1e-3), Some(&plain));
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
    check("swiglu", &[&x, &w], || swiglu(&x, &w), Some(&|| plain_swiglu(&x, &w.squeeze(0)?)));
}

#[test]
fn mixture_of_experts() {
    let config = RouterConfig { experts: 4, top_k: 2, groups: 1, top_groups: 1, normalise: true, scale: 1.7 };
    let (x, logits, w) = (random("x", &[90, 6]), random("z", &[90, 4]), random("w", &[4, 9, 6]));
    let routing = route(&logits, &[0.1, -0.1, 0.0, 0.3], &config).unwrap();
    let fused = || experts(&x, &router_gates(&logits, &routing, &config)?, &w, &routing);
    let chosen: Vec<f64> = (0..90 * 4)
        .map(|i| f64::from(u8::from(routing.chosen[i / 4 * 2..i / 4 * 2 + 2].contains(&(i as u32 % 4)))))
        .collect();
    let chosen = Tensor::from_vec(chosen, (90, 4), &Device::Cpu).unwrap();
    let plain = || {
        let affinities = ((logits.neg()?.exp()? + 1.0)?.recip()? * &chosen)?;
        let gates = (affinities.broadcast_div(&affinities.sum_keepdim(1)?)? * 1.7)?;
        let mut y = x.zeros_like()?;
        for expert in 0..4 {
            let result = plain_swiglu(&x, &w.get(expert)?)?;
            y = (y + result.broadcast_mul(&gates.narrow(1, expert, 1)?)?)?;
        }
        Ok(y)
    };
    check("experts", &[&x, &logits, &w], fused, Some(&plain));
}

#[test]
fn gates_without_normalisation() {
    let config = RouterConfig { experts: 4, top_k: 2, groups: 2, top_groups: 1, normalise: false, scale: 2.5 };
    let logits = random("z", &[30, 4]);
    let routing = route(&logits, &[0.0; 4], &config).unwrap();
    check("router_gates", &[&logits], || router_gates(&logits, &routing, &config), None);
}

#[test]
fn log_probabilities_and_entropy() {
    let (h, w) = (random("h", &[70, 8]), random("w", &[33, 8]));
    let targets: Vec<u32> = (0..70).map(|i| i * 7 % 33).collect();
    let index = Tensor::new(targets.as_slice(), &Device::Cpu).unwrap().unsqueeze(1).unwrap();
    let logits = || h.matmul(&w.t()?)? / 0.7;
    let log_softmax = || {
        let z = logits()?;
        let shifted = z.broadcast_sub(&z.max_keepdim(1)?.detach())?;
        shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)
    };
    let plain = || log_softmax()?.gather(&index, 1)?.squeeze(1);
    check("logprob", &[&h, &w], || Ok(logprob(&h, &w, targets.clone(), 0.7)?.logprobs), Some(&plain));

    let plain_entropy = || (log_softmax()?.exp()? * log_softmax()?)?.sum(1)?.neg();
    let entropy = || Ok(logprob(&h, &w, targets.clone(), 0.7)?.entropy);
    check("entropy", &[&h, &w], entropy, Some(&plain_entropy));

    // Both at once, from one pass.
    let both = || {
        let out = logprob(&h, &w, targets.clone(), 0.7)?;
        Tensor::stack(&[out.logprobs, out.entropy], 0)
    };
    let plain_both = || Tensor::stack(&[plain()?, plain_entropy()?], 0);
    check("logprob and entropy", &[&h, &w], both, Some(&plain_both));
}

/// Two trees: a prompt with two children, one of which has a child of its own, and a long sequence alone.
fn layouts() -> Arc<Layouts> {
    let segment = |rows, parent, position| Segment { rows, parent, position };
    Arc::new(
        Layouts::new(vec![
            segment(0..5, None, 0),
            segment(5..9, Some(0), 5),
            segment(9..12, Some(1), 9),
            segment(12..14, Some(0), 5),
            segment(14..90, None, 0),
        ])
        .unwrap(),
    )
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

#[test]
fn latent_attention_over_trees() {
    let (heads, nope, rope, value) = (2, 6, 4, 5);
    for interleaved in [true, false] {
        let table = Arc::new(RopeTable::new(128, rope, 100.0, interleaved));
        let scale = 0.3;
        let config = AttentionConfig { heads, nope, rope, value, scale, table };
        let q = random("q", &[90, heads * (nope + rope)]);
        let kv = random("kv", &[90, heads * (nope + value)]);
        let k = random("k", &[90, rope]);
        let layouts = layouts();
        let plain = || {
            let mut outputs = Vec::new();
            for head in 0..heads {
                let query = q.narrow(1, head * (nope + rope), nope + rope)?;
                let turned = rotated(&query.narrow(1, nope, rope)?, interleaved)?;
                let query = Tensor::cat(&[query.narrow(1, 0, nope)?, turned], 1)?;
                let both = kv.narrow(1, head * (nope + value), nope + value)?;
                let key = Tensor::cat(&[both.narrow(1, 0, nope)?, rotated(&k, interleaved)?], 1)?;
                outputs.push(plain_attention(&query, &key, &both.narrow(1, nope, value)?, scale)?);
            }
            Tensor::cat(&outputs, 1)
        };
        check("latent_attention", &[&q, &kv, &k], || latent_attention(&q, &kv, &k, &layouts, &config), Some(&plain));
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
        check("grouped_attention", &[&q, &k, &v], || grouped_attention(&q, &k, &v, &layouts, &config), Some(&plain));
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused_by_name() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap();
    let message = linear(&zeros(&[2, 3]), &zeros(&[4, 5])).unwrap_err().to_string();
    assert!(message.contains("linear") && message.contains("[2, 3]") && message.contains("[4, 5]"), "{message}");
    let message = logprob(&zeros(&[1, 3]), &zeros(&[4, 3]), vec![4], 1.0).err().unwrap().to_string();
    assert!(message.contains("target 4 outside the vocabulary of 4"), "{message}");
    let half = Tensor::zeros((2, 3), DType::F16, &Device::Cpu).unwrap();
    assert!(rms_norm(&half, &half.get(0).unwrap(), 1e-6).unwrap_err().to_string().contains("f32 or f64"));
}
