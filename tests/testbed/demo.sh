#!/usr/bin/env bash
# The demo: a real Kubernetes of three nodes, three NATS servers on it, and a bucket that is made
# with one replica and raised to three. It leaves the cluster running; `make demo-down` ends it.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=${1:?usage: demo.sh CLUSTER}

scratch=$(mktemp -d)
forward=
finish() {
    [ -z "$forward" ] || kill "$forward" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT

say() { printf '\n== %s\n' "$1"; }

# The first server asked may not know the meta leader yet and drops the request: short attempts.
patiently() {
    local end=$((SECONDS + 60))
    until "$@" >"$scratch/said" 2>&1; do
        ((SECONDS < end)) || { cat "$scratch/said" >&2; return 1; }
        sleep 0.5
    done
}

cargo testbed up --name "$name"
cargo testbed kubeconfig --name "$name" >"$scratch/kubeconfig"
export KUBECONFIG=$scratch/kubeconfig
kubectl=$(cargo testbed which kubectl)

say 'Three real nodes'
"$kubectl" get nodes -o wide

say 'Three NATS servers, one a node, each with a volume of its own'
"$kubectl" apply -f tests/testbed/tests/cluster/nats.yaml
"$kubectl" rollout status -n nats statefulset/nats --timeout=120s
"$kubectl" get pods,persistentvolumeclaims -n nats -o wide

# On a cluster that was stopped, the pods' last words are still "ready": until the kubelets have
# started them anew, nothing can be forwarded.
forward() {
    "$kubectl" port-forward -n nats service/nats-client :4222 >"$scratch/forward" &
    forward=$!
    until grep -q 'Forwarding from 127.0.0.1' "$scratch/forward"; do
        kill -0 "$forward" 2>/dev/null || return 1
        sleep 0.1
    done
}
end=$((SECONDS + 60))
until forward; do
    ((SECONDS < end))
    sleep 1
done
port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$scratch/forward")
nats() { HOME=$scratch "$program" --server "nats://127.0.0.1:$port" --timeout 2s "$@"; }
program=$(cargo testbed which nats)
made() { nats kv info demo || nats kv add demo --replicas 1; }
risen() {
    [ "$(nats stream info KV_demo --json | grep -c '"current": true')" = 2 ]
}

say 'A bucket, made with one replica and raised to three'
patiently made
patiently nats kv put demo room blue
patiently nats kv edit demo --replicas 3
patiently risen
nats stream report
echo "room is $(nats kv get demo room --raw)"

cat <<END

== Now try

  cargo testbed status --name $name
  cargo testbed kubectl --name $name -- get pods -n nats -o wide --watch
  cargo testbed node power-off --name $name node2     # the other two servers go on
  cargo testbed node power-on --name $name node2      # and node2 comes back with its data
  cargo testbed logs --name $name node1/kubelet

  make demo-down                                    # and all of it is gone
END
