//! The promises of the module's header, on a tokenizer trained on a small corpus.

use std::sync::LazyLock;

use super::*;
use crate::random::philox;

/// Texts like the training's: arithmetic, tags, Python.
fn corpus() -> impl Iterator<Item = String> + Send {
    (0..400u32).map(|index| {
        let [a, b, c, _] = philox([index, 0, 0, 0], [0; 2]).map(|bits| bits % 97);
        let (sum, product) = (a + b, (a + b) * c);
        format!(
            "User: What is ({a} + {b}) * {c}?. Assistant: <think> {a} + {b} = {sum}. \
             {sum} * {c} = {product}. </think> <answer> {product} </answer>\n\
             def f(x, y):\n    return x * {c} + y\n"
        )
    })
}

static TRAINED: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::train(corpus(), 600).unwrap());

#[test]
fn every_text_comes_back() {
    let pieces = [
        " ",
        "  ",
        "\n",
        "\t",
        "a",
        "The",
        " 12",
        "12345",
        "<",
        ">",
        "</",
        "think",
        "<think>",
        " </answer>",
        "<answer",
        "<|eos|>",
        "<|bos|>",
        "<|pad|>",
        "|",
        "é",
        "e\u{301}",
        "漢字",
        "🙂",
        "👩‍👩‍👧",
        "\u{0}",
        "\u{7f}",
        "\u{a0}",
        "\u{200b}",
        "\u{feff}",
        "\u{10ffff}",
        "Ġ",
        "Ċ",
        "\r\n",
        "def f(x):",
        "٣٤٥٦",
        "ß",
        "\u{fffd}",
        "-3.5",
        "½",
    ];
    for case in 0..3000u32 {
        let length = philox([case, 0, 0, 1], [9, 9])[0] % 12;
        let text: String = (0..length)
            .map(|at| {
                let [choice, code, kind, _] = philox([case, at, 0, 2], [9, 9]);
                if kind % 4 == 0 {
                    char::from_u32(code % 0x11_0000).unwrap_or('x').to_string()
                } else {
                    pieces[choice as usize % pieces.len()].to_owned()
                }
            })
            .collect();
        let ids = TRAINED.encode(&text);
        assert_eq!(TRAINED.decode(&ids), text);
        let theirs = TRAINED.inner.decode(&ids, true).unwrap();
        assert_eq!(theirs, text, "by the tokenizers crate");
        assert!(ids.iter().all(|&id| (3..600).contains(&id)), "{text:?}: {ids:?}");
    }
}

#[test]
fn no_text_is_a_special_token() {
    for token in SPECIAL_TOKENS {
        let id = TRAINED.id_of(token).unwrap();
        for text in [token.to_owned(), format!("go {token}"), format!("a{token}{token}\n")] {
            let ids = TRAINED.encode(&text);
            assert!(!ids.contains(&id), "{text:?}");
            assert_eq!(TRAINED.decode(&ids), text);
        }
    }
    assert_eq!(SPECIAL_TOKENS.map(|token| TRAINED.id_of(token)), [Some(0), Some(1), Some(2)]);
    assert_eq!((TRAINED.bos_id(), TRAINED.eos_id(), TRAINED.pad_id()), (Some(0), 1, 2));
    // Nor is it text again.
    assert_eq!(TRAINED.decode(&[0, 1, 2]), "");
}

#[test]
fn tags_are_one_token_each_and_stay_in_the_text() {
    for (index, tag) in TAGS.iter().enumerate() {
        assert_eq!(TRAINED.encode(tag), [3 + index as u32], "{tag}");
    }
    let text = ": <think> 1 </think> <answer> 2 </answer>";
    let ids = TRAINED.encode(text);
    assert_eq!(ids.len(), 7, "{ids:?}");
    assert_eq!(TRAINED.decode(&ids), text);
}

#[test]
fn decoding_survives_any_ids() {
    assert_eq!(TRAINED.decode(&[]), "");
    assert_eq!(TRAINED.decode(&[u32::MAX, 1_000_000]), "");
    // Half a character.
    let ids = TRAINED.encode("漢");
    assert_eq!(TRAINED.decode(&ids[..1]), "\u{fffd}");
}

#[test]
fn common_words_and_numbers_become_single_tokens() {
    assert_eq!(TRAINED.vocab_size(), 600);
    for text in [" Assistant", " return", "User", " 12", " =", "):"] {
        assert_eq!(TRAINED.encode(text).len(), 1, "{text:?}");
    }
    let ids = TRAINED.encode_batch(&["User", " 12"]);
    assert_eq!(ids, [TRAINED.encode("User"), TRAINED.encode(" 12")]);
}

