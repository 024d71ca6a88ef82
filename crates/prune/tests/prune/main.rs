//! Groups, surgery and plans on random networks, against brute force and direct evaluation.

mod channels;
mod groups;
mod importance;
mod nets;
mod recurrent;
mod vectors;
