//! Nodes that take no pods: what is killed there stays away.

use crate::bed::Bed;

/// Such nodes, until this is dropped.
pub struct Cordon<'a> {
    bed: &'a Bed,
    nodes: Vec<&'a str>,
}

impl<'a> Cordon<'a> {
    pub fn of(bed: &'a Bed, nodes: impl Iterator<Item = &'a str>) -> Self {
        let cordon = Self { bed, nodes: nodes.collect() };
        cordon.all("cordon");
        cordon
    }

    fn all(&self, what: &str) {
        self.bed.kubectl().run([&[what], &self.nodes[..]].concat()).unwrap();
    }
}

impl Drop for Cordon<'_> {
    fn drop(&mut self) {
        self.all("uncordon");
    }
}
