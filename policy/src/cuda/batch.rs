//! A packed batch on the card.

use device::ops::Rope;
use device::ops::tree::{Segment, Tree};
use device::{Buffer, Device, Result, Slice};

use super::Resident;
use crate::model::batch::PackedBatch;

/// A batch on the card.
pub(super) struct Inputs {
    pub(super) token_ids: Vec<u32>,
    pub(super) target_rows: Vec<u32>,
    positions: Buffer<u32>,
    pub(super) target_ids: Buffer<u32>,
    tree: Tree,
}

/// What the layers of a pass are told of the batch.
pub(super) struct Batch<'a> {
    pub(super) device: &'a Device,
    pub(super) rope: Rope<'a>,
    pub(super) tree: &'a Tree,
    /// Of each row in its sequence, `[n]`.
    pub(super) positions: Slice<'a, u32>,
    pub(super) rows: usize,
}

impl Inputs {
    pub(super) fn new(device: &Device, batch: &PackedBatch, group: usize) -> Result<Inputs> {
        let segments = batch.layouts.segments().iter();
        let segments: Vec<Segment> =
            segments.map(|segment| Segment { rows: segment.rows.clone(), parent: segment.parent }).collect();
        Ok(Inputs {
            token_ids: batch.token_ids.clone(),
            target_rows: batch.target_rows.clone(),
            positions: device.upload(&batch.positions(), "positions of a batch")?,
            target_ids: device.upload(&batch.target_ids, "targets of a batch")?,
            tree: Tree::new(device, &segments, group)?,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.token_ids.len()
    }

    /// For the layers of a policy.
    pub(super) fn batch<'a>(&'a self, resident: &'a Resident) -> Batch<'a> {
        Batch {
            device: resident.device(),
            rope: resident.rope(),
            tree: &self.tree,
            positions: self.positions.view(),
            rows: self.rows(),
        }
    }
}
