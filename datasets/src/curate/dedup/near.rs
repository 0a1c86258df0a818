//! Near repetitions: candidates by bands of signatures, decided by the Jaccard similarity of the shingles themselves.
//!
//! A row is dropped exactly where an earlier row that is *kept* is similar enough, so nothing is dropped over a chain of
//! likenesses. Signatures and shingles lie on disk and are read band by band: memory holds 12 bytes for each row and what
//! the candidates need. Within a band, a row is compared with the first and the last few of those that share its key, so a
//! crowd of near-equal rows costs its size and not its square; and in a crowd that shares a template, with those that share
//! one of its rare shingles with it.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::frame::said;
use super::super::job::Dedup;
use super::super::text::{jaccard, runs, words};
use super::super::work::{Work, each_part};
use super::Repeats;
use super::minhash::{Signer, band_key, bands_for};
use crate::error::DatasetError;
use crate::random::mix;

/// With how many of the first, and of the last, rows of a key a row is compared.
const NEIGHBOURS: usize = 8;

/// A shingle that no more rows of a crowd have is rare: all of them are compared.
const RARE: usize = 64;

/// Shingles that are held for that at a time. A crowd with more is looked at piece by piece.
const HELD: usize = 1 << 21;

/// Shingles and band keys on disk.
struct Spill {
    shingles: File,
    keys: File,
    paths: [PathBuf; 2],
    /// Where the shingles of each row begin, in numbers of 64 bits; one more for the end.
    offsets: Vec<u64>,
    /// The first row, the rows and the place in `keys` of each part.
    parts: Vec<(usize, usize, u64)>,
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> DatasetError + '_ {
    |source| DatasetError::Write { path: path.to_owned(), source }
}

pub(super) fn find(
    dedup: &Dedup,
    threshold: f64,
    exact: &Repeats,
    work: &mut Work<'_>,
    scratch: &Path,
) -> Result<Repeats, DatasetError> {
    let (bands, rows) = bands_for(dedup.permutations, threshold);
    work.tally.notes.push(format!(
        "near repetitions: {bands} bands of {rows} values, shingles of {} words, similarity {threshold} or more",
        dedup.shingle
    ));
    let mut spill = spill(dedup, bands, rows, exact, work, scratch)?;
    // Pairs that are similar enough: (later row, earlier row, similarity).
    let mut pairs: Vec<(u32, u32, f32)> = Vec::new();
    for band in 0..bands {
        if work.host.stop_requested() {
            return Err(DatasetError::Stopped);
        }
        let mut keys = spill.band(band, exact)?;
        keys.sort_unstable();
        for crowd in keys.chunk_by(|left, right| left.0 == right.0).filter(|crowd| crowd.len() > 1) {
            spill.compare(crowd, threshold, &mut pairs)?;
        }
        // The same pair is found in several bands.
        pairs.sort_unstable_by_key(|pair| (pair.0, pair.1));
        pairs.dedup_by_key(|pair| (pair.0, pair.1));
    }
    let mut repeats: Repeats = vec![None; exact.len()];
    for &(later, earlier, similarity) in &pairs {
        // In ascending order of the later row, so whether the earlier one stays is known.
        if repeats[later as usize].is_none() && repeats[earlier as usize].is_none() {
            repeats[later as usize] = Some((earlier, similarity));
        }
    }
    let [shingles, keys] = &spill.paths;
    std::fs::remove_file(shingles).map_err(io(shingles))?;
    std::fs::remove_file(keys).map_err(io(keys))?;
    Ok(repeats)
}

