use std::collections::BTreeMap;
use std::path::Path;

use datasets::{Message, Split, Task};
use policy::{ModelConfig, Policy};
use rewards::Reference;

use super::*;

const CHAT: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: <think>";

/// A model that has learnt nothing, of a tokenizer that begins every text with a token and has a chat template.
pub(in crate::curation) fn model(folder: &Path) {
    let texts = ["What is 1 + 1? User: Assistant: system", "It is <think> 2 </think> <answer> 2 </answer>"];
    let tokenizer = Tokenizer::train(texts.into_iter().map(str::to_owned), 320).unwrap();
    Policy::new(ModelConfig::tiny(tokenizer.vocab_size()), 1).unwrap().save(folder).unwrap();
    tokenizer.save(folder).unwrap();
    let edit = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let path = folder.join(name);
        let mut json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(&path, json.to_string()).unwrap();
    };
    edit("tokenizer_config.json", &|config| config["chat_template"] = CHAT.into());
    edit("tokenizer.json", &|json| {
        let first = json["added_tokens"][0].clone();
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": first["content"], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                first["content"].as_str().unwrap(): {"id": first["content"], "ids": [first["id"]], "tokens": [first["content"]]}
            }
        });
    });
}

fn step() -> Difficulty {
    Difficulty {
        completions: None,
        model: None,
        template: PromptTemplate::R1Zero,
        system_prompt: String::new(),
        samples: 3,
        max_new_tokens: 6,
        temperature: 1.0,
        keep: (0.0, 1.0),
        keep_unmeasured: false,
    }
}

fn task(question: &str) -> Task {
    let reference = Reference::Math { answer: "2".to_owned() };
    Task::new("sums", question.to_owned(), reference, Split::Train, serde_json::Map::new())
}

fn with_turns(turns: &[(&str, &str)]) -> Task {
    let turn = |(role, content): &(&str, &str)| Message { role: (*role).into(), content: (*content).into() };
    task("What is 1 + 1?").after(turns.iter().map(turn).collect())
}

#[test]
fn a_task_is_asked_as_the_stages_of_a_recipe_ask_it() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let solver = Solver::load(folder.path(), &Place::Cpu).unwrap();
    let chat = |system: &str| Difficulty { template: PromptTemplate::Chat, system_prompt: system.to_owned(), ..step() };
    let asked =
        |step: &Difficulty, task: &Task| solver.prompts(step, std::slice::from_ref(task)).map(|mut ids| ids.remove(0));
    let text = |ids: &[u32]| solver.tokenizer.decode(ids);

    let ids = asked(&step(), &task("What is 1 + 1?")).unwrap();
    let begin = solver.tokenizer.begin_ids();
    assert!(begin.len() == 1 && ids.starts_with(begin), "{ids:?}");
    assert_eq!(text(&ids), datasets::template::r1_zero("What is 1 + 1?"));

    let earlier = with_turns(&[("user", "Hello"), ("assistant", "Hello!")]);
    let error = format!("{:#}", asked(&step(), &earlier).unwrap_err());
    assert!(error.contains(&earlier.id) && error.contains("R1-Zero's template has room for one question"), "{error}");
    assert_eq!(
        text(&asked(&chat("Be brief."), &earlier).unwrap()),
        "system: Be brief.\nuser: Hello\nassistant: Hello!\nuser: What is 1 + 1?\nassistant: <think>"
    );

    let long = Difficulty { max_new_tokens: solver.positions - 2, ..step() };
    let error = format!("{:#}", asked(&long, &earlier).unwrap_err());
    assert!(error.contains("has room for one question"), "{error}");
    let error = format!("{:#}", asked(&long, &task("What is 1 + 1?")).unwrap_err());
    assert!(error.contains("positions leave room for 2\n  hint: lower max_new_tokens"), "{error}");
}

/// What is written to each task and sample.
fn written(solver: &Solver, step: &Difficulty, tasks: &[Task], batch: usize) -> BTreeMap<(String, usize), String> {
    let mut all = BTreeMap::new();
    let mut take = |place: usize, sample: usize, text: String| {
        assert!(all.insert((tasks[place].id.clone(), sample), text).is_none(), "{place} {sample}");
    };
    solver.attempt(step, tasks, 7, batch, &mut take).unwrap();
    all
}

#[test]
fn attempts_depend_neither_on_the_batch_nor_on_the_other_tasks() {
    let folder = tempfile::tempdir().unwrap();
    model(folder.path());
    let solver = Solver::load(folder.path(), &Place::Cpu).unwrap();
    let tasks: Vec<Task> = (0..9).map(|n| task(&format!("What is {n} + 1?"))).collect();
    let all = written(&solver, &step(), &tasks, 256);
    assert_eq!(all.len(), 9 * 3);
    let different: std::collections::BTreeSet<&String> = all.values().collect();
    assert!(different.len() > 9 * 2, "{all:?}");
    for batch in [1, 5] {
        assert_eq!(written(&solver, &step(), &tasks, batch), all, "{batch}");
    }
    let mut one_by_one = BTreeMap::new();
    for one in tasks.iter().rev() {
        one_by_one.extend(written(&solver, &step(), std::slice::from_ref(one), 2));
    }
    assert_eq!(one_by_one, all);
    // More samples are these and some besides.
    let mut more = written(&solver, &Difficulty { samples: 5, ..step() }, &tasks, 256);
    more.retain(|(_, sample), _| *sample < 3);
    assert_eq!(more, all);
    // What the chat template opens belongs to the answer.
    let chat = Difficulty { template: PromptTemplate::Chat, ..step() };
    assert!(written(&solver, &chat, &tasks[..1], 8).values().all(|text| text.starts_with("<think>")));
}

#[test]
fn two_ids_of_one_number_are_asked_after_each_other() {
    let ids = ["0000000100000002", "0000000200000001", "00000000000000ff", "0000000000000003"];
    let places: Vec<Vec<usize>> = calls(ids.into_iter()).iter().map(|call| call.values().copied().collect()).collect();
    assert_eq!(places, [vec![0, 2], vec![1], vec![3]]);
}
