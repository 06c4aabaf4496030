//! What coverage tells: which ways through the device's code nobody went before.

use std::collections::{BTreeSet, HashSet};

/// A PC and the one after it; 0 is before the first.
pub type Edge = (u64, u64);

/// The edges of the traces.
pub fn edges(traces: &[Vec<u64>]) -> impl Iterator<Item = Edge> {
    traces.iter().flat_map(|trace| std::iter::once(&0).chain(trace).copied().zip(trace.iter().copied()))
}

/// All that was covered so far.
#[derive(Debug, Default)]
pub struct Feedback {
    pcs: BTreeSet<u64>,
    edges: HashSet<Edge>,
}

impl Feedback {
    /// Takes the traces of a program in, one of each request. Returns the edges that none had before: one PC after
    /// another.
    pub fn take(&mut self, traces: &[Vec<u64>]) -> Vec<Edge> {
        self.pcs.extend(traces.iter().flatten());
        edges(traces).filter(|edge| self.edges.insert(*edge)).collect()
    }

    /// PCs covered so far, in order.
    pub fn pcs(&self) -> &BTreeSet<u64> {
        &self.pcs
    }

    /// Edges covered so far.
    pub fn edges(&self) -> usize {
        self.edges.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_order_is_new() {
        let mut feedback = Feedback::default();
        assert_eq!(feedback.take(&[vec![1, 2, 3]]), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(feedback.take(&[vec![1, 2, 3], vec![1, 2], vec![]]), []);
        assert_eq!(feedback.take(&[vec![1], vec![2], vec![1, 3]]), [(0, 2), (1, 3)]);
        assert_eq!((feedback.pcs().len(), feedback.edges()), (3, 5));
    }
}