fn spill(
    dedup: &Dedup,
    bands: usize,
    rows: usize,
    exact: &Repeats,
    work: &Work<'_>,
    scratch: &Path,
) -> Result<Spill, DatasetError> {
    let paths = [scratch.join("shingles"), scratch.join("keys")];
    let create =
        |path: &Path| File::options().create(true).truncate(true).read(true).write(true).open(path).map_err(io(path));
    let (mut shingles, mut keys) = (BufWriter::new(create(&paths[0])?), BufWriter::new(create(&paths[1])?));
    let signer = Signer::new(bands * rows);
    let mut offsets = vec![0_u64];
    let mut parts = Vec::new();
    let (mut row, mut place) = (0, 0_u64);
    each_part(
        work.input,
        work.host,
        &["prompt", "turns"],
        |_, frame| {
            let signed = said(&frame)?.into_iter().map(|said| {
                let words = words(&said, dedup.reading());
                let mut shingles: Vec<u64> = runs(&words, dedup.shingle).collect();
                shingles.sort_unstable();
                shingles.dedup();
                let signature = signer.sign(&shingles);
                let keys: Vec<u64> =
                    signature.chunks(rows).enumerate().map(|(number, band)| band_key(band, number)).collect();
                (shingles, keys)
            });
            Ok(signed.collect::<Vec<_>>())
        },
        |_, part| {
            parts.push((row, part.len(), place));
            for (at, (set, _)) in part.iter().enumerate() {
                // What is dropped already is not compared with anything.
                let set = if exact[row + at].is_some() { &[][..] } else { set };
                for shingle in set {
                    shingles.write_all(&shingle.to_le_bytes()).map_err(io(&paths[0]))?;
                }
                offsets.push(offsets[offsets.len() - 1] + set.len() as u64);
            }
            // Band by band within the part, so that a band is one run of bytes.
            for band in 0..bands {
                for (_, row_keys) in &part {
                    keys.write_all(&row_keys[band].to_le_bytes()).map_err(io(&paths[1]))?;
                }
            }
            row += part.len();
            place += (part.len() * bands * 8) as u64;
            Ok(())
        },
    )?;
    let whole =
        |writer: BufWriter<File>, path: &Path| writer.into_inner().map_err(|error| io(path)(error.into_error()));
    let shingles = whole(shingles, &paths[0])?;
    let keys = whole(keys, &paths[1])?;
    Ok(Spill { shingles, keys, paths, offsets, parts })
}

impl Spill {
    /// The keys of one band with their rows, without those rows that repeat another exactly.
    fn band(&mut self, band: usize, exact: &Repeats) -> Result<Vec<(u64, u32)>, DatasetError> {
        let mut keys = Vec::with_capacity(exact.len());
        let mut bytes = Vec::new();
        for &(first, count, place) in &self.parts {
            bytes.resize(count * 8, 0);
            self.keys
                .seek(SeekFrom::Start(place + (band * count * 8) as u64))
                .and_then(|_| self.keys.read_exact(&mut bytes))
                .map_err(io(&self.paths[1]))?;
            for (at, word) in bytes.chunks_exact(8).enumerate() {
                let row = first + at;
                let no_words = self.offsets[row] == self.offsets[row + 1];
                if exact[row].is_none() && !no_words {
                    let mut key = [0; 8];
                    key.copy_from_slice(word);
                    keys.push((u64::from_le_bytes(key), u32::try_from(row).unwrap_or(u32::MAX)));
                }
            }
        }
        Ok(keys)
    }

