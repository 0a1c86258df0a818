//! Tests that go through more than one crate, or through a whole run, in one binary.
//!
//! | module | what it shows |
//! |---|---|
//! | `gradients` | every operation's gradient is the finite difference and the plain composition's |
//! | `rollout` | sampling from the compressed cache agrees with the training pass, whatever the batch |
//! | `learning` | a step of GRPO makes what is rewarded likelier; equal rewards change nothing |
//! | `losses` | every loss and option learns; a learning rate of 0 or equal rewards change nothing; references move when due |
//! | `determinism` | one seed, one result, with any number of threads |
//! | `resume` | a run that was killed or interrupted ends as if it had not been |
//! | `custom` | a recipe's own reward scores whole groups, on any number of threads, and fails with its file and line |
//! | `curation` | the shipped curation jobs count rightly; a wrong job is refused with its line |
//! | `damage` | bad input ends in a message that says what and where, and costs no finished work |
//! | `evaluation` | an evaluation that was stopped ends as if it had not been; models are compared in pairs |
//! | `experiments` | variants and seeds as runs, and what is made of them |
//! | `hostile` | programs that attack the grader score 0 with a cause |
//! | `stages` | chains of stages: each does its work, is killed and goes on, and is refused where it does not fit |
//! | `smoke` | the shipped recipes, one of them from its first stage to its report |
//! | `real_files` | GSM8K and MBPP as they lie, where they lie there |
//! | `support` | the small recipe that most of them run, and what a run leaves |
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod curation;
mod custom;
mod damage;
mod determinism;
mod evaluation;
mod experiments;
mod gradients;
mod hostile;
mod learning;
mod losses;
mod real_files;
mod resume;
mod rollout;
mod smoke;
mod stages;
mod support;
