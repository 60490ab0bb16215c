#!/bin/sh
# Takes each rule of the growing object out, one at a time, and demands that its test fails.
#
#   mutants.sh [NAME...]        all of tests/unit/mutants/*.patch, or those named
#
# The head of a patch says: "rule:" what is taken out, "test:" FILE/TEST that must fail, "with:"
# the build that shows it (plain, asan, tsan). The same test must pass without the patch. Works in
# a temporary copy; nothing in the tree is touched.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

libs="$(pkg-config --cflags --libs libevent_core cmocka) -lpthread"
common="-std=c11 -D_GNU_SOURCE -DFRESHET_SLOW_CHECKS -fno-strict-aliasing -g"

compiler() {
    case $1 in
    plain) echo "gcc -O1" ;;
    asan) echo "clang -O1 -fsanitize=address,undefined -fno-sanitize-recover=all" ;;
    tsan) echo "clang -O1 -fsanitize=thread" ;;
    *) echo "unknown build: $1" >&2 && exit 2 ;;
    esac
}

# copy DIR: the sources that a test needs.
copy() {
    mkdir -p "$1/tests"
    cp -r "$root/core" "$root/edge" "$1"
    cp -r "$root/tests/unit" "$1/tests"
}

# build DIR FILE BUILD OUT
build() {
    # shellcheck disable=SC2046,SC2086
    (cd "$1" && $(compiler "$3") $common -w -I. "tests/unit/test_$2.c" core/mem.c \
        "$work/core-$3.a" -o "$4" $libs)
}

# run PROGRAM TEST: its exit code; a hang is a failure too.
run() {
    code=0
    FRESHET_TEST=$2 timeout 60 "$1" >"$work/log" 2>&1 || code=$?
    # cmocka is content when the filter matches nothing
    grep -q "RUN      \] $2\$" "$work/log" || code=none
    echo "$code"
}

# core_for BUILD: what no patch changes, once.
core_for() {
    [ -e "$work/core-$1.a" ] && return
    mkdir "$work/obj-$1"
    for c in check clock hash loop mailbox outq status timer; do
        # shellcheck disable=SC2046,SC2086
        (cd "$work/clean" && $(compiler "$1") $common -w -I. -c "core/$c.c" \
            -o "$work/obj-$1/$c.o" $(pkg-config --cflags libevent_core))
    done
    ar rcs "$work/core-$1.a" "$work/obj-$1"/*.o
}

field() { sed -n "s/^$2: *//p" "$1" | head -n 1; }

copy "$work/clean"
[ $# -gt 0 ] || set -- $(cd "$here/mutants" && ls -- *.patch)
bad=0
for name in "$@"; do
    patch=$here/mutants/${name%.patch}.patch
    test=$(field "$patch" test)
    with=$(field "$patch" with)
    file=${test%%/*}
    case_=${test#*/}
    core_for "$with"
    if [ ! -e "$work/$file-$with" ]; then
        build "$work/clean" "$file" "$with" "$work/$file-$with"
    fi
    rm -rf "$work/mutant"
    copy "$work/mutant"
    verdict=survived
    if ! grep -q "\[${name%.patch}[],]" "$here/test_store_model.c"; then
        verdict="not in the table"
    elif [ "$(run "$work/$file-$with" "$case_")" != 0 ]; then
        verdict="test does not pass without it"
    elif ! (cd "$work/mutant" && patch -p1 -s -f <"$patch" >/dev/null 2>&1); then
        verdict="patch does not apply"
    elif ! build "$work/mutant" "$file" "$with" "$work/mutant/test" 2>"$work/log"; then
        verdict="does not build"
    else
        code=$(run "$work/mutant/test" "$case_")
        case $code in
        0 | none) ;;
        124) verdict="killed (hangs)" ;;
        *) verdict=killed ;;
        esac
    fi
    case $verdict in
    killed*) ;;
    *) bad=$((bad + 1)) ;;
    esac
    printf '%-32s %-5s %-28s %s\n' "${name%.patch}" "$with" "$verdict" "$case_"
done
[ "$bad" = 0 ] || echo "$bad rules are not guarded"
[ "$bad" = 0 ]
