#!/usr/bin/env bash
# Kafka Streams' word count (exactly_once_v2, the classic group protocol) against one
# gregor node, first in peace, then with the node and the application's two instances
# killed with SIGKILL at random moments and started again: every increment of every
# word is written once. It installs Kafka Streams by its Maven coordinates, binds to
# loopback, prints a line a run and one summary line, and ends by itself.
#
#   RUNS       how many runs with kills (1)
#   KILLS      how often the node is killed in a run (3)
#   APP_KILLS  how often an instance of the application is killed in a run (6)
#   GUARANTEE  of the application (exactly_once_v2); with at_least_once the runs in
#              which it is killed are expected to fail
#   SEED       of the moments of the kills (1)
area=streams port=${COMPAT_PORT:-19492}
. "$(dirname "$0")/lib.sh"
runs=${RUNS:-1} kills=${KILLS:-3} app_kills=${APP_KILLS:-6} guarantee=${GUARANTEE:-exactly_once_v2} RANDOM=${SEED:-1}
limit=300 # seconds that a run may take
declare -A apps

# text is the project's own prose, some ten thousand words.
text() { cat README.md docs/*.md docs/architecture/*.md; }

# app NAME I: an instance of the application; its words go to app-NAME-I.
app() {
  java -Xmx384m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=off -cp "$streams/*:$work/classes" \
    WordCount app "$addr" "$1" "$work/state-$1-$2" "$guarantee" >>"$work/app-$1-$2" 2>&1 &
  apps[$2]=$!
}
# end_app I: kills an instance as the system kills it that has no memory left.
end_app() {
  [ -n "${apps[$1]:-}" ] && kill -9 "${apps[$1]}" && wait "${apps[$1]}"
  apps[$1]=
} 2>/dev/null
running() { [ "$(grep -c '^running' "$work/app-$1-$2")" -ge 1 ]; }

# kill_all NAME: kills an instance or the node every few seconds, as often as is asked
# for. Every third kill of an instance takes its state with it: what comes back is a
# new process to the group, and the transaction of the old one is left to its timeout.
kill_all() {
  local name=$1 a=0 n=0 i
  while [ $((a + n)) -lt $((app_kills + kills)) ]; do
    sleep $((RANDOM % 6 + 1)).$((RANDOM % 10))
    kill -0 "$checker" 2>/dev/null || return
    if [ "$n" -lt "$kills" ] && [ $((a * kills)) -ge $(((n + 1) * app_kills)) ] || [ "$a" -ge "$app_kills" ]; then
      n=$((n + 1))
      crash
      continue
    fi
    a=$((a + 1)) i=$((a % 2))
    end_app "$i"
    [ $((a % 3)) = 0 ] && rm -rf "$work/state-$name-$i"
    [ $((a % 4)) = 0 ] && sleep 7 # the other instance takes its partitions over
    app "$name" "$i"
  done
}

word_count() {
  local name=$1 mode=$2 seconds=15 rc
  topic "lines-$name" 4
  topic "counts-$name" 4
  for i in 0 1; do app "$name" "$i"; done
  until_true 120 running "$name" 0
  [ "$mode" = kills ] && seconds=$((5 * (app_kills + kills)))
  java -Xmx256m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=off -cp "$streams/*:$work/classes" WordCount check "$addr" "$name" "$seconds" "$limit" < <(text) >"$work/count-$name" 2>&1 &
  checker=$!
  [ "$mode" = kills ] && kill_all "$name"
  wait "$checker"
  rc=$?
  for i in 0 1; do end_app "$i"; done
  cat "$work/count-$name"
  return "$rc"
}

need_streams
compile "$work/classes" "$streams/*" WordCount.java
rm -rf "$work"/state-* "$work"/app-*
: >"$work/nodes.log"
start
check "word count, $guarantee" word_count peace none
for run in $(seq "$runs"); do
  check "word count, $guarantee, the node killed $kills times, the application $app_kills times, run $run" word_count "kill-$run" kills
done
echo "note  group.protocol=streams (KIP-1071) is not served; Streams runs on the classic protocol"
stop
summary
