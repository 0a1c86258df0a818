//! Numbers with error bounds: real balls ([`ball`]), the elementary functions on them ([`elementary`]) and complex numbers
//! made of two ([`complex`]).
//!
//! A ball holds the true value for certain, so two values whose balls are disjoint differ: that is a proof. That two
//! values agree is believed where their difference stays within a ball of radius 2^-200 around zero, at several points;
//! and only of expressions that no exact method could decide.

mod ball;
mod complex;
mod elementary;

pub(crate) use ball::Ball;
pub(crate) use complex::Complex;
pub(crate) use elementary::Precision;
