//! What holds for all families, and for those that a base is pretrained on.

#![allow(clippy::print_stdout, reason = "figures for whoever runs the tests with --nocapture")]

use std::collections::HashSet;
use std::sync::Arc;

use rewards::{RewardSet, RewardSpec, Sample};

use super::*;

/// The contents of `count` problems of a split, under a seed of its own each.
fn contents<P: Problem>(family: Family, split: Split, count: u64) -> HashSet<String> {
    (0..count).map(|index| family.problem::<P>(split, index % 5, index).content()).collect()
}

fn no_overlap<P: Problem>(family: Family) {
    let train = contents::<P>(family, Split::Train, 20_000);
    let held = contents::<P>(family, Split::Held, 4_000);
    assert!(train.len() > 2_000 && held.len() > 500, "{family}: {} and {}", train.len(), held.len());
    let both: Vec<_> = train.intersection(&held).take(3).collect();
    assert!(both.is_empty(), "{family}: on both sides: {both:?}");
    // The other way round: the fence decides by content, so neither side can contain the other's.
    assert!(held.iter().all(|content| split::of(content) == Split::Held), "{family}");
    assert!(train.iter().all(|content| split::of(content) == Split::Train), "{family}");
}

#[test]
fn the_splits_do_not_overlap() {
    no_overlap::<Chain>(Family::Arithmetic);
    no_overlap::<Puzzle>(Family::Countdown);
    no_overlap::<Function>(Family::PythonFunctions);
}

#[test]
fn the_corpus_never_asks_a_held_out_question() {
    for family in Family::WORKED {
        let asked: HashSet<String> = (0..10_000).map(|index| family.worked(3, index).prompt).collect();
        let held: HashSet<String> = (0..2_000).map(|index| family.task(Split::Held, 4, index).prompt).collect();
        assert!(asked.is_disjoint(&held), "{family}");
    }
}

#[test]
fn a_task_is_a_pure_function_of_its_place() {
    for family in Family::ALL {
        let forwards: Vec<Task> = (0..200).map(|index| family.task(Split::Held, 9, index)).collect();
        let elsewhere = std::thread::spawn(move || {
            let mut tasks: Vec<Task> = (0..200).rev().map(|index| family.task(Split::Held, 9, index)).collect();
            tasks.reverse();
            tasks
        });
        assert_eq!(forwards, elsewhere.join().unwrap());
        assert_ne!(forwards[0], family.task(Split::Held, 10, 0));
        assert_ne!(forwards[0], family.task(Split::Train, 9, 0));
        assert_eq!(family.worked(1, 5), family.worked(1, 5));
        assert_ne!(family.worked(1, 5), family.worked(2, 5));
    }
}

/// The content of the `index`-th problem, as the fence sees it.
fn content(family: Family, level: u8, index: u64) -> String {
    match family {
        Family::Arithmetic => family.problem::<Chain>(Split::Held, 0, index).content(),
        Family::Countdown => family.problem::<Puzzle>(Split::Held, 0, index).content(),
        Family::PythonFunctions => family.problem::<Function>(Split::Held, 0, index).content(),
        Family::Leveled(leveled) => family.drawn(leveled, Some(level), Split::Held, 0, index).1.content,
    }
}

