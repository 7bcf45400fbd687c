#!/usr/bin/env bash
# The cut-over, on the cluster of `make demo`: a service over a SQLite file, used while it runs, and
# then moved into replicated buckets by one edited field.
set -euo pipefail
cd "$(dirname "$0")/../.."
bed=${1:?usage: cutover.sh CLUSTER}
namespace=membership-cutover

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
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
db=--db=/data/membership.db
for n in 1 2 3; do
    key=$(k exec deploy/demo-membershipd-sqlite -- /membershipd keygen /data/user-$n.key)
    k exec deploy/demo-membershipd-sqlite -- /membershipd user add "$db" "$key" "User $n" >/dev/null
done
k exec deploy/demo-membershipd-sqlite -- /membershipd user list "$db"
until_true Ready

say 'One field is edited: store: JetStream'
k apply -f examples/cutover-2-jetstream.yaml
until_true Migrated
until_true MembershipdReady

say 'The same users, from the buckets'
k exec deploy/demo-membershipd -- /membershipd user list --nkey=/key/seed \
    "--nats-url=nats://demo-nats.$namespace.svc:4222"
k get membershipclusters -o wide
k get events --field-selector involvedObject.kind=MembershipCluster -o custom-columns=REASON:.reason,NOTE:.message
