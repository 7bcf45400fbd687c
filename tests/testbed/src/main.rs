//! A real Kubernetes of N nodes on one machine, for the demo and the tests.

fn main() {}
