//! Rewards by name: those that come with this program, and those that somebody adds.

use std::sync::Arc;

use sandbox::{Limits, Python};

use crate::code::{Code, CodeParameters};
use crate::math::{Accuracy, Choice};
use crate::nearest::nearest;
use crate::parameter::{Given, NoParameters, ParameterHelp, Parameters};
use crate::shape::{
    CodeFormat, CodeFormatParameters, Cosine, CosineParameters, Format, LanguageConsistency, LanguageParameters,
    Length, LengthParameters, OverlongParameters, ReasoningSteps, RepetitionParameters, RepetitionPenalty,
    SoftOverlong, Steps, TagCount,
};
use crate::{CustomKind, Reward, RewardError, RewardSet, RewardSpec};

/// When a reward needs a prepared interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PythonUse {
    /// Never.
    Never,
    /// Where there are tasks that are answered by programs: it scores nothing else.
    ForPrograms,
    /// Always.
    Always,
}

/// What a known reward is, for lists and help texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewardDescription {
    /// The name a recipe uses.
    pub name: &'static str,
    /// One sentence: what it scores and how.
    pub summary: &'static str,
    /// When it needs a prepared interpreter.
    pub python: PythonUse,
    /// What it can be told.
    pub parameters: Vec<ParameterHelp>,
}

/// What rewards are built with.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Runs the programs of those that need it.
    pub python: Option<Arc<Python>>,
    /// What one program may use.
    pub limits: Limits,
}

impl Surroundings {
    /// The interpreter, for the reward called `reward`.
    ///
    /// # Errors
    /// [`RewardError::NeedsPython`] where none was given.
    pub fn python(&self, reward: &str) -> Result<Arc<Python>, RewardError> {
        self.python.clone().ok_or_else(|| RewardError::NeedsPython { name: reward.to_owned() })
    }
}

type Build = dyn Fn(&Surroundings, &Given) -> Result<Box<dyn Reward>, RewardError> + Send + Sync;

#[derive(Clone)]
struct Entry {
    description: RewardDescription,
    check: fn(&str, &Given) -> Result<(), RewardError>,
    build: Arc<Build>,
}

