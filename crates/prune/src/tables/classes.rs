//! Which counts of a group are candidates.

use espalier_target::{Connectivity, replicas};

use super::{Class, ENTRIES, Tables, Terms};
use crate::Resource;

/// Most candidates of a group, unless it has more classes of equal cost.
const CANDIDATES: usize = 64;

impl Tables<'_> {
    /// Classes of all groups, few enough that the tables of layers stay small.
    pub(super) fn choose_classes(&mut self, terms: &Terms) -> Vec<Vec<Class>> {
        let smooth = [Resource::EnergyNj, Resource::Macs, Resource::Parameters];
        let smooth = smooth.iter().any(|r| self.budgets.limits.contains_key(r));
        let mut most = if terms.vectors.is_some() { CANDIDATES / 4 } else { CANDIDATES };
        loop {
            self.bounds = true;
            let classes: Vec<Vec<Class>> =
                (0..self.channels.len()).map(|g| self.classes(g, terms.minimum[g], smooth, most)).collect();
            let entries = |groups: Vec<usize>| groups.iter().fold(1usize, |n, g| n.saturating_mul(classes[*g].len()));
            let largest = (0..self.cost.network.layers.len()).map(|l| entries(self.cost.layer_groups(l))).max();
            if largest.unwrap_or(1) <= ENTRIES || most <= 2 {
                return classes;
            }
            most /= 2;
        }
    }

    /// Classes of a group, ascending: every count one if `smooth`; at most `most`.
    fn classes(&mut self, group: usize, minimum: usize, smooth: bool, most: usize) -> Vec<Class> {
        let all = self.channels[group];
        let (mut shared, mut tensors) = (false, Vec::new());
        for (layer, width) in self.cost.widths.iter().enumerate() {
            let groups: Vec<usize> = width.groups().collect();
            if groups.contains(&group) {
                shared |= groups.len() > 1;
                tensors.push(layer);
            }
        }
        let config = self.cost.config;
        let signature = |count: usize| -> Vec<[usize; 3]> {
            let mut counts = self.channels.clone();
            counts[group] = count;
            let of = |layer: &usize| {
                let width = self.cost.widths[*layer].at(&counts);
                [width.div_ceil(config.rows), width.div_ceil(config.cols), replicas(width, config.rows, false)]
            };
            tensors.iter().map(of).collect()
        };
        // Where several groups lie beside one another, steps depend on all of them.
        let every = smooth || shared;
        let step = |n: &usize| every || *n == all || signature(*n) != signature(*n + 1);
        let ends: Vec<usize> = (minimum..=all).filter(step).collect();
        self.bounds &= every || !self.grouped(group);
        let (stride, last) = (ends.len().div_ceil(most.max(2)), ends.len() - 1);
        // Steps stay ends of classes, as far as there is room: between them prices only rise.
        let steps = ends.iter().filter(|n| **n == all || signature(**n) != signature(**n + 1)).count();
        let keeps_steps = steps <= most && !shared;
        self.bounds &= stride == 1 || (keeps_steps && !self.grouped(group));
        let wanted = |(i, n): &(usize, &usize)| {
            let step = keeps_steps && (**n == all || signature(**n) != signature(**n + 1));
            *i == 0 || (last - i).is_multiple_of(stride) || step
        };
        let counts: Vec<usize> = ends.iter().enumerate().filter(wanted).map(|(_, n)| *n).collect();
        let least = std::iter::once(minimum).chain(counts.iter().map(|n| n + 1));
        least.zip(&counts).map(|(least, count)| Class { least, count: *count, thinned: stride > 1 }).collect()
    }

    /// Whether a grouped convolution, whose cost need not rise with its channels, touches a group.
    fn grouped(&self, group: usize) -> bool {
        let layers = self.cost.network.layers.iter().enumerate();
        layers.into_iter().any(|(i, layer)| {
            let channels = layer.sources[0].layout.shape[0];
            matches!(layer.connectivity, Connectivity::Grouped(n) if n > 1 && n != channels)
                && self.cost.layer_groups(i).contains(&group)
        })
    }
}
