#!/usr/bin/env bash
# Runs every fuzz target for the given time (default 5s), one after the other, and
# prints one summary line. Finds are kept by Go under testdata/fuzz of the package.
set -uo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s}
only=${2:-}
passed=0 failed=0
while IFS=: read -r file name; do
  pkg=./$(dirname "$file")
  case "$pkg/$name" in *"$only"*) ;; *) continue ;; esac
  if out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 50x -parallel "${FUZZ_PARALLEL:-2}" "$pkg" 2>&1); then
    passed=$((passed + 1))
    echo "ok   $pkg $name: $(echo "$out" | grep -o 'execs: [0-9]*' | tail -n 1)"
  # Go's fuzzer sometimes reports its own time limit as a failure when the time runs out
  # while a worker answers. That line alone, without a failing input, is no find.
  elif echo "$out" | grep -qx '    context deadline exceeded' && ! echo "$out" | grep -qiE 'failing input|panic|hung or terminated'; then
    passed=$((passed + 1))
    echo "ok   $pkg $name: $(echo "$out" | grep -o 'execs: [0-9]*' | tail -n 1), ended by its time limit"
  else
    failed=$((failed + 1))
    echo "FAIL $pkg $name"
    echo "$out" | tail -n 40
  fi
done < <(grep -rhoE --include='*_test.go' -H 'func (Fuzz[A-Za-z0-9_]+)\(' internal | sed -E 's/func (Fuzz[A-Za-z0-9_]+)\(/\1/')
echo "fuzz: $passed targets passed, $failed failed, $time each"
[ "$failed" -eq 0 ]
