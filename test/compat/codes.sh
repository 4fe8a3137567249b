#!/usr/bin/env bash
# Every code that the broker may answer to producers with transactions and to members of
# groups, put once into a response on its way to Java's client and to librdkafka: what
# becomes of the client is what test/codes/table.txt says. It installs Apache Kafka by
# its Maven coordinates and confluent-kafka from PyPI, binds to loopback, prints a line a
# code and one summary line, and ends by itself.
#
#   ONLY     tries the rows whose name holds this
#   CLIENTS  which clients (java librdkafka)
#   PARTS    in how many parts the rows of a client are tried side by side (3)
area=codes port=${COMPAT_PORT:-19692}
. "$(dirname "$0")/lib.sh"
pids=()

# try CLIENT PART COMMAND...: on a node of its own, so that no client meets what another
# left. It is run in the background, a shell of its own: the clients wait much and work
# little, so they have their turn side by side.
try() {
  client=$1 port=$((port + 10 * ${#pids[@]})) part=$2 work=$work/$1-$2
  addr=localhost:$port relay=localhost:$((port + 5)) # the node has the two ports from its own on
  shift 2
  mkdir -p "$work"
  trap cleanup EXIT
  node_flags=(--override "advertised.listeners=PLAINTEXT://$relay" --override group.initial.rebalance.delay.ms=0
    --override group.min.session.timeout.ms=1000 --override offsets.topic.num.partitions=5 --override transaction.state.log.num.partitions=5
    --override group.consumer.heartbeat.interval.ms=200 --override group.consumer.min.heartbeat.interval.ms=100
    --override group.consumer.session.timeout.ms=5000 --override group.consumer.min.session.timeout.ms=1000)
  start
  "$cache/codes-relay" -client "$client" -listen "$relay" -broker "$addr" -only "${ONLY:-}" -part "$part/$parts" "$@" 2>"$work/err" &
  wait $!
}

go build -o "$cache/codes-relay" ./test/compat/codes || exit 1
parts=${PARTS:-3}
runs=()
# begin CLIENT COMMAND...: all parts of a client's rows.
begin() {
  local part
  for part in $(seq "$parts"); do
    : >"$work/said-$1-$part"
    try "$1" "$part" "${@:2}" >"$work/said-$1-$part" &
    pids+=($!)
    runs+=("$1-$part")
  done
}
for client in ${CLIENTS:-java librdkafka}; do
  case $client in
  java)
    need_kafka
    compile "$work/classes" "$libs/*" Codes.java
    begin java java "${jvm[@]}" -cp "$libs/*:$work/classes" Codes
    ;;
  librdkafka)
    need_python || exit 1
    begin librdkafka "$cache/python/bin/python" test/compat/python/codes.py
    ;;
  *) echo "no client $client: java and librdkafka there are" && exit 1 ;;
  esac
done
for run in "${runs[@]}"; do
  said=$work/said-$run
  tail -n +1 -f --pid="${pids[0]}" "$said"
  wait "${pids[0]}"
  pids=("${pids[@]:1}")
  check "${run%-*}, part ${run##*-} of $parts, $(grep -c '^ok' "$said") codes" grep -q ' codes as in the table, 0 not$' "$said"
done
summary
