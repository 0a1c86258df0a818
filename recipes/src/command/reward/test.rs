//! `recipe reward test`: a reward against the cases beside it.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rewards::{Registry, RewardError, RewardSet, Score};

use super::cases::Case;
use super::{RewardOptions, build};
use crate::command::{FAILED, Wrong, print};
use crate::progress::{Reporter, Verbosity};

#[derive(Args, Debug)]
pub(in crate::command) struct TestArguments {
    /// The reward's file, or the name of a known one
    reward: String,

    /// The cases [default: beside the reward's file, under its name in .jsonl]
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,

    #[command(flatten)]
    options: RewardOptions,
}

pub(super) fn test(arguments: &TestArguments, known: &Registry) -> anyhow::Result<ExitCode> {
    let spec = arguments.options.spec(&arguments.reward, known)?;
    let path = match (&arguments.cases, &spec.custom) {
        (Some(path), _) => path.clone(),
        (None, Some(custom)) => custom.path.with_extension("jsonl"),
        (None, None) => {
            let text = format!("{} has no file with cases beside it; name them: --cases FILE", arguments.reward);
            return Err(Wrong(text).into());
        }
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Wrong(format!("cannot read the cases in {}: {error}", path.display())))?;
    let rewards = build(&spec, known, &Reporter::new(Verbosity::Auto))?;
    let shown = path.display().to_string();
    let (report, passed) = report(&rewards, &shown, &text)?;
    print(&report)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// What came of every case, and whether all is well.
fn report(rewards: &RewardSet, path: &str, text: &str) -> anyhow::Result<(String, bool)> {
    let mut report = String::new();
    let (mut cases, mut passed) = (0, 0);
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        cases += 1;
        let differences = match Case::read(line) {
            Err(problem) => vec![format!("is no case: {problem}")],
            Ok(case) => match scores(rewards, &case) {
                Ok(scores) => case.differences(&scores),
                Err(error @ RewardError::Sandbox { .. }) => return Err(error.into()),
                // The reward's own fault, at this case; others may do.
                Err(error) => vec![error.to_string()],
            },
        };
        passed += usize::from(differences.is_empty());
        for difference in &differences {
            let _ = writeln!(report, "{path}, line {}: {difference}", index + 1);
        }
        for printed in rewards.take_printed() {
            let _ = writeln!(report, "{path}, line {}: the reward prints:", index + 1);
            for line in printed.text.lines() {
                let _ = writeln!(report, "  {line}");
            }
        }
    }
    if cases == 0 {
        let _ = writeln!(report, "{path} holds no case");
    } else {
        let _ = writeln!(report, "{passed} of {cases} cases pass");
    }
    Ok((report, cases > 0 && passed == cases))
}

fn scores(rewards: &RewardSet, case: &Case) -> Result<Vec<Score>, RewardError> {
    let scored = rewards.score_group(&case.samples())?;
    let score = |breakdown: rewards::ScoreBreakdown| {
        let component = breakdown.components.into_iter().next();
        component.map_or_else(|| Score::unscorable("does_not_apply"), |component| component.score)
    };
    Ok(scored.into_iter().map(score).collect())
}

#[cfg(test)]
mod tests {
    use rewards::RewardSpec;

    use super::*;

    fn of_format(text: &str) -> (String, bool) {
        let rewards = RewardSet::build(&[RewardSpec::named("format")], None).unwrap();
        report(&rewards, "cases.jsonl", text).unwrap()
    }

    #[test]
    fn every_case_is_told_of_with_its_line() {
        let good = r#"{"completion": "<think></think><answer></answer>", "expected": 1}"#;
        let bad = r#"{"completion": "", "expected": 0.5}"#;
        assert_eq!(of_format(good), ("1 of 1 cases pass\n".to_owned(), true));
        let (text, passed) = of_format(&format!("{good}\n\n{bad}\nnonsense\n"));
        let expected = "cases.jsonl, line 3: expected 0.5, got 0 (missing_tag)\n\
                        cases.jsonl, line 4: is no case: expected ident\n1 of 3 cases pass\n";
        assert_eq!((text.as_str(), passed), (expected, false));
        assert_eq!(of_format("\n"), ("cases.jsonl holds no case\n".to_owned(), false));
    }
}
