//! A network under budgets as a [`Problem`]: which counts each group may have, what each layer costs
//! for them, and the exact figures of a choice.
//!
//! *Alignment follows from the costs.* Where only staircases are limited (cycles, memories), counts
//! of equal steps form a class: equal planes, replicas and blocks of every tensor of the group. A class
//! is represented by its largest count and priced by its smallest, which costs no more. Where a smooth
//! figure is limited (energy, MACs, parameters), every count is a class. Afterwards counts that cost no less
//! than a larger one, in any resource and whatever the other groups keep, are dropped.

mod classes;
mod dominance;
mod memory;

use espalier_ir::LayerSource;
use espalier_target::{Figures, static_nj, transfer_nj, weight_word_bytes};

use crate::network_cost::{LEVELS, Layer, NetworkCost};
use crate::solver::{Factor, Problem};
use crate::{Budgets, Resource};

/// Most entries of the table of one layer.
const ENTRIES: usize = 1 << 18;

/// Counts that cost the same (or nearly so, in groups of many channels).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Class {
    least: usize,
    count: usize,
    /// Some of its counts are no candidates though they cost less.
    thinned: bool,
}

/// What a variable of the problem chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variable {
    /// Channels of a group.
    Count(usize),
    /// Tile level of a layer.
    Level(usize),
}

/// A sum over layers that is limited.
enum Row {
    Cycles,
    /// Less what loading and storing takes.
    Energy,
    WeightBytes,
    /// Words of weight memory that the block RAMs hold beside the smallest other memories.
    Memory,
    Macs,
    Parameters,
    /// Bytes of every lane of the tensors that live at one moment.
    Moment {
        tensors: Vec<LayerSource>,
        fixed: f64,
    },
}

/// What is wanted of a problem.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'t> {
    pub budgets: &'t Budgets,
    /// Least channels of each group.
    pub minimum: &'t [usize],
    /// `worth[g][n]`: what the objective loses if `n` channels of group `g` are kept.
    pub loss: &'t [Vec<f64>],
    /// Loss of a layer at given channels and tile level, for layers whose tiles may go.
    pub vectors: Option<&'t dyn VectorLoss>,
}

/// What pruned vectors lose.
pub(crate) trait VectorLoss {
    /// Tile levels of a layer, at least level 0.
    fn levels(&self, layer: usize) -> usize;
    /// Loss of a layer at given channels, output channels among them, and level.
    fn loss(&self, layer: usize, counts: &[usize], outputs: usize, level: usize) -> f64;
}

/// The problem of a network.
pub(crate) struct Tables<'a> {
    pub cost: NetworkCost<'a>,
    pub problem: Problem,
    pub variables: Vec<Variable>,
    /// Counts, or levels, of the candidates.
    pub values: Vec<Vec<usize>>,
    /// Where counts are left out: the problem with every class at the price of its smallest count, for a bound.
    pub relaxed: Option<Problem>,
    /// The bound of the problem, or of the relaxed one, is one for the network, too.
    pub bounds: bool,
    rows: Vec<Row>,
    budgets: Budgets,
    /// All channels of each group.
    channels: Vec<usize>,
    /// Most words of weight memory, see [`Row::Memory`].
    most_words: f64,
    /// Instructions of the narrowest network.
    instructions: usize,
    fixed_nj: f64,
}