    fn set(&mut self, row: u32) -> Result<Vec<u64>, DatasetError> {
        let (start, end) = (self.offsets[row as usize], self.offsets[row as usize + 1]);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0) * 8];
        self.shingles
            .seek(SeekFrom::Start(start * 8))
            .and_then(|_| self.shingles.read_exact(&mut bytes))
            .map_err(io(&self.paths[0]))?;
        Ok(bytes
            .chunks_exact(8)
            .map(|word| word.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
            .collect())
    }

    /// Compares the rows of one key, ascending, each with the first few and the few just before it, and those of a larger
    /// crowd also by their rare shingles.
    fn compare(
        &mut self,
        crowd: &[(u64, u32)],
        threshold: f64,
        pairs: &mut Vec<(u32, u32, f32)>,
    ) -> Result<(), DatasetError> {
        let mut first: Vec<(u32, Vec<u64>)> = Vec::new();
        let mut last: std::collections::VecDeque<(u32, Vec<u64>)> = std::collections::VecDeque::new();
        let (mut held, mut shingles): (Vec<(u32, Vec<u64>)>, usize) = (Vec::new(), 0);
        for &(_, row) in crowd {
            let set = self.set(row)?;
            if crowd.len() > 2 * NEIGHBOURS {
                if shingles + set.len() > HELD {
                    compare_by_rare(&std::mem::take(&mut held), threshold, pairs);
                    shingles = 0;
                }
                shingles += set.len();
                held.push((row, set.clone()));
            }
            for (earlier, other) in first.iter().chain(&last) {
                let similarity = jaccard(&set, other);
                if similarity >= threshold {
                    pairs.push((row, *earlier, similarity as f32));
                }
            }
            if first.len() < NEIGHBOURS {
                first.push((row, set));
            } else {
                last.push_back((row, set));
                if last.len() > NEIGHBOURS {
                    last.pop_front();
                }
            }
        }
        compare_by_rare(&held, threshold, pairs);
        Ok(())
    }
}

/// Compares those of the rows, ascending, that share a rare shingle among the rarest of each (the prefixes of Chaudhuri,
/// Ganti, Kaushik: A Primitive Operator for Similarity Joins, 2006). Sets as similar as the threshold share one of the
/// `size - least overlap + 1` rarest shingles of either; so only such pairs are not looked at that have in common nothing but
/// what more than [`RARE`] rows have.
fn compare_by_rare(rows: &[(u32, Vec<u64>)], threshold: f64, pairs: &mut Vec<(u32, u32, f32)>) {
    // How many rows have a shingle, or one that falls on its place: the order only has to be the same for all rows.
    let places = rows.iter().map(|(_, set)| set.len()).sum::<usize>().next_power_of_two();
    let place = |shingle: u64| mix(shingle) as usize & (places - 1);
    let mut often = vec![0_u32; places];
    rows.iter().flat_map(|(_, set)| set).for_each(|&shingle| often[place(shingle)] += 1);
    let mut with_rare: Vec<(u64, usize)> = Vec::new();
    for (at, (_, set)) in rows.iter().enumerate() {
        let mut rarest: Vec<(u32, u64)> = set.iter().map(|&shingle| (often[place(shingle)], shingle)).collect();
        rarest.sort_unstable();
        let least_overlap = (threshold * set.len() as f64).ceil() as usize;
        let prefix = rarest.iter().take((set.len() + 1).saturating_sub(least_overlap));
        with_rare.extend(prefix.filter(|(often, _)| *often as usize <= RARE).map(|&(_, shingle)| (shingle, at)));
    }
    with_rare.sort_unstable();
    let mut candidates: Vec<(usize, usize)> = Vec::new();
    for sharing in with_rare.chunk_by(|left, right| left.0 == right.0) {
        for (later, &(_, one)) in sharing.iter().enumerate() {
            candidates.extend(sharing[..later].iter().map(|&(_, other)| (one, other)));
        }
        if candidates.len() > HELD {
            compare_all(rows, &mut candidates, threshold, pairs);
        }
    }
    compare_all(rows, &mut candidates, threshold, pairs);
}

/// Compares pairs of rows, later and earlier, of which some may be there several times, and leaves none.
fn compare_all(
    rows: &[(u32, Vec<u64>)],
    candidates: &mut Vec<(usize, usize)>,
    threshold: f64,
    pairs: &mut Vec<(u32, u32, f32)>,
) {
    candidates.sort_unstable();
    candidates.dedup();
    for (one, other) in candidates.drain(..) {
        let ((later, one), (earlier, other)) = (&rows[one], &rows[other]);
        let (less, more) = (one.len().min(other.len()), one.len().max(other.len()));
        // So unequal in size, they cannot be alike.
        if (less as f64) < threshold * more as f64 {
            continue;
        }
        let similarity = jaccard(one, other);
        if similarity >= threshold {
            pairs.push((*later, *earlier, similarity as f32));
        }
    }
}
