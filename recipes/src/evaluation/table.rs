//! What `recipe eval` prints: the benchmarks that are known, and the figures at the end.

use std::fmt::Write;

use super::benchmark::{Benchmark, Method, Source, published};
use super::paired::Paired;
use super::result::Scored;
use super::store::Asked;
use super::{BenchmarkResult, Evaluation};
use crate::metrics::Estimate;
use crate::wording::{counted, thousands};

/// The benchmarks, one on a line, with how each is asked.
#[must_use]
pub fn list() -> String {
    let mut text = format!(
        "{:15} {:>7} {:>11} {:>6} {:>7}  {}\n",
        "benchmark", "samples", "temperature", "top-p", "tokens", "what, and the file it is read from"
    );
    for benchmark in published() {
        let Benchmark { name, about, samples, temperature, top_p, max_tokens, .. } = &benchmark;
        let Source::Files(files) = &benchmark.source else { continue };
        let asked = match benchmark.method {
            Method::Generate => {
                format!("{samples:>7} {temperature:>11} {top_p:>6} {:>7}", thousands(*max_tokens as u64))
            }
            Method::Likelihood => format!("{:>7} {:>11} {:>6} {:>7}", "-", "-", "-", "-"),
        };
        let _ = writeln!(text, "{name:15} {asked}  {about}");
        let _ = writeln!(text, "{:52}{}", "", files.join(", "));
        if benchmark.method == Method::Generate {
            let _ = writeln!(text, "{:52}chat: \"{}\"", "", benchmark.instruction);
        }
    }
    let family = super::benchmark::find("countdown");
    if let Ok(family) = family {
        let _ = writeln!(
            text,
            "{:15} {:>7} {:>11} {:>6} {:>7}  {} held-out tasks of any family that `recipe tasks list` shows",
            "FAMILY",
            family.samples,
            family.temperature,
            family.top_p,
            family.max_tokens,
            super::benchmark::OF_FAMILY
        );
    }
    text.push_str(
        "\nNAME=FILE reads a benchmark from that file, or asks a task file of your own.\n\
         No worked examples are shown (0 shots). A question is asked in the template that the model was trained in here,\n\
         a base in that of its run; a model from elsewhere in its own chat template, with the instruction above after it,\n\
         or in R1-Zero's, where the answer stands in tags, if it has none. Two models are asked in the same one\n\
         (--template chooses it). Answers are judged by the verifiers that training uses.\n\
         Figures: pass@1 with a 95% confidence interval over problems, pass@k without bias, the majority of k (cons@k),\n\
         tokens of an answer. `mmlu` compares the log-probabilities of the letters after `Answer:`.\n",
    );
    text
}

/// The table of an evaluation, and below it how it was asked.
#[must_use]
pub fn render(evaluation: &Evaluation) -> String {
    let mut text = String::from("\n");
    let names: Vec<&str> = evaluation.models.iter().map(|subject| subject.name.as_str()).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(5).clamp(5, 30);
    let column = evaluation.benchmarks.iter().map(|one| one.name.len()).max().unwrap_or(0).max(9);
    let head = format!(
        "{:column$}  {:width$}  {:>8}  {:>12}  {:>14}  {:>14}  {:>8}  {:>7}",
        "benchmark", "model", "problems", "pass@1", "pass@k", "majority of k", "tokens", "cut off"
    );
    let _ = writeln!(text, "{head}\n{}", "─".repeat(head.chars().count()));
    for one in &evaluation.benchmarks {
        for (name, scored) in names.iter().zip(&one.results) {
            let name: String = name.chars().take(width).collect();
            let _ = writeln!(
                text,
                "{:column$}  {name:width$}  {:>8}  {:>12}  {:>14}  {:>14}  {:>8}  {:>7}",
                one.name,
                thousands(scored.judged),
                scored.pass_at_1(),
                of_largest(scored.pass.iter().rfind(|(k, _)| **k > 1)),
                of_largest(scored.majority.iter().next_back()),
                if scored.asked.method == Method::Generate { format!("{:.1}", scored.tokens) } else { "-".to_owned() },
                percent(scored.truncated),
            );
        }
    }
    text.push_str("± is half of the 95% confidence interval over problems; the largest k stands before its share\n");
    if let [first, second] = names[..] {
        comparison(&mut text, evaluation, first, second);
    }
    text.push('\n');
    for one in &evaluation.benchmarks {
        how(&mut text, one);
    }
    text
}

