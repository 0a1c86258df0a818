#[path = "../../tests/suite/gradients.rs"]
mod gradients;
#[path = "../../tests/suite/rollout.rs"]
mod rollout;
