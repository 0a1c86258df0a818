//! How fast each kernel is on a card, beside what the card can do: copying for those that read and write, products for those
//! that compute. `cargo run --release -p device --example measure` prints lines of JSON, what the card can do and then each kernel as
//! soon as it was measured; `-- emulated` runs tiny sizes on the emulator, which says only that everything runs. `-- hold MIB` takes
//! all of the card's memory but so many MiB and keeps it until its input ends: for trying what others do then.
//!
//! Sizes are those of Qwen2.5-1.5B's layers, and of a mixture of 64 experts of a model as wide. A rate counts what must be
//! read, written and computed, not what a kernel does besides.

use std::cell::Cell;
use std::io::Write;
use std::process::ExitCode;

use device::ops::attention::{Attended, Attention, Gradients};
use device::ops::decode_attention::{CachedHeads, DecodeAttention, DecodeWorkspace};
use device::ops::heads::Heads;
use device::ops::paged_cache::PageTable;
use device::ops::tree::{Segment, Tree};
use device::ops::{
    AdamW, Draws, ExpertMatrices, FewRows, FewRowsWeight, Grouping, GroupingScratch, Judge, Logprob, LogprobWorkspace,
    Logprobs, PairRows, RmsNorm, Sampling, Slopes, SwigluGradients, Tile, WeightGradient, Weights, add_weight_gradient,
    multiply_rows, sample, swiglu, swiglu_backward,
};
use device::{Buffer, Device, DeviceError, Element, Gemm, Limits, Result, bf16, fastest, normals};

/// Tokens of a page.
const PAGE: usize = 64;
/// Numbers of weights that no card's cache holds.
const BEYOND_CACHE: usize = 1 << 27;
/// Times that each is measured; the fastest counts.
const TIMES: usize = 10;

/// How much is computed.
struct Sizes {
    /// Sequences that are trained on, and their tokens.
    trained: (usize, usize),
    /// Sequences that are decoded, and the tokens that each has behind it.
    decoded: (usize, usize),
    heads: usize,
    key_heads: usize,
    head_width: usize,
    hidden: usize,
    inner: usize,
    vocabulary: usize,
    experts: usize,
    top_k: usize,
    expert_inner: usize,
    /// Latent attention: heads, latent, rotary key.
    latent: (usize, usize, usize),
    /// Weights that the optimizer moves.
    weights: usize,
}

const FULL: Sizes = Sizes {
    trained: (4, 2048),
    decoded: (64, 1024),
    heads: 12,
    key_heads: 2,
    head_width: 128,
    hidden: 1536,
    inner: 8960,
    vocabulary: 151_936,
    experts: 64,
    top_k: 6,
    expert_inner: 768,
    latent: (16, 512, 64),
    weights: 1 << 27,
};

const TINY: Sizes = Sizes {
    trained: (2, 40),
    decoded: (3, 70),
    heads: 4,
    key_heads: 2,
    head_width: 32,
    hidden: 64,
    inner: 96,
    vocabulary: 200,
    experts: 8,
    top_k: 2,
    expert_inner: 24,
    latent: (4, 32, 16),
    weights: 1000,
};

/// What a kernel must do at least.
enum Cost {
    /// Bytes read and written.
    Bytes(usize),
    /// Floating-point operations.
    Operations(f64),
}

