//! Tests of the quantizer as a whole: against float evaluation, against hand-computed integers, on extremes.

mod errors;
mod extremes;
mod folding;
mod generator;
mod random_graphs;
mod real_models;
mod recurrent;
