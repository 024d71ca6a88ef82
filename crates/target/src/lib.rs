//! Devices, accelerator configurations, tensor geometry and the exact cost of a network.
//!
//! From the layers of a graph and an [`AcceleratorConfig`], [`geometry()`] lays out the tensors and
//! cuts the loops, [`place`] packs weight vectors into tiles, [`plan`] lists the instructions, and
//! [`timeline`] says to the cycle how long they take. The pruner, the code generator and the report
//! all use these functions: there is no second opinion about what a network costs.

mod allocation;
mod board;
mod calibration;
mod check;
mod config;
mod cost;
mod depthwise;
mod device;
mod device_file;
mod energy;
mod estimate;
mod explore;
mod external;
mod figures;
mod geometry;
mod layout;
mod multiplier;
mod pairing;
mod residence;
mod resources;
mod spill;
mod steps;
mod table;
mod tiles;
mod timing;

pub use allocation::{Allocation, Demand, allocate, lower_bound};
pub use board::{Board, BoardMemory, Host, Pin, Pins, builtin_board_names, builtin_boards, parse_board};
pub use calibration::{
    Accuracy, Calibration, CalibrationPoint, Logic, Part, PointUse, calibrated_families, calibration, parts,
};
pub use config::{AcceleratorConfig, GATE_QUEUE};
pub use cost::{CostModel, Cycles, tiles_of_weights, weight_copies};
pub use depthwise::DepthwiseStream;
pub use device::{
    Asic, BlockRam, Confidence, Energy, Fact, Fpga, SramMacro, Target, builtin_names, builtin_target, builtin_targets,
};
pub use device_file::parse_target;
pub use energy::{EnergySplit, static_nj, transfer_nj};
pub use estimate::{Bottleneck, CostEstimate, CycleUse, LayerCost, Roofline, estimate, estimate_model};
pub use explore::{DesignPoint, Space, design_points, fastest, pareto};
pub use external::{ActivationStore, BURST_BEATS, ExternalMemory, SpillMemory, WeightSource};
pub use figures::{
    Figures, LayerFigures, array_within, figures, layer_figures, least_layer_cycles, live_bytes, live_tensors,
    memory_blocks, total_figures, weight_word_bytes,
};
pub use geometry::{
    Block, Connectivity, LayerGeometry, NetworkGeometry, PixelTile, ResidualGeometry, SourceGeometry, SourceSteps,
    geometry, graph_ends,
};
pub use layout::{CellRect, Halo, TensorLayout, WriteBack, replicas};
pub use multiplier::{Multiplier, check_multiplier};
pub use pairing::pair;
pub use residence::{Job, LanePart, Residence, Work};
pub use resources::{Memory, PACKED_CELLS, ResourceUse, Resources, memories, resources};
pub use steps::{Action, PlannedStep, Step, Transfer, plan, steps};
pub use table::{TABLE_ENTRIES, Table};
pub use tiles::{
    Columns, Placement, Row, Vector, block_vectors, connected_columns, dense_tiles, place, tiles_of_mask, weight_index,
};
pub use timing::{Activity, Span, Timeline, activities, timeline};
