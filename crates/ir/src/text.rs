//! Readable form of a graph: one node a line.

use std::fmt;

use crate::Graph;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", self.name)?;
        for id in self.nodes() {
            let node = self.node(id);
            let operands: Vec<&str> = self.operands(id).iter().map(|o| self.node(*o).name.as_str()).collect();
            write!(f, "  {} = {}({})", node.name, node.op.name(), operands.join(", "))?;
            for param in node.op.params() {
                write!(f, " {}{:?}", self.param_name(param), self.param(param).shape())?;
            }
            writeln!(f, " -> {:?}", node.shape)?;
        }
        let outputs: Vec<&str> = self.outputs().iter().map(|o| self.node(*o).name.as_str()).collect();
        writeln!(f, "  return {}", outputs.join(", "))
    }
}
