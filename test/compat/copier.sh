#!/usr/bin/env bash
# Apache's TransactionalMessageCopier against one gregor node that is killed with
# SIGKILL at random moments and started again, as one of the copiers is: consume,
# transform, produce, with transactions that are aborted at random too. The output topic, read with
# read_committed, holds exactly the input's messages in the input's order, partition
# by partition. It installs Apache Kafka by its Maven coordinates, binds to loopback,
# prints a line a run and one summary line, and ends by itself.
#
#   MESSAGES  how many messages a run copies (100000)
#   RUNS      how many runs (1); odd ones assign partitions, even ones are a group
#   SEED      of the moments of the kills, for the first run (1)
area=copier port=${COMPAT_PORT:-19392}
. "$(dirname "$0")/lib.sh"
messages=${MESSAGES:-100000} runs=${RUNS:-1} seed=${SEED:-1}
cli=org.apache.kafka.tools partitions=4
limit=600 # seconds that a run may take

# copier I RUN MODE: copies until its input is at its end. One that gives up, as a
# producer does whose commit's outcome it cannot know, or that is killed, is started
# again.
copier() {
  local i=$1 run=$2 mode=$3 flags=() java=
  [ "$mode" = group ] && flags=(--group-mode --use-group-metadata)
  trap 'kill "$java"; exit 1' TERM
  while :; do
    java "${jvm[@]}" -Dorg.apache.logging.log4j.level=ERROR -cp "$libs/*" $cli.TransactionalMessageCopier --broker-list "$addr" --input-topic "in-$run" --input-partition "$i" \
      --output-topic "out-$run" --transactional-id "copier-$run-$i" --consumer-group "copiers-$run" --transaction-size 50 \
      --transaction-timeout 10000 --enable-random-aborts "${flags[@]}" >>"$work/copier.$i" 2>&1 &
    java=$!
    echo "$java" >"$work/pid.$i"
    wait "$java" && return
    echo "copier $i" >>"$work/restarts"
  done 2>/dev/null
}

# contents TOPIC FILE: the topic's records partition by partition, each in its order.
contents() {
  java_tool $cli.consumer.ConsoleConsumer --bootstrap-server "$addr" --topic "$1" --from-beginning --timeout-ms 25000 \
    --isolation-level read_committed --formatter-property print.partition=true --formatter-property print.key=true 2>>"$work/err" |
    LC_ALL=C sort -s -t $'\t' -k1,1 >"$2"
}

run_once() {
  local run=$1 mode=$2 kills=0 pids=() i rc=0 end
  rm -f "$work"/copier.[0-9] "$work/restarts" "$work"/pid.?
  topic "in-$run" "$partitions"
  topic "out-$run" "$partitions"
  java_tool $cli.VerifiableProducer --bootstrap-server "$addr" --topic "in-$run" --max-messages "$messages" --repeating-keys 997 >"$work/sent"
  for i in $(seq 0 $((partitions - 1))); do
    copier "$i" "$run" "$mode" &
    pids+=($!)
  done
  end=$((SECONDS + limit))
  until_true 30 grep -q ProcessLoop "$work/copier.0"
  while copying "${pids[@]}"; do
    [ "$SECONDS" -lt "$end" ] || { echo "the copiers have not ended in $limit seconds"; tail -n 3 "$work"/copier.?; rc=1; break; }
    pause "$mode" "$kills"
    crash
    kills=$((kills + 1))
    [ "$kills" = 3 ] && kill -9 "$(cat "$work/pid.$((seed % partitions))")" 2>/dev/null
  done
  for i in "${pids[@]}"; do kill "$i" 2>/dev/null; wait "$i" 2>/dev/null; done
  contents "in-$run" "$work/in"
  contents "out-$run" "$work/copied"
  echo "= $(wc -l <"$work/copied") of $(wc -l <"$work/in") messages, $(wrong) wrong, $kills kills, $(cat "$work/restarts" 2>/dev/null | wc -l) copiers restarted"
  [ "$rc" = 0 ] && [ "$(wc -l <"$work/in")" -eq "$messages" ] && cmp "$work/in" "$work/copied"
}
copying() { local p; for p in "$@"; do kill -0 "$p" 2>/dev/null && return; done; return 1; }
# pause lets the node live for three tenths of a second to four seconds. A group whose
# member left settles only when the member's session of 10 s is over, which a start of
# its coordinator begins anew: it is given every eighth life for that.
pause() {
  seed=$(((seed * 1103515245 + 12345) % 2147483648))
  local tenths=$((seed / 65536 % 38 + 3))
  [ "$1" = group ] && [ $(($2 % 8)) = 7 ] && tenths=150
  sleep $((tenths / 10)).$((tenths % 10))
}
wrong() { diff "$work/in" "$work/copied" | grep -c '^[<>]'; }

need_kafka
: >"$work/err"
: >"$work/nodes.log"
start
for run in $(seq "$runs"); do
  mode=group
  [ $((run % 2)) = 1 ] && mode=assign
  check "TransactionalMessageCopier, $mode, run $run" run_once "$run" "$mode"
  drop "in-$run"
  drop "out-$run"
done
stop
summary
