//! Every architecture against transformers, on the checkpoints that `goldens/make.py` made.
//!
//! Tolerances are relative to the largest number of a tensor: 1e-4 for log-probabilities and gradients in f32.

#![allow(clippy::unwrap_used, reason = "a test's failure is its report")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use policy::checkpoint::{TensorArchive, TensorData, load_tensors};
use policy::model::batch::{BatchBuilder, PackedBatch};
use policy::optim::Gradients;
use policy::{Policy, Request, RolloutEngine, RolloutOptions, SamplingParams, Track};

const CASES: [&str; 7] = ["deepseek", "deepseek_full_query", "deepseek_fp8", "llama", "llama_linear", "qwen2", "qwen3"];
const TOLERANCE: f32 = 1e-4;
const PROMPT: usize = 5;

fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(case)
}

struct Golden {
    policy: Policy,
    /// The two sequences, which begin with the same `PROMPT` tokens.
    sequences: Vec<Vec<u32>>,
    tensors: BTreeMap<String, TensorData>,
}

impl Golden {
    fn load(case: &str) -> Golden {
        let policy = Policy::load(&folder(case)).unwrap_or_else(|error| panic!("{error}"));
        // The token ids and the experts are integers, which the crate's own reader refuses.
        let path = folder(case).join("expected.safetensors");
        let ids = integers(&path, "token_ids");
        let archive = TensorArchive::open(&path).unwrap();
        let floats = archive.names().filter(|name| archive.check(name).is_ok());
        let tensors = floats.map(|name| (name.to_owned(), archive.read(name).unwrap())).collect();
        Golden { policy, sequences: ids.chunks(ids.len() / 2).map(<[u32]>::to_vec).collect(), tensors }
    }

    /// One tree: the shared prompt, and both continuations.
    fn batch(&self) -> PackedBatch {
        let mut builder = BatchBuilder::default();
        let prompt = builder.context(&self.sequences[0][..PROMPT], None).unwrap();
        for sequence in &self.sequences {
            builder.completion(prompt, &sequence[PROMPT..]).unwrap();
        }
        builder.build().unwrap()
    }

    /// Log-probabilities of the whole vocabulary after each token of a sequence, from transformers' logits.
    fn log_softmax(&self, sequence: usize) -> Vec<Vec<f32>> {
        let logits = &self.tensors["logits"];
        let (length, vocabulary) = (logits.shape[1], logits.shape[2]);
        let rows = logits.values.chunks(vocabulary).skip(sequence * length).take(length);
        rows.map(|row| {
            let total = row.iter().map(|z| f64::from(*z).exp()).sum::<f64>().ln();
            row.iter().map(|z| (f64::from(*z) - total) as f32).collect()
        })
        .collect()
    }
}

fn integers(path: &Path, name: &str) -> Vec<u32> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    tensor.data().as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

fn close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance * largest.max(1e-3), "{what}, element {index}: {found}, expected {expected}");
    }
}

fn each(mut check: impl FnMut(&str, &Golden)) {
    for case in CASES {
        check(case, &Golden::load(case));
    }
}

#[test]
fn logits_agree_over_the_whole_vocabulary() {
    each(|case, golden| {
        for (index, sequence) in golden.sequences.iter().enumerate() {
            // After each token, every token of the vocabulary as a completion of one token.
            let mut builder = BatchBuilder::default();
            let mut parent = None;
            for id in sequence {
                let segment = builder.context(&[*id], parent).unwrap();
                for target in 0..golden.policy.config().vocab_size as u32 {
                    builder.completion(segment, &[target]).unwrap();
                }
                parent = Some(segment);
            }
            let forward = golden.policy.forward(&builder.build().unwrap(), 1.0, Track::Nothing).unwrap();
            close(case, &forward.logprobs, &golden.log_softmax(index).concat(), TOLERANCE);
        }
    });
}

