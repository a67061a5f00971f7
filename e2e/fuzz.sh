#!/usr/bin/env bash
# Runs every fuzz target of the checkout for a while, one after the other: e2e/fuzz.sh [TIME], 20s unless told.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard '*_test.go' | xargs grep -Ho '^func Fuzz[A-Za-z0-9]*' | while IFS=: read -r file target; do
	target=${target#func }
	echo "fuzzing $target in $(dirname "$file")"
	# Nothing of the race detector here: it would take most of the time, and parsers have no goroutines.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-20s}" -fuzzminimizetime 10x "./$(dirname "$file")" </dev/null >fuzz.log 2>&1 || { cat fuzz.log; rm -f fuzz.log; exit 1; }
	rm -f fuzz.log
done
