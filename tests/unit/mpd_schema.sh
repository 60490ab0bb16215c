#!/bin/sh
# mpd_schema.sh MPD_STATES SCHEMA: manifests of many states, each held against the DASH schema.
# Exit 77 (skipped) where there is no schema or no xmllint.
set -eu
states=$1 schema=$2
[ -r "$schema" ] || { echo "skipped: no schema at $schema"; exit 77; }
command -v xmllint >/dev/null || { echo "skipped: no xmllint (libxml2-utils)"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$states" "$dir"
n=$(find "$dir" -name '*.mpd' | wc -l)
[ "$n" -ge 20 ] || { echo "only $n manifests" >&2; exit 1; }
xmllint --nonet --noout --schema "$schema" "$dir"/*.mpd 2>"$dir/said" || { grep -v ' validates$' "$dir/said" >&2; exit 1; }
echo "$n manifests are valid"
