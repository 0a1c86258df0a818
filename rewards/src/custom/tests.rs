//! Rewards of files: as people have them, wrong ones, and ones that misbehave.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use sandbox::{Limits, Python};
use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::*;
use crate::{Message, PythonUse, Reference, Registry, RewardSet, RewardSpec};

/// Prepared once for all tests.
static PYTHON: LazyLock<Arc<Python>> = LazyLock::new(|| {
    Arc::new(Python::prepare(&sandbox::default_cache_dir(), &mut |_| {}).expect("the interpreter can be prepared"))
});

/// Little, so that a reward that loops ends soon.
fn surroundings() -> Surroundings {
    let limits = Limits { fuel: 3_000_000_000, memory_bytes: 256 << 20, ..Limits::brief() };
    Surroundings { python: Some(Arc::clone(&PYTHON)), limits }
}

/// A file's reward, called `mine`.
struct File {
    folder: tempfile::TempDir,
    spec: RewardSpec,
}

impl File {
    fn new(name: &str, content: &[u8]) -> File {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        File { folder, spec: RewardSpec { custom: Some(CustomReward::at(path)), ..RewardSpec::named("mine") } }
    }

    fn python(text: &str) -> File {
        File::new("mine.py", text.as_bytes())
    }

    fn custom(mut self, change: impl FnOnce(&mut CustomReward)) -> File {
        change(self.spec.custom.as_mut().unwrap());
        self
    }

    fn told(mut self, parameters: Value) -> File {
        self.spec.parameters = parameters.as_object().unwrap().clone();
        self
    }

    fn build(&self) -> Result<RewardSet, String> {
        Registry::builtin().build(std::slice::from_ref(&self.spec), &surroundings()).map_err(|error| self.shown(&error))
    }

    /// An error's text, without the folder, which is another one each time.
    fn shown(&self, error: &RewardError) -> String {
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }

    /// The scores of a group of completions to one task.
    fn scores(&self, completions: &[&str]) -> Result<Vec<Score>, String> {
        let reference = Reference::Math { answer: "72".to_owned() };
        let columns = json!({"level": 3, "answer": "so #### 72"});
        let ids = [5_u32, 6, 7];
        let samples: Vec<Sample<'_>> = completions
            .iter()
            .map(|text| Sample {
                columns: columns.as_object().unwrap(),
                completion_ids: &ids[..text.len().min(3)],
                ..Sample::new("What is 8 * 9?", text, &reference)
            })
            .collect();
        let scored = self.build()?.score_group(&samples).map_err(|error| self.shown(&error))?;
        Ok(scored.into_iter().map(|breakdown| breakdown.components[0].score.clone()).collect())
    }

    fn values(&self, completions: &[&str]) -> Vec<Option<f64>> {
        let scores = self.scores(completions).unwrap_or_else(|error| panic!("{error}"));
        scores.into_iter().map(|score| score.value).collect()
    }

    #[track_caller]
    fn check_error(&self, expected: &str) {
        assert_eq!(self.scores(&["a", "bc"]).unwrap_err(), expected.trim_start_matches('\n'));
    }
}

#[test]
fn functions_as_people_have_them() {
    // TRL's documentation.
    let lengths = "def reward_len(completions, **kwargs):\n    return [-abs(20 - len(completion)) for completion in completions]\n";
    let file = File::python(lengths).custom(|custom| custom.function = Some("reward_len".to_owned()));
    assert_eq!(file.values(&["", "12345678901234567890", "x"]), [Some(-20.0), Some(0.0), Some(-19.0)]);
    let columns = "import re\n\ndef reward(prompts, completions, completion_ids, answer, **kwargs):\n    golds = [text.split('#### ')[1] for text in answer]\n    return [1.0 if re.search(r'\\d+', c).group() == g else None for c, g in zip(completions, golds)]\n";
    assert_eq!(File::python(columns).values(&["72", "it is 71"]), [Some(1.0), None]);
    let few = "def reward(completion_ids, level):\n    return [len(ids) + level[0] for ids in completion_ids]\n";
    assert_eq!(File::python(few).values(&["a", "abc"]), [Some(4.0), Some(6.0)]);
    let all = "def reward(**known):\n    assert sorted(known) == ['answer', 'completion_ids', 'completions', 'level', 'prompts', 'reference', 'truncated'], sorted(known)\n    assert known['reference'][0] == {'kind': 'math', 'answer': '72'}\n    assert known['prompts'] == ['What is 8 * 9?'] * 2\n    return [True, False]\n";
    assert_eq!(File::python(all).values(&["a", "b"]), [Some(1.0), Some(0.0)]);
    // A byte-order mark, and what stands below `__main__`.
    let marked = "\u{feff}def reward(completions):\n    return (0,) * len(completions)\nif __name__ == '__main__':\n    import sys; sys.exit(3)\n";
    assert_eq!(File::python(marked).values(&["a"]), [Some(0.0)]);
    // As TRL gathers them, but that nothing is waited for.
    let waits = "import asyncio\nasync def helper(c):\n    await asyncio.sleep(0)\n    return len(c)\nasync def reward(completions, trainer_state=None, **kwargs):\n    return [await helper(c) for c in completions]\n";
    assert_eq!(File::python(waits).values(&["a", "bc"]), [Some(1.0), Some(2.0)]);
}

