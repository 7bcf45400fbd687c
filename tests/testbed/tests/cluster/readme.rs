//! What the README gives to type on the test bed, typed: on the cluster that the tests share.

use crate::readme_commands::{By, run_by};
use crate::support::{SHARED, shared, testbed};

/// A name that no cluster has.
const NOBODYS: &str = "t0";

#[test]
fn what_the_readme_gives_to_type_works_as_it_stands() {
    let (cluster, _alone) = shared();
    let mut ran = 0;
    for command in run_by(By::TestBed) {
        let (own, inner) = command.split_once(" -- ").unwrap_or((command, ""));
        let mut args: Vec<&str> = own.split_whitespace().skip(2).collect();
        if args[0] != "doctor" && !args.contains(&"--help") {
            // The shared one is for others, too: that `down` leaves nothing has tests of its own.
            args.extend(["--name", if args[0] == "down" { NOBODYS } else { SHARED }]);
        }
        args.extend(
            (!inner.is_empty()).then_some("--").into_iter().chain(inner.split_whitespace()),
        );
        let output = testbed(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {said}");
        ran += 1;
    }
    assert!(ran >= 7, "{ran} commands");
    let wait = ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s"];
    cluster.kubectl().run_within(std::time::Duration::from_secs(70), wait).unwrap();
}
