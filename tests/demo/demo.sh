#!/usr/bin/env bash
# The demo: a real Kubernetes of three nodes, the operator by its chart, a SQLite file with a
# membership, and a cluster that takes it over. It leaves everything running; `make demo-down` ends
# it. With KUBECONFIG set it uses that cluster instead, whose nodes must be able to pull $IMAGE.
set -euo pipefail
cd "$(dirname "$0")/../.."
bed=${1:?usage: demo.sh CLUSTER}
namespace=membership-demo
own_cluster=${KUBECONFIG:+yes}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

began=$SECONDS
say() { printf '\n== %s  [%ds]\n' "$1" $((SECONDS - began)); }

say 'Building the programs'
cargo build --locked --bins
built=$(dirname "$(cargo build --locked --bins --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/membershipd\)".*/\1/p')")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
image=${IMAGE:-ghcr.io/unibus/membership-operator:$version}

if [ -z "$own_cluster" ]; then
    say 'Starting three nodes'
    cargo testbed up --name "$bed"
    cargo testbed kubeconfig --name "$bed" >"$scratch/kubeconfig"
    export KUBECONFIG=$scratch/kubeconfig
    say 'Putting our image on them'
    mkdir "$scratch/image"
    cp "$built/membership-operator" "$built/membershipd" "$scratch/image/"
    cat >"$scratch/image/Dockerfile" <<'END'
FROM scratch
COPY membership-operator membershipd /
USER 65532:65532
ENTRYPOINT ["/membership-operator"]
CMD ["run"]
END
    archive=$(cargo testbed image build --tag "$image" "$scratch/image")
    cargo testbed image load --name "$bed" "$archive"
fi
kubectl=$(cargo testbed which kubectl)
helm=$(cargo testbed which helm)
k() { "$kubectl" --namespace "$namespace" "$@"; }
k get nodes

say 'Installing the operator by its chart'
"$helm" upgrade --install membership-operator charts/membership-operator \
    --namespace membership-system --create-namespace --wait --timeout 180s \
    --set "image.repository=${image%:*}" --set "image.tag=${image##*:}" >/dev/null
"$kubectl" get pods --namespace membership-system

say 'A claim with the SQLite file of a service that ran before'
"$built/sample" "$scratch/membership.db"
"$kubectl" create namespace "$namespace" --dry-run=client -o yaml | "$kubectl" apply -f - >/dev/null
k apply -f tests/demo/source.yaml
k wait --for=condition=Ready pod/old-service --timeout=180s >/dev/null
# What is piped through kubectl may lose its end when the pipe is closed: only a whole file gets its name.
size=$(stat -c %s "$scratch/membership.db")
arrived() { k exec old-service -- test -e /source/membership.db 2>/dev/null; }
for _ in 1 2 3 4 5; do
    arrived && break
    k exec -i old-service -- sh -euc "cat >/source/.new; [ \"\$(wc -c </source/.new)\" = $size ]
        mv /source/.new /source/membership.db" <"$scratch/membership.db" || true
done
arrived || { echo "The file ($size bytes) did not arrive whole in five tries: is the API server well?" >&2; exit 1; }
k exec old-service -- ls -l /source

say 'The service is stopped, and the claim released to the new cluster'
k delete pod old-service --grace-period=1 >/dev/null
k annotate --overwrite pvc membership-sqlite membership.unibus.dev/release-to=demo >/dev/null
k apply -f examples/migrate.yaml

say 'What happens, stage by stage'
read_condition() {
    k get membershipcluster demo -o \
        jsonpath="{.status.conditions[?(@.type=='$1')].status}{'\t'}{.status.conditions[?(@.type=='$1')].message}"
}
end=$((SECONDS + 300))
last=
while :; do
    now=$(read_condition Ready)
    # A resource that nobody has visited says nothing yet.
    if [ "$now" != "$last" ] && [ "$now" != $'\t' ]; then
        printf '  [%4ds] %s\n' $((SECONDS - began)) "${now#*$'\t'}"
        last=$now
    fi
    [ "${now%%$'\t'*}" != True ] || break
    if ((SECONDS > end)); then
        echo 'It did not become ready in five minutes. What the cluster says:' >&2
        k describe membershipcluster demo >&2
        exit 1
    fi
    sleep 0.3
done

say 'Ready'
k get membershipclusters
echo
k get membershipcluster demo -o jsonpath='{range .status.buckets[*]}{.name}{"\tR"}{.replicas}{"\t"}{.state}{"\tled by "}{.leader}{"\n"}{end}' |
    expand -t 28,34,42
echo
k get membershipcluster demo -o jsonpath='{"migrated from "}{.status.migration.source}{"\n  users        "}{.status.migration.counts.users}{"\n  rooms        "}{.status.migration.counts.rooms}{"\n  members      "}{.status.migration.counts.members}{"\n  sealed keys  "}{.status.migration.counts.roomKeys}{"\n  backup       "}{.status.migration.backup}{"\n"}'

say 'Now try'
if [ -z "$own_cluster" ]; then
    k="cargo testbed kubectl --name $bed -- -n $namespace"
    cat <<END
  $k get membershipcluster demo --watch
  cargo testbed node power-off --name $bed node2     # Degraded: the other two servers go on
  cargo testbed node power-on --name $bed node2      # and it heals
END
else
    k="kubectl -n $namespace"
fi
cat <<END
  $k delete pod demo-nats-1            # a server goes and comes back
  $k describe membershipcluster demo   # every condition, and what happened
  $k get events --sort-by=.lastTimestamp
  make demo-down                       # all of it gone
END
