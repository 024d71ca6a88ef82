//! Dependency groups: which channels of which parameters must be removed together.
//!
//! Every index of the first axis of every value belongs to one *channel class*; operators merge
//! classes (union-find) according to the index maps in [`crate::flow`]. A *group* collects the
//! classes that are computed side by side, so that ranking them against each other makes sense:
//! the output channels of one convolution, or of all convolutions that a residual stream couples.
//! This is DepGraph (Fang et al. 2023, arXiv 2301.12900) with explicit index maps.

use std::collections::{BTreeMap, BTreeSet};

use espalier_ir::{Diagnostics, Graph, NodeId, ParamId};
use petgraph::unionfind::UnionFind;

use crate::flow::{Flow, trace};

/// What one axis of a parameter means for the channels that index it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Axis 0 of a convolution or Gemm weight: each index computes a channel.
    Output,
    /// Axis 1 of such a weight: each index reads a channel (after flattening: one of its elements).
    Input,
    /// A vector with one value a channel: bias, batch normalization.
    PerChannel,
}

/// One axis of one parameter, as far as a group indexes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The parameter.
    pub param: ParamId,
    /// Its axis.
    pub axis: usize,
    /// Meaning of the axis.
    pub role: Role,
    /// `positions[c]` are the indices on that axis which belong to channel `c`, ascending; several
    /// after flattening or with grouped convolutions, none if only other channels of the group
    /// reach this parameter.
    pub positions: Vec<Vec<usize>>,
}

/// Channels that are ranked and removed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name of the first node that computes the channels, or adds them as zeros.
    pub name: String,
    /// Number of logical channels.
    pub channels: usize,
    /// Why no channel may be removed, if so.
    pub frozen: Option<String>,
    /// Everything that a channel owns.
    pub members: Vec<Member>,
    /// Of each of these sets of channels at least one must stay: each is all that some node computes or picks.
    pub required: Vec<Vec<usize>>,
}

/// Names one channel of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelRef {
    /// Index into [`DependencyGroups::groups`].
    pub group: usize,
    /// Channel of that group.
    pub channel: usize,
}

/// All groups of a graph, and which channel each index of each value and parameter belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyGroups {
    /// Groups in the order in which the graph computes them; then those of zeros that nothing computes.
    pub groups: Vec<Group>,
    pub(crate) values: BTreeMap<NodeId, Vec<ChannelRef>>,
    pub(crate) axes: BTreeMap<(ParamId, usize), Vec<ChannelRef>>,
}

