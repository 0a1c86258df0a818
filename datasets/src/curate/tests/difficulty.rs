//! Pass rates: from saved attempts and from a policy's, each policy's its own, and nothing attempted twice.

use super::*;

/// A policy that answers right in as many of its first attempts as the question has words beyond `weakness`, and which may go
/// away after so many attempts.
struct PolicyHost {
    name: &'static str,
    weakness: usize,
    leaves_after: usize,
    /// Ids and samples, in the order in which they were asked for.
    asked: Mutex<Vec<(String, usize)>>,
    refuses: Option<&'static str>,
}

impl PolicyHost {
    fn new(name: &'static str, weakness: usize) -> Self {
        Self { name, weakness, leaves_after: usize::MAX, asked: Mutex::default(), refuses: None }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Host for PolicyHost {
    fn rewards(&self, _: bool) -> Result<Arc<RewardSet>, DatasetError> {
        TestHost::default().rewards(false)
    }

    fn policy(&self, _: &Difficulty) -> Result<String, DatasetError> {
        Ok(self.name.to_owned())
    }

    fn check_attempts(&self, _: &Difficulty, tasks: &[Task]) -> Result<(), DatasetError> {
        match self.refuses {
            Some(word) if tasks.iter().any(|task| task.prompt.contains(word)) => {
                Err(DatasetError::host(format!("no room for {word}")))
            }
            _ => Ok(()),
        }
    }

    fn attempts(
        &self,
        step: &Difficulty,
        tasks: &[Task],
        _: u64,
        take: &mut dyn FnMut(usize, usize, String),
    ) -> Result<(), DatasetError> {
        for (place, task) in tasks.iter().enumerate() {
            let Reference::Math { answer } = &task.reference else { panic!("{task:?}") };
            let right = task.prompt.split_whitespace().count().saturating_sub(self.weakness);
            for sample in 0..step.samples {
                if self.asked() >= self.leaves_after {
                    return Err(DatasetError::host("the policy went away"));
                }
                self.asked.lock().unwrap().push((task.id.clone(), sample));
                take(place, sample, format!("<answer> {} </answer>", if sample < right { answer } else { "-999" }));
            }
        }
        Ok(())
    }

    fn step_started(&self, _: usize, _: usize, _: &NamedStep, _: u64) {}

    fn progress(&self, _: u64) {}

    fn step_finished(&self, _: &StepOutcome) {}

    fn stop_requested(&self) -> bool {
        false
    }
}

fn measure() -> Difficulty {
    Difficulty {
        completions: None,
        model: Some("policy".into()),
        template: PromptTemplate::R1Zero,
        system_prompt: String::new(),
        samples: 4,
        max_new_tokens: 8,
        temperature: 1.0,
        keep: (0.0, 1.0),
        keep_unmeasured: false,
    }
}

/// So many questions of four to eight words.
fn questions(count: usize) -> (tempfile::TempDir, PathBuf) {
    let prompts = (0..count).map(|number| (format!("{}q{number}", "word ".repeat(3 + number % 5)), "7"));
    rows(&prompts.collect::<Vec<_>>())
}

fn difficulty_job(path: &Path, step: &Difficulty) -> Job {
    job(vec![load(path), ("difficulty", Step::Difficulty(step.clone())), write_to("kept.jsonl")])
}

fn kept(out: &Path) -> Vec<Task> {
    read(&out.join("kept.jsonl"), OnBadLine::Stop).unwrap().tasks
}

/// The difficulty and the number of attempts of the first question, which has four words.
fn of_the_first(out: &Path) -> (f64, u64) {
    let task = &kept(out)[0];
    (task.difficulty.unwrap(), task.extra["attempts"].as_u64().unwrap())
}

#[test]
fn difficulty_is_measured_and_a_band_kept() {
    let (folder, path) = questions(60);
    let out = folder.path().join("out");
    let band = Difficulty { keep: (0.25, 0.75), ..measure() };
    // Words 4 to 8: 1 to 4 and more of four attempts right, that is rates 1/4 to 1.
    let outcome = run(&difficulty_job(&path, &band), &out, &PolicyHost::new("a", 3)).unwrap();
    assert_eq!(outcome.steps[1].tally.dropped, [("too easy".to_owned(), 24)].into());
    assert_eq!((kept(&out).len(), kept(&out)[0].difficulty), (36, Some(0.75)));
    assert_eq!(outcome.files["policy"], "a");

    // The same from completions that somebody saved, as texts and as verdicts.
    let saved = folder.path().join("saved.jsonl");
    let tasks = read(&path, OnBadLine::Stop).unwrap().tasks;
    let lines: Vec<String> = tasks[..2]
        .iter()
        .flat_map(|task| {
            [
                json!({ "task": task.id, "completion": "<answer> 7 </answer>" }),
                json!({ "task": task.id, "right": false }),
            ]
        })
        .map(|row| row.to_string() + "\n")
        .collect();
    fs::write(&saved, lines.concat()).unwrap();
    let from_file = Difficulty { completions: Some(saved), model: None, ..band };
    let outcome = run(&difficulty_job(&path, &from_file), &folder.path().join("saved"), &TestHost::default()).unwrap();
    assert_eq!(outcome.steps[1].tally.dropped, [("not measured".to_owned(), 58)].into());
    assert_eq!(outcome.kept[0].difficulty, Some(0.5));

    // Both: what has two attempts needs none where two are asked for, and no rate is of two policies' attempts.
    let both = |samples| Difficulty { model: Some("policy".into()), samples, keep: (0.0, 1.0), ..from_file.clone() };
    for (samples, asked, first) in [(2, 58 * 2, (0.5, 2)), (4, 60 * 4, (0.75, 4))] {
        let (out, host) = (folder.path().join(format!("both-{samples}")), PolicyHost::new("a", 3));
        run(&difficulty_job(&path, &both(samples)), &out, &host).unwrap();
        assert_eq!((host.asked(), of_the_first(&out)), (asked, first));
    }
}

#[test]
fn a_job_that_was_stopped_goes_on_with_what_is_left() {
    let (folder, path) = questions(700);
    let (job, out) = (difficulty_job(&path, &measure()), folder.path().join("out"));
    // It goes away in the middle of a task.
    let failing = PolicyHost { leaves_after: 1_502, ..PolicyHost::new("a", 3) };
    let error = run(&job, &out, &failing).expect_err("the policy fails").to_string();
    assert_eq!(error, "step 2 (difficulty): the policy went away");
    // As if the process had been killed while it wrote a line, in the middle of a letter.
    let file = entries(&out.join("completions")).unwrap().remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 9);
    bytes.push("ü".as_bytes()[0]);
    fs::write(&file, bytes).unwrap();
    let again = PolicyHost::new("a", 3);
    let outcome = run(&job, &out, &again).unwrap();
    assert_eq!(again.asked(), 700 * 4 - 1_500);
    assert_eq!((outcome.steps[1].tally.marked["measured"], of_the_first(&out)), (700, (0.75, 4)));
    // Each attempt stands there once.
    let bytes = fs::read(&file).unwrap();
    let whole = bytes.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"{") && line.ends_with(b"}"));
    assert_eq!(whole.count(), 700 * 4);
}

