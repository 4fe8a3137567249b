#!/usr/bin/env bash
# Kafka Streams' word count (exactly_once_v2, the classic group protocol) against one
# gregor node, first in peace, then with the node killed with SIGKILL at random
# moments and started again: every increment of every word is written once. It
# installs Kafka Streams by its Maven coordinates, binds to loopback, prints a line a
# run and one summary line, and ends by itself.
#
#   RUNS   how many runs with kills (1)
#   KILLS  how often the node is killed in a run (3)
#   SEED   of the moments of the kills (1)
area=streams port=${COMPAT_PORT:-19492}
. "$(dirname "$0")/lib.sh"
runs=${RUNS:-1} kills=${KILLS:-3} RANDOM=${SEED:-1}
limit=300 # seconds that a run may take

# text is the project's own prose and code, some ten thousand words.
text() { cat README.md docs/*.md docs/architecture/*.md; }

word_count() {
  local name=$1 n=$2 rc i program
  topic "lines-$name" 4
  topic "counts-$name" 4
  text | java -Xmx512m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=off -cp "$streams/*:$work/classes" \
    WordCount "$addr" "$name" "$work/state-$name" "$limit" >"$work/count-$name" 2>&1 &
  program=$!
  if [ "$n" -gt 0 ]; then
    until_true 120 grep -q '^running' "$work/count-$name"
    for i in $(seq "$n"); do
      sleep $((RANDOM % 4 + 1)).$((RANDOM % 10))
      crash
    done
  fi
  wait "$program"
  rc=$?
  cat "$work/count-$name"
  return "$rc"
}

need_streams
compile "$work/classes" "$streams/*" WordCount.java
rm -rf "$work"/state-*
: >"$work/nodes.log"
start
check "word count" word_count peace 0
for run in $(seq "$runs"); do
  check "word count, the node killed $kills times, run $run" word_count "kill-$run" "$kills"
done
echo "note  group.protocol=streams (KIP-1071) is not served; Streams runs on the classic protocol"
stop
summary