#[test]
fn what_trl_has_and_the_sandbox_has_not_is_said() {
    File::python("async def reward(completions):\n    import asyncio\n    await asyncio.sleep(1)\n").check_error(
        "
mine.py, line 3: the reward `mine` raised RuntimeError: no running event loop
  3 |     await asyncio.sleep(1)",
    );
    File::python("class Never:\n    def __await__(self): yield self\nasync def reward(completions): await Never()\n")
        .check_error(
            "
mine.py, line 3: the reward `mine` waits for something
  3 | async def reward(completions): await Never()
  hint: in the sandbox nothing comes from outside: there is no event loop",
        );
    File::python("def reward(completions, trainer_state, **kwargs):\n    return [0.0] * 2\n").check_error(
        "
mine.py, line 1: the reward `mine` asks for `trainer_state`, which is a trainer's of TRL
  1 | def reward(completions, trainer_state, **kwargs):
  hint: there is none here; where the function can do without, write trainer_state=None",
    );
    let hint = |what: &str| {
        let error =
            File::python(&format!("def reward(completions):\n    return {what}\n")).scores(&["a", "b"]).unwrap_err();
        error.lines().last().unwrap_or_default().trim().to_owned()
    };
    assert_eq!(hint("map(len, completions)"), "hint: make a list of it: list(...)");
    assert_eq!(hint("[0.0, float('nan')]"), "hint: where it has nothing to say it returns None");
}

/// The one is found before anything is scored.
#[test]
fn a_wrong_file_is_told_from_a_failure_on_completions() {
    let no_python = File::python("def reward(completions:\n");
    let built = Registry::builtin().build(std::slice::from_ref(&no_python.spec), &surroundings());
    assert!(matches!(built, Err(RewardError::Custom { .. })));
    let set = File::python("def reward(completions):\n    return [1 / 0]\n").build().unwrap();
    let reference = Reference::Integer { value: 1 };
    let scored = set.score(&Sample::new("q", "abc", &reference));
    assert!(matches!(scored, Err(RewardError::Failed(_))));
}

