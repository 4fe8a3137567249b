#!/usr/bin/env bash
# Every code that the broker may answer to producers with transactions and to members of
# groups, put once into a response on its way to Java's client and to librdkafka: what
# becomes of the client is what test/codes/table.txt says. It installs Apache Kafka by
# its Maven coordinates and confluent-kafka from PyPI, binds to loopback, prints a line a
# code and one summary line, and ends by itself.
#
#   ONLY     tries the rows whose name holds this
#   CLIENTS  which clients (java librdkafka)
area=codes port=${COMPAT_PORT:-19692}
. "$(dirname "$0")/lib.sh"
pids=()

# try CLIENT PORT COMMAND...: on a node of its own, so that no client meets what another
# left. It is run in the background, a shell of its own: the clients wait much and work
# little, so they have their turn side by side.
try() {
  client=$1 port=$2 work=$work/$1
  addr=localhost:$port relay=localhost:$((port + 5)) # the node has the two ports from its own on
  shift 2
  mkdir -p "$work"
  trap cleanup EXIT
  node_flags=(--override "advertised.listeners=PLAINTEXT://$relay" --override group.initial.rebalance.delay.ms=0
    --override group.min.session.timeout.ms=1000 --override offsets.topic.num.partitions=5 --override transaction.state.log.num.partitions=5
    --override group.consumer.heartbeat.interval.ms=200 --override group.consumer.min.heartbeat.interval.ms=100
    --override group.consumer.session.timeout.ms=5000 --override group.consumer.min.session.timeout.ms=1000)
  start
  "$cache/codes-relay" -client "$client" -listen "$relay" -broker "$addr" -only "${ONLY:-}" "$@" 2>"$work/err" &
  wait $!
}

go build -o "$cache/codes-relay" ./test/compat/codes || exit 1
clients=${CLIENTS:-java librdkafka}
for client in $clients; do
  said=$work/said-$client
  : >"$said"
  case $client in
  java)
    need_kafka
    compile "$work/classes" "$libs/*" Codes.java
    try java "$port" java "${jvm[@]}" -cp "$libs/*:$work/classes" Codes >"$said" &
    ;;
  librdkafka)
    need_python || exit 1
    try librdkafka $((port + 10)) "$cache/python/bin/python" test/compat/python/codes.py >"$said" &
    ;;
  *) echo "no client $client: java and librdkafka there are" && exit 1 ;;
  esac
  pids[${#pids[@]}]=$!
done
for client in $clients; do
  said=$work/said-$client
  tail -n +1 -f --pid="${pids[0]}" "$said"
  wait "${pids[0]}"
  pids=("${pids[@]:1}")
  check "$client, $(grep -c '^ok' "$said") codes" grep -q ' codes as in the table, 0 not$' "$said"
done
summary
