//! The figures of one model on one benchmark. All intervals are over problems: samples of one problem are no independent
//! evidence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::paired::{Paired, Share, compare};
use super::store::{Answered, Asked};
use crate::answers::Answers;
use crate::metrics::Estimate;

/// One model's figures on one benchmark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// What was asked, and how.
    pub asked: Asked,
    /// Problems that could be judged.
    pub judged: u64,
    /// Problems whose reference cannot be used: they count for nothing.
    pub unscorable: u64,
    /// pass@k, unbiased, by k.
    pub pass: BTreeMap<usize, Estimate>,
    /// cons@k, by k: whether the majority of k samples is right.
    pub majority: BTreeMap<usize, Estimate>,
    /// Mean tokens of an answer.
    pub tokens: f64,
    /// Mean tokens of right answers; none where there are none.
    pub tokens_right: Option<f64>,
    /// Share of answers that were cut off at the limit.
    pub truncated: f64,
    /// Why answers are not right, by cause: how many.
    pub causes: BTreeMap<String, u64>,
}

impl Scored {
    /// pass@1.
    #[must_use]
    pub fn pass_at_1(&self) -> Estimate {
        self.pass.get(&1).copied().unwrap_or_default()
    }
}

/// The figures of the answers.
pub(super) fn score(asked: &Asked, rows: &[Answered], k: &[usize]) -> Scored {
    let judged: Vec<Answers> = rows.iter().filter_map(Answered::judged).collect();
    let over = |value: &dyn Fn(&Answers) -> f64| {
        let values: Vec<f64> = judged.iter().map(value).collect();
        Estimate::over_tasks(&values)
    };
    // pass@1 is always stated: it is what models are compared by.
    let mut all_k: Vec<usize> = k.iter().copied().chain([1]).collect();
    all_k.sort_unstable();
    all_k.dedup();
    let pass = all_k.iter().map(|&k| (k, over(&|answers| answers.pass_at(k)))).collect();
    let majority = all_k.iter().filter(|k| **k > 1).map(|&k| (k, over(&|answers| answers.majority_at(k)))).collect();
    let answers = || rows.iter().flat_map(|row| &row.answers);
    let mean = |right: Option<bool>| {
        let chosen = answers().filter(|answer| right.is_none() || answer.right == right);
        let (sum, count) =
            chosen.fold((0_u64, 0_u64), |(sum, count), answer| (sum + u64::from(answer.tokens), count + 1));
        (count > 0).then(|| sum as f64 / count as f64)
    };
    let mut causes = BTreeMap::<String, u64>::new();
    for cause in answers().filter_map(|answer| answer.cause.clone()) {
        *causes.entry(cause).or_default() += 1;
    }
    Scored {
        asked: asked.clone(),
        judged: judged.len() as u64,
        unscorable: (rows.len() - judged.len()) as u64,
        pass,
        majority,
        tokens: mean(None).unwrap_or(0.0),
        tokens_right: mean(Some(true)),
        truncated: answers().filter(|answer| answer.truncated).count() as f64 / answers().count().max(1) as f64,
        causes,
    }
}

