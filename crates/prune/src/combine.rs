//! Which weight vectors of a lane share rows: pairs whose weights collide least.
//!
//! A combined row holds two vectors, and each column keeps the weight of one of them: the more important.
//! For a given number of rows this chooses vectors and partners so that as much importance as possible is
//! kept (column combining, Kung et al. 2019, arXiv 1811.04770, with groups of two freely chosen vectors).

use espalier_target::{AcceleratorConfig, Columns, Multiplier, pair};

/// One row: a vector and perhaps a second one, as indices.
pub(crate) type Pairing = Vec<(usize, Option<usize>)>;

/// Rounds of local search; it ends earlier if nothing improves.
const ROUNDS: usize = 12;

/// Vectors that compete for the rows of the same lanes, with the importance of each weight.
pub(crate) struct Candidates {
    /// Neighbouring columns that hold weights of the same vector, because they share a multiplier: 1 or 2.
    shared: usize,
    /// `scores[vector][group]` of so many columns, at least 0.
    scores: Vec<Vec<f64>>,
    /// Importance that a pair keeps; a vector with itself: the vector alone.
    worth: Vec<Vec<f64>>,
    /// Fewest rows that lose nothing, and how.
    lossless: Pairing,
}

impl Candidates {
    /// `scores[vector][column]`, and in `live[vector]` the columns in which a vector has a weight at all; on
    /// packed multipliers a pair of columns takes both weights of the same vector.
    pub fn new(scores: &[Vec<f64>], live: &[Columns], config: &AcceleratorConfig) -> Self {
        let shared = if config.multiplier == Multiplier::Packed { 2 } else { 1 };
        let grouped = |v: &Vec<f64>| v.chunks(shared).map(|group| group.iter().sum()).collect();
        let scores: Vec<Vec<f64>> = scores.iter().map(grouped).collect();
        let live: Vec<Columns> = live.iter().map(|columns| config.occupied(*columns)).collect();
        let kept = |a: &Vec<f64>, b: &Vec<f64>| a.iter().zip(b).map(|(a, b)| a.max(*b)).sum();
        let worth = scores.iter().map(|a| scores.iter().map(|b| kept(a, b)).collect()).collect();
        Candidates { shared, scores, worth, lossless: pair(&live) }
    }

    /// Importance kept.
    pub fn value(&self, rows: &Pairing) -> f64 {
        rows.iter().map(|(a, b)| self.worth[*a][b.unwrap_or(*a)]).sum()
    }

    /// At most `rows` rows that keep much importance.
    pub fn choose(&self, rows: usize) -> Pairing {
        if rows >= self.lossless.len() {
            return self.lossless.clone();
        }
        let mut search = Search::start(self, rows);
        for _ in 0..ROUNDS {
            if !(search.repair() | search.replace()) {
                break;
            }
        }
        search.rows
    }

    /// Columns that each vector of a pair keeps. Where neither is more important, the first keeps the column.
    pub fn columns(&self, first: usize, second: usize) -> [Columns; 2] {
        let mut kept = [0, 0];
        let group: Columns = (1 << self.shared) - 1;
        for (g, (a, b)) in self.scores[first].iter().zip(&self.scores[second]).enumerate() {
            kept[usize::from(b > a)] |= group << (g * self.shared);
        }
        kept
    }
}

/// Rows and the vectors that are in none.
struct Search<'a> {
    worth: &'a [Vec<f64>],
    rows: Pairing,
    unused: Vec<usize>,
}

impl<'a> Search<'a> {
    /// The most important vectors, one a row; then each of the others where it adds most.
    fn start(candidates: &'a Candidates, rows: usize) -> Self {
        let worth = &candidates.worth;
        let mut order: Vec<usize> = (0..worth.len()).collect();
        order.sort_by(|a, b| worth[*b][*b].total_cmp(&worth[*a][*a]).then(a.cmp(b)));
        let mut search = Search { worth, rows: order[..rows].iter().map(|v| (*v, None)).collect(), unused: Vec::new() };
        for v in &order[rows..] {
            let gain = |(a, _): &(usize, Option<usize>)| worth[*a][*v] - worth[*a][*a];
            let free = (0..rows).filter(|r| search.rows[*r].1.is_none());
            let best = free.max_by(|a, b| gain(&search.rows[*a]).total_cmp(&gain(&search.rows[*b])).then(b.cmp(a)));
            match best {
                Some(row) => search.rows[row].1 = Some(*v),
                None => search.unused.push(*v),
            }
        }
        search
    }

    fn row(&self, (a, b): (usize, Option<usize>)) -> f64 {
        self.worth[a][b.unwrap_or(a)]
    }

    /// Exchanges partners between two rows.
    fn repair(&mut self) -> bool {
        let mut improved = false;
        for i in 0..self.rows.len() {
            for j in i + 1..self.rows.len() {
                let ((a, b), (c, d)) = (self.rows[i], self.rows[j]);
                let now = self.row((a, b)) + self.row((c, d));
                // A row without a partner may only receive one.
                let swapped = match (b, d) {
                    (Some(b), Some(d)) => vec![((a, Some(c)), (b, Some(d))), ((a, Some(d)), (c, Some(b)))],
                    (Some(b), None) => vec![((a, Some(c)), (b, None)), ((a, None), (c, Some(b)))],
                    (None, Some(d)) => vec![((c, Some(a)), (d, None)), ((c, None), (a, Some(d)))],
                    (None, None) => continue,
                };
                for (first, second) in swapped {
                    if self.row(first) + self.row(second) > now * (1.0 + 1e-9) + 1e-300 {
                        (self.rows[i], self.rows[j]) = (first, second);
                        improved = true;
                        break;
                    }
                }
            }
        }
        improved
    }

