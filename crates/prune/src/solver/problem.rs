//! The optimization problem as data, and its tables laid out for quick access.

/// Most resources that can be limited at once.
pub(super) const MAX_RESOURCES: usize = 8;

/// What a small set of variables costs together: one layer of a network, for example.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Factor {
    /// The variables, each once.
    pub scope: Vec<usize>,
    /// Loss of every combination of candidates, row-major in the order of `scope` (the last variable
    /// varies fastest); infinite = forbidden. Empty: no loss.
    pub loss: Vec<f64>,
    /// `costs[r]`, laid out like `loss`: what the combination takes of resource `r`, finite and at
    /// least 0. One table for every budget.
    pub costs: Vec<Vec<f64>>,
}

/// Choose a candidate for each variable: minimize the sum of all losses while, for each resource,
/// the sum of costs is at most the budget.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Problem {
    /// `losses[v][c]`: loss of candidate `c` of variable `v`. Candidates are listed from small to
    /// large: the last one is the start of the greedy search.
    pub losses: Vec<Vec<f64>>,
    /// Costs, and losses that depend on several variables.
    pub factors: Vec<Factor>,
    /// Most of each resource; at most eight resources.
    pub budgets: Vec<f64>,
}

impl Problem {
    /// Loss and costs of a choice: one candidate for each variable.
    ///
    /// # Panics
    /// If the choice is not of this problem: a bug of the caller.
    pub fn evaluate(&self, choice: &[usize]) -> (f64, Vec<f64>) {
        let mut loss: f64 = self.losses.iter().zip(choice).map(|(l, c)| l[*c]).sum();
        let mut costs = vec![0.0; self.budgets.len()];
        for factor in &self.factors {
            let entry = factor.scope.iter().fold(0, |e, v| e * self.losses[*v].len() + choice[*v]);
            loss += factor.loss.get(entry).copied().unwrap_or(0.0);
            costs.iter_mut().zip(&factor.costs).for_each(|(sum, table)| *sum += table[entry]);
        }
        (loss, costs)
    }
}

/// A factor in memory order: loss and costs of an entry side by side.
pub(super) struct Table {
    pub scope: Vec<usize>,
    pub strides: Vec<usize>,
    /// `width` numbers an entry: the loss, then the costs.
    pub rows: Vec<f64>,
}

/// A [`Problem`] laid out for the search.
pub(super) struct Tables {
    /// Candidates of each variable.
    pub sizes: Vec<usize>,
    pub tables: Vec<Table>,
    pub budgets: Vec<f64>,
    /// For each variable its tables, with the stride of the variable in each.
    pub touching: Vec<Vec<(usize, usize)>>,
    /// Numbers an entry: 1 + resources.
    pub width: usize,
}

/// Loss, then costs.
pub(super) type Row = [f64; MAX_RESOURCES + 1];

impl Tables {
    pub fn new(problem: &Problem) -> Self {
        let width = 1 + problem.budgets.len();
        assert!(width <= MAX_RESOURCES + 1, "at most {MAX_RESOURCES} resources can be limited at once");
        let sizes: Vec<usize> = problem.losses.iter().map(Vec::len).collect();
        let own = (0..sizes.len()).map(|v| Factor {
            scope: vec![v],
            loss: problem.losses[v].clone(),
            costs: vec![vec![0.0; sizes[v]]; width - 1],
        });
        let tables: Vec<Table> = problem.factors.iter().cloned().chain(own).map(|f| table(f, &sizes)).collect();
        let mut touching = vec![Vec::new(); sizes.len()];
        for (t, table) in tables.iter().enumerate() {
            table.scope.iter().zip(&table.strides).for_each(|(v, stride)| touching[*v].push((t, *stride)));
        }
        Tables { sizes, tables, budgets: problem.budgets.clone(), touching, width }
    }

    /// Entry of a table that a choice selects.
    pub fn entry(&self, table: usize, choice: &[usize]) -> usize {
        let table = &self.tables[table];
        table.scope.iter().zip(&table.strides).map(|(v, stride)| choice[*v] * stride).sum()
    }

    /// Adds `sign` times the row of an entry.
    pub fn add(&self, sum: &mut Row, table: usize, entry: usize, sign: f64) {
        let row = &self.tables[table].rows[entry * self.width..(entry + 1) * self.width];
        sum.iter_mut().zip(row).for_each(|(s, r)| *s += sign * r);
    }

    /// Loss and costs of a choice.
    pub fn evaluate(&self, choice: &[usize]) -> Row {
        let mut sum = Row::default();
        (0..self.tables.len()).for_each(|t| self.add(&mut sum, t, self.entry(t, choice), 1.0));
        sum
    }

    /// True if no resource exceeds `budgets`.
    pub fn within(&self, row: &Row, budgets: &[f64]) -> bool {
        row[0] < f64::INFINITY && row[1..].iter().zip(budgets).all(|(c, b)| c <= b)
    }
}

fn table(factor: Factor, sizes: &[usize]) -> Table {
    let mut strides = vec![1; factor.scope.len()];
    for i in (1..strides.len()).rev() {
        strides[i - 1] = strides[i] * sizes[factor.scope[i]];
    }
    let entries: usize = factor.scope.iter().map(|v| sizes[*v]).product();
    let row = |e: usize| {
        let loss = factor.loss.get(e).copied().unwrap_or(0.0);
        std::iter::once(loss).chain(factor.costs.iter().map(move |c| c[e])).collect::<Vec<f64>>()
    };
    Table { rows: (0..entries).flat_map(row).collect(), scope: factor.scope, strides }
}
