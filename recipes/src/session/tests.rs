//! What a run is asked to do besides its recipe, and what it then does.

use super::*;

/// A base that is made in a second, then stages that take less.
const TINY: &str = "name = \"tiny\"\n[model]\nhidden_size = 16\nnum_hidden_layers = 1\nnum_attention_heads = 2\n\
                    kv_lora_rank = 8\nqk_nope_head_dim = 4\nqk_rope_head_dim = 4\nv_head_dim = 4\nintermediate_size = 32\n\
                    moe_intermediate_size = 8\nn_routed_experts = 2\n[tasks.families]\narithmetic = 1.0\n[eval]\n\
                    tasks_per_family = 1\nsamples = 1\nmax_new_tokens = 4\n[[rewards]]\nname = \"accuracy\"\n[[stage]]\n\
                    kind = \"pretrain\"\nvocab_size = 320\ntokens = 500\nbatch_tokens = 500\n[[stage]]\nkind = \"eval\"\n\
                    name = \"before\"\n[[stage]]\nkind = \"eval\"\nname = \"after\"\n";

fn tiny() -> Recipe {
    Recipe::parse("tiny.toml", TINY, &[]).unwrap()
}

fn options(root: &Path) -> RunOptions {
    RunOptions {
        runs_root: root.join("runs"),
        cache_dir: root.join("cache"),
        threads: Some(1),
        verbosity: Verbosity::Silent,
        ..RunOptions::default()
    }
}

/// Stopped before it gets to the stage that it is to stop after, it goes on to there and no further, and then to the end.
#[test]
fn a_run_of_one_stage_stays_one_when_it_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::new();
    interrupt.request();
    let begun = RunOptions { until: Some("before".to_owned()), interrupt, ..options(root.path()) };
    let status = |options: &RunOptions| run_recipe(&tiny(), options).unwrap().status;
    assert_eq!(status(&begun), RunStatus::Interrupted { stage: "pretrain".to_owned(), step: 0 });
    let resumed = RunOptions { resume: true, ..options(root.path()) };
    assert_eq!(status(&resumed), RunStatus::StoppedAfter { stage: "before".to_owned() });
    assert_eq!(status(&resumed), RunStatus::Finished);
}

/// As a kill leaves it, at a place that is not looked through when the run goes on.
#[test]
fn what_an_export_left_unfinished_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let leftover = root.path().join("exports/mine.partial-4711");
    std::fs::create_dir_all(&leftover).unwrap();
    let target = root.path().join("exports/mine");
    let text = format!("{TINY}[[stage]]\nkind = \"export\"\npath = '{}'\n", target.display());
    run_recipe(&Recipe::parse("tiny.toml", &text, &[]).unwrap(), &options(root.path())).unwrap();
    assert!(target.join("config.json").is_file() && !leftover.exists());
}

/// What is known of the given model is handed on, and where that is nothing, nothing is claimed.
#[test]
fn an_export_of_a_model_that_nothing_trained_here_says_no_more_than_is_known() {
    let root = tempfile::tempdir().unwrap();
    let export = |name: &str, before: &str| {
        let target = root.path().join("exports").join(name);
        let text = format!("{before}[[stage]]\nkind = \"export\"\npath = '{}'\n", target.display());
        run_recipe(&Recipe::parse("handed.toml", &text, &[]).unwrap(), &options(root.path())).unwrap();
        let read = |file: &str| std::fs::read_to_string(target.join(file)).unwrap_or_default();
        (read("README.md"), read("training.json"), target)
    };
    let (card, training, trained) = export("trained", TINY);
    assert!(card.contains("In R1-Zero's template") && training.contains("\"tiny\""), "{card}{training}");
    let given = format!("tasks.template = \"chat\"\nmodel.path = '{}'\n", trained.display());
    let (card, handed_on, _) = export("known", &given);
    assert_eq!(handed_on, training);
    assert!(
        card.contains("which the recipe tiny, seed 0, trained") && card.contains("In R1-Zero's template"),
        "{card}"
    );
    std::fs::remove_file(trained.join("training.json")).unwrap();
    let (card, nothing, _) = export("unknown", &given);
    let made = "## How it was made\n\n- from the model `trained` (licence not stated)\n";
    assert!(nothing.is_empty() && card.contains(made) && !card.contains("How to ask it"), "{card}{nothing}");
    assert!(!card.contains(root.path().to_str().unwrap()), "{card}");
}

#[test]
fn an_earlier_run_is_not_named_for_nothing() {
    let root = tempfile::tempdir().unwrap();
    let from = |stage: &str| RunOptions {
        from: Some(stage.to_owned()),
        of: Some(root.path().join("none")),
        ..options(root.path())
    };
    let error = run_recipe(&tiny(), &from("pretrain")).unwrap_err();
    assert!(error.is::<NothingToTakeOver>() && error.to_string().contains("leave --of out"), "{error}");
    let error = run_recipe(&tiny(), &from("before")).unwrap_err().to_string();
    assert!(error.contains("none holds no run to begin from"), "{error}");
    assert!(!root.path().join("runs").exists());
}