    /// Puts unused vectors in the place of used ones.
    fn replace(&mut self) -> bool {
        let mut improved = false;
        for u in 0..self.unused.len() {
            for i in 0..self.rows.len() {
                let (a, b) = self.rows[i];
                let new = self.unused[u];
                let options = [(b.map(|b| (b, Some(new))), a), (Some((a, Some(new))), b.unwrap_or(a))];
                let now = self.row((a, b));
                for (row, dropped) in options {
                    let Some(row) = row else { continue };
                    if b.is_some() && self.row(row) > now * (1.0 + 1e-9) + 1e-300 {
                        self.rows[i] = row;
                        self.unused[u] = dropped;
                        improved = true;
                        break;
                    }
                }
            }
        }
        improved
    }
}

#[cfg(test)]
mod tests {
    use espalier_ir::Random;

    use super::*;

    fn config(multiplier: Multiplier) -> AcceleratorConfig {
        AcceleratorConfig { multiplier, combine: 2, ..AcceleratorConfig::new(8, 8, 1024, 64) }
    }

    /// The best value with at most `rows` rows, trying everything.
    fn best(c: &Candidates, left: &[usize], rows: usize) -> f64 {
        let Some((first, rest)) = left.split_first() else { return 0.0 };
        let mut most = best(c, rest, rows);
        if rows > 0 {
            most = most.max(c.worth[*first][*first] + best(c, rest, rows - 1));
            for i in 0..rest.len() {
                let mut others = rest.to_vec();
                let partner = others.remove(i);
                most = most.max(c.worth[*first][partner] + best(c, &others, rows - 1));
            }
        }
        most
    }

    fn random(seed: u64, count: usize, columns: usize) -> Candidates {
        let mut random = Random::new(seed);
        let scores: Vec<Vec<f64>> = (0..count)
            .map(|_| (0..columns).map(|_| if random.unit() < 0.3 { 0.0 } else { f64::from(random.unit()) }).collect())
            .collect();
        let live: Vec<Columns> =
            scores.iter().map(|v| v.iter().rev().fold(0, |m, s| m << 1 | Columns::from(*s > 0.0))).collect();
        Candidates::new(&scores, &live, &config(Multiplier::Plain))
    }

    #[test]
    fn close_to_the_best_choice_of_rows() {
        let (mut total, mut reached, mut exact, mut cases) = (0.0, 0.0, 0, 0);
        for seed in 0..120 {
            let count = 2 + seed as usize % 6;
            let candidates = random(seed, count, 6);
            for rows in 1..=count {
                let chosen = candidates.choose(rows);
                assert!(chosen.len() <= rows);
                let mut used: Vec<usize> = chosen.iter().flat_map(|(a, b)| std::iter::once(*a).chain(*b)).collect();
                used.sort_unstable();
                assert!(used.windows(2).all(|w| w[0] < w[1]), "a vector twice");
                let (value, most) =
                    (candidates.value(&chosen), best(&candidates, &(0..count).collect::<Vec<_>>(), rows));
                assert!(value <= most + 1e-9 && value >= 0.9 * most, "seed {seed}, {rows} rows: {value} of {most}");
                total += most;
                reached += value;
                exact += usize::from(value >= most - 1e-9);
                cases += 1;
            }
        }
        assert!(reached > 0.998 * total, "{}", reached / total);
        assert!(exact * 10 > cases * 8, "{exact} of {cases}");
    }

    #[test]
    fn columns_of_a_pair_are_divided() {
        let scores = [vec![1.0, 0.0, 3.0, 0.0], vec![2.0, 0.0, 1.0, 4.0]];
        let candidates = Candidates::new(&scores, &[0b0101, 0b1101], &config(Multiplier::Plain));
        assert_eq!(candidates.columns(0, 1), [0b0110, 0b1001]);
        assert_eq!(candidates.value(&candidates.choose(1)), 9.0);
        assert_eq!(candidates.value(&candidates.choose(2)), 11.0);
    }

    #[test]
    fn columns_that_share_a_multiplier_stay_together() {
        let scores = [vec![1.0, 0.0, 3.0, 0.0, 5.0], vec![2.0, 0.0, 1.0, 1.5, 4.0], vec![0.0, 9.0, 0.0, 0.0, 0.0]];
        let candidates = Candidates::new(&scores, &[0b10101, 0b11101, 0b00010], &config(Multiplier::Packed));
        assert_eq!(candidates.columns(0, 1), [0b111100, 0b000011]);
        assert_eq!(candidates.value(&vec![(0, Some(1))]), 2.0 + 3.0 + 5.0);
        // Without shared multipliers the third fits beside the first.
        assert_eq!(candidates.choose(9).len(), 3);
        let plain = Candidates::new(&scores, &[0b10101, 0b11101, 0b00010], &config(Multiplier::Plain));
        assert_eq!(plain.choose(9).len(), 2);
    }
}
