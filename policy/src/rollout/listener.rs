//! Who is told what is sampled, while it is sampled.

use std::ops::ControlFlow;

use crate::{Completion, PolicyError, Result};

/// Takes what is sampled as it comes, and can end the call: [`RolloutEngine::stream`](super::RolloutEngine::stream).
pub trait Listener {
    /// Whether completions are followed token by token. A card has more to copy then.
    fn follows(&self) -> bool {
        false
    }

    /// How far a sequence is that goes on: told after each step that is known to the host.
    fn on_tokens(&mut self, _partial: Partial<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// A completion has ended.
    fn on_finish(&mut self, completion: Completion) -> ControlFlow<()>;
}

/// A completion that has not ended.
#[derive(Debug, Clone, Copy)]
pub struct Partial<'a> {
    /// The request's task.
    pub task: u32,
    /// Which of the task's samples this is.
    pub sample: u32,
    /// The tokens so far.
    pub token_ids: &'a [u32],
    /// Each token's log-probability when it was drawn.
    pub logprobs: &'a [f32],
}

/// One who wants all completions, each when it has ended.
pub(crate) struct Each<F>(pub(crate) F);

impl<F: FnMut(Completion)> Listener for Each<F> {
    fn on_finish(&mut self, completion: Completion) -> ControlFlow<()> {
        (self.0)(completion);
        ControlFlow::Continue(())
    }
}

/// What stands between an engine and the listener. Of logits that are no numbers a token is drawn nevertheless: what it says
/// must not pass for the model's answer, and ends the call.
pub(crate) struct Audience<'a> {
    listener: &'a mut dyn Listener,
    finite: bool,
    left: bool,
}

impl<'a> Audience<'a> {
    pub(crate) fn new(listener: &'a mut dyn Listener) -> Self {
        Audience { listener, finite: true, left: false }
    }

    pub(crate) fn follows(&self) -> bool {
        self.listener.follows()
    }

    pub(crate) fn tokens(&mut self, partial: Partial<'_>) {
        if self.stays(partial.logprobs) {
            self.left = self.listener.on_tokens(partial).is_break();
        }
    }

    pub(crate) fn finish(&mut self, completion: Completion) {
        if self.stays(&completion.logprobs) {
            self.left = self.listener.on_finish(completion).is_break();
        }
    }

    /// Whether the listener is still there to be told of tokens with these log-probabilities.
    fn stays(&mut self, logprobs: &[f32]) -> bool {
        self.finite &= logprobs.iter().all(|logprob| logprob.is_finite());
        self.left |= !self.finite;
        !self.left
    }

    /// Whether there is nobody left for whom to sample.
    pub(crate) fn is_gone(&self) -> bool {
        self.left
    }

    /// Whether all that was told is the model's.
    pub(crate) fn result(&self) -> Result<()> {
        if self.finite { Ok(()) } else { Err(PolicyError::NotFinite { operation: "sample" }) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{FinishReason, ModelConfig, Policy, Request, RolloutEngine, RolloutOptions, SamplingParams};

    /// Notes all that it is told, and leaves after some completions.
    #[derive(Default)]
    struct Follower {
        follows: bool,
        stays_for: usize,
        partials: BTreeMap<(u32, u32), Vec<Vec<u32>>>,
        completions: Vec<Completion>,
    }

    impl Listener for Follower {
        fn follows(&self) -> bool {
            self.follows
        }

        fn on_tokens(&mut self, Partial { task, sample, token_ids, logprobs }: Partial<'_>) -> ControlFlow<()> {
            assert_eq!(token_ids.len(), logprobs.len());
            self.partials.entry((task, sample)).or_default().push(token_ids.to_vec());
            ControlFlow::Continue(())
        }

        fn on_finish(&mut self, completion: Completion) -> ControlFlow<()> {
            self.completions.push(completion);
            if self.completions.len() < self.stays_for { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }
    }

    fn stream(policy: &Policy, requests: &[Request], batch: usize, mut follower: Follower) -> Result<Follower> {
        let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens: 9 };
        let options = RolloutOptions { seed: 2, step: 0, end_of_text: vec![], batch };
        RolloutEngine::new(policy)?.stream(requests, &params, &options, &mut follower)?;
        follower.completions.sort_by_key(|completion| (completion.task, completion.sample));
        Ok(follower)
    }

    fn request(task: u32, tokens: usize, samples: u32) -> Request {
        Request { task, prompt: (0..tokens).map(|at| (at % 30 + 3) as u32).collect(), samples }
    }

    /// What a call is like for its listener, wherever the policy lives.
    pub(crate) fn check(policy: &Policy) {
        let positions = policy.config().max_position_embeddings;
        let requests = [request(7, 4, 2), request(5, positions - 3, 2)];
        let all = Follower { follows: true, stays_for: 5, ..Follower::default() };
        let all = stream(policy, &requests, 3, all).unwrap();
        let ends = all.completions.iter().map(|c| (c.task, c.sample, c.token_ids.len(), c.finish_reason));
        let length = FinishReason::Length;
        assert!(ends.eq([(5, 0, 3, length), (5, 1, 3, length), (7, 0, 9, length), (7, 1, 9, length)]));
        for completion in &all.completions {
            let partials = &all.partials[&(completion.task, completion.sample)];
            let lengths = partials.iter().map(Vec::len);
            assert!(lengths.is_sorted_by(|a, b| a < b) && partials.len() + 2 >= completion.token_ids.len());
            assert!(partials.iter().all(|partial| completion.token_ids.starts_with(partial)));
        }

        let one = stream(policy, &requests, 1, Follower { stays_for: 1, ..Follower::default() }).unwrap();
        assert_eq!((one.completions.len(), one.partials.len()), (1, 0));
        let full = stream(policy, &[request(7, positions, 1)], 1, Follower::default()).err().unwrap().to_string();
        assert!(full.contains("task 7") && full.contains("positions"), "{full}");
    }

    #[test]
    fn a_listener_follows_and_ends_a_call() {
        let config = ModelConfig { initializer_range: 0.1, max_position_embeddings: 24, ..ModelConfig::tiny(50) };
        let policy = Policy::new(config, 5).unwrap();
        check(&policy);
        // The same is drawn as where each has a limit of its own.
        let whole = Follower { stays_for: 5, ..Follower::default() };
        let found = stream(&policy, &[request(7, 4, 2), request(5, 21, 2)], 4, whole).unwrap().completions;
        let mut expected = Vec::new();
        for (request, max_tokens) in [(request(5, 21, 2), 3), (request(7, 4, 2), 9)] {
            let params = SamplingParams { temperature: 1.0, top_p: 1.0, top_k: 0, max_tokens };
            let options = RolloutOptions { seed: 2, step: 0, end_of_text: vec![], batch: 1 };
            let engine = RolloutEngine::new(&policy).unwrap();
            engine.generate(&[request], &params, &options, |completion| expected.push(completion)).unwrap();
        }
        expected.sort_by_key(|completion| (completion.task, completion.sample));
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }
}