#[test]
fn messages_where_they_are_wanted() {
    let text = "def reward(prompts, completions, **kwargs):\n    assert prompts[0][-1]['role'] == 'user'\n    return [float(len(prompt)) + len(completion[0]['content']) for prompt, completion in zip(prompts, completions)]\n";
    let file = File::python(text).custom(|custom| custom.conversational = Some(true));
    assert_eq!(file.values(&["abc"]), [Some(4.0)]);
    // Unasked where the task has earlier turns.
    let file = File::python(text);
    let reference = Reference::Integer { value: 1 };
    let turns = [Message { role: "system".to_owned(), content: "Be brief.".to_owned() }];
    let sample = Sample { turns: &turns, ..Sample::new("q", "abc", &reference) };
    assert_eq!(file.build().unwrap().score(&sample).unwrap().total, Some(5.0));
    // People's rewards take messages for granted; what to do is said.
    file.check_error(
        "
mine.py, line 2: the reward `mine` raised TypeError: string indices must be integers, not 'str'
  2 |     assert prompts[0][-1]['role'] == 'user'
  hint: if it expects messages, a list of {\"role\", \"content\"}, set conversational = true beside its path",
    );
}

#[test]
fn parameters_are_arguments() {
    let text = "def reward(completions, scale=1.0, *, most: int = 5, **kwargs):\n    return [scale * min(most, len(c)) for c in completions]\n";
    let file = File::python(text).told(json!({"scale": 0.5, "most": 2}));
    assert_eq!(file.values(&["a", "abcdef"]), [Some(0.5), Some(1.0)]);
    let wrong = |parameters| File::python(text).told(parameters).build().unwrap_err();
    assert_eq!(
        wrong(json!({"scal": 1})),
        "mine.py, line 1: the reward `mine` has no parameter `scal`\n  1 | def reward(completions, scale=1.0, *, most: int = 5, **kwargs):\n  hint: did you mean `scale`?"
    );
    assert!(wrong(json!({"banana": 1})).ends_with("hint: its function `reward` takes completions, scale, most"));
    assert!(wrong(json!({"completions": 1})).contains("is given `completions` by every call"));
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    File::python("import os\n\ndef reward(completions):\n    return [1.0 / len(c) for c in completions\n").check_error(
        "
mine.py, line 4: the reward `mine` is no Python: SyntaxError: '[' was never closed
  4 |     return [1.0 / len(c) for c in completions",
    );
    File::python("import numpy as np\n\ndef reward(completions):\n    return [0.0]\n").check_error(
        "
mine.py, line 1: the reward `mine` raised ModuleNotFoundError: No module named 'numpy'
  1 | import numpy as np
  hint: a reward can import Python's standard library, and nothing else",
    );
    File::python("def rewrd(completions):\n    return [0.0]\n").check_error(
        "
mine.py: the reward `mine` has no function `reward`
  hint: did you mean function = \"rewrd\"?",
    );
    File::python("import re\ndef tags(c):\n    return c\ndef length(c):\n    return c\n").check_error(
        "
mine.py: the reward `mine` has no function `reward`
  hint: set function = to one of: tags, length",
    );
    File::python("").check_error("mine.py: the reward `mine` has no function `reward`\n  hint: it defines no function");
    File::python("def reward(completions, solution):\n    return [0.0] * 2\n").check_error(
        "
mine.py, line 1: the reward `mine` asks for `solution`, which this task has no column of
  1 | def reward(completions, solution):
  hint: there are answer, completion_ids, completions, level, prompts, reference, truncated",
    );
    File::new("mine.py", b"def reward(c):\n    return '\xff'\n")
        .check_error("mine.py, line 2: the reward `mine` has a file that is not UTF-8");
    let gone = File::python("");
    std::fs::remove_file(gone.folder.path().join("mine.py")).unwrap();
    gone.check_error(
        "mine.py: the reward `mine` has a file that cannot be read: No such file or directory (os error 2)",
    );
    File::new("mine.txt", b"").check_error(
        "mine.txt: the reward `mine` has a file of a kind that is not known\n  hint: the name of a reward's file ends in .py or .wasm",
    );
    let taken = RewardSpec { name: "format".to_owned(), ..File::python("").spec };
    let error = Registry::builtin().check(&taken).unwrap_err().to_string();
    assert_eq!(
        error,
        "the reward `format` is one of this program's own, and cannot have a path; give yours another name"
    );
}

#[test]
fn exceptions_name_the_line_of_the_reward() {
    let text = "import json\n\ndef helper(c):\n    return json.loads(c)\n\ndef reward(completions):\n    return [helper(c) for c in completions]\n";
    File::python(text).check_error(
        "
mine.py, line 4: the reward `mine` raised JSONDecodeError: Expecting value: line 1 column 1 (char 0)
  4 |     return json.loads(c)",
    );
    let exits = "import sys\ndef reward(completions):\n    sys.exit('done')\n";
    File::python(exits)
        .check_error("mine.py, line 3: the reward `mine` raised SystemExit: done\n  3 |     sys.exit('done')");
    let hostile =
        "class E(Exception):\n    def __str__(self):\n        raise KeyError\ndef reward(completions):\n    raise E\n";
    File::python(hostile)
        .check_error("mine.py, line 5: the reward `mine` raised E: its text cannot be made\n  5 |     raise E");
}

#[test]
fn what_is_no_list_of_numbers_is_refused() {
    let returns = |what: &str| File::python(&format!("import math\ndef reward(completions):\n    return {what}\n"));
    let check = |what: &str, expected: &str| {
        let error = returns(what).scores(&["a", "b"]).unwrap_err();
        let first = error.lines().next().unwrap_or_default().to_owned();
        assert_eq!(first, format!("mine.py, line 2: the reward `mine` returned {expected}"), "{what}");
    };
    check("[1.0]", "1 score for 2 completions, expected one for each");
    check("[]", "0 scores for 2 completions, expected one for each");
    check("1.0", "a value of type float, expected a list of 2 numbers");
    check("None", "a value of type NoneType, expected a list of 2 numbers");
    check("[0, math.nan]", "nan for completion 2 of 2, expected a finite number");
    check("[-math.inf, 0]", "-inf for completion 1 of 2, expected a finite number");
    check("[10**400, 0]", "inf for completion 1 of 2, expected a finite number");
    check("['1', 0]", "a value of type str for completion 1 of 2, expected a number or None");
    check("[[1], 0]", "a value of type list for completion 1 of 2, expected a number or None");
    check("(lambda: (yield))()", "a value of type generator, expected a list of 2 numbers");
    assert_eq!(returns("[None, -3]").values(&["a", "b"]), [None, Some(-3.0)]);
}

#[test]
fn limits_hold_and_are_named() {
    let body = |line: &str| File::python(&format!("def reward(completions):\n    {line}\n    return [0.0] * 2\n"));
    body("while True: pass").check_error(
        "mine.py: the reward `mine` took more than 3e9 units of work while it scored a group of 2 completions",
    );
    body("keep = bytearray(300 << 20)")
        .check_error("mine.py, line 2: the reward `mine` raised MemoryError\n  2 |     keep = bytearray(300 << 20)");
    body("import os; os._exit(0)")
        .check_error("mine.py: the reward `mine` ended the interpreter while it scored a group of 2 completions");
    body("import os; os.write(1, b'x' * (2 << 20))").check_error(
        "mine.py: the reward `mine` wrote more than 1048576 bytes while it scored a group of 2 completions",
    );
    File::python("while True: pass\n")
        .check_error("mine.py: the reward `mine` took more than 3e9 units of work while its file was read");
    body("recurse = lambda n: recurse(n + 1); recurse(0)")
        .scores(&["a", "b"])
        .map(drop)
        .expect_err("no stack is endless");
}

#[test]
fn what_it_prints_is_kept_up_to_a_limit() {
    let text = "import sys\ndef reward(completions):\n    print('group of', len(completions))\n    print('y' * 100_000, file=sys.stderr)\n    return [0.0] * len(completions)\n";
    let set = File::python(text).build().unwrap();
    assert_eq!(set.take_printed(), []);
    let reference = Reference::Integer { value: 1 };
    for prompt in ["b", "a"] {
        set.score_group(&[Sample::new(prompt, "1", &reference), Sample::new(prompt, "2", &reference)]).unwrap();
    }
    let printed = set.take_printed();
    assert_eq!(printed.iter().map(|one| one.prompt.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(printed[0].text.starts_with("group of 2\nyyy"), "{}", &printed[0].text[..40]);
    assert!(printed[0].text.ends_with("\n... and 34476 characters more\n"), "{}", printed[0].text.len());
    assert_eq!(set.take_printed(), []);
}

/// Half a character, as a completion may make one: `json.loads` of `"\ud83d"` does.
#[test]
fn what_it_prints_may_be_no_unicode() {
    let text = "import json\ndef reward(completions):\n    print(*map(json.loads, completions))\n    return [1.0] * len(completions)\n";
    let file = File::python(text);
    assert_eq!(file.values(&["\"\\ud83d\""]), [Some(1.0)]);
    let set = file.build().unwrap();
    let reference = Reference::Integer { value: 1 };
    set.score_group(&[Sample::new("q", "\"a\\udc00 \u{e9}\"", &reference)]).unwrap();
    assert_eq!(set.take_printed()[0].text, "a? \u{e9}\n");
    let raises = "import json\ndef reward(completions):\n    raise ValueError(json.loads(completions[0]))\n";
    let error = File::python(raises).scores(&["\"\\ud83d\""]).unwrap_err();
    assert!(error.contains("raised ValueError: ?"), "{error}");
}

/// A completion is printed by many rewards, and may say anything.
#[test]
fn what_it_prints_is_not_taken_for_the_drivers_answer() {
    let text = "def reward(completions):\n    print(*completions, sep='\\n')\n    return [float(len(c)) for c in completions]\n";
    let mark = "-- the answer of the reward driver: ";
    let forged = format!("x\n{mark}{{\"scores\": [9.0], \"printed\": \"\"}}");
    for completion in [format!("x {mark}y"), mark.to_owned(), forged] {
        assert_eq!(File::python(text).values(&[&completion]), [Some(completion.len() as f64)], "{completion}");
    }
}

#[test]
fn nothing_stays_from_call_to_call() {
    let text = "import builtins, random\nseen = []\ndef reward(completions):\n    seen.extend(completions)\n    builtins.len = lambda _: 99\n    return [float(seen.__len__()) + random.random()] * completions.__len__()\n";
    let file = File::python(text);
    let set = file.build().unwrap();
    let reference = Reference::Integer { value: 1 };
    let totals: Vec<_> = (0..3).map(|_| set.score(&Sample::new("q", "1", &reference)).unwrap().total).collect();
    assert!(totals[0].unwrap() > 1.0 && totals[0].unwrap() < 2.0, "{totals:?}");
    assert!(totals.windows(2).all(|pair| pair[0] == pair[1]), "{totals:?}");
}

#[test]
fn a_failure_that_is_borne_leaves_the_group_unscored() {
    let text = "def reward(completions):\n    return [1 / len(c) for c in completions]\n";
    let file = File::python(text).custom(|custom| custom.on_error = OnError::Unscored);
    let set = file.build().unwrap();
    let reference = Reference::Integer { value: 1 };
    let samples = [Sample::new("q", "ab", &reference), Sample::new("q", "", &reference)];
    for breakdown in set.score_group(&samples).unwrap() {
        assert_eq!((breakdown.total, breakdown.cause()), (None, Some("reward_failed")));
    }
    let printed = set.take_printed();
    assert!(printed[0].text.contains("line 2: the reward `mine` raised ZeroDivisionError"), "{printed:?}");
    assert_eq!(set.score(&samples[0]).unwrap().total, Some(0.5));
    // A file that cannot be used at all is an error all the same.
    assert!(File::python("x = (").custom(|custom| custom.on_error = OnError::Unscored).build().is_err());
}

#[test]
fn python_is_prepared_for_python_alone() {
    let registry = Registry::builtin();
    let spec = |path: &str| RewardSpec { custom: Some(CustomReward::at(path)), ..RewardSpec::named("mine") };
    assert_eq!(registry.python_use(&spec("a.py")), PythonUse::Always);
    assert_eq!(registry.python_use(&spec("a.wasm")), PythonUse::Never);
    assert!(registry.need_python(&[spec("a.py")], false));
    assert_eq!(kind_of(Path::new("a.PY")), None);
}

/// A module that becomes a component whose `score-group` has this body; `$samples`, `$count`, `$parameters` and `$length` are its arguments. At
/// `$at` there is room for what it returns.
fn module(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (memory (export "memory") 2)
          (global $heap (mut i32) (i32.const 4096))
          (data (i32.const 16) "it takes no parameters")
          (data (i32.const 64) "too_short")
          (func $room (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $start i32)
            (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
            (global.set $heap (i32.add (local.get $start) (local.get 3)))
            (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
              (then (drop (memory.grow (i32.add (i32.div_u (local.get 3) (i32.const 65536)) (i32.const 1))))))
            (local.get $start))
          (func (export "recipe:reward/grading@0.1.0#score-group")
            (param $samples i32) (param $count i32) (param $parameters i32) (param $length i32) (result i32)
            (local $at i32) (local $score i32) (local $left i32)
            (local.set $at (call $room (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 16)))
            {body}))"#
    );
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("reward.wit", include_str!("../../wit/reward.wit")).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    module
}

fn component(body: &str) -> Vec<u8> {
    ComponentEncoder::default().module(&module(body)).unwrap().validate(true).encode().unwrap()
}

/// Scores the length of the completion, and none of no length; refuses parameters.
const LENGTHS: &str = r"
    (if (i32.gt_u (local.get $length) (i32.const 2))
      (then
        (i32.store8 (local.get $at) (i32.const 1))
        (i32.store offset=4 (local.get $at) (i32.const 16))
        (i32.store offset=8 (local.get $at) (i32.const 22))
        (return (local.get $at))))
    (i32.store8 (local.get $at) (i32.const 0))
    (local.set $score
      (call $room (i32.const 0) (i32.const 0) (i32.const 8) (i32.mul (local.get $count) (i32.const 32))))
    (i32.store offset=4 (local.get $at) (local.get $score))
    (i32.store offset=8 (local.get $at) (local.get $count))
    (local.set $left (local.get $count))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $left)))
        (i32.store8 (local.get $score) (i32.ne (i32.load offset=12 (local.get $samples)) (i32.const 0)))
        (f64.store offset=8 (local.get $score) (f64.convert_i32_u (i32.load offset=12 (local.get $samples))))
        (i32.store8 offset=16 (local.get $score) (i32.eq (i32.load offset=12 (local.get $samples)) (i32.const 1)))
        (i32.store offset=20 (local.get $score) (i32.const 64))
        (i32.store offset=24 (local.get $score) (i32.const 9))
        (local.set $samples (i32.add (local.get $samples) (i32.const 44)))
        (local.set $score (i32.add (local.get $score) (i32.const 32)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (local.get $at)";

fn component_file(body: &str) -> File {
    File::new("mine.wasm", &component(body))
}

#[test]
fn a_component_scores_groups() {
    let file = component_file(LENGTHS);
    let scores = file.scores(&["abc", "x", ""]).unwrap();
    assert_eq!(scores[0], Score::of(3.0));
    assert_eq!(scores[1], Score { value: Some(1.0), cause: Some("too_short".to_owned()) });
    assert_eq!(scores[2], Score::not_scored());
    file.told(json!({"a": 1})).check_error("mine.wasm: the reward `mine` says: it takes no parameters");
    // As toolchains without components leave it.
    assert_eq!(File::new("mine.wasm", &module(LENGTHS)).values(&["abc"]), [Some(3.0)]);
}

#[test]
fn components_that_misbehave_are_named() {
    // Only with samples, so that it passes when it is looked at first.
    let then = |what: &str| format!("(if (local.get $count) (then {what})) {LENGTHS}");
    component_file(&then("(loop $on (br $on))"))
        .check_error("mine.wasm: the reward `mine` ended with `out_of_fuel`: more work than allowed");
    component_file(&then("unreachable")).check_error(
        "mine.wasm: the reward `mine` ended with `exception`: the component crashed: wasm trap: wasm `unreachable` instruction executed",
    );
    component_file(&then("(drop (memory.grow (i32.const 10000))) unreachable"))
        .check_error("mine.wasm: the reward `mine` ended with `out_of_memory`: more memory than allowed");
    let none = component_file(&then("(local.set $count (i32.const 1))"));
    none.check_error("mine.wasm: the reward `mine` returned 1 scores for 2 completions");
    let infinite = LENGTHS.replace("(f64.convert_i32_u (i32.load offset=12 (local.get $samples)))", "(f64.const inf)");
    component_file(&infinite)
        .check_error("mine.wasm: the reward `mine` returned inf for completion 1 of 2, expected a finite number");
    let borne = component_file(&then("unreachable")).custom(|custom| custom.on_error = OnError::Unscored);
    assert_eq!(borne.scores(&["a", "b"]).unwrap(), vec![Score::unscorable("reward_failed"); 2]);
}

#[test]
fn what_is_no_reward_component_is_refused() {
    let check = |content: &[u8], expected: &str| {
        let error = File::new("mine.wasm", content).build().unwrap_err();
        let expected = format!("mine.wasm: the reward `mine` has a file that is no reward: {expected}");
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.ends_with("hint: a reward exports `grading` of rewards/wit/reward.wit"), "{error}");
    };
    check(b"hello", "it is not valid: ");
    check(b"\0asm\x01\0\0\0", "it does not export the interface recipe:reward/grading@0.1.0");
    check(&wat::parse_str("(component)").unwrap(), "it does not export the interface recipe:reward/grading@0.1.0");
    check(
        &wat::parse_str(r#"(component (import "host:secret/door" (func)))"#).unwrap(),
        "it does not export the interface",
    );
    let function = component_file(LENGTHS).custom(|custom| custom.function = Some("f".to_owned()));
    function
        .check_error("mine.wasm: the reward `mine` is a component, which has neither `function` nor `conversational`");
}
