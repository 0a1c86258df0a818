//! Near repetitions: found above the threshold, kept below, also in a crowd.

use super::*;

/// The Jaccard similarity of three-word runs, as strings.
fn similarity(one: &str, other: &str) -> f64 {
    fn runs(text: &str) -> BTreeSet<Vec<&str>> {
        let words: Vec<&str> = text.split(' ').collect();
        words.windows(3).map(<[&str]>::to_vec).collect()
    }
    let (one, other) = (runs(one), runs(other));
    one.intersection(&other).count() as f64 / one.union(&other).count() as f64
}

/// Rows of one template fall under the same keys by the hundred: what is a repetition is found among them all the same.
#[test]
fn near_repetitions_are_found_among_rows_that_share_a_template() {
    const PAIRS: usize = 600;
    let template = some_words(62, &mut Counter::new(&[43])).join(" ");
    // A twin keeps the first two of its row's own words: 62 of 74 runs are the same, 0.84. Others share the template alone:
    // 60 of 76, 0.79.
    let own = |pair: usize, word: char| {
        (0..8).map(|at| format!("{}{pair}x{at}", if at < 2 { 'u' } else { word })).collect::<Vec<_>>().join(" ")
    };
    let all = |word: char| (0..PAIRS).map(move |pair| (pair, word));
    let prompts = all('u').chain(all('v')).map(|(pair, word)| format!("{template} {}", own(pair, word)));
    let (folder, path) = rows(&prompts.map(|prompt| (prompt, "1")).collect::<Vec<_>>());
    let outcome = run_in(folder.path(), &job(vec![load(&path), ("dedup", dedup(Some(0.8)))]));
    let tally = &outcome.steps[1].tally;
    assert_eq!(tally.dropped.keys().collect::<Vec<_>>(), ["near repetition"]);
    // One pair in a thousand may be missed.
    assert!((598..=PAIRS as u64).contains(&tally.dropped["near repetition"]), "{:?}", tally.dropped);
}

#[test]
fn near_repetitions_are_found_above_the_threshold_and_kept_below() {
    const THRESHOLD: f64 = 0.7;
    let mut counter = Counter::new(&[41]);
    let mut prompts = Vec::new();
    let mut pairs = Vec::new();
    for number in 0..2_000 {
        let first = some_words(60, &mut counter);
        let mut second = first.clone();
        // Each change touches three runs: similarities from 1 down to 0.2.
        for _ in 0..1 + number % 12 {
            let place = counter.below(60);
            second[place] = format!("v{}", counter.below(500));
        }
        pairs.push((first.join(" "), second.join(" ")));
    }
    // All first ones, then all second ones: repetitions far apart.
    prompts.extend(pairs.iter().map(|pair| (pair.0.clone(), "1")));
    prompts.extend(pairs.iter().map(|pair| (pair.1.clone(), "1")));
    let (folder, path) = rows(&prompts);
    run_in(folder.path(), &job(vec![load(&path), ("dedup", dedup(Some(THRESHOLD))), write_to("kept.jsonl")]));
    let kept = prompts_in(&folder.path().join("out/kept.jsonl"));
    let (mut found, mut missed, mut wrong) = (0, 0, 0);
    let mut by_tenth: BTreeMap<i64, (u32, u32)> = BTreeMap::new();
    for (first, second) in &pairs {
        assert!(kept.contains(first), "the first of two stays");
        let similar = similarity(first, second);
        let gone = !kept.contains(second);
        let entry = by_tenth.entry((similar * 10.0) as i64).or_default();
        entry.0 += u32::from(gone);
        entry.1 += 1;
        match (similar >= THRESHOLD, gone) {
            (true, true) => found += 1,
            (true, false) => missed += 1,
            (false, true) => wrong += 1,
            (false, false) => {}
        }
    }
    let recall = f64::from(found) / f64::from(found + missed);
    let precision = f64::from(found) / f64::from(found + wrong);
    println!(
        "threshold {THRESHOLD}: recall {recall:.4}, precision {precision:.4}; dropped of planted by tenth: {by_tenth:?}"
    );
    assert!(found > 300 && by_tenth.len() > 5, "{by_tenth:?}");
    assert!(recall >= 0.999 && wrong == 0, "recall {recall}, {wrong} dropped below the threshold");
}

/// Conversations that end in the same question are alike as far as they are as a whole.
#[test]
fn earlier_turns_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("turns.jsonl");
    let row = |system: &str, first: &str| {
        let messages = json!([
            { "role": "system", "content": system },
            { "role": "user", "content": first },
            { "role": "assistant", "content": "hm" },
            { "role": "user", "content": "Are you quite sure about it? Please check it once more." },
        ]);
        json!({ "prompt": messages, "reward_model": { "ground_truth": "9" } }).to_string() + "\n"
    };
    let sums = (0..6).map(|number| row("Be brief.", &format!("What is {number} plus {number}?")));
    let again = row("Think well before you answer, and do not be brief.", "What is 0 plus 0?");
    fs::write(&path, sums.chain([again]).collect::<String>()).unwrap();
    let outcome = run_in(folder.path(), &job(vec![load(&path), ("dedup", dedup(Some(0.8)))]));
    assert_eq!(outcome.steps[1].tally.dropped, [("near repetition".to_owned(), 1)].into());
}
