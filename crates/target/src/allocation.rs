//! Where each part of a tensor lies in the activation lanes.
//!
//! Parts whose lives overlap get disjoint bytes. Finding the smallest total is the
//! NP-hard dynamic storage allocation problem; a few greedy orders with first fit come within a few
//! per cent on networks, and the best of them is taken.

/// Bytes and life of one part; `first..=last` are jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Bytes of every lane.
    pub bytes: usize,
    /// The first job during which it must be there.
    pub first: usize,
    /// The last one.
    pub last: usize,
}

impl Demand {
    fn meets(&self, other: &Demand) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Base addresses, in the order of the demands, and the bytes used in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Base address of each part.
    pub bases: Vec<usize>,
    /// One past the highest byte used.
    pub peak: usize,
}

/// Sorts parts for placement: the largest key first.
type Order<'a> = &'a dyn Fn(&Demand) -> (usize, usize);

/// Places all parts.
pub fn allocate(demands: &[Demand]) -> Allocation {
    let life = |d: &Demand| d.last - d.first;
    let orders: [Order; 4] = [
        &|d| (d.bytes, life(d)),
        &|d| (d.bytes.saturating_mul(life(d) + 1), d.bytes),
        &|d| (life(d), d.bytes),
        // In order of creation, as an allocator at run time would.
        &|d| (usize::MAX - d.first, d.bytes),
    ];
    orders
        .iter()
        .map(|key| {
            let mut order: Vec<usize> = (0..demands.len()).collect();
            order.sort_by_key(|i| std::cmp::Reverse(key(&demands[*i])));
            first_fit(demands, &order)
        })
        .min_by_key(|allocation| allocation.peak)
        .expect("there is more than one order")
}

/// Gives each tensor in turn the lowest address at which it overlaps no tensor placed before.
fn first_fit(demands: &[Demand], order: &[usize]) -> Allocation {
    let mut bases = vec![0; demands.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut peak = 0;
    for tensor in order {
        let demand = &demands[*tensor];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|other| demands[**other].meets(demand))
            .map(|other| (bases[*other], bases[*other] + demands[*other].bytes))
            .collect();
        taken.sort_unstable();
        let mut base = 0;
        for (start, end) in taken {
            if base + demand.bytes <= start {
                break;
            }
            base = base.max(end);
        }
        bases[*tensor] = base;
        peak = peak.max(base + demand.bytes);
        placed.push(*tensor);
    }
    Allocation { bases, peak }
}

/// The largest number of bytes alive at once: no allocation can need less.
pub fn lower_bound(demands: &[Demand]) -> usize {
    fullest(demands).map_or(0, |(_, bytes)| bytes)
}

/// The job during which most bytes are alive, and how many; the first of several.
pub(crate) fn fullest(demands: &[Demand]) -> Option<(usize, usize)> {
    let jobs = demands.iter().map(|d| d.last + 1).max().unwrap_or(0);
    // Sums of what begins less what has ended, instead of a pass over all demands for each job.
    let mut changes = vec![0isize; jobs + 1];
    for demand in demands {
        changes[demand.first] += demand.bytes as isize;
        changes[demand.last + 1] -= demand.bytes as isize;
    }
    let mut alive = 0;
    let mut most = None;
    for (job, change) in changes[..jobs].iter().enumerate() {
        alive += change;
        if most.is_none_or(|(_, bytes)| bytes < alive as usize) {
            most = Some((job, alive as usize));
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chain_alternates_between_two_places() {
        let demand = |bytes, first| Demand { bytes, first, last: first + 1 };
        let demands = [demand(10, 0), demand(20, 1), demand(10, 2), demand(5, 3)];
        let allocation = allocate(&demands);
        assert_eq!(allocation.peak, 30);
        assert_eq!(lower_bound(&demands), 30);
    }

    proptest! {
        #[test]
        fn living_tensors_never_overlap(lives in prop::collection::vec((1usize..100, 0usize..30, 0usize..8), 1..40)) {
            let demands: Vec<Demand> =
                lives.iter().map(|(bytes, first, life)| Demand { bytes: *bytes, first: *first, last: first + life }).collect();
            let Allocation { bases, peak } = allocate(&demands);
            for i in 0..demands.len() {
                prop_assert!(bases[i] + demands[i].bytes <= peak);
                for j in 0..i {
                    let apart = bases[i] + demands[i].bytes <= bases[j] || bases[j] + demands[j].bytes <= bases[i];
                    prop_assert!(apart || !demands[i].meets(&demands[j]));
                }
            }
            prop_assert!(peak >= lower_bound(&demands));
        }
    }
}
