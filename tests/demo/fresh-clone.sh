#!/usr/bin/env bash
# What a newcomer meets: a clone in a new folder, an empty cache of tools, and then `make demo` and
# `make test`. Only what is committed counts. It takes an hour or two.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/fresh-clone.XXXXXX")
export XDG_CACHE_HOME=$folder/cache
unset CARGO_TARGET_DIR KUBECONFIG
git clone --quiet . "$folder/clone"
cd "$folder/clone"

timed() {
    local began=$SECONDS
    "$@" || { echo "fresh-clone: $* failed; everything is left in $folder" >&2; exit 1; }
    times+=("$(printf '%5ds  %s' $((SECONDS - began)) "$*")")
}
times=()
timed make demo DEMO=fresh
timed make demo DEMO=fresh
timed make demo-down DEMO=fresh
timed make test
printf '\nfrom a fresh clone:\n'
printf '  %s\n' "${times[@]}"
chmod -R u+w "$folder"
rm -rf "$folder"