#[test]
fn log_probabilities_and_every_gradient_agree() {
    each(|case, golden| {
        let forward = golden.policy.forward(&golden.batch(), 1.0, Track::Gradients).unwrap();
        let expected: Vec<f32> = golden
            .sequences
            .iter()
            .enumerate()
            .flat_map(|(index, sequence)| {
                let rows = golden.log_softmax(index);
                (PROMPT..sequence.len()).map(move |at| rows[at - 1][sequence[at] as usize]).collect::<Vec<_>>()
            })
            .collect();
        close(case, &forward.logprobs, &expected, TOLERANCE);

        let mut gradients = Gradients::zeros(golden.policy.parameters().unwrap());
        golden.policy.backward(forward, &golden.tensors["weights"].values.clone().into(), 0.0, &mut gradients).unwrap();
        let gradients: BTreeMap<&str, Option<Cow<'_, [f32]>>> = gradients.values().unwrap().into_iter().collect();
        let mut compared = 0;
        for (name, var) in golden.policy.parameters().unwrap() {
            let gradient =
                gradients[name.as_str()].as_deref().unwrap_or_else(|| panic!("{case}: {name} has no gradient"));
            let gradient = Tensor::from_slice(gradient, var.shape(), var.device()).unwrap();
            for (stored, found) in by_checkpoint_name(name, &gradient) {
                let expected = &golden.tensors[&format!("grad.{stored}")].values;
                close(&format!("{case}: gradient of {stored}"), &found, expected, TOLERANCE);
                compared += 1;
            }
        }
        assert_eq!(compared, golden.tensors.keys().filter(|name| name.starts_with("grad.")).count(), "{case}");
    });
}

fn bits(gradients: &Gradients) -> Vec<Vec<u32>> {
    let values = gradients.values().unwrap().into_iter();
    values.map(|(_, values)| values.unwrap().iter().map(|value| value.to_bits()).collect()).collect()
}

#[test]
fn layers_that_are_computed_again_give_the_same_gradients_to_the_bit() {
    each(|case, golden| {
        let gradients = |track| {
            let forward = golden.policy.forward(&golden.batch(), 0.7, track).unwrap();
            let slope = &golden.tensors["weights"].values;
            let mut sums = Gradients::zeros(golden.policy.parameters().unwrap());
            golden.policy.backward(forward, &slope.to_vec().into(), 0.01, &mut sums).unwrap();
            bits(&sums)
        };
        assert!(gradients(Track::LayerInputs) == gradients(Track::Gradients), "{case}");
    });
}

#[test]
fn a_backward_pass_needs_what_its_forward_pass_kept() {
    let golden = Golden::load("qwen3");
    let mut gradients = Gradients::zeros(golden.policy.parameters().unwrap());
    let mut message = |track, slope: &[f32]| {
        let forward = golden.policy.forward(&golden.batch(), 1.0, track).unwrap();
        golden.policy.backward(forward, &slope.to_vec().into(), 0.0, &mut gradients).unwrap_err().to_string()
    };
    assert!(message(Track::Nothing, &[]).contains("it was not tracked"));
    assert!(message(Track::Gradients, &[1.0]).contains("1 slopes for"));
}

/// A parameter's gradient under the names that checkpoints use: experts one by one, down not transposed.
fn by_checkpoint_name(name: &str, gradient: &Tensor) -> Vec<(String, Vec<f32>)> {
    let flat = |tensor: Tensor| tensor.contiguous().unwrap().flatten_all().unwrap().to_vec1().unwrap();
    if gradient.rank() != 3 {
        return vec![(name.to_owned(), flat(gradient.clone()))];
    }
    let (experts, rows, _) = gradient.dims3().unwrap();
    (0..experts)
        .flat_map(|expert| {
            let prefix = if name.ends_with("mlp.experts") { format!("{name}.{expert}") } else { name.to_owned() };
            let part = |third: usize| gradient.get(expert).unwrap().narrow(0, third * rows / 3, rows / 3).unwrap();
            [("gate", part(0)), ("up", part(1)), ("down", part(2).t().unwrap())]
                .map(|(kind, tensor)| (format!("{prefix}.{kind}_proj.weight"), flat(tensor)))
        })
        .collect()
}

#[test]
fn every_token_goes_to_the_same_experts() {
    each(|case, golden| {
        let config = golden.policy.config();
        let forward = golden.policy.forward(&golden.batch(), 1.0, Track::Nothing).unwrap();
        let layers: Vec<usize> = (0..config.num_hidden_layers).filter(|l| config.mixture_of(*l).is_some()).collect();
        assert_eq!(forward.routing.len(), layers.len());
        for (layer, routing) in layers.into_iter().zip(&forward.routing) {
            let expected = integers(&folder(case).join("expected.safetensors"), &format!("experts.{layer}"));
            let (top_k, length) = (routing.top_k, golden.sequences[0].len());
            // The batch holds the prompt once, then each sequence's further tokens but the last.
            let rows = (0..length - 1).chain(length + PROMPT..2 * length - 1);
            let expected: Vec<u32> = rows.flat_map(|row| expected[row * top_k..(row + 1) * top_k].to_vec()).collect();
            assert_eq!(routing.chosen, expected, "{case}, layer {layer}");
        }
    });
}

