//! Which tensors are spilled to external memory, and how their layers are cut into strips.
//!
//! For each size of strips, either all tensors are spilled, which leaves most room for strips, or one by one until the parts
//! fit the lanes, which moves least: at the fullest moment first what only waits there, then the largest. Then each layer in
//! turn gets strips as large as there is room for. The dense program with the fewest cycles wins. It gets back what need
//! not be spilled, and layers larger strips that nothing waits beside, as long as that saves cycles.

use espalier_ir::{Diagnostic, Diagnostics, LayerSource};

use crate::allocation::{allocate, fullest};
use crate::config::MAX_LANE_BYTES;
use crate::geometry::tensor_index;
use crate::{AcceleratorConfig, LayerGeometry, NetworkGeometry, Residence, Work, dense_tiles, steps, timeline};

/// Largest strips tried, in output pixels.
const MAX_STRIP_PIXELS: usize = 1 << 16;

/// The network with as many tensors spilled as the lanes need.
///
/// # Errors
/// If even strips of one row do not fit: where, what is needed and what there is.
pub(crate) fn fit(network: NetworkGeometry, config: &AcceleratorConfig) -> Result<NetworkGeometry, Diagnostics> {
    if fits(&network, config) {
        return Ok(network);
    }
    let dense: Vec<Vec<u32>> = network.layers.iter().map(|l| dense_tiles(l, config)).collect();
    let cycles = |network: &NetworkGeometry| {
        let planned: Vec<_> = steps(network, config, &dense).into_iter().map(|(_, step)| step).collect();
        timeline(&planned, config).total_cycles
    };
    let mut best: Option<(u64, Cut, NetworkGeometry)> = None;
    let mut closest = None;
    for shift in 0..=MAX_STRIP_PIXELS.trailing_zeros() {
        for all in [false, true] {
            match spilled(&network, config, MAX_STRIP_PIXELS >> shift, all) {
                Ok((cut, candidate)) => {
                    let needs = cycles(&candidate);
                    if best.as_ref().is_none_or(|(least, ..)| needs < *least) {
                        best = Some((needs, cut, candidate));
                    }
                }
                Err(crowd) => closest = Some(crowd),
            }
        }
    }
    let Some((mut least, mut cut, mut best)) = best else { return Err(too_small(&network, closest, config).into()) };
    for tensor in by_size(&network, &cut.spilled) {
        cut.spilled[tensor] = false;
        let without = cut.apply(&network, config);
        if fits(&without, config) && cycles(&without) <= least {
            least = cycles(&without);
            best = without;
        } else {
            cut.spilled[tensor] = true;
        }
    }
    for layer in 0..network.layers.len() {
        let before = cut.strips[layer];
        if !cut.touches(&network, layer) || before == 1 {
            continue;
        }
        // Strips that are larger because no others wait beside them: the largest that fit.
        cut.late[layer] = true;
        cut.strips[layer] = 1;
        let mut candidate = cut.apply(&network, config);
        while !fits(&candidate, config) && cut.strips[layer] < before {
            cut.strips[layer] *= 2;
            candidate = cut.apply(&network, config);
        }
        let needs = if fits(&candidate, config) { cycles(&candidate) } else { u64::MAX };
        if needs < least {
            (least, best) = (needs, candidate);
        } else {
            (cut.late[layer], cut.strips[layer]) = (false, before);
        }
    }
    Ok(best)
}

/// Whether all parts fit the lanes.
fn fits(network: &NetworkGeometry, config: &AcceleratorConfig) -> bool {
    let demands = network.residence.demands(network);
    fullest(&demands).is_none_or(|(_, bytes)| bytes <= config.lane_bytes)
        && allocate(&demands).peak <= config.lane_bytes
}

/// The fullest moment of a network that does not fit.
struct Crowd {
    work: Work,
    bytes: usize,
}

/// The network with strips of at least about so many output pixels, and with as few tensors spilled as possible or `all`.
fn spilled(
    network: &NetworkGeometry,
    config: &AcceleratorConfig,
    pixels: usize,
    all: bool,
) -> Result<(Cut, NetworkGeometry), Crowd> {
    let strips = |shape: &LayerGeometry| {
        let [_, height, width] = shape.output.shape;
        if shape.interleave.is_some() { 1 } else { height.div_ceil((pixels / width).max(1)) }
    };
    let mut cut = Cut {
        spilled: vec![all; network.inputs.len() + network.layers.len()],
        strips: network.layers.iter().map(strips).collect(),
        late: vec![false; network.layers.len()],
        pixels,
    };
    let mut best = cut.apply(network, config);
    while !fits(&best, config) {
        let Some(victim) = victim(&best) else { return Err(crowd(&best)) };
        cut.spilled[tensor_index(victim, network.inputs.len())] = true;
        best = cut.apply(network, config);
    }
    let mut improves = |cut: &Cut| {
        let candidate = cut.apply(network, config);
        let fits = fits(&candidate, config);
        if fits {
            best = candidate;
        }
        fits
    };
    if !all {
        for tensor in by_size(network, &cut.spilled) {
            cut.spilled[tensor] = false;
            cut.spilled[tensor] = !improves(&cut);
        }
    }
    for layer in 0..network.layers.len() {
        while cut.touches(network, layer) && cut.strips[layer] > 1 {
            let before = cut.strips[layer];
            cut.strips[layer] = before.div_ceil(2);
            if !improves(&cut) {
                cut.strips[layer] = before;
                break;
            }
        }
    }
    Ok((cut, best))
}