/// No problem twice, in whatever order its parts are named: over all families and levels.
#[test]
fn an_evaluation_set_holds_no_task_twice() {
    const WANTED: usize = 600;
    for (family, level) in Family::ALL.into_iter().flat_map(|family| (1..=family.levels()).map(move |l| (family, l))) {
        let draw = |count| family.distinct_at(Some(level), Split::Held, 0, count);
        let tasks = draw(WANTED).unwrap_or_else(|error| match error {
            // A level may have fewer problems: as many as it says can be drawn.
            DatasetError::TooFewDistinct { found, .. } if found > 20 => {
                println!("{family}, level {level}: {error}");
                draw(found).unwrap()
            }
            error => panic!("{family}, level {level}: {error}"),
        });
        // Which content a question has is told by drawing it again.
        let mut unknown: HashSet<&str> = tasks.iter().map(|task| task.prompt.as_str()).collect();
        let mut contents = HashSet::new();
        for index in (0..).take_while(|&index| index < 1_000_000) {
            let again = family.task_at(Some(level), Split::Held, 0, index);
            if unknown.remove(again.prompt.as_str()) {
                contents.insert(content(family, level, index));
            }
            if unknown.is_empty() {
                break;
            }
        }
        assert_eq!(contents.len(), tasks.len(), "{family}, level {level}: a problem stands twice");
        assert!(tasks.iter().all(|task| task.split == Split::Held && task.source == family.name()));
    }
    for family in Family::WORKED {
        assert_eq!(family.distinct(Split::Held, 0, WANTED).unwrap().len(), WANTED, "{family}");
    }
    let error = Family::Countdown.distinct(Split::Held, 0, 50_000).expect_err("there are not that many").to_string();
    assert!(error.starts_with("the family `countdown` gave only"), "{error}");
}

/// The numbers in a text.
fn numbers(text: &str) -> Vec<i64> {
    let mut numbers = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_digit() && c != '-') {
        numbers.extend(word.parse::<i64>().ok());
    }
    numbers
}