/// The difference of two models, benchmark by benchmark.
fn comparison(text: &mut String, evaluation: &Evaluation, first: &str, second: &str) {
    let _ = writeln!(text, "\n{first} less {second}, on the problems that both were judged on:");
    for one in &evaluation.benchmarks {
        let _ = match &one.paired {
            Some(paired) => writeln!(text, "  {:15} {}", one.name, difference(paired)),
            None => writeln!(text, "  {:15} no problem was judged for both", one.name),
        };
    }
    text.push_str("p: two-sided permutation test of signs over problems, on the differences of pass@1\n");
}

pub(crate) fn difference(paired: &Paired) -> String {
    let Paired { problems, better, worse, difference, p_value, exact } = paired;
    let p = if *p_value < 1e-4 { "p < 0.0001".to_owned() } else { format!("p = {p_value:.4}") };
    format!(
        "{:+.1}{} points of pass@1, {p}{} ({better} better, {worse} worse, {} equal of {problems})",
        difference.mean * 100.0,
        difference.half_width.map_or_else(String::new, |_| format!(" {}", difference.reach())),
        if *exact { ", exact" } else { "" },
        problems - better - worse
    )
}

fn how(text: &mut String, one: &BenchmarkResult) {
    for (place, scored) in one.results.iter().enumerate() {
        // Said once where both models were asked alike.
        let same = |asked: &Asked| Asked { model: String::new(), ..asked.clone() };
        if place > 0 && same(&scored.asked) == same(&one.results[0].asked) {
            continue;
        }
        let _ = writeln!(text, "{}: {}", one.name, settings(scored));
    }
}

/// How a benchmark was asked, on one line.
pub(crate) fn settings(scored: &Scored) -> String {
    let asked = &scored.asked;
    let mut text = format!("{} from {}", counted(asked.problems as usize, "problem", "problems"), asked.problems_from);
    if scored.unscorable > 0 {
        let _ = write!(text, " ({} with an unusable reference left out)", scored.unscorable);
    }
    match (asked.method, asked.template) {
        (Method::Generate, Some(template)) => {
            let _ = write!(
                text,
                "; template {}, {} shots, {} each at temperature {}, top-p {}, up to {} tokens",
                template.name(),
                asked.shots,
                counted(asked.samples as usize, "sample", "samples"),
                asked.temperature,
                asked.top_p,
                asked.max_tokens
            );
        }
        _ => text.push_str("; nothing is sampled"),
    }
    let _ = write!(text, "; {}; seed {}", asked.grader, asked.seed);
    text
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

fn of_largest(value: Option<(&usize, &Estimate)>) -> String {
    value.map_or_else(|| "-".to_owned(), |(k, value)| format!("{k}: {}", percent(value.mean)))
}

#[cfg(test)]
mod tests {
    use super::super::test_support::made_up;
    use super::*;

    #[test]
    fn every_benchmark_is_listed_with_its_settings() {
        let text = list();
        for benchmark in published() {
            assert!(text.lines().any(|line| line.starts_with(&format!("{} ", benchmark.name))), "{}", benchmark.name);
        }
        assert!(
            text.contains("\nmmlu                  -           -      -       -  MMLU, by the likeliest letter\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
    }

    #[test]
    fn two_models_side_by_side() {
        let text = render(&made_up().0);
        let expected = "
benchmark  model  problems        pass@1          pass@k   majority of k    tokens  cut off
───────────────────────────────────────────────────────────────────────────────────────────
gsm8k      after         2   75.0% ±49.3       4: 100.0%       4: 100.0%      10.0     0.0%
gsm8k      base          2   37.5% ±73.5        4: 50.0%        4: 50.0%      21.2    12.5%
± is half of the 95% confidence interval over problems; the largest k stands before its share

after less base, on the problems that both were judged on:
  gsm8k           +37.5 ±90.4 points of pass@1, p = 0.5000, exact (2 better, 0 worse, 0 equal of 2)
p: two-sided permutation test of signs over problems, on the differences of pass@1

gsm8k: 3 problems from gsm8k.jsonl; template chat, 0 shots, 4 samples each at temperature 0.6, top-p 0.95, up to 100 \
tokens; accuracy; seed 0
";
        assert_eq!(text, expected, "{text}");
    }
}
