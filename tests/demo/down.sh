#!/usr/bin/env bash
# Removes all of the demo: its test bed, or what it put into the cluster of KUBECONFIG.
set -euo pipefail
cd "$(dirname "$0")/../.."
bed=${1:?usage: down.sh CLUSTER}
if [ -z "${KUBECONFIG:-}" ]; then
    exec cargo testbed down --name "$bed" --purge
fi
kubectl=$(cargo testbed which kubectl)
helm=$(cargo testbed which helm)
"$kubectl" delete namespace membership-demo membership-cutover --ignore-not-found --timeout=120s
"$helm" uninstall membership-operator --namespace membership-system --ignore-not-found
"$kubectl" delete namespace membership-system --ignore-not-found --timeout=120s
"$kubectl" delete crd membershipclusters.membership.unibus.dev --ignore-not-found --timeout=60s