impl<'a> Tables<'a> {
    /// Builds all tables. `channels[g]` is the full count of each group; where `minimum` equals it there is no choice.
    pub fn new(cost: &NetworkCost<'a>, channels: &[usize], terms: &Terms) -> Self {
        let fixed_nj = transfer_nj(&cost.network, cost.target, cost.config);
        let mut tables = Tables {
            cost: cost.clone(),
            problem: Problem::default(),
            variables: Vec::new(),
            values: Vec::new(),
            relaxed: None,
            bounds: true,
            rows: Vec::new(),
            budgets: terms.budgets.clone(),
            channels: channels.to_vec(),
            most_words: f64::INFINITY,
            instructions: 2,
            fixed_nj,
        };
        let classes = tables.choose_classes(terms);
        for (group, classes) in classes.iter().enumerate().filter(|(_, c)| c.len() > 1) {
            tables.variables.push(Variable::Count(group));
            tables.values.push(classes.iter().map(|c| c.count).collect());
            tables.problem.losses.push(classes.iter().map(|c| terms.loss[group][c.count]).collect());
        }
        if let Some(vectors) = terms.vectors {
            for layer in 0..tables.cost.network.layers.len() {
                let levels = vectors.levels(layer).clamp(1, LEVELS.len());
                if levels > 1 {
                    tables.variables.push(Variable::Level(layer));
                    tables.values.push((0..levels).rev().collect());
                    tables.problem.losses.push(vec![0.0; levels]);
                }
            }
        }
        tables.choose_rows(terms);
        if classes.iter().flatten().any(|c| c.thinned) {
            let factors = tables.fill(&classes, terms, |class| class.least);
            tables.relaxed = Some(Problem { factors, ..tables.problem.clone() });
        }
        // Within a class of equal steps both ends cost the same.
        tables.problem.factors = tables.fill(&classes, terms, |c| if c.thinned { c.count } else { c.least });
        tables.forbid();
        tables.drop_dominated();
        tables
    }

    /// Counts of all groups and levels of all layers that a choice selects.
    pub fn decode(&self, choice: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let mut counts = self.channels.clone();
        let mut levels = vec![0; self.cost.network.layers.len()];
        for ((variable, values), candidate) in self.variables.iter().zip(&self.values).zip(choice) {
            match variable {
                Variable::Count(group) => counts[*group] = values[*candidate],
                Variable::Level(layer) => levels[*layer] = values[*candidate],
            }
        }
        (counts, levels)
    }

    /// Exact use of each row of the problem. A violation that no row shows makes the first infinite.
    pub fn exact(&mut self, choice: &[usize]) -> Vec<f64> {
        let (counts, levels) = self.decode(choice);
        let (figures, _) = self.cost.exact(&counts, &levels);
        let mut uses: Vec<f64> = self.rows.iter().map(|row| self.row_use(row, &figures, &counts)).collect();
        let hidden = uses.iter().zip(&self.problem.budgets).all(|(u, b)| u <= b) && !self.budgets.hold(&figures);
        if hidden && let Some(first) = uses.first_mut() {
            *first = f64::INFINITY;
        }
        uses
    }

    fn row_use(&self, row: &Row, figures: &Figures, counts: &[usize]) -> f64 {
        match row {
            Row::Cycles => figures.cycles as f64,
            Row::Energy => figures.energy_nj - self.fixed_nj,
            Row::WeightBytes => figures.weight_bytes as f64,
            Row::Macs => figures.macs as f64,
            Row::Parameters => figures.parameters as f64,
            Row::Moment { tensors, fixed } => {
                tensors.iter().map(|t| self.cost.tensor_bytes(*t, counts) as f64).sum::<f64>() - fixed
            }
            Row::Memory => {
                // What the other memories take beyond their smallest sizes counts as words.
                let words = (figures.weight_bytes / weight_word_bytes(self.cost.config)) as f64;
                let limit = self.limit(Resource::BlockRams).unwrap_or(f64::INFINITY);
                let lane_bytes = figures.activation_bytes as usize / self.cost.config.rows;
                words + self.most_words - self.words_within(limit, figures.instructions as usize, lane_bytes)
            }
        }
    }

    fn limit(&self, resource: Resource) -> Option<f64> {
        self.budgets.limits.get(&resource).copied()
    }

    /// Which resource a row belongs to.
    pub fn resource(&self, row: usize) -> Resource {
        match self.rows[row] {
            Row::Cycles => Resource::Cycles,
            Row::Energy => Resource::EnergyNj,
            Row::WeightBytes => Resource::WeightBytes,
            Row::Memory => Resource::BlockRams,
            Row::Macs => Resource::Macs,
            Row::Parameters => Resource::Parameters,
            Row::Moment { .. } => match self.limit(Resource::ActivationBytes) {
                Some(_) => Resource::ActivationBytes,
                None => Resource::BlockRams,
            },
        }
    }