#[test]
fn attempts_are_of_one_policy_under_one_setting() {
    let (folder, path) = questions(20);
    let out = folder.path().join("out");
    let first = |host: &PolicyHost, step: &Difficulty| {
        let outcome = run(&difficulty_job(&path, step), &out, host).unwrap();
        (of_the_first(&out), host.asked(), outcome.steps[1].reused)
    };
    assert_eq!(first(&PolicyHost::new("a", 3), &measure()), ((0.75, 4), 80, false));
    // Another policy at the same place: nothing of the first counts.
    assert_eq!(first(&PolicyHost::new("b", 4), &measure()), ((1.0, 4), 80, false));
    // Back to the first: what it wrote is there.
    assert_eq!(first(&PolicyHost::new("a", 3), &measure()), ((0.75, 4), 0, false));
    assert_eq!(first(&PolicyHost::new("a", 3), &measure()), ((0.75, 4), 0, true));
    // More attempts are those and some besides, fewer are some of them: none counts twice.
    assert_eq!(first(&PolicyHost::new("a", 3), &Difficulty { samples: 8, ..measure() }), ((0.875, 8), 160, false));
    assert_eq!(first(&PolicyHost::new("a", 3), &Difficulty { samples: 2, ..measure() }), ((0.5, 2), 0, false));
    // What changes what an attempt says begins anew.
    for other in [
        Difficulty { temperature: 0.5, ..measure() },
        Difficulty { max_new_tokens: 9, ..measure() },
        Difficulty { template: PromptTemplate::Chat, ..measure() },
        Difficulty { template: PromptTemplate::Chat, system_prompt: "Be brief.".to_owned(), ..measure() },
    ] {
        assert_eq!(first(&PolicyHost::new("a", 3), &other), ((0.75, 4), 80, false), "{other:?}");
    }
    let seeded = Job { seed: 6, ..difficulty_job(&path, &measure()) };
    let host = PolicyHost::new("a", 3);
    run(&seeded, &out, &host).unwrap();
    assert_eq!(host.asked(), 80);
}

#[test]
fn what_cannot_be_asked_is_said_before_the_first_is_asked() {
    let (folder, path) = questions(2_000);
    let host = PolicyHost { refuses: Some("q1999"), ..PolicyHost::new("a", 3) };
    let error = run(&difficulty_job(&path, &measure()), &folder.path().join("out"), &host).unwrap_err().to_string();
    assert_eq!((error.as_str(), host.asked()), ("step 2 (difficulty): no room for q1999", 0));
}
