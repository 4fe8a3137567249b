#!/usr/bin/env bash
# franz-go's own suite (package kgo, its version is that of go.mod) against gregor, whole
# but for share groups, which gregor does not serve. With three nodes one of them at a
# time is killed and started again while the suite runs. It prints a line a run and one
# summary line.
#
#   RUNS   how often the suite runs (1)
#   NODES  1, or 3: nodes that are controller and broker each, topics with three replicas (1)
#   CHAOS  1: the clients' connections are cut by the suite as well (0)
#   EVERY  seconds between two kills with three nodes (60)
#   SPARE  the suite's tests left out (Share)
area=franz port=${COMPAT_PORT:-19892}
. "$(dirname "$0")/lib.sh"
. "$root/test/compat/cluster.sh"
runs=${RUNS:-1} every=${EVERY:-60} spare=${SPARE:-Share}
killer=
kills=$work/kills

build_suite() {
  suite=$cache/kgo.test
  [ -x "$suite" ] || go test -c -o "$suite" github.com/twmb/franz-go/pkg/kgo || exit 1
  dir=$(go list -m -f '{{.Dir}}' github.com/twmb/franz-go)/pkg/kgo
}

# kill_in_turn runs beside the suite: kill -9, a second of absence, start again.
kill_in_turn() {
  local id=0 pid
  while :; do
    for _ in $(seq "$every"); do
      [ -e "$work/over" ] && return
      sleep 1
    done
    id=$((id % 3 + 1))
    pid=$(cat "$work/$id.pid")
    kill -9 "$pid"
    until_true 10 bash -c "! kill -0 $pid"
    echo "$id" >>"$kills"
    sleep 1
    up "$id"
  done
}
finish() {
  touch "$work/over"
  [ -n "$killer" ] && wait "$killer" 2>/dev/null
  stop_nodes
  cleanup
}
trap finish EXIT

run_suite() {
  (cd "$dir" && KGO_SEEDS=$addr KGO_TEST_RF=$nodes KGO_TEST_CHAOS=${CHAOS:-0} "$suite" -test.timeout 900s -test.skip "$spare")
}

build_suite
rm -f "$work/over" "$kills" "$work"/*.pid
start_nodes
if [ "$nodes" != 1 ]; then
  : >"$kills"
  kill_in_turn &
  killer=$!
fi
for i in $(seq "$runs"); do
  began=$SECONDS before=$failed
  check "franz-go's suite, run $i" run_suite
  echo "      $((SECONDS - began)) s$([ -f "$kills" ] && echo ", $(wc -l <"$kills") kills so far")"
  [ "$failed" -gt "$before" ] && cp "$work/out" "$work/failed-$i.out"
done
summary
