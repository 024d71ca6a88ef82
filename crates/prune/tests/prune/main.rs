//! Groups, surgery and plans on random networks, against brute force and direct evaluation.

mod channels;
mod criteria;
mod entropy;
mod groups;
mod importance;
mod instances;
mod joint;
mod nets;
mod properties;
mod recurrent;
mod solver;
mod topologies;
mod vectors;
