//! What the file does not say is as in a release of TRL, which is said.

use super::*;

fn under(text: &str, trl: Option<Release>) -> (GrpoSettings, Imported) {
    let notes = import("x.yaml", "x", &format!("num_generations: 4\n{text}"), 1, trl).unwrap();
    let recipe = Recipe::parse("x.toml", &notes.toml, &[]).unwrap();
    (recipe.grpo().next().unwrap().1.clone(), notes)
}

#[test]
fn defaults_are_those_of_a_release() {
    #[track_caller]
    fn check(text: &str, trl: Option<Release>, kl: f64, importance: bool, loss: LossKind, longest: usize) {
        let (grpo, notes) = under(text, trl);
        assert_eq!((grpo.kl_coefficient, grpo.kl_importance, grpo.loss), (kl, importance, loss), "{}", account(&notes));
        assert_eq!(grpo.max_new_tokens, longest);
    }
    let (old, new) = (Some(Release::Old), Some(Release::New));
    check("", None, 0.0, false, LossKind::Dapo, 512);
    check("", new, 0.0, false, LossKind::Dapo, 512);
    check("", old, 0.04, false, LossKind::Bnpo, 256);
    check("beta: 0.1\n", None, 0.1, true, LossKind::Dapo, 512);
    check("beta: 0.1\n", old, 0.1, false, LossKind::Bnpo, 256);
    // A key of Open R1's own tells it, unless a person says otherwise.
    check("dataset_prompt_column: problem\n", None, 0.04, false, LossKind::Bnpo, 256);
    check("wandb_entity: us\nmax_completion_length: 64\n", None, 0.04, false, LossKind::Bnpo, 64);
    check("dataset_prompt_column: problem\n", new, 0.0, false, LossKind::Dapo, 512);
}

/// Open R1's penalty for long answers is set beside the length that the file's own release would have taken.
#[test]
fn a_penalty_for_length_goes_by_the_length_of_the_release() {
    let text = "reward_funcs: [accuracy, soft_overlong_punishment]\nmax_completion_len: 400\nsoft_punish_cache: 100\n";
    let (_, notes) = under(text, None);
    let is_said = |key| matches!(outcome(&notes, key), Outcome::Attention(what) if what.contains("up to 256 tokens"));
    assert!(is_said("max_completion_len") && is_said("soft_punish_cache"), "{}", account(&notes));
    let (_, notes) = under(text, Some(Release::New));
    assert!(notes.toml.contains("max_completion_len = 400"), "{}", notes.toml);
}

/// A file that writes down every default is as one that is silent: a person is asked what they have to decide, and no more.
#[test]
fn defaults_need_no_attention() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let notes = import("x.yaml", "x", text, 1, None).unwrap();
        assert_eq!(open(&notes), expected, "{}", account(&notes));
    }
    check(
        include_str!("defaults-grpo.yaml"),
        &["num_train_epochs", "number of GPUs", "model_name_or_path", "dataset_name", "tasks.template", "reward_funcs"],
    );
    check(
        include_str!("defaults-sft.yaml"),
        &["assistant_only_loss", "model_name_or_path", "dataset_name", "template", "number of GPUs"],
    );
}

#[test]
fn what_a_release_decides_is_said() {
    #[track_caller]
    fn check(text: &str, trl: Option<Release>, expected: &[(&str, &str)]) {
        let (_, notes) = under(text, trl);
        let keys = [
            "release of TRL",
            "beta",
            "loss_type",
            "max_completion_length",
            "use_bias_correction_kl",
            "max_prompt_length",
        ];
        let said: Vec<&str> = open(&notes).into_iter().filter(|key| keys.contains(key)).collect();
        let wanted: Vec<&str> = expected.iter().map(|(key, _)| *key).collect();
        assert_eq!(said, wanted, "{}", account(&notes));
        for (key, part) in expected {
            assert!(
                matches!(outcome(&notes, key), Outcome::Attention(what) if what.contains(part)),
                "{}",
                account(&notes)
            );
        }
    }
    check(
        "beta: 0\n",
        None,
        &[
            ("release of TRL", "1.16 assumed, the newest that is known here (--trl 0.18 says otherwise)"),
            ("loss_type", "dapo stands in the recipe, TRL 1.16's default; 0.18 has bnpo"),
            ("max_completion_length", "512 stands in the recipe, TRL 1.16's default; 0.18 has 256"),
        ],
    );
    check(
        "dataset_prompt_column: problem\nmax_completion_length: 64\nloss_type: grpo\n",
        None,
        &[
            ("release of TRL", "0.18 assumed, which Open R1 pins: dataset_prompt_column is a key of its own"),
            ("beta", "0.04 stands in the recipe, TRL 0.18's default; 1.16 has 0"),
            ("use_bias_correction_kl", "kl_importance = false stands in the recipe"),
            ("max_prompt_length", "cuts prompts to their last 512 tokens"),
        ],
    );
    // Nothing depends on it, or a person said which.
    check("beta: 0\nloss_type: grpo\nmax_completion_length: 64\n", None, &[]);
    check("", Some(Release::Old), &[]);
}
