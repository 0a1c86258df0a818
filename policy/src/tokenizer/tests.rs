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
    assert_eq!((read.bos_id(), read.end_ids(), read.pad_id()), (Some(0), &[1][..], 2));
    assert!(read.begin_ids().is_empty());
    let text = "go <|eos|> <think> 12 + 7";
    assert_eq!(read.encode(text), TRAINED.encode(text));
}

#[test]
fn the_end_token_is_found_where_it_is_said() {
    fn check(files: &[(&str, &str)], expected: Result<&[u32], &str>) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("tokenizer.json"), TRAINED.to_json().unwrap()).unwrap();
        for (name, text) in files {
            std::fs::write(at(name), text).unwrap();
        }
        match (Tokenizer::from_dir(folder.path()), expected) {
            (Ok(read), Ok(expected)) => {
                assert_eq!(read.end_ids(), expected);
                assert_eq!(read.eos_id(), expected[0]);
                // Special from now on, even if the file did not say so.
                for id in expected {
                    let spelled = read.inner.id_to_token(*id).unwrap();
                    assert!(!read.encode(&format!("a {spelled}")).contains(id));
                }
                // And still so after the tokenizer has been written again.
                read.save(folder.path()).unwrap();
                assert_eq!(Tokenizer::from_dir(folder.path()).unwrap().end_ids(), expected);
            }
            (Err(error), Err(expected)) => {
                let message = error.to_string();
                assert!(message.contains(expected), "{message}");
            }
            (found, expected) => panic!("{found:?} {expected:?}"),
        }
    }
    check(&[("tokenizer_config.json", r#"{"eos_token": "<|pad|>"}"#)], Ok(&[2]));
    check(&[("tokenizer_config.json", r#"{"eos_token": {"content": "</answer>"}}"#)], Ok(&[6]));
    check(&[("config.json", r#"{"eos_token_id": 1}"#)], Ok(&[1]));
    check(
        &[
            ("tokenizer_config.json", r#"{"eos_token": null}"#),
            ("generation_config.json", r#"{"eos_token_id": [2, 1], "temperature": 0.6}"#),
            ("config.json", r#"{"eos_token_id": 0}"#),
        ],
        Ok(&[2, 1]),
    );
    // The first is the one that texts end with, whatever else may end a completion.
    check(
        &[
            ("tokenizer_config.json", r#"{"eos_token": "<|eos|>"}"#),
            ("generation_config.json", r#"{"eos_token_id": [2, 1]}"#),
        ],
        Ok(&[1, 2]),
    );
    check(&[], Err("no end token: expected `eos_token` here"));
    check(&[("tokenizer_config.json", "{")], Err("tokenizer_config.json"));
    check(&[("config.json", r#"{"eos_token_id": 123456}"#)], Err("special id 123456"));
}

/// Writes a folder with a tokenizer of another kind than those trained here.
fn other(tokenizer: &serde_json::Value) -> (tempfile::TempDir, Result<Tokenizer>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), r#"{"eos_token": "</s>"}"#).unwrap();
    let read = Tokenizer::from_dir(folder.path());
    (folder, read)
}

/// As SentencePiece's: spaces are letters, unknown characters fall back to bytes, `<s>` goes before every text.
fn sentence_piece() -> serde_json::Value {
    let mut vocab = serde_json::Map::new();
    for token in ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain((0..256).map(|b| format!("<0x{b:02X}>")))
    {
        let id = vocab.len();
        vocab.insert(token, id.into());
    }
    for token in ["\u{2581}", "a", "b", "c", "ab", "\u{2581}ab"] {
        let id = vocab.len();
        vocab.insert(token.to_owned(), id.into());
    }
    let special = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
            "merges": [["a", "b"], ["\u{2581}", "ab"]]}
    })
}

#[test]
fn other_pipelines_encode_and_decode() {
    let (_folder, read) = other(&sentence_piece());
    let read = read.unwrap();
    assert_eq!(read.encode("ab c"), [264, 259, 262]);
    assert_eq!(read.begin_ids(), [1]);
    for text in ["ab c", "abc  ba", "é漢 ab", "</s>"] {
        let ids = read.encode(text);
        assert_eq!(read.decode(&ids), text, "{ids:?}");
        assert!(!ids.contains(&2), "{text:?}");
    }
    assert_eq!(read.decode(&[1, 264, 2, 9999]), "ab");
}

#[test]
fn a_text_that_goes_on_has_no_space_of_its_own() {
    let (_folder, read) = other(&sentence_piece());
    let read = read.unwrap();
    let check = |context: &str, text: &str, expected: &[u32]| {
        let ids = read.encode_after(context, text);
        assert_eq!(ids, expected, "{context:?} {text:?}");
        ids
    };
    for (context, text, expected) in [
        ("ab", " c", &[259, 262][..]),
        ("c", "ab", &[263]),
        ("ab", " ab", &[264]),
        ("ab c", " </s>", &[259, 63, 50, 118, 65]),
        ("ab", "", &[]),
    ] {
        let joined = [read.encode(context), check(context, text, expected)].concat();
        assert_eq!(joined, read.encode(&format!("{context}{text}")));
    }
    // Behind a special token of a conversation a text begins, as where the whole is encoded.
    check("<s>ab", " c", &[259, 262]);
    let begun = check("<s>ab</s>", "ab", &[264]);
    let joined = [read.encode_rendered("<s>ab</s>").unwrap(), begun].concat();
    assert_eq!(joined, read.encode_rendered("<s>ab</s>ab").unwrap());
    // `▁ab` would stand across the seam.
    let across = [read.encode("c "), check("c ", "ab", &[263])].concat();
    assert_eq!(read.decode(&across), "c ab");
    // Bytes are what they are.
    assert_eq!(TRAINED.encode_after("User: 1", "2 </answer>"), TRAINED.encode("2 </answer>"));
}

#[test]
fn what_goes_on_keeps_its_space() {
    let (_folder, read) = other(&sentence_piece());
    let read = read.unwrap();
    let check = |context: &[u32], ids: &[u32], expected: &str| {
        assert_eq!(read.decode_after(context, ids), expected, "{context:?} {ids:?}");
    };
    let (ab, c) = (read.encode("ab"), read.encode_after("ab", " c"));
    check(&ab, &c, " c");
    check(&ab.repeat(9), &[263, 2], "ab");
    check(&[read.begin_ids(), &ab].concat(), &ab, " ab");
    // The space was the context's, and here a text begins.
    check(&read.encode("ab "), &[262], "c");
    check(read.begin_ids(), &ab, "ab");
    check(&[], &ab, "ab");
    assert_eq!(TRAINED.decode_after(&TRAINED.encode("1"), &TRAINED.encode(" 2")), " 2");
}

#[test]
fn other_models_encode_what_they_know() {
    let mut file = sentence_piece();
    file["model"] =
        serde_json::json!({"type": "WordLevel", "vocab": {"<s>": 1, "</s>": 2, "a": 0}, "unk_token": "<unk>"});
    file["added_tokens"].as_array_mut().unwrap().remove(0);
    file["normalizer"] = serde_json::Value::Null;
    file["decoder"] = serde_json::Value::Null;
    file["pre_tokenizer"] = serde_json::json!({"type": "WhitespaceSplit"});
    let (_folder, read) = other(&file);
    assert_eq!(read.unwrap().encode("a z a"), [0, 0]);
}

/// A vocabulary of pieces has special tokens among them, and finds them in a text.
#[test]
fn pieces_that_spell_a_special_token_are_cut() {
    let mut file = sentence_piece();
    let pieces = ["<unk>", "<s>", "</s>", "a", "b", "<", "/", "s", ">"];
    let vocab: Vec<_> = pieces.iter().enumerate().map(|(id, piece)| serde_json::json!([piece, -(id as f64)])).collect();
    file["model"] = serde_json::json!({"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": false});
    file["normalizer"] = serde_json::Value::Null;
    file["decoder"] = serde_json::json!({"type": "Fuse"});
    let (_folder, read) = other(&file);
    let read = read.unwrap();
    assert_eq!(read.encode_whole("a</s>b"), [3, 2, 4]);
    assert_eq!(read.encode("a</s>b"), [3, 5, 6, 7, 8, 4]);
    assert_eq!(read.decode(&read.encode("</s></s><s>a")), "</s></s><s>a");
}

#[test]
fn unusable_tokenizers_are_refused_by_file() {
    fn check(file: &serde_json::Value, expected: &str) {
        let message = other(file).1.unwrap_err().to_string();
        assert!(message.contains("tokenizer.json") && message.contains(expected), "{message}");
    }
    let mut no_model = sentence_piece();
    no_model.as_object_mut().unwrap().remove("model");
    check(&no_model, "Model missing");
    let mut unknown = sentence_piece();
    unknown["model"]["type"] = "Telepathy".into();
    check(&unknown, "read a tokenizer");
    let mut far = sentence_piece();
    far["model"]["vocab"]["ab"] = 4_000_000_000_u32.into();
    check(&far, "a token has the id 4000000000");
    let mut table = sentence_piece();
    table["normalizer"]["normalizers"][0] = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "?"});
    check(&table, "Invalid");
    let missing = Tokenizer::from_dir("no/such/folder").unwrap_err().to_string();
    assert!(missing.contains("no/such/folder"), "{missing}");
}

/// Wherever it was cut.
#[test]
fn a_file_that_was_cut_is_refused() {
    let (folder, _) = other(&sentence_piece());
    let path = folder.path().join("tokenizer.json");
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7) {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = Tokenizer::from_dir(folder.path()).unwrap_err();
        assert!(matches!(&error, PolicyError::Json { path: named, .. } if *named == path), "{length}: {error}");
    }
}

/// A tokenizer with this chat template.
fn with_template(template: &str) -> Tokenizer {
    let mut tokenizer = TRAINED.clone();
    tokenizer.config.insert("chat_template".into(), template.into());
    tokenizer
}

#[test]
fn chat_templates_render_as_in_transformers() {
    // Made by tests/goldens/chat.py.
    let cases: Vec<serde_json::Value> = serde_json::from_str(include_str!("../../tests/goldens/chat.json")).unwrap();
    for case in cases {
        let mut tokenizer = with_template(case["template"].as_str().unwrap());
        tokenizer.config.insert("bos_token".into(), "<s>".into());
        tokenizer.config.insert("eos_token".into(), serde_json::json!({"content": "</s>"}));
        let variables = case["variables"].as_object().unwrap().clone();
        let options = ChatOptions {
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
            now: None,
            variables: variables.into_iter().collect(),
        };
        let rendered = tokenizer.render_chat(case["messages"].as_array().unwrap(), &options);
        match (rendered, case["expected"].as_str()) {
            (Ok(found), Some(expected)) => assert_eq!(found, expected, "{}", case["name"]),
            (Err(error), None) => {
                let message = error.to_string();
                assert!(message.contains(case["error"].as_str().unwrap()), "{message}");
            }
            (found, expected) => panic!("{}: {found:?}, expected {expected:?}", case["name"]),
        }
    }
}

/// What marks the assistant's words for training puts nothing into the text.
#[test]
fn marks_of_generation_are_passed_over() {
    let marked =
        "{%- for m in messages -%}\n  {% generation %}\n[{{ m.content }}]\n  {%- endgeneration %}\n{% endfor %}{%";
    let plain = marked.replace("endgeneration", "endif").replace("generation", "if true");
    let messages = [Message { role: "user".to_owned(), content: "{% generation %}".to_owned() }];
    let text =
        |template: &str| with_template(template.trim_end_matches("{%")).render_chat(&messages, &ChatOptions::default());
    assert_eq!(text(marked).unwrap(), text(&plain).unwrap());
    assert!(text(marked).unwrap().contains("[{% generation %}]"));
    // One that is not closed is refused as any other.
    assert!(with_template(marked).render_chat(&messages, &ChatOptions::default()).is_err());
}

#[test]
fn a_template_knows_the_date_that_it_is_given_and_no_other() {
    let tokenizer = with_template("{{ strftime_now('%d %b %Y') }}");
    let options = |now| ChatOptions { now, ..ChatOptions::default() };
    let render = |now| tokenizer.render_chat::<Message>(&[], &options(now));
    assert_eq!(render(Some(1_721_952_000)).unwrap(), "26 Jul 2024");
    assert!(render(None).unwrap_err().to_string().contains("the template asks for the date"));
    assert!(with_template("{{ strftime_now('%Q') }}").render_chat::<Message>(&[], &options(Some(0))).is_err());
}

#[test]
fn special_tokens_of_a_conversation_are_tokens() {
    let tokenizer = with_template("{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}");
    let message = Message { role: "user".into(), content: "12".into() };
    let ids = tokenizer.encode_chat(&[message], &ChatOptions::default()).unwrap();
    assert_eq!((ids.first(), ids.last()), (Some(&0), Some(&1)));
    assert_eq!(tokenizer.decode(&ids), "12");
}

#[test]
fn bad_templates_are_refused_and_hostile_ones_end() {
    fn check(template: &str, expected: &str) {
        let message = Message { role: "user".into(), content: String::new() };
        let error = with_template(template).render_chat(&[message], &ChatOptions::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    check("a\n{% if %}", "chat_template:2");
    check("{{ messages[0].content.nonsense() }}", "nonsense");
    check("{{ messages[0].content.partition('') }}", "empty separator");
    check("{{ '%s' % messages[0].role }}", "chat_template:1");
    check("{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}", "fuel");
    let none = TRAINED.render_chat::<Message>(&[], &ChatOptions::default()).unwrap_err().to_string();
    assert!(none.contains("has none"), "{none}");
}

#[test]
fn a_template_in_a_file_of_its_own_is_read_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    TRAINED.save(folder.path()).unwrap();
    std::fs::write(folder.path().join("chat_template.jinja"), "hello {{ messages | length }}").unwrap();
    let read = Tokenizer::from_dir(folder.path()).unwrap();
    let again = tempfile::tempdir().unwrap();
    read.save(again.path()).unwrap();
    let read = Tokenizer::from_dir(again.path()).unwrap();
    assert_eq!(read.render_chat::<Message>(&[], &ChatOptions::default()).unwrap(), "hello 0");
}
