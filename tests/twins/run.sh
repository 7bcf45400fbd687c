#!/usr/bin/env bash
# Seeded mistakes. Each patch in this folder breaks one rule of the store, as somebody might in good
# faith; the tests that its line `Caught by:` names pass without it, and must fail with it. A patch
# that no longer applies, or no longer compiles, is an error. Prints caught / seeded.
# Usage: run.sh [PATCH...]     (make twins)
set -euo pipefail
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- tests/twins/*.patch

scratch=$(mktemp -d)
# Always the same place, or everything of ours would be built anew; and outside of this one, or its
# cargo would read this one's settings, too.
tree=${TMPDIR:-/tmp}/membership-twins-$(id -u)-$(pwd | cksum | cut -d' ' -f1)
finish() {
    git worktree remove --force "$tree" 2>/dev/null || true
    rm -rf "$tree" "$scratch"
    git worktree prune
}
trap finish EXIT

# The mistakes are built apart from the program, and in a folder that stays, so that only our own
# crates are built again. The first time it takes over the dependencies that are there.
export CARGO_TARGET_DIR=$PWD/target/twins
# Quickly built is better here than quick: it is built for each mistake anew.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=none
if [ ! -d "$CARGO_TARGET_DIR" ]; then
    mkdir -p "$CARGO_TARGET_DIR"
    find target -path target/twins -prune -o \
        -type f \( -path '*/debug/deps/*' -o -path '*/debug/build/*' -o -path '*/debug/.fingerprint/*' \) \
        ! -path '*membership*' ! -path '*testbed*' -print0 |
        tar --null --files-from - --create | tar --extract --directory "$CARGO_TARGET_DIR" --strip-components 1
fi
rm -rf "$tree"
git worktree prune
git worktree add --quiet --detach "$tree" HEAD

# What a test does not need is not built: the store's tests need neither the operator nor the service.
part() {
    echo --locked --package membership-operator --no-default-features
    [ "$2" = store ] || echo --features service
}

field() { sed -n "s/^$1: //p" "$2"; }

# Gives 0 when the tests passed, 1 when they failed; anything else ends this.
judge() {
    local log=$scratch/log part
    read -ra part -d '' < <(part "$@") || true
    (cd "$tree" && cargo test --quiet "${part[@]}" "${@:1:2}" --no-run) >"$log" 2>&1 ||
        { tail -40 "$log" >&2; echo "$name: does not compile" >&2; exit 2; }
    if (cd "$tree" && timeout 900 cargo test --quiet "${part[@]}" "$@") >"$log" 2>&1; then
        grep -q '^test result: ok. [1-9]' "$log" || { echo "$name: there is no such test" >&2; exit 2; }
        return 0
    fi
    grep -q '^test result: FAILED' "$log" && return 1
    tail -20 "$log" >&2
    echo "$name: its tests neither passed nor failed" >&2
    exit 2
}

for patch in "$@"; do
    git -C "$tree" apply --check "$(realpath "$patch")" ||
        { echo "$patch no longer applies: make it anew" >&2; exit 2; }
    [ -n "$(field Mistake "$patch")" ] && [ -n "$(field 'Caught by' "$patch")" ] ||
        { echo "$patch does not say what it is and what catches it" >&2; exit 2; }
done

name="without a mistake"
while read -ra tests; do
    judge "${tests[@]}" || { tail -40 "$scratch/log" >&2; echo "fails without a mistake: ${tests[*]}" >&2; exit 2; }
    echo "passes      without a mistake: ${tests[*]}"
done < <(for patch in "$@"; do field 'Caught by' "$patch"; done | sort -u)

caught=0
for patch in "$@"; do
    name=$(basename "$patch" .patch)
    git -C "$tree" checkout --quiet --force HEAD
    git -C "$tree" apply "$(realpath "$patch")"
    read -ra tests <<<"$(field 'Caught by' "$patch")"
    if judge "${tests[@]}"; then
        echo "NOT CAUGHT  $name: $(field Mistake "$patch")"
    else
        caught=$((caught + 1))
        echo "caught      $name: $(field Mistake "$patch")"
    fi
done
echo "caught / seeded: $caught / $#"
[ "$caught" = $# ]
