//! Directed graphs of names, and their cycles.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Who uses whom.
#[derive(Debug, Default)]
pub struct Graph {
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Adds that `from` uses `to`.
    pub fn add(&mut self, from: &str, to: &str) {
        self.edges.entry(from.to_owned()).or_default().insert(to.to_owned());
        self.edges.entry(to.to_owned()).or_default();
    }

    /// All edges.
    pub fn edges(&self) -> impl Iterator<Item = (&str, &str)> {
        self.edges.iter().flat_map(|(from, to)| to.iter().map(|to| (from.as_str(), to.as_str())))
    }

    /// The strongly connected components of more than one name.
    #[must_use]
    pub fn cycles(&self) -> Vec<BTreeSet<&str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.edges.keys().map(|name| (name.as_str(), self.reachable(name))).collect();
        let mut cycles: Vec<BTreeSet<&str>> = Vec::new();
        for (name, to) in &reached {
            let members: BTreeSet<&str> =
                to.iter().copied().filter(|to| reached[to].contains(name)).collect();
            if members.len() > 1 && !cycles.contains(&members) {
                cycles.push(members);
            }
        }
        cycles
    }

    /// Lists the members of a cycle and the edges that tie them.
    #[must_use]
    pub fn describe(&self, cycle: &BTreeSet<&str>) -> String {
        let mut text = format!("cycle of {}:\n", cycle.len());
        for (from, to) in self.edges().filter(|(from, to)| cycle.contains(from) && cycle.contains(to)) {
            let _ = writeln!(text, "  {from} -> {to}");
        }
        text
    }

    fn reachable<'a>(&'a self, start: &'a str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut pending = vec![start];
        while let Some(name) = pending.pop() {
            let next = self.edges.get(name).into_iter().flatten().map(String::as_str);
            pending.extend(next.filter(|name| found.insert(*name)));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        edges.iter().for_each(|(from, to)| graph.add(from, to));
        graph
    }

    #[test]
    fn a_tree_has_no_cycles() {
        assert!(graph(&[("a", "b"), ("a", "c"), ("b", "c")]).cycles().is_empty());
    }

    #[test]
    fn each_cycle_is_found_once() {
        let graph = graph(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "c")]);
        let cycles: Vec<Vec<&str>> = graph.cycles().into_iter().map(|c| c.into_iter().collect()).collect();
        assert_eq!(cycles, [vec!["a", "b"], vec!["c", "d", "e"]]);
    }

    #[test]
    fn only_edges_inside_a_cycle_are_described() {
        let graph = graph(&[("a", "b"), ("b", "a"), ("b", "c")]);
        assert_eq!(graph.describe(&graph.cycles()[0]), "cycle of 2:\n  a -> b\n  b -> a\n");
    }
}
