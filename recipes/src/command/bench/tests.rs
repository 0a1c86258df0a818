use super::*;

fn arguments(shape: &str, phases: Vec<Phase>) -> BenchArguments {
    BenchArguments {
        phases,
        shape: shape.to_owned(),
        batch: Some(4),
        length: Some(8),
        prompt: 3,
        new_tokens: Some(5),
        runs: 1,
        checkpoint_layers: true,
        threads: Some(1),
        json: true,
    }
}

#[test]
fn every_phase_is_measured_and_counted() {
    let report = measure(&arguments("tiny", Vec::new())).unwrap();
    let tokens: Vec<u64> = report.phases.iter().map(|row| row.tokens[0]).collect();
    assert_eq!(tokens[..3], [4 * 8, 4 * 5, 4 * 8]);
    // Completions may end early, and have at least a token each.
    assert!((4..=20).contains(&tokens[3]), "{tokens:?}");
    for row in &report.phases {
        let expected = row.tokens[0] as f64 / row.median_seconds;
        assert!((row.tokens_per_second / expected - 1.0).abs() < 1e-9);
        assert!((row.share_of_peak / (row.gflops / report.peak_gflops) - 1.0).abs() < 1e-9);
    }
    let text = table(&report);
    for word in ["prefill", "decode", "train", "step", "of peak", "4 sequences of 8 tokens"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn operations_are_counted_by_hand() {
    // Latent attention of the tiny model: scores over 32 + 16 numbers, values over 32, in 4 heads and 4 layers.
    let config = ModelConfig::tiny(98);
    let (_, activated) = config.parameters();
    let expected = 10.0 * (2.0 * (activated - 98 * 128) as f64 + 2.0 * 7.0 * (4 * 4 * 80) as f64);
    assert!((forward_flops(&config, 10.0, 7.0) - expected).abs() < 1e-6);
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let message = |arguments: &BenchArguments| format!("{:#}", measure(arguments).err().unwrap());
    assert!(message(&arguments("huge", vec![])).contains("expected `tiny`, `qwen2.5-0.5b` or a Hugging Face folder"));
    let long = BenchArguments { length: Some(100_000), ..arguments("tiny", vec![]) };
    assert!(message(&long).contains("tiny has 2048 positions"), "{}", message(&long));
}
