//! Each fused operation by itself, forward and backward, at the sizes of a tiny model's training batch.
//!
//! `cargo bench -p policy [NAME]` prints the median of eleven runs, and floating-point operations per second where an
//! operation consists of products.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for the terminal")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use policy::ops::experts::{Experts, add_swiglu, add_swiglu_backward};
use policy::ops::latent_attention::{LatentAttention, LatentConfig};
use policy::ops::layouts::{Layouts, Segment};
use policy::ops::linear::{linear, linear_backward};
use policy::ops::logprob::Logprob;
use policy::ops::rms_norm::{rms_norm, rms_norm_backward};
use policy::ops::rope::RopeTable;
use policy::ops::router::{RouterConfig, route, router_gates};
use policy::random::Normal;

/// The program's allocator: with the system's, large buffers are given back and fetched again each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 64 sequences of 96 tokens.
const SEQUENCES: usize = 64;
const LENGTH: usize = 96;
const ROWS: usize = SEQUENCES * LENGTH;
const WIDTH: usize = 128;
const RUNS: usize = 11;

fn random(name: &str, count: usize) -> Vec<f32> {
    Normal::new(7, name).take(count, 0.1)
}

/// Times `work`, if it is asked for; `flops` of one call, 0 if it has no products.
fn bench(name: &str, flops: usize, mut work: impl FnMut()) {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if !asked.is_empty() && !asked.iter().any(|part| name.contains(part.as_str())) {
        return;
    }
    work();
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[RUNS / 2];
    let rate = if flops > 0 { format!("{:8.1} GFLOP/s", flops as f64 / median / 1e9) } else { String::new() };
    println!("{name:28} {:9.3} ms {rate}", median * 1e3);
}

fn main() {
    println!(
        "{ROWS} rows of {WIDTH}, {} threads; products reach {:.0} GFLOP/s",
        rayon::current_num_threads(),
        policy::ops::peak_flops() / 1e9
    );
    let x = random("x", ROWS * WIDTH);
    let d_y = random("dy", ROWS * WIDTH);
    let mut d_x = vec![0.0; ROWS * WIDTH];

    let weight = random("norm", WIDTH);
    let mut d_weight = vec![0.0; WIDTH];
    bench("rms_norm", 0, || drop(black_box(rms_norm(&x, WIDTH, &weight, 1e-6))));
    bench("rms_norm backward", 0, || {
        rms_norm_backward((&mut d_x, &mut d_weight), (&x, WIDTH), &weight, &d_y, 1e-6);
    });

    let weight = random("linear", WIDTH * WIDTH);
    let mut d_weight = vec![0.0; weight.len()];
    let flops = 2 * ROWS * weight.len();
    bench("linear", flops, || drop(black_box(linear(&x, &weight, WIDTH))));
    bench("linear backward", 2 * flops, || linear_backward(&mut d_x, &mut d_weight, &x, &weight, &d_y, WIDTH));

    let weight = random("swiglu", 3 * 384 * WIDTH);
    let mut d_weight = vec![0.0; weight.len()];
    let flops = 2 * ROWS * weight.len();
    let gate_up = add_swiglu(&mut d_x.clone(), &x, &weight, WIDTH);
    let mut y = x.clone();
    bench("swiglu", flops, || drop(black_box(add_swiglu(&mut y, &x, &weight, WIDTH))));
    bench("swiglu backward", 2 * flops, || {
        add_swiglu_backward((&mut d_x, &mut d_weight), (&x, &weight), &gate_up, &d_y, WIDTH);
    });

    let config = RouterConfig { experts: 8, top_k: 2, groups: 1, top_groups: 1, normalise: true, scale: 1.0 };
    let logits = random("router", ROWS * config.experts);
    let routing = route(&logits, &[0.0; 8], &config);
    let gates = router_gates(&logits, &routing, &config);
    let weight = random("experts", 8 * 3 * 96 * WIDTH);
    let mut d_weight = vec![0.0; weight.len()];
    let flops = 2 * ROWS * config.top_k * weight.len() / config.experts;
    let experts = Experts::new(&routing);
    let kept = experts.add(&mut d_x.clone(), &x, &gates, &weight, WIDTH);
    bench("route and gates", 0, || {
        drop(black_box(router_gates(&logits, &route(&logits, &[0.0; 8], &config), &config)))
    });
    bench("experts", flops, || drop(black_box(experts.add(&mut y, &x, &gates, &weight, WIDTH))));
    bench("experts backward", 2 * flops, || {
        let arguments = (&x[..], &gates[..], &weight[..]);
        drop(black_box(experts.backward((&mut d_x, &mut d_weight), arguments, &kept, &d_y, WIDTH)));
    });

    let (heads, nope, rope, value) = (4, 32, 16, 32);
    let table = Arc::new(RopeTable::new(LENGTH, rope, 10_000.0, true));
    let config = LatentConfig { heads, nope, rope, value, scale: 0.15, table };
    let segment = |index| Segment { rows: index * LENGTH..(index + 1) * LENGTH, parent: None, position: 0 };
    let layouts = Layouts::new((0..SEQUENCES).map(segment).collect()).unwrap();
    let (q, k) = (random("q", ROWS * heads * (nope + rope)), random("k", ROWS * rope));
    let (latents, expand) = (random("c", ROWS * 32), random("expand", heads * (nope + value) * 32));
    let mut d_expand = vec![0.0; expand.len()];
    let flops = ROWS * heads * (LENGTH * (32 + rope + 32) + 2 * (nope + value) * 32);
    let operation = LatentAttention { config: &config, layouts: &layouts };
    let attended = operation.forward(&q, &latents, &k, &expand);
    bench("latent attention", flops, || drop(black_box(operation.forward(&q, &latents, &k, &expand))));
    bench("latent attention backward", 5 * flops / 2, || {
        drop(black_box(operation.backward(&mut d_expand, [&q, &latents, &k, &expand], &attended, &d_y)));
    });

    for vocabulary in [512, 32_768] {
        let rows = if vocabulary > 4096 { ROWS / 16 } else { ROWS };
        let head = random("head", vocabulary * WIDTH);
        let mut d_head = vec![0.0; head.len()];
        let targets: Vec<u32> = (0..rows).map(|row| (row * 31 % vocabulary) as u32).collect();
        let operation = Logprob { head: &head, width: WIDTH, targets: &targets, temperature: 1.0 };
        let hidden = &x[..rows * WIDTH];
        let (slope, flops) = (vec![1e-3; rows], 2 * rows * head.len());
        let out = operation.forward(hidden);
        bench(&format!("logprob of {vocabulary}"), flops, || drop(black_box(operation.forward(hidden))));
        bench(&format!("logprob of {vocabulary} backward"), 3 * flops, || {
            drop(black_box(operation.backward(&mut d_head, hidden, &out, (&slope, &[]))));
        });
    }
}