#[test]
fn decoding_step_by_step_is_the_full_forward_pass() {
    each(|case, golden| {
        let engine = RolloutEngine::new(&golden.policy).unwrap();
        let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 30 };
        let options = RolloutOptions { seed: 7, step: 0, end_of_text: vec![1], batch: 3 };
        // A shared beginning, so that the cache is a tree of three levels.
        let requests = [0u32, 1].map(|task| Request {
            task,
            prompt: golden.sequences[task as usize][..PROMPT + 2].to_vec(),
            samples: 3,
        });
        let mut completions = Vec::new();
        engine.generate(&requests, &params, &options, |completion| completions.push(completion)).unwrap();
        assert_eq!(completions.len(), 6);
        for completion in completions {
            let mut builder = BatchBuilder::default();
            let prompt = builder.context(&requests[completion.task as usize].prompt, None).unwrap();
            builder.completion(prompt, &completion.token_ids).unwrap();
            let forward = golden.policy.forward(&builder.build().unwrap(), 1.0, Track::Nothing).unwrap();
            for (at, (found, expected)) in forward.logprobs.iter().zip(&completion.logprobs).enumerate() {
                assert!((found - expected).abs() < 1e-5, "{case}, token {at}: {found}, sampled with {expected}");
            }
        }
    });
}

#[test]
fn what_is_sampled_depends_neither_on_the_batch_nor_on_threads() {
    each(|case, golden| {
        let sample = |batch: usize, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let engine = RolloutEngine::new(&golden.policy).unwrap();
                let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 12 };
                let options = RolloutOptions { seed: 3, step: 1, end_of_text: vec![1], batch };
                let request = |task: u32| Request { task, prompt: golden.sequences[task as usize].clone(), samples: 9 };
                let mut out = Vec::new();
                engine.generate(&[request(0), request(1)], &params, &options, |c| out.push(c)).unwrap();
                out.sort_by_key(|c| (c.task, c.sample));
                let bits = |c: &policy::Completion| c.logprobs.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
                out.iter().map(|c| (c.token_ids.clone(), bits(c))).collect::<Vec<_>>()
            })
        };
        let expected = sample(1, 1);
        assert!(sample(18, 1) == expected && sample(5, 3) == expected, "{case}");
    });
}

#[test]
fn a_folder_written_again_is_the_same_model() {
    each(|case, golden| {
        let again = tempfile::tempdir().unwrap();
        golden.policy.save(again.path()).unwrap();
        let read = Policy::load(again.path()).unwrap();
        let mut expected = golden.policy.config().clone();
        // Eight-bit weights are written as the numbers they stood for.
        expected.weight_block_size = None;
        // Modules for multi-token prediction are not kept.
        expected.num_nextn_predict_layers = 0;
        assert_eq!(read.config(), &expected, "{case}");
        assert_eq!(read.router_bias(), golden.policy.router_bias(), "{case}");
        for ((name, a), (_, b)) in read.parameters().unwrap().iter().zip(golden.policy.parameters().unwrap()) {
            let bits = |tensor: &Tensor| -> Vec<u32> {
                let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
                values.into_iter().map(f32::to_bits).collect()
            };
            assert_eq!(bits(a), bits(b), "{case}: {name}");
        }
        assert_eq!(
            load_tensors(again.path()).unwrap().len(),
            TensorArchive::open(again.path()).unwrap().names().count()
        );
    });
}

#[test]
fn one_thread_or_several_the_gradients_are_the_same_to_the_bit() {
    each(|case, golden| {
        let gradients = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let forward = golden.policy.forward(&golden.batch(), 1.0, Track::Gradients).unwrap();
                let ones = vec![1.0; forward.logprobs.len()];
                let mut sums = Gradients::zeros(golden.policy.parameters().unwrap());
                golden.policy.backward(forward, &ones.clone().into(), 0.0, &mut sums).unwrap();
                bits(&sums)
            })
        };
        assert!(gradients(1) == gradients(3), "{case}");
    });
}
