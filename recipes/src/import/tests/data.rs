//! What is trained and examined on, and how it is asked.

use super::*;

/// Tasks may be named as on the Hub, demonstrations may not.
#[test]
fn a_data_set_of_the_hub_stays_one_where_it_may() {
    #[track_caller]
    fn check(text: &str, file: &str, asks: &[&str]) {
        let (recipe, notes) = imported(&format!("num_generations: 4\n{text}"), 1);
        assert_eq!(recipe.tasks.files, [std::path::PathBuf::from(file)]);
        let open: Vec<&str> = open(&notes).into_iter().filter(|key| key.starts_with("dataset_")).collect();
        assert_eq!(open, asks, "{}", account(&notes));
    }
    check("dataset_name: openai/gsm8k\n", "openai/gsm8k", &[]);
    check("dataset_name: openai/gsm8k\ndataset_config: socratic\n", "openai/gsm8k:socratic", &[]);
    check(
        "dataset_name: openai/gsm8k\ndataset_config: main\ndataset_train_split: test\n",
        "openai/gsm8k:main/test",
        &[],
    );
    check(
        "dataset_name: openai/gsm8k\ndataset_config: default\ndataset_train_split: train[:10%]\n",
        "openai/gsm8k",
        &["dataset_train_split"],
    );
    check("dataset_name: a/math.v2\n", "hub:a/math.v2", &[]);
    check("dataset_name: gsm8k\n", "gsm8k.parquet", &["dataset_name"]);

    let (recipe, notes) = imported("packing: true\ndataset_name: a/traces\n", 1);
    assert!(recipe.to_toml().unwrap().contains("a--traces.parquet") && open(&notes).contains(&"dataset_name"));
}

#[test]
fn names_are_not_shortened() {
    let model = "/models/of/some-organization/with-a-name-that-is-long";
    let data = "some-organization/a-data-set-with-a-name-that-is-rather-long";
    let reward = "a_reward_whose_name_is_longer_than_what_is_shown";
    let text = format!("model_name_or_path: {model}\ndataset_name: {data}\n");
    let file = "some-organization--a-data-set-with-a-name-that-is-rather-long.parquet";

    let (recipe, notes) = imported(&format!("{text}reward_funcs: [{reward}]\nlora_r: 8\n"), 1);
    assert_eq!(recipe.model, ModelSettings::Folder { path: model.into() });
    assert_eq!(recipe.tasks.files, [std::path::PathBuf::from(data)]);
    assert!(matches!(outcome(&notes, "reward_funcs"), Outcome::Attention(what) if what.contains(reward)));
    let shown: Vec<&str> = notes.notes.iter().map(|note| note.value.as_str()).collect();
    assert!(shown.contains(&"/models/of/some-organization/with-a-name…"), "{shown:?}");

    let (recipe, _) = imported(&format!("{text}packing: true\n"), 1);
    assert_eq!(recipe.model, ModelSettings::Folder { path: model.into() });
    assert!(recipe.to_toml().unwrap().contains(file));

    let target = "a_projection_whose_name_is_longer_than_what_is_shown";
    let (_, notes) = imported(&format!("packing: true\nuse_peft: true\nlora_target_modules: [{target}]\n"), 1);
    assert!(matches!(outcome(&notes, "lora_target_modules"), Outcome::Attention(what) if what.contains(target)));
}

/// Rows are read by the names of their columns, whatever column the file means.
#[test]
fn a_column_of_questions_that_would_not_be_read_is_said() {
    #[track_caller]
    fn check(column: &str, expected: &str) {
        let (_, notes) = imported(&format!("num_generations: 4\ndataset_prompt_column: {column}\n"), 1);
        let asks = !expected.is_empty();
        assert_eq!(open(&notes).contains(&"dataset_prompt_column"), asks, "{}", account(&notes));
        assert!(format!("{:?}", outcome(&notes, "dataset_prompt_column")).contains(expected), "{}", account(&notes));
    }
    check("problem", "");
    check("question", "");
    check("prompt", "unless rows have a column `question` or `problem` too");
    check("query", "a job of `recipe curate`, with columns = { prompt = \\\"query\\\" }");
    let (_, notes) = sft("packing: true\ndataset_prompt_column: query\n");
    assert!(open(&notes).contains(&"dataset_prompt_column"), "{}", account(&notes));
}