#[test]
fn training_is_the_same_to_the_byte_with_any_order_and_number_of_threads() {
    let expected = TRAINED.to_json().unwrap();
    let mut reversed: Vec<String> = corpus().collect();
    reversed.reverse();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let reversed = reversed.clone();
        let trained = pool.install(|| Tokenizer::train(reversed.into_iter(), 600)).unwrap();
        assert!(trained.to_json().unwrap() == expected, "{threads} threads");
    }
}

#[test]
fn training_is_the_same_in_every_process() {
    // The trainer's hash maps are seeded anew in each process, so only a fixed value can tell.
    let file: serde_json::Value = serde_json::from_str(&TRAINED.to_json().unwrap()).unwrap();
    let learned = format!("{}{}", file["model"]["vocab"], file["model"]["merges"]);
    let digest = <sha2::Sha256 as sha2::Digest>::digest(learned);
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, "79a3d6892721bdd018ffdf918a0d2467b9ece4f50ec6145cbd9abe2b8e9c0f1a");
}

#[test]
fn saved_and_read_again_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    TRAINED.save(folder.path()).unwrap();
    let read = Tokenizer::from_dir(folder.path()).unwrap();
    assert_eq!(read.to_json().unwrap(), TRAINED.to_json().unwrap());
    assert_eq!(read.config, TRAINED.config);
    assert_eq!(read.bytes, TRAINED.bytes);
    assert_eq!((read.bos, read.eos, read.pad), (Some(0), 1, Some(2)));
    let text = "go <|eos|> <think> 12 + 7";
    assert_eq!(read.encode(text), TRAINED.encode(text));
}

#[test]
fn the_end_token_is_found_where_it_is_said() {
    fn check(files: &[(&str, &str)], expected: Result<u32, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("tokenizer.json"), TRAINED.to_json().unwrap()).unwrap();
        for (name, text) in files {
            std::fs::write(at(name), text).unwrap();
        }
        match (Tokenizer::from_dir(folder.path()), expected) {
            (Ok(read), Ok(expected)) => {
                assert_eq!(read.eos_id(), expected);
                // Special from now on, even if the file did not say so.
                let spelled = read.inner.id_to_token(expected).unwrap();
                assert!(!read.encode(&format!("a {spelled}")).contains(&expected));
            }
            (Err(error), Err(expected)) => {
                let message = error.to_string();
                assert!(message.contains(expected), "{message}");
            }
            (found, expected) => panic!("{found:?} {expected:?}"),
        }
    }
    check(&[("tokenizer_config.json", r#"{"eos_token": "<|pad|>"}"#)], Ok(2));
    check(&[("tokenizer_config.json", r#"{"eos_token": {"content": "</answer>"}}"#)], Ok(6));
    check(&[("config.json", r#"{"eos_token_id": 1}"#)], Ok(1));
    check(
        &[
            ("tokenizer_config.json", r#"{"eos_token": null}"#),
            ("generation_config.json", r#"{"eos_token_id": [2, 1]}"#),
        ],
        Ok(2),
    );
    check(&[], Err("tokenizer_config.json"));
    check(&[("tokenizer_config.json", "{")], Err("tokenizer_config.json"));
    check(&[("config.json", r#"{"eos_token_id": 123456}"#)], Err("special id 123456"));
}

#[test]
fn other_tokenizers_are_refused() {
    fn check(change: impl FnOnce(&mut serde_json::Value), expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        TRAINED.save(folder.path()).unwrap();
        let mut file: serde_json::Value = serde_json::from_str(&TRAINED.to_json().unwrap()).unwrap();
        change(&mut file);
        std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        let message = Tokenizer::from_dir(folder.path()).unwrap_err().to_string();
        assert!(message.contains("tokenizer.json") && message.contains(expected), "{message}");
    }
    let untrained = |file: &mut serde_json::Value| {
        file["model"]["merges"] = serde_json::json!([]);
        file["model"]["vocab"].as_object_mut().unwrap().remove("Ġ");
    };
    check(untrained, "not byte-level");
    check(
        |file| {
            file["model"] = serde_json::json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"});
        },
        "expected a model of type BPE",
    );
    let missing = Tokenizer::from_dir("no/such/folder").unwrap_err().to_string();
    assert!(missing.contains("no/such/folder"), "{missing}");
}
