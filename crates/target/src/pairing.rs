//! Which vectors of a lane share a row: the most disjoint pairs.

use petgraph::algo::maximum_matching;
use petgraph::graph::{NodeIndex, UnGraph};

use crate::Columns;

/// Most vectors that are matched at once: the search takes up to the cube of this. Longer lists are cut.
const MATCHED: usize = 512;

/// Pairs vectors that have no column in common: as many pairs as there can be (a maximum matching), among
/// each 512 consecutive vectors. Every vector is in one entry; pairs have the lower index first; entries are
/// in the order of their first index.
pub fn pair(columns: &[Columns]) -> Vec<(usize, Option<usize>)> {
    let mut rows = Vec::new();
    for (chunk, columns) in columns.chunks(MATCHED).enumerate() {
        let start = chunk * MATCHED;
        rows.extend(matched(columns).into_iter().map(|(a, b)| (a + start, b.map(|b| b + start))));
    }
    rows
}

fn matched(columns: &[Columns]) -> Vec<(usize, Option<usize>)> {
    // With a column in all of them, no two fit together.
    let common = columns.iter().fold(Columns::MAX, |common, columns| common & columns);
    if common != 0 {
        return (0..columns.len()).map(|a| (a, None)).collect();
    }
    let mut graph: UnGraph<(), ()> = UnGraph::default();
    for _ in columns {
        graph.add_node(());
    }
    for (a, first) in columns.iter().enumerate() {
        for b in (a + 1..columns.len()).filter(|b| first & columns[*b] == 0) {
            graph.add_edge(NodeIndex::new(a), NodeIndex::new(b), ());
        }
    }
    let matching = maximum_matching(&graph);
    (0..columns.len())
        .filter_map(|a| match matching.mate(NodeIndex::new(a)).map(NodeIndex::index) {
            Some(b) if b < a => None,
            mate => Some((a, mate)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use espalier_ir::Random;

    use super::*;

    /// Most pairs, trying everything.
    fn most(columns: &[Columns]) -> usize {
        let Some((first, rest)) = columns.split_first() else { return 0 };
        let with = |i: usize| {
            let mut left = rest.to_vec();
            left.remove(i);
            1 + most(&left)
        };
        let paired = (0..rest.len()).filter(|i| first & rest[*i] == 0).map(with).max();
        paired.unwrap_or(0).max(most(rest))
    }

    #[test]
    fn pairs_are_disjoint_and_as_many_as_possible() {
        let mut random = Random::new(3);
        for case in 0..200 {
            let count = case % 9;
            let columns: Vec<Columns> = (0..count).map(|_| 1 + (random.bits() & random.bits()) as u32 % 255).collect();
            let rows = pair(&columns);
            let mut all: Vec<usize> = rows.iter().flat_map(|(a, b)| std::iter::once(*a).chain(*b)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
            let pairs: Vec<_> = rows.iter().filter_map(|(a, b)| Some((*a, (*b)?))).collect();
            assert!(pairs.iter().all(|(a, b)| a < b && columns[*a] & columns[*b] == 0));
            assert_eq!(pairs.len(), most(&columns), "{columns:?}");
            assert!(rows.is_sorted());
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let columns: Vec<Columns> = (0..1500).map(|i| 1 << (i % 2)).collect();
        assert_eq!(pair(&columns).len(), 750);
    }
}