/// Measures and prints, one after the other.
struct Bench {
    device: Device,
    limits: Limits,
    sizes: Sizes,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => Device::cuda(0).and_then(|device| measure(device, FULL)),
        ["emulated"] => Device::emulated().and_then(|device| measure(device, TINY)),
        ["hold", mib] if mib.parse::<usize>().is_ok() => hold(mib.parse().unwrap_or(0)),
        _ => Err(DeviceError::operation("measure", "expected nothing, `emulated`, or `hold` and a number of MiB")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line at once, so that what was measured is there, whatever comes later. A reader that went away is nobody to tell.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

fn measure(device: Device, sizes: Sizes) -> Result<()> {
    let limits = Limits::measure(&device)?;
    let Limits { copy_bandwidth, product_rate } = limits;
    say(&format!(
        "{{\"device\": \"{}\", \"copy_gb_per_second\": {:.1}, \"product_gflops\": {:.1}}}",
        device.name(),
        copy_bandwidth / 1e9,
        product_rate / 1e9
    ));
    Bench { device, limits, sizes }.all()
}

/// Takes the card's memory but for so many MiB, until the input ends.
fn hold(mib: usize) -> Result<()> {
    let device = Device::cuda(0)?;
    let bytes = device.memory()?.free.saturating_sub(mib << 20);
    let held: Buffer<u8> = device.alloc(bytes, "what is held")?;
    device.synchronize()?;
    say(&format!("{{\"held\": {}, \"free\": {}}}", held.len(), device.memory()?.free));
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(())
}

impl Bench {
    fn all(&self) -> Result<()> {
        self.attention()?;
        self.decode_attention()?;
        self.latent_decode_attention()?;
        self.few_rows()?;
        self.experts()?;
        self.norms()?;
        self.activation()?;
        self.logprobs()?;
        self.sampler()?;
        self.optimizer()
    }

    fn measure(&self, name: &str, cost: Cost, work: impl Fn(&Device) -> Result<()>) -> Result<()> {
        let times = if self.device.is_emulated() { 1 } else { TIMES };
        let seconds = fastest(&self.device, times, || work(&self.device))?;
        let (unit, rate, limit) = match cost {
            Cost::Bytes(bytes) => ("GB/s", bytes as f64 / seconds, self.limits.copy_bandwidth),
            Cost::Operations(operations) => ("GFLOP/s", operations / seconds, self.limits.product_rate),
        };
        say(&format!(
            "{{\"kernel\": \"{name}\", \"microseconds\": {:.2}, \"rate\": {:.1}, \"unit\": \"{unit}\", \"share\": {:.4}}}",
            seconds * 1e6,
            rate / 1e9,
            rate / limit
        ));
        Ok(())
    }

    /// Numbers as those with which the limits are measured.
    fn numbers(&self, len: usize) -> Result<Buffer<bf16>> {
        let values: Vec<bf16> = normals().map(bf16::from_f32).take(len).collect();
        self.device.upload(&values, "measured numbers")
    }

    fn room<T: Element>(&self, len: usize) -> Result<Buffer<T>> {
        self.device.zeros(len, "measured numbers")
    }

    fn trained_rows(&self) -> usize {
        self.sizes.trained.0 * self.sizes.trained.1
    }

    fn attention(&self) -> Result<()> {
        let Sizes { trained: (sequences, length), heads, key_heads, head_width: width, .. } = self.sizes;
        let rows = self.trained_rows();
        let segments: Vec<Segment> =
            (0..sequences).map(|i| Segment { rows: i * length..(i + 1) * length, parent: None }).collect();
        let tree = Tree::new(&self.device, &segments, heads / key_heads)?;
        let [query, d_query, d_out] = [
            self.numbers(rows * heads * width)?,
            self.room(rows * heads * width)?,
            self.numbers(rows * heads * width)?,
        ];
        let [key, value, d_key, d_value] = [
            self.numbers(rows * key_heads * width)?,
            self.numbers(rows * key_heads * width)?,
            self.room(rows * key_heads * width)?,
            self.room(rows * key_heads * width)?,
        ];
        let (out, totals) = (self.room::<bf16>(rows * heads * width)?, self.room::<f32>(heads * rows)?);
        let attention = Attention {
            tree: &tree,
            query: Heads::packed(query.view(), heads, width),
            key: Heads::packed(key.view(), key_heads, width),
            value: Heads::packed(value.view(), key_heads, width),
            scale: 1.0 / (width as f32).sqrt(),
        };
        let attended = Attended { out: out.view(), totals: totals.view() };
        let workspace: Buffer<f32> = self.room(attention.backward_workspace())?;
        // A product with the keys and one with the values for each pair that sees each other; backward five.
        let pairs = (sequences * length * (length + 1) / 2 * heads) as f64;
        let product = 2.0 * pairs * width as f64;
        self.measure("attention forward", Cost::Operations(2.0 * product), |device| {
            attention.forward(device, attended)
        })?;
        self.measure("attention backward", Cost::Operations(5.0 * product), |device| {
            let gradients = Gradients {
                query: Heads::packed(d_query.view(), heads, width),
                key: Heads::packed(d_key.view(), key_heads, width),
                value: Heads::packed(d_value.view(), key_heads, width),
            };
            attention.backward(device, gradients, attended, d_out.view(), workspace.view())
        })
    }

    fn decode_attention(&self) -> Result<()> {
        let Sizes { heads, key_heads, head_width: width, .. } = self.sizes;
        let scale = 1.0 / (width as f32).sqrt();
        let splits = self.splits();
        let attention = DecodeAttention { heads, key_heads, query_width: width, value_width: width, scale, splits };
        self.decode("decoding attention", attention, false)
    }

    fn latent_decode_attention(&self) -> Result<()> {
        let (heads, latent, rotary) = self.sizes.latent;
        let query_width = latent + rotary;
        let scale = 1.0 / (query_width as f32).sqrt();
        let splits = self.splits();
        let attention = DecodeAttention { heads, key_heads: 1, query_width, value_width: latent, scale, splits };
        self.decode("decoding attention, latent", attention, true)
    }

    /// As a policy splits sequences whose tables have no more pages than they need.
    fn splits(&self) -> usize {
        DecodeAttention::splits_for(self.sizes.decoded.1.next_multiple_of(PAGE))
    }

    fn decode(&self, name: &str, attention: DecodeAttention, latent: bool) -> Result<()> {
        let (sequences, context) = self.sizes.decoded;
        let DecodeAttention { heads, key_heads, query_width, value_width, .. } = attention;
        let row = context.div_ceil(PAGE);
        let tokens = sequences * row * PAGE;
        let query = self.numbers(sequences * heads * query_width)?;
        let keys = self.numbers(tokens * key_heads * query_width)?;
        let values = self.numbers(if latent { 0 } else { tokens * key_heads * value_width })?;
        let pages: Vec<i32> = (0..(sequences * row) as i32).collect();
        let pages = self.device.upload(&pages, "pages")?;
        let lengths = self.device.upload(&vec![context as i32; sequences], "lengths")?;
        let out: Buffer<bf16> = self.room(sequences * heads * value_width)?;
        let workspace = DecodeWorkspace::new(&self.device, &[(attention, sequences)])?;
        let cached_width = if latent { query_width } else { query_width + value_width };
        let bytes = sequences * context * key_heads * cached_width * size_of::<bf16>();
        self.measure(name, Cost::Bytes(bytes), |device| {
            let cached = CachedHeads {
                keys: Heads::packed(keys.view(), key_heads, query_width),
                values: (!latent).then(|| Heads::packed(values.view(), key_heads, value_width)),
                table: PageTable { pages: pages.view(), row, tokens: PAGE },
                lengths: lengths.view(),
            };
            attention.run(device, out.view(), query.view(), cached, &workspace)
        })
    }

    /// A step's products, by the kernels for few rows and by cuBLAS.
    fn few_rows(&self) -> Result<()> {
        let Sizes { decoded: (rows, _), heads, key_heads, head_width, hidden, inner, vocabulary, .. } = self.sizes;
        let device = &self.device;
        let few = FewRows::new(device, 0)?;
        let widths = [
            ("queries, keys, values", (heads + 2 * key_heads) * head_width, hidden),
            ("output", hidden, heads * head_width),
            ("down", hidden, inner),
            ("gate and up", 2 * inner, hidden),
            ("logits", vocabulary, hidden),
        ];
        for (name, outputs, inputs) in widths {
            let size = outputs * inputs;
            // More weights than a card's cache holds are read by turns, as a step reads a model's.
            let copies = if device.is_emulated() { 2 } else { (BEYOND_CACHE / size).max(2) };
            let (weights, x) = (self.numbers(copies * size)?, self.numbers(rows * inputs)?);
            let turn = Cell::new(0);
            let weight = || {
                turn.set((turn.get() + 1) % copies);
                weights.slice(turn.get() * size..(turn.get() + 1) * size)
            };
            let out: Buffer<f32> = device.zeros(rows * outputs, "results")?;
            let bytes = |outputs: usize| 2 * (size + rows * inputs) + 4 * rows * outputs;
            self.measure(&format!("few rows: {name}"), Cost::Bytes(bytes(outputs)), |device| {
                few.multiply(device, out.view(), x.view(), (FewRowsWeight::Outputs(weight()), inputs), false)
            })?;
            self.measure(&format!("cuBLAS: {name}"), Cost::Bytes(bytes(outputs)), |device| {
                let sizes = [rows, outputs, inputs];
                device.gemm(&Gemm::new(sizes, x.view(), weight(), out.view()).transposed_b())
            })?;
            if name == "down" {
                self.measure("few rows: down, transposed", Cost::Bytes(bytes(outputs)), |device| {
                    few.multiply(device, out.view(), x.view(), (FewRowsWeight::Inputs(weight()), inputs), true)
                })?;
            }
            if name == "gate and up" {
                let hidden: Buffer<bf16> = device.alloc(rows * outputs / 2, "activations")?;
                self.measure("few rows: gate and up, activated", Cost::Bytes(bytes(outputs / 4)), |device| {
                    few.activate(device, hidden.view(), x.view(), (weight(), inputs))
                })?;
            }
        }
        Ok(())
    }

    fn experts(&self) -> Result<()> {
        let Sizes { hidden, experts, top_k, expert_inner, .. } = self.sizes;
        let height = 2 * expert_inner;
        let matrix = height * hidden;
        let weights = self.numbers(experts * matrix)?;
        let weights = ExpertMatrices { values: weights.view(), height, width: hidden, stride: matrix };
        for (rows, decoding) in [(self.trained_rows(), false), (self.sizes.decoded.0, true)] {
            let pairs = rows * top_k;
            let chosen: Vec<u16> = (0..pairs).map(|pair| (pair * 7 % experts) as u16).collect();
            let chosen = self.device.upload(&chosen, "chosen experts")?;
            let scratch = GroupingScratch::new(&self.device, rows, experts, top_k)?;
            let grouping = Grouping::new(&self.device, &scratch)?;
            let grouped = grouping.sort(&self.device, &scratch, chosen.view(), None)?;
            let tile = Tile::for_rows(pairs, experts);
            let (x, out) = (self.numbers(rows * hidden)?, self.room::<bf16>(pairs * height)?);
            let operations = 2.0 * (pairs * matrix) as f64;
            // In decoding the weights of all experts are read for few rows.
            let (name, cost) = match decoding {
                true => ("experts' products, decoding", Cost::Bytes(experts.min(pairs) * matrix * size_of::<bf16>())),
                false => ("experts' products", Cost::Operations(operations)),
            };
            self.measure(name, cost, |device| {
                multiply_rows(device, out.view(), PairRows::OfTokens(x.view()), (weights, true), &grouped, tile)
            })?;
            if decoding {
                continue;
            }
            let sums: Buffer<f32> = self.room(experts * matrix)?;
            let sums = ExpertMatrices { values: sums.view(), height, width: hidden, stride: matrix };
            self.measure("experts' weight gradients", Cost::Operations(operations), |device| {
                let (a, b) = (PairRows::Sorted(out.view()), PairRows::OfTokens(x.view()));
                add_weight_gradient(device, sums, a, b, &grouped)
            })?;
        }
        Ok(())
    }

    fn norms(&self) -> Result<()> {
        let (rows, width) = (self.trained_rows(), self.sizes.hidden);
        let (weight, x, d_x) =
            (self.room::<f32>(width)?, self.room::<f32>(rows * width)?, self.room::<f32>(rows * width)?);
        let (out, sum) = (self.numbers(rows * width)?, self.room::<f32>(width)?);
        let norm = RmsNorm { weight: weight.view(), eps: 1e-6 };
        let partial: Buffer<f32> = self.room(norm.partial_len(rows))?;
        self.measure("norm forward", Cost::Bytes(rows * width * 6), |device| {
            norm.forward(device, out.view(), x.view(), width)
        })?;
        // x and d_y are read, d_x read and written.
        self.measure("norm backward", Cost::Bytes(rows * width * 14), |device| {
            let gradient = WeightGradient { sum: sum.view(), partial: partial.view() };
            norm.backward(device, d_x.view(), Some(gradient), (x.view(), width), out.view())
        })
    }

    fn activation(&self) -> Result<()> {
        let (rows, inner) = (self.trained_rows(), self.sizes.inner);
        let (gate_up, hidden) = (self.numbers(rows * 2 * inner)?, self.room::<bf16>(rows * inner)?);
        let (d_hidden, d_gate_up) = (self.numbers(rows * inner)?, self.room::<bf16>(rows * 2 * inner)?);
        self.measure("swiglu forward", Cost::Bytes(rows * inner * 6), |device| {
            swiglu(device, hidden.view(), gate_up.view(), inner)
        })?;
        self.measure("swiglu backward", Cost::Bytes(rows * inner * 12), |device| {
            let gradients = SwigluGradients { d_gate_up: d_gate_up.view(), hidden: Some(hidden.view()) };
            swiglu_backward(device, gradients, gate_up.view(), d_hidden.view(), None, inner)
        })
    }

    fn logprobs(&self) -> Result<()> {
        let Sizes { hidden: width, vocabulary, .. } = self.sizes;
        let rows = self.trained_rows() / 2;
        let (head, hidden) = (self.numbers(vocabulary * width)?, self.numbers(rows * width)?);
        let targets: Vec<u32> = (0..rows).map(|row| (row * 37 % vocabulary) as u32).collect();
        let targets = self.device.upload(&targets, "targets")?;
        let [logprobs, entropy, totals, slopes] =
            [self.room::<f32>(rows)?, self.room(rows)?, self.room(rows)?, self.room(rows)?];
        let (d_hidden, d_head) = (self.room::<f32>(rows * width)?, self.room::<f32>(vocabulary * width)?);
        let workspace = LogprobWorkspace::new(&self.device, rows, vocabulary, true)?;
        let logprob = Logprob { head: head.view(), hidden: hidden.view(), targets: targets.view(), temperature: 1.0 };
        let out = Logprobs { logprobs: logprobs.view(), entropy: entropy.view(), totals: totals.view() };
        let product = 2.0 * rows as f64 * (vocabulary * width) as f64;
        self.measure("log-probabilities forward", Cost::Operations(product), |device| {
            logprob.forward(device, &workspace, out)
        })?;
        // The logits again, and the two gradients.
        self.measure("log-probabilities backward", Cost::Operations(3.0 * product), |device| {
            let slopes = Slopes { logprobs: slopes.view(), entropy: None };
            logprob.backward(device, &workspace, (d_hidden.view(), Some(d_head.view())), out, slopes)
        })
    }

    fn sampler(&self) -> Result<()> {
        let (rows, vocabulary) = (self.sizes.decoded.0, self.sizes.vocabulary);
        let logits: Vec<f32> = (0..rows * vocabulary).map(|i| (i * 31 % 1009) as f32 / 100.0).collect();
        let logits = self.device.upload(&logits, "logits")?;
        let [key, task, number, length] = [self.room::<u32>(3)?, self.room(rows)?, self.room(rows)?, self.room(rows)?];
        let (state, tokens, logprobs) = (self.room::<u8>(rows)?, self.room::<u32>(rows)?, self.room::<f32>(rows)?);
        let draws = Draws {
            key: key.view(),
            task: task.view(),
            sample: number.view(),
            length: length.view(),
            state: state.view(),
        };
        for (name, top_k, top_p) in [("sampling", 0, 1.0), ("sampling, top-k 50 and top-p 0.95", 50, 0.95)] {
            let sampling = Sampling { temperature: 1.0, top_k, top_p };
            self.measure(name, Cost::Bytes(rows * vocabulary * 4), |device| {
                sample(device, (tokens.view(), logprobs.view()), logits.view(), draws, sampling)
            })?;
        }
        Ok(())
    }

    fn optimizer(&self) -> Result<()> {
        let count = self.sizes.weights;
        let [master, gradient, first, second] =
            [self.room::<f32>(count)?, self.room(count)?, self.room(count)?, self.room(count)?];
        let copy: Buffer<bf16> = self.room(count)?;
        let judge = Judge::new(&self.device, [count])?;
        self.measure("norm of the gradient", Cost::Bytes(count * 4), |device| {
            judge.judge(device, &[gradient.view()], Some(1.0))
        })?;
        let adamw = AdamW {
            keep: 1.0,
            one_minus_beta1: 0.1,
            beta2: 0.999,
            one_minus_beta2: 0.001,
            step: 1e-4,
            root_correction: 1.0,
            eps: 1e-8,
        };
        // Weight, gradient and moments are read; weight, moments and the copy written.
        self.measure("adamw", Cost::Bytes(count * 30), |device| {
            let weights = Weights { master: master.view(), copy: Some(copy.view()) };
            adamw.step(device, weights, gradient.view(), [first.view(), second.view()], &judge)
        })
    }
}
