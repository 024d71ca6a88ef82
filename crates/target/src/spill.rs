//! Which tensors are spilled to external memory, and how their layers are cut into strips.
//!
//! For each size of strips, tensors are spilled one by one until the parts fit the lanes: at the fullest moment first what
//! only waits there, then the largest. Then tensors return that need not be spilled after all. Among the sizes the dense
//! program with the fewest cycles wins.

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
    let mut best: Option<(u64, NetworkGeometry)> = None;
    let mut pixels = MAX_STRIP_PIXELS;
    let mut closest = None;
    while pixels > 0 {
        match spilled(&network, config, pixels) {
            Ok(candidate) => {
                let planned: Vec<_> = steps(&candidate, config, &dense).into_iter().map(|(_, step)| step).collect();
                let cycles = timeline(&planned, config).total_cycles;
                if best.as_ref().is_none_or(|(least, _)| cycles < *least) {
                    best = Some((cycles, candidate));
                }
            }
            Err(crowd) => closest = Some(crowd),
        }
        pixels /= 2;
    }
    best.map(|(_, network)| network).ok_or_else(|| too_small(&network, closest, config).into())
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

/// The network with strips of about so many output pixels.
fn spilled(network: &NetworkGeometry, config: &AcceleratorConfig, pixels: usize) -> Result<NetworkGeometry, Crowd> {
    let mut spilled = vec![false; network.inputs.len() + network.layers.len()];
    let mut cut = network.clone();
    while !fits(&cut, config) {
        let Some(victim) = victim(&cut) else { return Err(crowd(&cut)) };
        spilled[tensor_index(victim, network.inputs.len())] = true;
        cut = in_strips(network, &spilled, config, pixels);
    }
    for tensor in by_size(&cut, &spilled) {
        spilled[tensor] = false;
        let without = in_strips(network, &spilled, config, pixels);
        if fits(&without, config) {
            cut = without;
        } else {
            spilled[tensor] = true;
        }
    }
    Ok(cut)
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
    let touched = |part: &usize| residence.jobs[job].sources.contains(part) || residence.jobs[job].output == Some(*part);
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
    Crowd { work: network.residence.jobs[job.min(network.residence.jobs.len() - 1)].work, bytes: allocate(&demands).peak }
}

/// The network with these tensors spilled and the layers that touch them in strips.
fn in_strips(
    network: &NetworkGeometry,
    spilled: &[bool],
    config: &AcceleratorConfig,
    pixels: usize,
) -> NetworkGeometry {
    let memory = config.spill_memory().expect("only a configuration that can spill comes here");
    let is_spilled = |source: LayerSource| spilled[tensor_index(source, network.inputs.len())];
    let strips = |(layer, shape): (usize, &LayerGeometry)| {
        let touches = is_spilled(LayerSource::Layer(layer)) || shape.sources.iter().any(|s| is_spilled(s.source));
        let [_, height, width] = shape.output.shape;
        let strips = if touches { height.div_ceil((pixels / width).max(1)) } else { 1 };
        shape.clone().in_strips(strips, config)
    };
    let mut cut = NetworkGeometry {
        layers: network.layers.iter().enumerate().map(strips).collect(),
        ..network.clone()
    };
    cut.residence = Residence::new(&cut, spilled, memory.beats_per_word, pixels);
    cut
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
