//! What is said, before there is a run, of chains that do not fit.

use std::fs;

use recipes::Recipe;

use super::{chain, text, whole};
use crate::support::{failure, folder, options, path_setting, place};

#[test]
fn adapters_that_do_not_fit_are_named_before_there_is_a_run() {
    fn check(setting: &str, expected: &[&str]) {
        let error = Recipe::parse("chain.toml", &text(), &[setting.to_owned()]).expect_err(setting).to_string();
        for part in expected {
            assert!(error.contains(part), "{setting}: {part}: {error}");
        }
    }
    check("sft.lora.rank=0", &["`rank` is 0, expected a whole number from 1"]);
    check("sft.lora.rnk=4", &["unknown key `rnk`", "did you mean `rank`?"]);
    check("sft.lora.rank=17", &["stage `sft`", "the rank 17 is larger than `model.layers.0.self_attn.", "at most 16"]);
    check("sft.lora.targets=['q_prjo']", &["is called \"q_prjo\"", "did you mean \"q_proj\"?"]);
    check("sft.lora.targets=['k_proj']", &["stage `sft`", "has no `k_proj`", "it has q_proj, kv_a_proj_with_mqa"]);
    check("distill.lora.targets=['kv_b_proj']", &["stage `distill`", "a LlamaForCausalLM", "has no `kv_b_proj`"]);
    check("export.lora.rank=4", &["unknown key `lora`"]);

    // The model of a folder is looked at as the run begins.
    let model = path_setting("model={ path = ", &whole().join("base"), " }");
    let recipe = chain(&[&model, "sft.lora.rank=64"]);
    let path = place("lora-too-large");
    let error = failure(&recipe, &options(&path));
    assert!(error.contains("the rank 64 is larger") && error.contains("base/config.json") && !path.exists(), "{error}");
}

#[test]
fn a_row_without_an_answer_is_named_before_there_is_a_run() {
    let file = folder("sft-without-answer").join("sft.jsonl");
    fs::write(&file, "{\"prompt\": \"Compute 1 + 1\", \"response\": \"2\"}\n{\"prompt\": \"Compute 1 + 2\"}\n")
        .unwrap();
    let path = place("sft-without-answer-run");
    let error = failure(&chain(&[&path_setting("sft.data=", &file, "")]), &options(&path));
    assert!(error.contains(&format!("{}, line 2: no answer to learn", file.display())), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_template_that_is_not_there_is_named() {
    fn check(settings: &[&str], expected: &[&str]) {
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let error = Recipe::parse("chain.toml", &text(), &settings).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }
    check(&["sft.template=chat"], &["stage `sft` uses the chat template", "a pretrain stage makes that, without one"]);
    check(&["tasks.template=chat"], &["stage `reject` uses the chat template", "--model DIR"]);
    check(&["tasks.system_prompt=Think."], &["`tasks.system_prompt` has no place in R1-Zero's template"]);

    let model = path_setting("model={ path = ", &whole().join("base"), " }");
    let path = place("template-missing");
    let error = failure(&chain(&[&model, "sft.template=chat"]), &options(&path));
    for part in ["base: stage `sft` cannot use its chat template", "this tokenizer has none", "needs none"] {
        assert!(error.contains(part) && !path.exists(), "{error}");
    }
}

#[test]
fn chains_that_do_not_fit_are_told_where_and_why() {
    fn check(from: &str, to: &str, expected: &[&str]) {
        let text = text();
        assert!(text.contains(from), "{from}");
        let error = Recipe::parse("chain.toml", &text.replacen(from, to, 1), &[]).expect_err(to).to_string();
        for part in expected {
            assert!(error.contains(part), "{to}: {part}: {error}");
        }
    }
    let sft = "kind = \"sft\"\n";
    check(
        sft,
        "kind = \"sft\"\nfrom = \"rejct\"\n",
        &["chain.toml, line 50: no earlier stage is called \"rejct\"", "did you mean \"reject\"?"],
    );
    check(sft, "kind = \"sft\"\nfrom = \"grpo\"\n", &["line 50: no earlier stage is called \"grpo\""]);
    check(
        sft,
        "kind = \"sft\"\ndata = \"pretrain\"\n",
        &["line 50: stage \"pretrain\" is of kind \"pretrain\", which makes no data", "data is made by reject"],
    );
    check(
        sft,
        "kind = \"sft\"\ndata = [\"traces\"]\n",
        &["line 50: no earlier stage is called \"traces\", and a file"],
    );
    check("kind = \"reject\"\n", "kind = \"sft\"\nname = \"first\"\n", &["unknown key `families`"]);
    check(sft, "kind = \"sft\"\nname = \"a.b\"\n", &["line 50: `name` is \"a.b\": a stage's has no dot"]);
    check(
        "teacher = \"grpo\"",
        "teacher = \"gpro\"",
        &["no earlier stage is called \"gpro\"", "did you mean \"grpo\"?"],
    );
    check("teacher = \"grpo\"\n", "", &["this stage has no teacher", "name one, a stage or a folder"]);
    check("teacher = \"grpo\"", "teacher = \"grpo\"\ndata = [\"a.jsonl\"]", &["has both a `teacher`"]);
    check("require = { format = 1.0 }", "require = { fromat = 1.0 }", &["requires the reward `fromat`"]);
    let grpo = "kind = \"grpo\"\n";
    check(grpo, "kind = \"grpo\"\nreward_weights = { fromat = 1 }\n", &["weighs the reward `fromat`"]);
    check(
        grpo,
        "kind = \"grpo\"\nreward_weights = { accuracy = 0, format = 0 }\n",
        &["no reward counts in stage `grpo`"],
    );
    check("families = { arithmetic = 1.0 }", "families = { python = 1.0 }", &["has no weight in [tasks.families]"]);
    check("eval_every = 0", "eval_every = 0\nhand_on = \"best\"", &["`hand_on` is \"best\"", "nothing says which"]);
    check("keep = 2", "keep = 9", &["`keep` is 9, but only 8 answers are sampled"]);
    check("dtype = \"bf16\"", "dtype = \"int4\"", &["expected \"f32\" or \"bf16\""]);
    let without_reject = text().replacen("kind = \"reject\"", "kind = \"eval\"\nname = \"first\"", 1);
    let error = Recipe::parse("chain.toml", &without_reject, &[]).unwrap_err().to_string();
    assert!(error.contains("unknown key `families`"), "{error}");
}

#[test]
fn a_teacher_that_is_not_there_is_named_before_there_is_a_run() {
    let text = text().replacen("teacher = \"grpo\"", "teacher = \"no/such/model\"", 1);
    let recipe = Recipe::parse("chain.toml", &text, &[]).unwrap();
    let path = place("chain-without-teacher");
    let error = failure(&recipe, &options(&path));
    assert!(error.contains("no/such/model") && error.contains("config.json"), "{error}");
    assert!(!path.exists());
}
