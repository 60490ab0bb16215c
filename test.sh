#!/usr/bin/env bash
# Installs what is needed, builds, runs every test.
#   sudo ./test.sh           the short form, below 20 minutes on two cores
#   sudo ./test.sh --long    with mutants, load and long runs
# The last line is "N passed, N failed"; the exit status is 0 when nothing failed.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
. .ci/packages.sh

long=0
for arg in "$@"; do
    case "$arg" in
    --long) long=1 ;;
    *) echo "usage: $0 [--long]" >&2 && exit 2 ;;
    esac
done

passed=0 failed=0 began=$SECONDS
say() { printf '\n== %3ds  %s\n' $((SECONDS - began)) "$*"; }
finish() {
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
}
# A step that must work before anything can be tested.
must() {
    "$@" || { echo "FAILED: $*" >&2 && failed=$((failed + 1)) && finish; }
}

# Counts a JUnit report into passed and failed; a missing report is a failure.
count() {
    local sums
    sums=$(python3 - "$1" <<'PY'
import sys, xml.etree.ElementTree as tree
try:
    cases = list(tree.parse(sys.argv[1]).getroot().iter("testcase"))
except Exception as e:
    print(f"no report: {e}", file=sys.stderr)
    print("0 1")
    raise SystemExit
bad = [c for c in cases
       if c.find("failure") is not None or c.find("error") is not None or c.get("status") == "fail"]
skipped = [c for c in cases if c not in bad and c.find("skipped") is not None]
for c in bad:
    print(f"FAILED: {c.get('classname', '')} {c.get('name')}", file=sys.stderr)
for c in skipped:
    print(f"skipped: {c.get('classname', '')} {c.get('name')}", file=sys.stderr)
print(len(cases) - len(bad) - len(skipped), len(bad))
PY
)
    set -- $sums
    passed=$((passed + $1)) failed=$((failed + $2))
}

must packages_install "${packages_build[@]}" "${packages_test[@]}"

pytest=$(command -v /usr/bin/pytest-3 || command -v pytest)
jobs=$(nproc)
reports=build/reports
mkdir -p $reports

say "style"
if git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
fi

must players_install # before anything is built: the page /watch takes its player from there

long_form=() # the end-to-end tests are run, and counted one by one, below
[ $long -eq 1 ] && long_form=(-C Long)
for preset in release asan tsan; do
    say "building $preset"
    must cmake --preset $preset >build/$preset.log
    must cmake --build --preset $preset -j "$jobs"
    say "testing $preset"
    ctest --preset $preset -j "$jobs" -LE e2e "${long_form[@]}" --output-junit "$PWD/$reports/$preset.xml"
    count $reports/$preset.xml
done

marks=(-m "not long")
[ $long -eq 1 ] && marks=()
for preset in release asan; do
    say "end to end, $preset"
    FRESHET_BUILD=$preset FRESHET_BIN=$PWD/build/$preset/freshet \
        FRESHET_LOAD_BIN=$PWD/build/$preset/tests/load PYTHONDONTWRITEBYTECODE=1 \
        "$pytest" -q -p no:cacheprovider -n $((jobs + 1)) --dist loadfile "${marks[@]}" \
        --junitxml=$reports/e2e-$preset.xml tests/e2e
    count $reports/e2e-$preset.xml
done

say "dash.js and Shaka Player"
FRESHET_BIN=$PWD/build/release/freshet PYTHONDONTWRITEBYTECODE=1 \
    "$pytest" -v -p no:cacheprovider "${marks[@]}" --junitxml=$reports/players.xml tests/players
count $reports/players.xml

finish