    fn choose_rows(&mut self, terms: &Terms) {
        let smallest = self.cost.exact(terms.minimum, &vec![0; self.cost.network.layers.len()]).0;
        self.instructions = smallest.instructions as usize;
        let lane_bytes = smallest.activation_bytes as usize / self.cost.config.rows;
        for (resource, limit) in &terms.budgets.limits {
            let (row, budget) = match resource {
                Resource::Cycles => (Row::Cycles, *limit),
                Resource::EnergyNj => (Row::Energy, limit - self.fixed_nj),
                Resource::WeightBytes => (Row::WeightBytes, *limit),
                Resource::Macs => (Row::Macs, *limit),
                Resource::Parameters => (Row::Parameters, *limit),
                Resource::BlockRams => {
                    self.most_words = self.words_within(*limit, self.instructions, lane_bytes);
                    (Row::Memory, self.most_words)
                }
                Resource::ActivationBytes | Resource::Multipliers | Resource::LogicCells => continue,
            };
            self.rows.push(row);
            self.problem.budgets.push(budget);
        }
    }

    /// Variables of a set of groups, and that of a layer's level.
    fn scope(&self, groups: &[usize], layer: Option<usize>) -> Vec<usize> {
        let wanted = |variable: &Variable| match variable {
            Variable::Count(group) => groups.contains(group),
            Variable::Level(level) => Some(*level) == layer,
        };
        (0..self.variables.len()).filter(|v| wanted(&self.variables[*v])).collect()
    }

    /// All combinations of candidates of some variables, the last fastest.
    fn combinations(&self, scope: &[usize]) -> impl Iterator<Item = Vec<usize>> + use<> {
        let sizes: Vec<usize> = scope.iter().map(|v| self.values[*v].len()).collect();
        let entries: usize = sizes.iter().product();
        (0..entries).map(move |entry| {
            let mut rest = entry;
            let mut at: Vec<usize> = sizes.iter().rev().map(|size| (rest % size, rest /= size).0).collect();
            at.reverse();
            at
        })
    }

    fn entries(&self, scope: &[usize]) -> usize {
        scope.iter().fold(1, |n, v| n.saturating_mul(self.values[*v].len()))
    }

    /// One table for each layer, priced at one count of every class; layers with too many combinations are left to
    /// the exact figures.
    fn fill(&mut self, classes: &[Vec<Class>], terms: &Terms, end: fn(&Class) -> usize) -> Vec<Factor> {
        let mut factors = Vec::new();
        for layer in 0..self.cost.network.layers.len() {
            let scope = self.scope(&self.cost.layer_groups(layer), Some(layer));
            if self.entries(&scope) > ENTRIES {
                continue;
            }
            let (mut largest, mut priced, mut level) = (self.channels.clone(), self.channels.clone(), 0);
            let mut factor = Factor { costs: vec![Vec::new(); self.rows.len()], ..Factor::default() };
            for at in self.combinations(&scope) {
                for (v, candidate) in scope.iter().zip(at) {
                    match self.variables[*v] {
                        Variable::Count(group) => {
                            largest[group] = classes[group][candidate].count;
                            priced[group] = end(&classes[group][candidate]);
                        }
                        Variable::Level(_) => level = self.values[*v][candidate],
                    }
                }
                let here = self.cost.layer(layer, &priced, level);
                let cycles = self.cost.least_cycles(layer, &here);
                for (costs, row) in factor.costs.iter_mut().zip(&self.rows) {
                    costs.push(self.price(row, &here, cycles));
                }
                if let Some(vectors) = terms.vectors {
                    let outputs = self.cost.widths[layer].at(&largest);
                    factor.loss.push(vectors.loss(layer, &largest, outputs, level));
                }
            }
            factor.scope = scope;
            factors.push(factor);
        }
        factors
    }

    fn price(&self, row: &Row, layer: &Layer, cycles: u64) -> f64 {
        match row {
            Row::Cycles => cycles as f64,
            Row::Energy => layer.figures.dynamic_nj + static_nj(cycles, self.cost.target),
            Row::WeightBytes => (layer.figures.weight_words * weight_word_bytes(self.cost.config)) as f64,
            Row::Memory => layer.figures.weight_words as f64,
            Row::Macs => layer.figures.macs as f64,
            Row::Parameters => layer.figures.parameters as f64,
            Row::Moment { .. } => 0.0,
        }
    }
}
