//! Every command that the README gives, and who runs it as it stands there. A test of the operator
//! holds this list to the page; a new command needs a runner, or a reason why it has none.

/// Who runs a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The newcomer's story on the end-to-end bed, `tests/e2e/readme.rs`.
    Newcomer,
    /// The test bed's own story, `tests/testbed/tests/cluster/readme.rs`.
    TestBed,
    /// Nobody, for this reason.
    Nobody(&'static str),
}

/// In the order of the page.
pub const COMMANDS: [(&str, By); 25] = [
    ("make demo", By::Nobody("it takes minutes: `make fresh-clone` runs it, cold and warm")),
    (
        "make demo-cutover",
        By::Nobody("it takes minutes, after a demo; `tests/e2e` moves one under load"),
    ),
    ("make demo-down", By::Nobody("`make fresh-clone` runs it after the demo")),
    (
        "helm install membership-operator charts/membership-operator --namespace \
         membership-system --create-namespace --wait",
        By::Newcomer,
    ),
    ("kubectl apply --server-side -k config", By::Newcomer),
    ("kubectl apply -f examples/minimal.yaml", By::Newcomer),
    ("kubectl wait --for=condition=Ready membershipcluster/demo --timeout=5m", By::Newcomer),
    ("kubectl get membershipclusters", By::Newcomer),
    ("kubectl explain membershipcluster.spec --recursive", By::Newcomer),
    ("kubectl annotate pvc membership-sqlite membership.unibus.dev/release-to=demo", By::Newcomer),
    ("kubectl apply -f examples/migrate.yaml", By::Newcomer),
    ("kubectl wait --for=condition=Migrated membershipcluster/demo --timeout=5m", By::Newcomer),
    (
        "cargo test --locked --test e2e -- --nocapture cutover::",
        By::Nobody("it is a part of the end-to-end tests, and `make test` runs all of them"),
    ),
    ("kubectl describe membershipcluster demo", By::Newcomer),
    ("kubectl logs -n membership-system deploy/membership-operator", By::Newcomer),
    ("make bench", By::Nobody("it takes half an hour and asserts nothing: it prints figures")),
    ("cargo testbed up", By::TestBed),
    ("cargo testbed kubectl -- get nodes", By::TestBed),
    ("cargo testbed node power-off node2", By::TestBed),
    ("cargo testbed node power-on node2", By::TestBed),
    ("cargo testbed down --purge", By::TestBed),
    ("cargo testbed doctor", By::TestBed),
    ("cargo testbed --help", By::TestBed),
    ("cargo testbed image --help", By::TestBed),
    ("go clean -modcache", By::Nobody("it would empty the module cache of whoever runs the tests")),
];

/// The commands that somebody runs, in the order of the page.
pub fn run_by(who: By) -> impl Iterator<Item = &'static str> {
    COMMANDS.into_iter().filter(move |(_, by)| *by == who).map(|(command, _)| command)
}
