#!/usr/bin/env bash
# The cut-over, on the cluster of `make demo`: a service over a SQLite file, used while it runs, and
# then moved into replicated buckets by one edited field.
set -euo pipefail
cd "$(dirname "$0")/../.."
bed=${1:?usage: cutover.sh CLUSTER}
namespace=membership-cutover

scratch=$(mktemp -d)
callers=()
ended() {
    touch "$scratch/enough"
    [ ${#callers[@]} = 0 ] || wait "${callers[@]}"
    rm -rf "$scratch"
}
trap ended EXIT
if [ -z "${KUBECONFIG:-}" ]; then
    cargo testbed kubeconfig --name "$bed" >"$scratch/kubeconfig"
    export KUBECONFIG=$scratch/kubeconfig
fi
kubectl=$(cargo testbed which kubectl)
k() { "$kubectl" --namespace "$namespace" "$@"; }
began=$SECONDS
say() { printf '\n== %s  [%ds]\n' "$1" $((SECONDS - began)); }

# Prints each new word of a condition until it is True.
until_true() {
    local end=$((SECONDS + 300)) last='' now
    while :; do
        now=$(k get membershipcluster demo -o \
            jsonpath="{.status.conditions[?(@.type=='$1')].status}{'\t'}{.status.conditions[?(@.type=='$1')].message}")
        if [ "$now" != "$last" ]; then
            printf '  [%4ds] %s: %s\n' $((SECONDS - began)) "$1" "${now#*$'\t'}"
            last=$now
        fi
        [ "${now%%$'\t'*}" != True ] || return 0
        if ((SECONDS > end)); then
            echo 'Not in five minutes. What the cluster says:' >&2
            k describe membershipcluster demo >&2
            exit 1
        fi
        sleep 0.3
    done
}

# Signs a request in the caller's pod with the key of somebody, and sends it to the Service.
call() { k exec caller -- /membershipd call --timeout=5 "--key=/keys/$1" "${@:2}"; }

# Everybody, one a line.
users() { call admin GET /v1/users | sed 's/},{/},\n  {/g'; }

# Does something again and again, and notes when it went well.
again() {
    while [ ! -e "$scratch/enough" ]; do
        if "$1" 2>/dev/null; then date +%s.%N >>"$scratch/$1"; fi
        sleep 0.1
    done
}

# How often it did, and the longest time between two.
told() {
    awk 'NR > 1 && $1 - last > most { most = $1 - last } { last = $1 }
        END { printf "%d times, and not for %.1f s in the middle\n", NR, most }' "$scratch/$1"
}

say 'A new claim, released to the cluster, and a service over a SQLite file on it'
"$kubectl" create namespace "$namespace" --dry-run=client -o yaml | "$kubectl" apply -f - >/dev/null
k apply -f - <<'END'
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: membership-sqlite
  annotations: {membership.unibus.dev/release-to: demo}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 64Mi}}
END
k apply -f examples/cutover-1-sqlite.yaml
until_true MembershipdReady
k get membershipclusters -o wide

say 'Users come in through it'
image=$(k get deployment demo-membershipd-sqlite -o jsonpath='{.spec.template.spec.containers[0].image}')
sed "s|IMAGE|$image|" tests/demo/caller.yaml | k apply -f - >/dev/null
k wait --for=condition=Ready pod/caller --timeout=120s >/dev/null
new_key() { k exec caller -- /membershipd keygen "/keys/$1"; }
admin=$(new_key admin)
k exec deploy/demo-membershipd-sqlite -- /membershipd user add --admin --db=/data/membership.db "$admin" Ada >/dev/null
let_in() { call admin POST /v1/users --data "{\"key\": \"$1\", \"handle\": \"$2\", \"role\": \"$3\"}" >/dev/null; }
let_in "$(new_key gate)" Gate service
bob=$(new_key bob)
let_in "$bob" Bob user
users
until_true Ready

say 'From now on the gate asks without end whether Bob may come in, and Ada makes one room after the other'
bob_comes_in() {
    call gate POST /v1/authorize --data "{\"questions\": [{\"user\": \"$bob\"}]}" | grep '"allowed": *true' >/dev/null
}
ada_makes_a_room() {
    local room=room-$RANDOM-$RANDOM
    call admin POST /v1/rooms --data "{\"room\": \"$room\", \"subject\": \"bus.$room\"}" >/dev/null
}
again bob_comes_in &
callers+=($!)
again ada_makes_a_room &
callers+=($!)
sleep 3

say 'One field is edited: store: JetStream'
k apply -f examples/cutover-2-jetstream.yaml
until_true Migrated
until_true MembershipdReady
sleep 3
touch "$scratch/enough"
wait "${callers[@]}"
callers=()
echo '  As seen by one kubectl after the other, each of which takes its time:'
echo "  Bob came in $(told bob_comes_in)"
echo "  Ada made a room $(told ada_makes_a_room)"

say 'The same users at the same address, from the buckets'
users
k get membershipclusters -o wide
k get events --field-selector involvedObject.kind=MembershipCluster -o custom-columns=REASON:.reason,NOTE:.message
