//! Which pages of the cache are free, and who may have one.
//!
//! Sequences take pages as they grow, and nobody knows how long they become, so together they may want more than there are.
//! A page is given only if all sequences could still grow to their limits one after the other, in some order: the banker's
//! algorithm (Dijkstra, EWD 623). A sequence that may not have its page waits until others have ended. So more
//! sequences run than if each kept its limit's pages from the beginning, none has to be thrown away, and one can always go on.

/// The free pages.
pub(super) struct Pages {
    free: Vec<i32>,
}

/// A sequence's own pages: those it has, and the most it may need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) held: usize,
    pub(super) most: usize,
}

impl Pages {
    pub(super) fn new(count: usize) -> Self {
        Pages { free: (0..).take(count).collect() }
    }

    /// How many are free.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes pages; as many as there are, so ask [`Pages::may_take`] before.
    pub(super) fn take(&mut self, count: usize) -> Vec<i32> {
        self.free.split_off(self.free.len().saturating_sub(count))
    }

    pub(super) fn give_back(&mut self, pages: impl IntoIterator<Item = i32>) {
        self.free.extend(pages);
    }

    /// Whether so many pages may be taken, if afterwards sequences have these claims.
    pub(super) fn may_take(&self, count: usize, claims: impl Iterator<Item = Claim>) -> bool {
        let Some(mut free) = self.free().checked_sub(count) else { return false };
        let mut claims: Vec<Claim> = claims.collect();
        claims.sort_unstable_by_key(|claim| claim.most - claim.held);
        // Whoever needs least is first: when it ends, its pages are free too.
        claims.into_iter().all(|Claim { held, most }| {
            let can_end = most - held <= free;
            free += held;
            can_end
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_given_only_if_all_can_still_end() {
        let claim = |held, most| Claim { held, most };
        let pages = Pages::new(3);
        // One that needs 3 more can end, then the others with its pages.
        assert!(pages.may_take(0, [claim(2, 5), claim(1, 6)].into_iter()));
        assert!(!pages.may_take(1, [claim(2, 5), claim(1, 6)].into_iter()));
        assert!(pages.may_take(1, [claim(3, 5), claim(1, 6)].into_iter()));
        assert!(!pages.may_take(1, [claim(3, 5), claim(1, 7)].into_iter()));
        assert!(!pages.may_take(4, std::iter::empty()));
        assert!(pages.may_take(3, std::iter::empty()));
    }

    #[test]
    fn pages_come_back() {
        let mut pages = Pages::new(4);
        let taken = pages.take(3);
        assert_eq!((taken.len(), pages.free()), (3, 1));
        pages.give_back(taken);
        let mut all = pages.take(4);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
    }
}
