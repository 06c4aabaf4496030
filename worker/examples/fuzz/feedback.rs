//! Coverage feedback: which edges in the device's code are new.

use std::collections::{BTreeSet, HashSet};

/// Two consecutive PCs of a trace. The first edge starts at 0.
pub type Edge = (u64, u64);

/// The edges of the traces.
pub fn edges(traces: &[Vec<u64>]) -> impl Iterator<Item = Edge> {
    traces.iter().flat_map(|trace| std::iter::once(&0).chain(trace).copied().zip(trace.iter().copied()))
}

/// The coverage of all programs so far.
#[derive(Debug, Default)]
pub struct Feedback {
    pcs: BTreeSet<u64>,
    edges: HashSet<Edge>,
}

impl Feedback {
    /// Adds the traces of a program, one for each request. Returns the edges that are new.
    pub fn take(&mut self, traces: &[Vec<u64>]) -> Vec<Edge> {
        self.pcs.extend(traces.iter().flatten());
        edges(traces).filter(|edge| self.edges.insert(*edge)).collect()
    }

    /// PCs covered so far, in ascending order.
    pub fn pcs(&self) -> &BTreeSet<u64> {
        &self.pcs
    }

    /// Number of edges covered so far.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_order_of_pcs_is_a_new_edge() {
        let mut feedback = Feedback::default();
        assert_eq!(feedback.take(&[vec![1, 2, 3]]), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(feedback.take(&[vec![1, 2, 3], vec![1, 2], vec![]]), []);
        assert_eq!(feedback.take(&[vec![1], vec![2], vec![1, 3]]), [(0, 2), (1, 3)]);
        assert_eq!((feedback.pcs().len(), feedback.edges()), (3, 5));
    }
}
