#!/usr/bin/env bash
# Runs every fuzz target of the checkout for a while, one after the other: e2e/fuzz.sh [TIME], 20s unless told.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# An input that fails is written down by go test and named in its log. Without one, a failure is go test's own clock: on a busy machine
# it sometimes ends a target with "context deadline exceeded" when the time is up in the middle of an input.
ended_by_clock() { grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; }

git ls-files -co --exclude-standard '*_test.go' | xargs grep -Ho '^func Fuzz[A-Za-z0-9]*' | while IFS=: read -r file target; do
	target=${target#func }
	echo "fuzzing $target in $(dirname "$file")"
	# Without the race detector, which would take most of the time: parsers have no goroutines.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-20s}" -fuzzminimizetime 10x "./$(dirname "$file")" </dev/null >"$log" 2>&1 ||
		ended_by_clock || { cat "$log"; exit 1; }
done