/// What is decided: spilled tensors (inputs, then layers), strips of every layer that touches one, whether its jobs are
/// late, and the pixels of a strip of an input or output.
struct Cut {
    spilled: Vec<bool>,
    strips: Vec<usize>,
    late: Vec<bool>,
    pixels: usize,
}

impl Cut {
    /// Whether a layer reads or writes a spilled tensor.
    fn touches(&self, network: &NetworkGeometry, layer: usize) -> bool {
        let is_spilled = |source: LayerSource| self.spilled[tensor_index(source, network.inputs.len())];
        is_spilled(LayerSource::Layer(layer)) || network.layers[layer].sources.iter().any(|s| is_spilled(s.source))
    }

    fn apply(&self, network: &NetworkGeometry, config: &AcceleratorConfig) -> NetworkGeometry {
        let memory = config.spill_memory().expect("only a configuration that can spill comes here");
        let in_strips = |(layer, shape): (usize, &LayerGeometry)| {
            let strips = if self.touches(network, layer) { self.strips[layer] } else { 1 };
            shape.clone().in_strips(strips, config)
        };
        let layers = network.layers.iter().enumerate().map(in_strips).collect();
        let mut cut = NetworkGeometry { layers, ..network.clone() };
        cut.residence = Residence::new(&cut, (&self.spilled, &self.late), memory.beats_per_word, self.pixels);
        cut
    }
}

/// Spilled tensors, the largest first.
fn by_size(network: &NetworkGeometry, spilled: &[bool]) -> Vec<usize> {
    let inputs = network.inputs.len();
    let source = |i: usize| if i < inputs { LayerSource::Input(i) } else { LayerSource::Layer(i - inputs) };
    let mut tensors: Vec<usize> = (0..spilled.len()).filter(|i| spilled[*i]).collect();
    tensors.sort_by_key(|i| std::cmp::Reverse(network.layout(source(*i)).bytes()));
    tensors
}

/// The resident tensor to spill next: alive at the fullest moment, rather one that the job does not touch, the largest.
fn victim(network: &NetworkGeometry) -> Option<LayerSource> {
    let residence = &network.residence;
    let (job, _) = fullest(&residence.demands(network))?;
    let touched =
        |part: &usize| residence.jobs[job].sources.contains(part) || residence.jobs[job].output == Some(*part);
    let resident = |part: &&usize| {
        let part = &residence.parts[**part];
        (part.life[0]..=part.life[1]).contains(&job)
            && residence.spilled[tensor_index(part.tensor, network.inputs.len())].is_none()
    };
    let parts: Vec<usize> = (0..residence.parts.len()).collect();
    let size = |part: usize| residence.parts[part].bytes(network.layout(residence.parts[part].tensor));
    parts.iter().filter(resident).max_by_key(|p| (!touched(p), size(**p))).map(|p| residence.parts[*p].tensor)
}

fn crowd(network: &NetworkGeometry) -> Crowd {
    let demands = network.residence.demands(network);
    let (job, _) = fullest(&demands).expect("a network has a part");
    Crowd {
        work: network.residence.jobs[job.min(network.residence.jobs.len() - 1)].work,
        bytes: allocate(&demands).peak,
    }
}

fn too_small(network: &NetworkGeometry, crowd: Option<Crowd>, config: &AcceleratorConfig) -> Diagnostic {
    let Crowd { work, bytes } = crowd.expect("strips of one row were tried");
    let at = match work {
        Work::Load { input } => format!("graph input {input}"),
        Work::Layer { layer, .. } => {
            let shape = &network.layers[layer];
            format!("layer '{}' ({})", shape.name, shape.op_name)
        }
        Work::Store { output } => format!("graph output {output}"),
    };
    let message = format!(
        "even in strips of one row, with all tensors spilled, {bytes} bytes of every lane are alive at once; the lanes have {}",
        config.lane_bytes
    );
    let help = if bytes <= MAX_LANE_BYTES {
        format!("set 'lane_bytes' to at least {}", bytes.next_power_of_two())
    } else {
        format!("use more than {} rows, or shrink the network's input", config.rows)
    };
    Diagnostic::error("lanes-too-small", at, message).with_help(help)
}
