use super::*;

fn arguments(shape: &str, phases: Vec<Phase>) -> BenchArguments {
    BenchArguments {
        phases,
        shape: shape.to_owned(),
        batch: Some(4),
        length: Some(8),
        prompt: Some(3),
        new_tokens: Some(5),
        runs: 1,
        checkpoint_layers: true,
        threads: Some(1),
        device: None,
        json: true,
    }
}

/// Measures without telling.
fn measure(arguments: &BenchArguments) -> anyhow::Result<Report> {
    super::measure(arguments, &mut |_| Ok(()))
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
    // Four prompts of eight tokens, each of which has logits of its last one.
    let prefill = &report.phases[0];
    let flops = forward_flops(&ModelConfig::tiny(shape::TINY_VOCABULARY), 32.0, 4.0, 4.0);
    assert!((prefill.gflops * 1e9 * prefill.median_seconds / flops - 1.0).abs() < 1e-9);
    let text = table(&report);
    for word in ["prefill", "decode", "train", "step", "of peak", "4 sequences of 8 tokens", "% waiting for grades"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn what_is_done_is_told_before_what_goes_wrong_later() {
    let mut lines: Vec<serde_json::Value> = Vec::new();
    let outcome = super::measure(&arguments("tiny", vec![Phase::Step, Phase::Train, Phase::Decode]), &mut |line| {
        lines.push(serde_json::from_str(&line)?);
        anyhow::ensure!(lines.len() < 3, "the card is gone");
        Ok(())
    });
    assert!(outcome.is_err());
    assert!(lines[0]["peak_gflops"].as_f64().unwrap() > 0.0 && lines[0]["shape"] == "tiny", "{lines:?}");
    assert_eq!([&lines[1]["phase"], &lines[2]["phase"]], ["step", "train"]);
    assert!(lines[1]["grading_seconds"].as_f64().unwrap() > 0.0, "{lines:?}");
    assert!(lines[2]["grading_seconds"].is_null(), "{lines:?}");
}

#[test]
fn a_step_is_of_whole_groups_and_says_so() {
    #[track_caller]
    fn check(batch: u32, expected: &str) {
        let report = measure(&BenchArguments {
            batch: Some(batch),
            new_tokens: Some(1),
            ..arguments("tiny", vec![Phase::Step])
        });
        let step = report.unwrap().phases.remove(0);
        // A token of each completion.
        assert!(step.work.starts_with(expected), "{}", step.work);
        assert_eq!(expected, format!("{} completions", step.tokens[0]));
    }
    check(12, "16 completions");
    check(16, "16 completions");
    check(5, "5 completions");
}

#[test]
fn the_median_is_never_the_faster_of_two() {
    for (runs, expected) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)] {
        assert_eq!(median_place(runs), expected, "{runs}");
    }
}

#[test]
fn operations_are_counted_by_hand() {
    // Latent attention of the tiny model: scores over 32 + 16 numbers, values over 32, in 4 heads and 4 layers.
    let config = ModelConfig::tiny(98);
    let (_, activated) = config.parameters();
    let expected = 10.0 * (2.0 * (activated - 98 * 128) as f64 + 2.0 * 7.0 * (4 * 4 * 80) as f64);
    assert!((forward_flops(&config, 10.0, 10.0, 7.0) - expected).abs() < 1e-6);
    let without = expected - 9.0 * 2.0 * f64::from(98 * 128);
    assert!((forward_flops(&config, 10.0, 1.0, 7.0) - without).abs() < 1e-6);
}

#[test]
fn bytes_of_decoding_are_counted_by_hand() {
    let config = ModelConfig::tiny(98);
    let (all, _) = config.parameters();
    // Three layers of 8 experts of which a token goes to 2: of one sequence 6 are not read. A latent of 32 and a rotary key
    // of 16 in 4 layers, 7 tokens each.
    let unread = 3 * 6 * 3 * 128 * 96;
    let expected = 2.0 * (all - 98 * 128 - unread + 7 * 48 * 4) as f64;
    assert!((decoding_bytes(&config, 1.0, 7.0) - expected).abs() < 1e-3);
    // Of many, all are.
    let many = 2.0 * ((all - 98 * 128) as f64 + 1000.0 * f64::from(7 * 48 * 4));
    assert!((decoding_bytes(&config, 1000.0, 7.0) / many - 1.0).abs() < 1e-9);
}

#[test]
fn shapes_are_of_the_sizes_that_their_names_say() {
    for (name, least, most) in [
        ("tiny", 1_300_000, 1_500_000),
        ("qwen2.5-0.5b", 490_000_000, 500_000_000),
        ("qwen2.5-1.5b", 1_540_000_000, 1_550_000_000),
        ("moe-2b", 1_900_000_000, 2_200_000_000),
    ] {
        let (parameters, _) = shape::named(name).unwrap().unwrap().parameters();
        assert!((least..most).contains(&parameters), "{name}: {parameters}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let message = |arguments: &BenchArguments| format!("{:#}", measure(arguments).err().unwrap());
    assert!(message(&arguments("huge", vec![])).contains("expected `tiny`, `qwen2.5-0.5b`"));
    let long = BenchArguments { length: Some(100_000), ..arguments("tiny", vec![]) };
    assert!(message(&long).contains("tiny has 2048 positions"), "{}", message(&long));
}