/// What `recipe tasks list` says of a family's range is what its problems keep to, and reach.
#[test]
fn stated_ranges_are_those_of_the_draws() {
    let within = |family: Family, draws: u64, stated: &[&str], measured: &dyn Fn(&str, &Reference) -> Vec<i64>| {
        let range = family.description().range;
        let mut found: Vec<i64> = Vec::new();
        for index in 0..draws {
            let task = family.task(Split::Train, 5, index);
            found.extend(measured(&task.prompt, &task.reference));
        }
        let (least, most) = (*found.iter().min().unwrap(), *found.iter().max().unwrap());
        for text in stated {
            let text = text.replace("LEAST", &least.to_string()).replace("MOST", &most.to_string());
            assert!(range.contains(&text), "{family}: `{text}` was drawn, and the list says: {range}");
        }
    };
    let family = |name: &str| name.parse::<Family>().unwrap();
    let value = |_: &str, reference: &Reference| match reference {
        Reference::Integer { value } => vec![*value],
        Reference::Countdown { target, .. } => vec![*target],
        other => panic!("{other:?}"),
    };
    within(Family::Arithmetic, 20_000, &["numbers LEAST to MOST,"], &|prompt, _| numbers(prompt));
    within(Family::Arithmetic, 50_000, &["-MOST to MOST"], &|prompt, reference| {
        value(prompt, reference).into_iter().map(i64::abs).collect()
    });
    within(Family::Countdown, 20_000, &["targets LEAST to MOST,"], &value);
    within(Family::Countdown, 5_000, &["numbers LEAST to MOST,"], &|prompt, _| {
        numbers(prompt.split_once("from").unwrap().1)
    });
    let inputs = |reference: &Reference| match reference {
        Reference::Tests { assertions, .. } => {
            assertions.iter().map(|line| line.split_once(" == ").unwrap().0.to_owned()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let lists = |reference: &Reference| -> Vec<Vec<i64>> {
        inputs(reference).iter().filter(|line| line.contains("[")).map(|line| numbers(line)).collect()
    };
    within(Family::PythonFunctions, 5_000, &["lists of LEAST to MOST numbers"], &|_, reference| {
        lists(reference).iter().map(|list| list.len() as i64).collect()
    });
    within(Family::PythonFunctions, 5_000, &["numbers of LEAST to MOST,"], &|_, reference| lists(reference).concat());
    within(Family::PythonFunctions, 20_000, &[", numbers of LEAST to MOST,"], &|_, reference| {
        inputs(reference)
            .iter()
            .filter(|line| !line.contains("[") && !line.contains('\''))
            .flat_map(|line| numbers(line))
            .collect()
    });
    within(Family::PythonFunctions, 5_000, &["words of LEAST to MOST letters"], &|_, reference| {
        let words = inputs(reference).into_iter().filter(|line| line.contains('\''));
        words.map(|line| line.split('\'').nth(1).unwrap().len() as i64).collect()
    });
    within(Family::PythonFunctions, 20_000, &["constants to MOST"], &|prompt, _| numbers(prompt));

    within(family("strings"), 3_000, &["words of LEAST to MOST letters"], &|prompt, _| {
        vec![prompt.split(['.', ' ']).nth(3).unwrap().len() as i64]
    });
    within(family("lists"), 3_000, &["lists of LEAST to MOST numbers"], &|prompt, _| {
        vec![numbers(prompt.split(']').next().unwrap()).len() as i64]
    });
    within(family("sets"), 3_000, &["sets of LEAST to MOST numbers"], &|prompt, _| {
        prompt.split('{').skip(1).map(|set| numbers(set.split('}').next().unwrap()).len() as i64).collect()
    });
    within(family("chains"), 3_000, &["LEAST to MOST numbers"], &|prompt, _| {
        vec![prompt.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty()).count() as i64]
    });
    within(family("chains"), 20_000, &["to 12, 20, 50, MOST;"], &|prompt, _| numbers(prompt));
    within(family("reachability"), 20_000, &["LEAST to MOST roads"], &|prompt, _| {
        vec![prompt.matches('>').count() as i64]
    });
    within(family("graph_paths"), 20_000, &["LEAST to MOST roads"], &|prompt, _| {
        vec![prompt.split('.').next().unwrap().matches(", ").count() as i64 + 1]
    });
    within(family("lattice_paths"), 3_000, &["LEAST to MOST crossings"], &|prompt, _| {
        vec![prompt.split_once("touching").unwrap().1.matches('(').count() as i64]
    });
    within(family("ages"), 50_000, &["ages to MOST"], &|prompt, reference| {
        if prompt.contains("How old is") { value(prompt, reference) } else { Vec::new() }
    });
    within(family("dates"), 3_000, &["first dates of LEAST to MOST"], &|prompt, _| {
        // `May 3, 1999`: the first comma stands before the year of the first date.
        vec![numbers(&prompt.split(", ").nth(1).unwrap()[..4])[0]]
    });
}

#[test]
fn names_lead_to_families_and_back() {
    for family in Family::ALL {
        assert_eq!(family.to_string().parse::<Family>().unwrap(), family);
        assert_eq!(serde_json::to_string(&family).unwrap(), format!("\"{family}\""));
    }
    let error = "arithmetics".parse::<Family>().expect_err("no such family").to_string();
    assert_eq!(
        error,
        "there is no task family `arithmetics`: the families are arithmetic, countdown, python, chains, fractions, decimals, percentages, bases, gcd_lcm, primes, linear_systems, polynomials, inequalities, matrices, modular, divisors, combinatorics, coins, lattice_paths, word_problems, shopping, ages, dates, clocks, propositional, knights_knaves, ordering, sudoku4, sequences, strings, lists, sets, graph_paths, reachability, programs"
    );
}

/// What the corpus is made of keeps to its tables: shares within five standard deviations, and
/// every quality as right or wrong as it says.
#[test]
fn the_corpus_keeps_to_its_shares() {
    fn check<P: Problem>(family: Family) {
        const COUNT: u64 = 2_000;
        let total: u32 = P::QUALITIES.iter().map(|(_, weight)| weight).sum();
        for share in family.survey(7, COUNT) {
            let weight = P::QUALITIES.iter().find(|(quality, _)| *quality == share.quality).map_or(0, |entry| entry.1);
            let chance = f64::from(weight) / f64::from(total);
            let margin = 5.0 * (COUNT as f64 * chance * (1.0 - chance)).sqrt();
            assert!((share.texts as f64 - COUNT as f64 * chance).abs() <= margin, "{family}: {share:?}");
            let right = share.right as f64 / share.texts.max(1) as f64;
            match share.quality {
                Quality::Worked => assert_eq!(share.right, share.texts, "{family}"),
                Quality::Guess | Quality::Bare => assert!((0.15..0.45).contains(&right), "{family}: {share:?}"),
                Quality::Slip | Quality::GivesUp => assert!(right < 0.2, "{family}: {share:?}"),
            }
            assert!(share.mean_words < 75.0, "{family}: {share:?}");
        }
    }
    check::<Chain>(Family::Arithmetic);
    check::<Puzzle>(Family::Countdown);
    check::<Function>(Family::PythonFunctions);
}

fn rewards(names: &[&str], python: Option<Arc<sandbox::Python>>) -> RewardSet {
    let specs: Vec<_> = names.iter().map(|name| RewardSpec::named(*name)).collect();
    RewardSet::build(&specs, python).unwrap()
}

fn score(rewards: &RewardSet, prompt: &str, completion: &str, reference: &Reference, name: &str) -> Option<f64> {
    rewards.score(&Sample::new(prompt, completion, reference)).unwrap().get(name)
}

/// Everything pairs of words and single spaces, as a small vocabulary wants it.
#[test]
fn texts_are_parted_by_single_spaces() {
    for family in Family::WORKED {
        for index in 0..1_000 {
            let text = family.worked(1, index);
            assert!(text.response.starts_with(' ') && !text.response.contains("  "), "{}", text.response);
            assert!(!text.response.ends_with(' ') && !text.response.contains('\n'), "{}", text.response);
            assert!(!text.prompt.contains("  ") && !text.prompt.ends_with('.'), "{}", text.prompt);
        }
    }
}

#[test]
fn every_solution_is_graded_right_and_well_formed() {
    let rewards = rewards(&["accuracy", "format"], None);
    for family in [Family::Arithmetic, Family::Countdown] {
        for split in [Split::Train, Split::Held] {
            for index in 0..1_000 {
                let task = family.task(split, 2, index);
                let solution = family.solution(split, 2, index);
                let score = |name| score(&rewards, &task.prompt, &solution, &task.reference, name);
                assert_eq!(score("accuracy"), Some(1.0), "{}{solution}", task.prompt);
                assert_eq!(score("format"), Some(1.0), "{solution}");
            }
        }
    }
}

/// The corpus says truly which of its answers are right: the graders agree, both ways.
#[test]
fn the_graders_agree_with_what_the_corpus_says_of_itself() {
    let rewards = rewards(&["accuracy", "format"], None);
    for family in [Family::Arithmetic, Family::Countdown] {
        for text in (0..2_000).map(|index| family.worked(6, index)) {
            // What a text without tags is worth is the grader's own affair.
            if text.quality == Quality::Bare {
                assert_eq!(score(&rewards, &text.prompt, &text.response, &text.reference, "format"), Some(0.0));
                continue;
            }
            let graded = score(&rewards, &text.prompt, &text.response, &text.reference, "accuracy");
            assert_eq!(graded, Some(f64::from(u8::from(text.right))), "{}{}", text.prompt, text.response);
        }
    }
}

/// The Rust twins and the code are one: real Python agrees, on right functions and on wrong ones.
#[test]
fn python_agrees_with_the_twins() {
    let python = sandbox::Python::prepare(&sandbox::default_cache_dir(), &mut |_| {}).unwrap();
    let rewards = rewards(&["binary_code", "format"], Some(Arc::new(python)));
    let family = Family::PythonFunctions;
    let mut prompts = HashSet::new();
    let different = (0..).filter(|&index| prompts.insert(family.task(Split::Held, 3, index).prompt));
    for index in different.take(100) {
        let (task, solution) = (family.task(Split::Held, 3, index), family.solution(Split::Held, 3, index));
        let graded = score(&rewards, &task.prompt, &solution, &task.reference, "binary_code");
        assert_eq!(graded, Some(1.0), "{}{solution} {:?}", task.prompt, task.reference);
        assert_eq!(score(&rewards, &task.prompt, &solution, &task.reference, "format"), Some(1.0), "{solution}");
    }
    for text in (0..200).map(|index| family.worked(3, index)).filter(|text| text.quality != Quality::Bare) {
        let graded = score(&rewards, &text.prompt, &text.response, &text.reference, "binary_code");
        assert_eq!(
            graded,
            Some(f64::from(u8::from(text.right))),
            "{}{} {:?}",
            text.prompt,
            text.response,
            text.reference
        );
    }
}