impl DependencyGroups {
    /// The channel of each index on the first axis of the value of `node`.
    pub fn value_channels(&self, node: NodeId) -> &[ChannelRef] {
        self.values.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Groups from which channels may be removed: not frozen and with at least two channels.
    pub fn prunable(&self) -> impl Iterator<Item = (usize, &Group)> {
        self.groups.iter().enumerate().filter(|(_, g)| g.frozen.is_none() && g.channels > 1)
    }
}

/// Finds the dependency groups of a graph.
///
/// Channels of graph inputs and outputs and channels mixed by a softmax are frozen.
///
/// # Errors
/// If the graph violates its invariants ([`Graph::verify`]), or `model-too-large` if its values have
/// more than 2^24 channel indices in total.
pub fn dependency_groups(graph: &Graph) -> Result<DependencyGroups, Diagnostics> {
    graph.verify()?;
    let mut flow = trace(graph)?;
    let numbering = Numbering::new(graph, &mut flow);
    Ok(numbering.finish(&flow))
}

/// Class of every atom, numbered by group in order of first appearance.
struct Numbering {
    groups: Vec<Group>,
    channel_of_root: BTreeMap<usize, ChannelRef>,
    roots: Vec<usize>,
}

impl Numbering {
    fn new(graph: &Graph, flow: &mut Flow) -> Self {
        let roots: Vec<usize> = (0..flow.sets.len()).map(|a| flow.sets.find_mut(a)).collect();
        // Classes computed by one node are of one group.
        let mut together = UnionFind::new(roots.len());
        for (_, atoms) in &flow.producers {
            for pair in atoms.windows(2) {
                together.union(roots[pair[0]], roots[pair[1]]);
            }
        }
        let mut numbering = Numbering { groups: Vec::new(), channel_of_root: BTreeMap::new(), roots };
        let mut group_of: BTreeMap<usize, usize> = BTreeMap::new();
        for (node, atoms) in &flow.producers {
            let mut channels = BTreeSet::new();
            let mut group = 0;
            for atom in atoms {
                let root = numbering.roots[*atom];
                group = *group_of.entry(together.find_mut(root)).or_insert_with(|| {
                    numbering.groups.push(Group::named(&graph.node(*node).name));
                    numbering.groups.len() - 1
                });
                channels.insert(numbering.channel(group, root));
            }
            let required: Vec<usize> = channels.into_iter().collect();
            let sets = &mut numbering.groups[group].required;
            if !sets.contains(&required) {
                sets.push(required);
            }
        }
        // Zeros that meet nothing computed: channels of a group of their own.
        for (node, atoms) in &flow.zeros {
            let roots: BTreeSet<usize> = atoms.iter().map(|a| numbering.roots[*a]).collect();
            let free = roots.into_iter().filter(|r| !numbering.channel_of_root.contains_key(r));
            let free: Vec<usize> = free.collect();
            if !free.is_empty() {
                numbering.groups.push(Group::named(&graph.node(*node).name));
                let group = numbering.groups.len() - 1;
                free.into_iter().for_each(|root| {
                    numbering.channel(group, root);
                });
            }
        }
        for (atoms, reason) in &flow.frozen {
            for atom in atoms {
                let ChannelRef { group, .. } = numbering.channel_of_root[&numbering.roots[*atom]];
                numbering.groups[group].frozen.get_or_insert_with(|| reason.clone());
            }
        }
        flow.required.iter().for_each(|atoms| numbering.require(atoms));
        numbering
    }

    /// Of these atoms one must stay: one of their first group (which no removal changes), if none is frozen anyway.
    fn require(&mut self, atoms: &[usize]) {
        let mut channels: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for atom in atoms {
            let ChannelRef { group, channel } = self.channel_of_root[&self.roots[*atom]];
            channels.entry(group).or_default().insert(channel);
        }
        if channels.keys().any(|g| self.groups[*g].frozen.is_some()) {
            return;
        }
        if let Some((group, set)) = channels.into_iter().next() {
            let set: Vec<usize> = set.into_iter().collect();
            if !self.groups[group].required.contains(&set) {
                self.groups[group].required.push(set);
            }
        }
    }

    fn channel(&mut self, group: usize, root: usize) -> usize {
        let channels = &mut self.groups[group].channels;
        self.channel_of_root
            .entry(root)
            .or_insert_with(|| {
                *channels += 1;
                ChannelRef { group, channel: *channels - 1 }
            })
            .channel
    }

    fn finish(mut self, flow: &Flow) -> DependencyGroups {
        let resolve = |atoms: &Vec<usize>| -> Vec<ChannelRef> {
            atoms.iter().map(|a| self.channel_of_root[&self.roots[*a]]).collect()
        };
        let values = flow.values.iter().map(|(node, atoms)| (*node, resolve(atoms))).collect();
        let axes: BTreeMap<(ParamId, usize), Vec<ChannelRef>> =
            flow.axes.iter().map(|(key, (_, atoms))| (*key, resolve(atoms))).collect();
        for ((param, axis), channels) in &axes {
            let role = flow.axes[&(*param, *axis)].0;
            let reached: BTreeSet<usize> = channels.iter().map(|c| c.group).collect();
            for group in reached {
                let mut positions = vec![Vec::new(); self.groups[group].channels];
                for (position, c) in channels.iter().enumerate().filter(|(_, c)| c.group == group) {
                    positions[c.channel].push(position);
                }
                self.groups[group].members.push(Member { param: *param, axis: *axis, role, positions });
            }
        }
        DependencyGroups { groups: self.groups, values, axes }
    }
}

impl Group {
    fn named(name: &str) -> Self {
        Group { name: name.to_owned(), channels: 0, frozen: None, members: Vec::new(), required: Vec::new() }
    }
}