/// How questions are asked is nothing that a file without a system message says.
#[test]
fn the_template_is_said() {
    let (recipe, notes) = imported("num_generations: 4\n", 1);
    assert_eq!(recipe.tasks.template, Template::R1Zero);
    assert!(open(&notes).contains(&"tasks.template"), "{}", account(&notes));

    let (recipe, notes) = imported("num_generations: 4\nsystem_prompt: Think.\n", 1);
    assert_eq!((recipe.tasks.template, recipe.tasks.system_prompt.as_str()), (Template::Chat, "Think."));
    assert!(!open(&notes).contains(&"tasks.template"), "{}", account(&notes));

    let (sft, notes) = sft("packing: true\n");
    assert_eq!(sft.template, Template::Chat);
    assert!(open(&notes).contains(&"template"), "{}", account(&notes));
}

/// TRL trains on all rows, and examines on a split of its own where the file asks for that.
#[test]
fn rows_are_set_aside_only_for_an_evaluation() {
    #[track_caller]
    fn check(text: &str, of_tasks: f64, eval_every: u64, of_demonstrations: f64) {
        let (recipe, notes) = imported(&format!("num_generations: 4\n{text}"), 1);
        let every = recipe.grpo().next().unwrap().1.eval_every;
        assert_eq!((recipe.tasks.held_out_share, every), (of_tasks, eval_every));
        assert_eq!(open(&notes).contains(&"tasks.held_out_share"), of_tasks > 0.0, "{}", account(&notes));

        let (sft, notes) = sft(&format!("packing: true\n{text}"));
        assert_eq!(sft.validation_share, of_demonstrations);
        assert_eq!(open(&notes).contains(&"validation_share"), of_demonstrations > 0.0, "{}", account(&notes));
    }
    check("", 0.0, 0, 0.0);
    check("do_eval: false\n", 0.0, 0, 0.0);
    check("eval_strategy: \"no\"\n", 0.0, 0, 0.0);
    check("eval_strategy: no\neval_steps: 20\n", 0.0, 0, 0.0);
    // Neither has transformers evaluate anything.
    check("eval_steps: 20\n", 0.0, 0, 0.0);
    check("do_eval: true\n", 0.0, 0, 0.0);
    check("do_eval: true\neval_strategy: no\n", 0.0, 0, 0.0);
    check("do_eval: false\neval_strategy: steps\neval_steps: 20\n", 0.1, 20, 0.05);
    check("eval_strategy: steps\neval_steps: 20\n", 0.1, 20, 0.05);
    // How often is not said, or not in steps.
    check("eval_strategy: epoch\n", 0.1, 50, 0.05);
    check("eval_strategy: steps\neval_steps: often\n", 0.1, 50, 0.05);
}

/// TRL's split for tests, where it can be named: no row of what is trained on is set aside.
#[test]
fn the_split_for_tests_is_examined_on() {
    #[track_caller]
    fn check(text: &str, held_out: &[&str], share: f64, key: &str, asks: bool) {
        let (recipe, notes) = imported(&format!("num_generations: 4\n{text}"), 1);
        let files: Vec<&str> = recipe.tasks.held_out_files.iter().map(|file| file.to_str().unwrap()).collect();
        assert_eq!((files.as_slice(), recipe.tasks.held_out_share), (held_out, share), "{}", account(&notes));
        assert_eq!(open(&notes).contains(&key), asks, "{}", account(&notes));
        for entry in yaml::read("x.yaml", text).unwrap() {
            assert_eq!(notes.notes.iter().filter(|note| note.key == entry.key).count(), 1, "{}", entry.key);
        }
    }
    let hub = "dataset_name: openai/gsm8k\neval_strategy: steps\neval_steps: 20\n";
    let share = "tasks.held_out_share";
    // What is not used is 0.1, which no file is cut by.
    check(hub, &["openai/gsm8k:test"], 0.1, share, false);
    check(&format!("{hub}dataset_config: main\n"), &["openai/gsm8k:main/test"], 0.1, share, false);
    let named = format!("{hub}dataset_config: main\ndataset_test_split: validation\n");
    check(&named, &["openai/gsm8k:main/validation"], 0.1, "dataset_test_split", false);
    check(&format!("{hub}dataset_test_split: test[:10%]\n"), &[], 0.1, share, true);
    let steps = "eval_strategy: steps\neval_steps: 20\n";
    check(&format!("dataset_name: a/math.v2\n{steps}"), &["hub:a/math.v2:test"], 0.1, share, false);
    // Nothing is asked for, which is said, or a file has no splits.
    let unused = "dataset_name: openai/gsm8k\ndataset_test_split: test\n";
    check(unused, &[], 0.0, share, false);
    let (_, notes) = imported(&format!("num_generations: 4\n{unused}"), 1);
    let Outcome::Ignored(why) = outcome(&notes, "dataset_test_split") else { panic!("{}", account(&notes)) };
    assert!(why.contains("asks for no evaluation"), "{why}");
    check(&format!("dataset_name: tasks.jsonl\n{steps}"), &[], 0.1, share, true);
}