/// Two models on the problems that both were judged on.
pub(super) fn pair(first: &[Answered], second: &[Answered], seed: u64) -> Option<Paired> {
    let share = |row: &Answered| -> Option<Share> {
        let answers = row.judged()?;
        Some((answers.right.iter().filter(|right| **right).count() as u32, answers.right.len() as u32))
    };
    let by_place: BTreeMap<u32, Share> = second.iter().filter_map(|row| Some((row.problem, share(row)?))).collect();
    let both = first.iter().filter_map(|row| Some((share(row)?, *by_place.get(&row.problem)?)));
    let (first, second): (Vec<Share>, Vec<Share>) = both.unzip();
    (!first.is_empty()).then(|| compare(&first, &second, seed))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::store::Answer;
    use super::super::{BenchmarkResult, Evaluation, Method, Subject, Template};
    use super::*;

    pub(crate) fn asked(benchmark: &str, samples: u32) -> Asked {
        Asked {
            benchmark: benchmark.to_owned(),
            about: "word problems".to_owned(),
            problems_from: format!("{benchmark}.jsonl"),
            problems_sha256: Some("0123abcd".repeat(8)),
            problems: 3,
            method: Method::Generate,
            template: Some(Template::Chat),
            system: String::new(),
            instruction: "Think.".to_owned(),
            shots: 0,
            samples,
            temperature: 0.6,
            top_p: 0.95,
            max_tokens: 100,
            grader: "accuracy".to_owned(),
            seed: 0,
            card: None,
            model: "fff".to_owned(),
            version: "0.1.0".to_owned(),
        }
    }

    /// Answers as `ab`: lower case is right, `-` is none.
    pub(crate) fn row(problem: u32, answers: &str) -> Answered {
        let answer = |letter: char| Answer {
            text: format!("<think> no & yes </think> <answer> {letter} </answer>"),
            right: Some(letter.is_lowercase()),
            cause: (!letter.is_lowercase()).then(|| if letter == '-' { "no_answer" } else { "wrong_value" }.to_owned()),
            vote: (letter != '-').then(|| letter.to_string()),
            tokens: if letter == '-' { 100 } else { 10 },
            truncated: letter == '-',
            choices: Vec::new(),
        };
        Answered {
            problem,
            task: format!("task{problem}"),
            question: format!("What is {problem} < 1?"),
            answers: answers.chars().map(answer).collect(),
        }
    }

    /// Two models, `after` and `base`, on one benchmark, and their answers.
    pub(crate) fn made_up() -> (Evaluation, [Vec<Answered>; 2]) {
        let subject = |name: &str| Subject { name: name.to_owned(), folder: name.into(), fingerprint: name.to_owned() };
        let rows = [vec![row(0, "aaBB"), row(1, "aaaa")], vec![row(0, "BBBB"), row(1, "aaa-")]];
        let results = rows.iter().map(|rows| score(&asked("gsm8k", 4), rows, &[4])).collect();
        let paired = pair(&rows[0], &rows[1], 0);
        let benchmarks = vec![BenchmarkResult { name: "gsm8k".to_owned(), results, paired }];
        (Evaluation { models: vec![subject("after"), subject("base")], benchmarks }, rows)
    }

    #[test]
    fn figures_are_means_over_problems() {
        let mut rows = vec![row(0, "aaBB"), row(1, "CDE-"), row(4, "aaaa"), row(5, "aaaa")];
        rows[3].answers[0].right = None;
        let scored = score(&asked("gsm8k", 4), &rows, &[2, 4]);
        assert_eq!((scored.judged, scored.unscorable), (3, 1));
        let pass: Vec<(usize, f64)> = scored.pass.iter().map(|(k, estimate)| (*k, estimate.mean)).collect();
        // Two of four right: of the six pairs one holds two wrong ones.
        assert_eq!(pass, [(1, 0.5), (2, (5.0 / 6.0 + 1.0) / 3.0), (4, 2.0 / 3.0)]);
        let majority: Vec<(usize, f64)> = scored.majority.iter().map(|(k, estimate)| (*k, estimate.mean)).collect();
        assert_eq!(majority, [(2, 0.5), (4, 2.0 / 3.0)]);
        assert_eq!(scored.causes, [("no_answer".to_owned(), 1), ("wrong_value".to_owned(), 5)].into());
        assert_eq!((scored.tokens, scored.truncated), (250.0 / 16.0, 1.0 / 16.0));
        assert_eq!(scored.tokens_right, Some(10.0));
    }

    #[test]
    fn pairs_are_of_the_same_problem() {
        let first = [row(0, "aa"), row(1, "aB"), row(7, "aa")];
        let mut second = [row(1, "BB"), row(7, "aa"), row(9, "aa")];
        let paired = pair(&first, &second, 0).unwrap();
        assert_eq!((paired.problems, paired.better, paired.worse), (2, 1, 0));
        assert_eq!(paired.difference.mean, 0.25);
        second[1].answers[0].right = None;
        assert_eq!(pair(&first, &second, 0).unwrap().problems, 1);
        assert_eq!(pair(&first, &[row(5, "aa")], 0), None);
    }
}
