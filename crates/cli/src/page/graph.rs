//! The network as a layered drawing: every layer below those that it reads, channels before and after pruning.

use super::value::count;
use crate::details::{Details, GraphNode};

/// Width and height of a box, and the room between boxes.
const BOX: [f64; 2] = [230.0, 52.0];
const GAP: [f64; 2] = [26.0, 24.0];
/// Room at either side for connections that pass by.
const SIDE: f64 = 46.0;

/// The drawing.
pub struct Drawing {
    /// Size.
    pub width: f64,
    /// Size.
    pub height: f64,
    /// Boxes, one a layer.
    pub boxes: Vec<LayerBox>,
    /// SVG paths of the connections.
    pub edges: Vec<String>,
}

/// One layer.
pub struct LayerBox {
    /// Corner.
    pub x: f64,
    /// Corner.
    pub y: f64,
    /// Size.
    pub width: f64,
    /// Size.
    pub height: f64,
    /// Width of the bar for all channels, and for those that stay.
    pub before: f64,
    /// Likewise.
    pub after: f64,
    /// Number as in the table, 0 for inputs.
    pub number: usize,
    /// Name.
    pub name: String,
    /// Name as it fits into the box.
    pub short: String,
    /// Operator.
    pub op: String,
    /// `[channels, height, width]` before and after.
    pub shapes: [String; 2],
    /// Channels before and after.
    pub channels: [usize; 2],
    /// Weight vectors left and before, readable; empty for inputs.
    pub vectors: String,
    /// Width of the bar for the vectors that stay.
    pub vectors_kept: f64,
}

/// Draws the graph.
pub fn drawing(details: &Details) -> Drawing {
    let nodes = &details.graph;
    let ranks = ranks(nodes);
    let columns = columns(&ranks);
    let in_rank = |rank: usize| ranks.iter().filter(|r| **r == rank).count();
    let (deepest, widest) =
        (ranks.iter().copied().max().unwrap_or(0), (0..nodes.len()).map(in_rank).max().unwrap_or(1));
    let width = 2.0 * SIDE + widest as f64 * (BOX[0] + GAP[0]) - GAP[0];
    let most = nodes.iter().map(|n| n.shape_before[0]).max().unwrap_or(1).max(1) as f64;
    let inputs = nodes.iter().filter(|n| n.op == "Input").count();
    let boxes: Vec<LayerBox> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let row = in_rank(ranks[index]) as f64 * (BOX[0] + GAP[0]) - GAP[0];
            // Wide layers would leave no room to see narrow ones, so the bars grow with the square root.
            let bar = |channels: usize| round((BOX[0] - 16.0) * (channels as f64 / most).sqrt());
            let shape = |[c, h, w]: [usize; 3]| format!("{c} × {h} × {w}");
            let sum = |lanes: &[u32]| lanes.iter().copied().map(u64::from).sum::<u64>();
            let lanes = index.checked_sub(inputs).and_then(|layer| details.lanes.get(layer));
            let vectors = lanes.map(|lanes| [sum(&lanes.kept), sum(&lanes.dense)]);
            LayerBox {
                x: round((width - row) / 2.0 + columns[index] as f64 * (BOX[0] + GAP[0])),
                y: 2.0 + ranks[index] as f64 * (BOX[1] + GAP[1]),
                width: BOX[0],
                height: BOX[1],
                before: bar(node.shape_before[0]),
                after: bar(node.shape_after[0]),
                number: (index + 1).saturating_sub(inputs),
                short: shorten(&node.name, 17),
                name: node.name.clone(),
                op: node.op.clone(),
                shapes: [shape(node.shape_before), shape(node.shape_after)],
                channels: [node.shape_before[0], node.shape_after[0]],
                vectors: vectors
                    .map_or_else(String::new, |[kept, dense]| format!("{} of {}", count(kept), count(dense))),
                vectors_kept: vectors
                    .map_or(0.0, |[kept, dense]| round((BOX[0] - 16.0) * kept as f64 / dense.max(1) as f64)),
            }
        })
        .collect();
    let mut edges = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        for source in &node.sources {
            edges.push(edge(&boxes[*source], &boxes[index], ranks[index] - ranks[*source]));
        }
    }
    Drawing { width, height: 4.0 + (deepest + 1) as f64 * (BOX[1] + GAP[1]) - GAP[1], boxes, edges }
}

fn round(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

/// The longest way from an input to each node. Sources come before their readers.
fn ranks(nodes: &[GraphNode]) -> Vec<usize> {
    let mut ranks: Vec<usize> = Vec::new();
    for node in nodes {
        ranks.push(node.sources.iter().map(|s| ranks[*s] + 1).max().unwrap_or(0));
    }
    ranks
}

/// Position of each node among those of its rank.
fn columns(ranks: &[usize]) -> Vec<usize> {
    (0..ranks.len()).map(|i| ranks[..i].iter().filter(|r| **r == ranks[i]).count()).collect()
}

/// Down to the next rank, or around the boxes between.
fn edge(from: &LayerBox, to: &LayerBox, ranks: usize) -> String {
    let (x0, y0) = (from.x + from.width / 2.0, from.y + from.height);
    let (x1, y1) = (to.x + to.width / 2.0, to.y);
    if ranks <= 1 {
        let middle = (y0 + y1) / 2.0;
        return format!("M{x0} {y0}C{x0} {middle} {x1} {middle} {x1} {y1}");
    }
    let (right, from_y, to_y) = (from.x + from.width, from.y + from.height * 0.6, to.y + to.height * 0.4);
    let end = to.x + to.width;
    let out = right.max(end) + (12.0 + 9.0 * ranks as f64).min(SIDE - 2.0);
    format!(
        "M{right} {from_y}C{out} {from_y} {out} {from_y} {out} {}V{}C{out} {to_y} {out} {to_y} {end} {to_y}",
        from_y + 18.0,
        to_y - 18.0
    )
}

/// The end of a name says more than its start.
fn shorten(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        name.to_owned()
    } else {
        format!("…{}", name.chars().skip(length + 1 - most).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_stand_below_what_they_read() {
        let node = |name: &str, sources: &[usize]| GraphNode {
            name: name.to_owned(),
            op: "Conv".to_owned(),
            sources: sources.to_vec(),
            shape_before: [8, 4, 4],
            shape_after: [2, 4, 4],
        };
        let graph = vec![node("a", &[]), node("b", &[0]), node("c", &[1]), node("d", &[0, 2]), node("e", &[0])];
        let drawing = drawing(&Details { graph, ..Details::default() });
        assert_eq!(drawing.edges.len(), 5);
        let y = |i: usize| drawing.boxes[i].y;
        assert!(y(0) < y(1) && y(1) < y(2) && y(2) < y(3));
        assert_eq!(y(1), y(4));
        assert!(drawing.boxes[4].x >= drawing.boxes[1].x + BOX[0], "boxes of one rank do not overlap");
        assert!(drawing.boxes.iter().all(|b| b.after < b.before && b.x >= 0.0 && b.x + b.width <= drawing.width));
        assert_eq!(shorten("/a/very/long/name/of/a/layer/conv", 10), "…ayer/conv");
    }
}