/// The rewards that a recipe can name.
///
/// ```
/// use rewards::parameter::NoParameters;
/// use rewards::{PythonUse, Reference, Registry, Reward, RewardError, Sample, Score};
///
/// /// Full marks for an answer that says so.
/// struct Polite;
///
/// impl Reward for Polite {
///     fn name(&self) -> &str {
///         "polite"
///     }
///     fn applies(&self, _: &Reference) -> bool {
///         true
///     }
///     fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
///         Ok(if sample.completion.contains("please") { Score::full() } else { Score::zero("impolite") })
///     }
/// }
///
/// let registry = Registry::builtin().with::<NoParameters>(
///     "polite",
///     "1 where the completion says please; else 0.",
///     PythonUse::Never,
///     |_, _| Ok(Box::new(Polite)),
/// );
/// assert!(registry.names().contains(&"polite"));
/// ```
#[derive(Clone)]
pub struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// The rewards that come with this program.
    #[must_use]
    pub fn builtin() -> Self {
        Self { entries: Vec::new() }
            .with::<NoParameters>(
                "accuracy",
                "1 where the answer equals the reference, exactly (mathematics and Countdown); else 0.",
                PythonUse::Never,
                |_, _| Ok(Box::new(Accuracy)),
            )
            .with::<CodeParameters>(
                "code",
                "The share of its tests that the answer's Python passes in the sandbox.",
                PythonUse::ForPrograms,
                |surroundings, given| Ok(Box::new(Code::new(surroundings.python("code")?, surroundings.limits, &given))),
            )
            .with::<NoParameters>(
                "binary_code",
                "1 where the answer's Python passes all of its tests in the sandbox; else 0.",
                PythonUse::ForPrograms,
                |surroundings, _| Ok(Box::new(Code::binary(surroundings.python("binary_code")?, surroundings.limits))),
            )
            .with::<NoParameters>(
                "choice",
                "1 where the right one of several given answers is picked, by its letter or text; else 0.",
                PythonUse::Never,
                |_, _| Ok(Box::new(Choice)),
            )
            .with::<NoParameters>(
                "format",
                "1 where the completion is <think>...</think> <answer>...</answer> and nothing else; else 0.",
                PythonUse::Never,
                |_, _| Ok(Box::new(Format)),
            )
            .with::<NoParameters>(
                "tag_count",
                "A quarter for each of R1-Zero's four tags that stands exactly once.",
                PythonUse::Never,
                |_, _| Ok(Box::new(TagCount)),
            )
            .with::<CodeFormatParameters>(
                "code_format",
                "As format, and the answer holds a fenced block of the language.",
                PythonUse::Never,
                |_, given| Ok(Box::new(CodeFormat(given))),
            )
            .with::<Steps>(
                "reasoning_steps",
                "Markers of steps (Step 1:, First, lists), up to full marks for a number of them.",
                PythonUse::Never,
                |_, given| Ok(Box::new(ReasoningSteps(given))),
            )
            .with::<LengthParameters>(
                "length",
                "From 0.5 for the shortest of a prompt's completions to -0.5 for the longest; wrong ones get no more than 0.",
                PythonUse::Never,
                |_, given| Ok(Box::new(Length(given))),
            )
            .with::<CosineParameters>(
                "cosine",
                "Falls with the length of a right answer, rises with that of a wrong one, as a cosine.",
                PythonUse::Never,
                |_, given| Ok(Box::new(Cosine(given))),
            )
            .with::<OverlongParameters>(
                "soft_overlong",
                "0, falling to -1 as the tokens near a limit.",
                PythonUse::Never,
                |_, given| Ok(Box::new(SoftOverlong(given))),
            )
            .with::<RepetitionParameters>(
                "repetition_penalty",
                "0, falling with the share of repeated runs of words.",
                PythonUse::Never,
                |_, given| Ok(Box::new(RepetitionPenalty(given))),
            )
            .with::<LanguageParameters>(
                "language_consistency",
                "The share of the thought's words that are in one language.",
                PythonUse::Never,
                |_, given| Ok(Box::new(LanguageConsistency(given))),
            )
    }

    /// These rewards and one more: what it is called (the same as its [`Reward::name`]), what it scores in one sentence,
    /// whether it needs Python, and how it is made from its parameters. One that has the name already is replaced.
    #[must_use]
    pub fn with<P: Parameters + 'static>(
        mut self,
        name: &'static str,
        summary: &'static str,
        python: PythonUse,
        build: impl Fn(&Surroundings, P) -> Result<Box<dyn Reward>, RewardError> + Send + Sync + 'static,
    ) -> Self {
        let entry = Entry {
            description: RewardDescription { name, summary, python, parameters: P::table() },
            check: |name, given| P::read(name, given).map(drop),
            build: Arc::new(move |surroundings, given| build(surroundings, P::read(name, given)?)),
        };
        match self.entries.iter_mut().find(|known| known.description.name == name) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
        self
    }

    /// Every reward that a recipe can name.
    pub fn descriptions(&self) -> impl Iterator<Item = &RewardDescription> {
        self.entries.iter().map(|entry| &entry.description)
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.descriptions().map(|known| known.name).collect()
    }

    /// The reward of this name.
    #[must_use]
    pub fn description(&self, name: &str) -> Option<&RewardDescription> {
        self.descriptions().find(|known| known.name == name)
    }

    /// When the reward needs Python. One that is not known does not: [`Registry::check`] reports it.
    #[must_use]
    pub fn python_use(&self, spec: &RewardSpec) -> PythonUse {
        if let Some(custom) = &spec.custom {
            let python = custom.kind() == Some(CustomKind::Python);
            return if python { PythonUse::Always } else { PythonUse::Never };
        }
        self.description(&spec.name).map_or(PythonUse::Never, |known| known.python)
    }

    /// Whether any of `specs` needs Python, for tasks of which some are (`programs`) answered by programs.
    #[must_use]
    pub fn need_python(&self, specs: &[RewardSpec], programs: bool) -> bool {
        specs.iter().any(|spec| match self.python_use(spec) {
            PythonUse::Never => false,
            PythonUse::ForPrograms => programs,
            PythonUse::Always => true,
        })
    }

    /// That a reward can be built as it is named, but for an interpreter that it may need and for what is in its file.
    ///
    /// # Errors
    /// A file's reward with the name of a known one; an unknown name (with the nearest known one), a weight that is not finite, an unknown parameter or one that is not
    /// allowed.
    pub fn check(&self, spec: &RewardSpec) -> Result<(), RewardError> {
        let name = || spec.name.clone();
        if !spec.weight.is_finite() {
            return Err(RewardError::BadWeight { name: name(), weight: spec.weight });
        }
        // What a file's own reward can be told only the file knows; it is asked when it is built.
        match &spec.custom {
            Some(_) if self.description(&spec.name).is_some() => Err(RewardError::NameTaken { name: name() }),
            Some(_) => Ok(()),
            None => (self.entry(&spec.name)?.check)(&spec.name, &spec.parameters),
        }
    }

    /// The rewards that `specs` name, with their weights.
    ///
    /// # Errors
    /// What [`Registry::check`] reports; a repeated name, an empty list, or a missing interpreter.
    pub fn build(&self, specs: &[RewardSpec], surroundings: &Surroundings) -> Result<RewardSet, RewardError> {
        if specs.is_empty() {
            return Err(RewardError::Empty { known: self.names().join(", ") });
        }
        let mut rewards: Vec<(Box<dyn Reward>, f64)> = Vec::with_capacity(specs.len());
        for spec in specs {
            self.check(spec)?;
            if rewards.iter().any(|(reward, _)| reward.name() == spec.name) {
                return Err(RewardError::Duplicate { name: spec.name.clone() });
            }
            let reward = match &spec.custom {
                Some(custom) => custom.build(&spec.name, &spec.parameters, surroundings)?,
                None => (self.entry(&spec.name)?.build)(surroundings, &spec.parameters)?,
            };
            rewards.push((reward, spec.weight));
        }
        Ok(RewardSet::from_rewards(rewards))
    }

    fn entry(&self, name: &str) -> Result<&Entry, RewardError> {
        self.entries.iter().find(|entry| entry.description.name == name).ok_or_else(|| {
            let names = self.names();
            let hint = nearest(name, names.iter().copied())
                .map_or(String::new(), |known| format!("; did you mean `{known}`?"));
            RewardError::Unknown { name: name.to_owned(), hint, known: names.join(", ") }
        })
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

/// Registries are the same where they know the same names.
impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameter::at_least;
    use crate::{Reference, Sample, Score};

    fn spec(name: &str, weight: f64) -> RewardSpec {
        RewardSpec { weight, ..RewardSpec::named(name) }
    }

    #[track_caller]
    fn check_error(specs: &[RewardSpec], expected: &str) {
        let error = RewardSet::build(specs, None).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_name_the_reward_and_what_to_do() {
        let known = Registry::builtin().names().join(", ");
        check_error(
            &[spec("acuracy", 1.0)],
            &format!("unknown reward `acuracy`; did you mean `accuracy`? (known: {known})"),
        );
        check_error(&[spec("banana", 1.0)], &format!("unknown reward `banana` (known: {known})"));
        check_error(
            &[spec("format", 1.0), spec("format", 2.0)],
            "reward `format` is listed twice; give it once, with the sum of the weights",
        );
        check_error(&[spec("format", f64::NAN)], "reward `format` has the weight NaN; a weight is a finite number");
        check_error(&[], &format!("no reward is named; name at least one of: {known}"));
        check_error(
            &[spec("code", 1.0)],
            "reward `code` runs programs and needs a prepared Python interpreter, and none was given",
        );
        let given = serde_json::json!({"depth": 1});
        let told = RewardSpec { parameters: given.as_object().unwrap().clone(), ..spec("accuracy", 1.0) };
        check_error(&[told], "the reward `accuracy` has no parameter `depth`; it has no parameters");
    }

    crate::parameters! {
        /// What `brief` can be told.
        BriefParameters {
            /// Characters that an answer may have.
            most: u64 = 10, at_least(1.0);
        }
    }

    struct Brief(BriefParameters);

    impl Reward for Brief {
        fn name(&self) -> &str {
            "brief"
        }

        fn applies(&self, _: &Reference) -> bool {
            true
        }

        fn score(&self, sample: &Sample<'_>) -> Result<Score, RewardError> {
            let brief = sample.completion.chars().count() as u64 <= self.0.most;
            Ok(if brief { Score::full() } else { Score::zero("too_long") })
        }
    }

    #[test]
    fn a_reward_of_ones_own_is_named_like_the_others() {
        let registry = Registry::builtin().with::<BriefParameters>(
            "brief",
            "1 where the completion is short.",
            PythonUse::Never,
            |_, parameters| Ok(Box::new(Brief(parameters))),
        );
        let description = registry.description("brief").unwrap();
        assert_eq!(description.parameters[0].expected, "a whole number, 1 or more");
        let told = |most| {
            let given = serde_json::json!({"most": most});
            RewardSpec { parameters: given.as_object().unwrap().clone(), ..spec("brief", 1.0) }
        };
        let reference = Reference::Integer { value: 1 };
        let score = |spec: RewardSpec| {
            let set = registry.build(&[spec, RewardSpec::named("format")], &Surroundings::default()).unwrap();
            set.score(&Sample::new("", "123456", &reference)).unwrap().get("brief")
        };
        assert_eq!((score(spec("brief", 1.0)), score(told(5))), (Some(1.0), Some(0.0)));
        assert!(registry.check(&told(0)).is_err());
        assert!(!Registry::builtin().names().contains(&"brief"));
    }

    #[test]
    fn python_is_needed_where_programs_are() {
        let registry = Registry::builtin();
        let specs = [spec("format", 1.0), spec("code", 1.0)];
        assert!(registry.need_python(&specs, true));
        assert!(!registry.need_python(&specs, false));
        assert!(!registry.need_python(&specs[..1], true));
    }
}
