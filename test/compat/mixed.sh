#!/usr/bin/env bash
# A KRaft cluster of both kinds: broker 1 is gregor, broker 2 Apache Kafka's (4.3.1), the
# controller is Apache Kafka's or gregor. Both follow the controller's metadata log, replicate
# each other's partitions, coordinate transactions across, and are killed and started
# again; the controller is restarted too. What was acknowledged is there once, and the
# logs of both replicas are equal byte by byte. It installs Apache Kafka by its Maven
# coordinates, binds to loopback, prints a line a check and one summary line, and ends
# by itself.
#
#   COUNT       how many records each step produces (2000)
#   CONTROLLER  "kafka" or "gregor" (kafka)
area=mixed port=${COMPAT_PORT:-19792}
. "$(dirname "$0")/lib.sh"
count=${COUNT:-2000} controller=${CONTROLLER:-kafka}
cli=org.apache.kafka.tools
partitions=4
addr=localhost:$((port + 1)),localhost:$((port + 2))
declare -A pids
produced=0

write_properties() {
  local id common
  common="controller.quorum.bootstrap.servers=localhost:$port
controller.listener.names=CONTROLLER
offsets.topic.num.partitions=2
offsets.topic.replication.factor=2
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=2
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0"
  cat >"$work/100.properties" <<EOF
process.roles=controller
node.id=100
listeners=CONTROLLER://localhost:$port
advertised.listeners=CONTROLLER://localhost:$port
log.dirs=$work/data-100
$common
EOF
  for id in 1 2; do
    cat >"$work/$id.properties" <<EOF
process.roles=broker
node.id=$id
listeners=PLAINTEXT://localhost:$((port + id))
advertised.listeners=PLAINTEXT://localhost:$((port + id))
log.dirs=$work/data-$id
$common
EOF
  done
}
format() {
  local id=A1b2C3d4E5f6G7h8I9j0Kw
  local tool=(java_tool kafka.tools.StorageTool)
  [ "$controller" = gregor ] && tool=("$bin" kafka-storage)
  "${tool[@]}" format -t $id -c "$work/100.properties" --standalone --release-version 4.3 &&
    "$bin" kafka-storage format -t $id -c "$work/1.properties" --release-version 4.3 &&
    java_tool kafka.tools.StorageTool format -t $id -c "$work/2.properties" --release-version 4.3
}

# up ID: runs the node with the id.
up() {
  case $1-$controller in
    1-* | 100-gregor) "$bin" kafka-server-start "$work/$1.properties" >"$work/$1.log" 2>&1 & ;;
    *) java -Xmx512m -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$work/log4j2.properties" -cp "$libs/*" kafka.Kafka "$work/$1.properties" >"$work/$1.log" 2>&1 & ;;
  esac
  pids[$1]=$!
}
serves() { until_true 120 grep -q "Kafka Server started" "$work/$1.log" || { tail "$work/$1.log"; return 1; }; }
# down SIGNAL ID: ends the node.
down() {
  kill "-$1" "${pids[$2]}"
  wait "${pids[$2]}" 2>/dev/null
  cat "$work/$2.log" >>"$work/nodes.log"
}

describe() { java_tool $cli.TopicCommand --bootstrap-server "$addr" --describe --topic "$1"; }
in_sync() { [ "$("$bin" kafka-topics --bootstrap-server "$addr" --describe --topic "$1" | grep -cE 'Isr: (1,2|2,1)')" = "$2" ]; }
# led_by N1 N2: so many partitions of the topic are led by brokers 1 and 2.
led_by() {
  local d
  d=$("$bin" kafka-topics --bootstrap-server "$addr" --describe --topic mixed)
  [ "$(grep -c 'Leader: 1' <<<"$d")" = "$1" ] && [ "$(grep -c 'Leader: 2' <<<"$d")" = "$2" ]
}
preferred() {
  "$bin" kafka-leader-election --bootstrap-server "$addr" --election-type preferred --all-topic-partitions >/dev/null
  led_by 2 2
}
# produce: the next records, numbered on, each acknowledged by all replicas in sync.
produce() {
  local from=$((produced + 1))
  produced=$((produced + count))
  seq "$from" "$produced" | java_tool $cli.ConsoleProducer --bootstrap-server "$addr" --topic mixed --command-property acks=all \
    --command-property delivery.timeout.ms=120000
}
# consume: every number so far is there once.
consume() {
  java_tool $cli.consumer.ConsoleConsumer --bootstrap-server "$addr" --topic mixed --from-beginning --max-messages "$produced" --timeout-ms 60000 2>/dev/null |
    sort -n >"$work/got"
  seq "$produced" | cmp - "$work/got" && echo "= $produced records"
}
produce_consume() { produce && consume; }
# equal TOPIC: both replicas of each partition hold the same bytes.
equal() {
  local p n=0
  for p in $(seq 0 $((partitions - 1))); do
    cmp <(cat "$work/data-1/$1-$p"/*.log) <(cat "$work/data-2/$1-$p"/*.log) || return 1
    n=$((n + $(cat "$work/data-1/$1-$p"/*.log | wc -c)))
  done
  echo "= $n bytes"
}
# observers: the controller counts both brokers among those that follow it closely.
observers() {
  java_tool $cli.MetadataQuorumCommand --bootstrap-controller "localhost:$port" describe --replication >"$work/quorum"
  cat "$work/quorum"
  awk '$NF == "Observer" && $4 <= 5 && ($1 == 1 || $1 == 2) { n++ } END { exit n != 2 }' "$work/quorum"
}
# copy: two transactional copiers, one with a coordinator on each broker at best; their
# partitions are led by both, so that markers and verifications cross.
copy() {
  local i
  for i in 0 1 2 3; do
    java "${jvm[@]}" -cp "$libs/*" $cli.TransactionalMessageCopier --broker-list "$addr" --input-topic mixed --input-partition "$i" \
      --output-topic copied --transactional-id "copier-$i" --consumer-group copiers --transaction-size 100 --max-messages -1 >"$work/copier-$i" 2>&1 || return 1
  done
  java_tool $cli.consumer.ConsoleConsumer --bootstrap-server "$addr" --topic copied --from-beginning --isolation-level read_committed \
    --max-messages "$produced" --timeout-ms 60000 2>/dev/null | sort -n >"$work/got"
  seq "$produced" | cmp - "$work/got" && echo "= $produced records"
}

restart_killed() {
  up "$1"
  serves "$1" && until_true 60 in_sync mixed $partitions && until_true 20 preferred
}
clean_stop() {
  down TERM 1
  grep -q 'asked us to exit controlled shutdown' "$work/1.log" && [ -f "$work/data-1/.kafka_cleanshutdown" ] && until_true 20 led_by 0 4
}
controller_restarts() {
  down TERM 100
  up 100
  serves 100
  until_true 60 "$bin" kafka-topics --bootstrap-server "localhost:$((port + 1))" --create --topic after --replica-assignment 1:2,2:1
  until_true 30 in_sync after 2
}

need_kafka
rm -rf "$work"/data-*
: >"$work/nodes.log"
printf 'rootLogger.level=INFO\nrootLogger.appenderRef.a.ref=A\nappender.a.type=Console\nappender.a.name=A\nappender.a.layout.type=PatternLayout\nappender.a.layout.pattern=[%%d] %%p %%m (%%c)%%n\n' >"$work/log4j2.properties"
write_properties
format >"$work/out" 2>&1 || { fail "format"; summary; }
up 100 && up 1 && up 2
check "controller $controller takes gregor as broker 1" serves 1
check "and Apache Kafka's as broker 2" serves 2
for t in mixed copied; do
  "$bin" kafka-topics --bootstrap-server "$addr" --create --topic $t --replica-assignment 1:2,2:1,1:2,2:1 >/dev/null || fail "create $t"
done
check "both follow the metadata log" until_true 30 observers
check "acks=all through both leaders" produce_consume
check "all replicas in sync" until_true 30 in_sync mixed $partitions
check "equal replicas" until_true 10 equal mixed
down KILL 1
check "gregor killed: Apache Kafka's broker leads on" until_true 60 led_by 0 4
check "records without gregor" produce_consume
check "gregor comes back in sync and leads" restart_killed 1
check "records with gregor again" produce_consume
down KILL 2
check "Apache Kafka's broker killed: gregor leads on" until_true 60 led_by 4 0
check "records without Apache Kafka's broker" produce_consume
check "it comes back in sync and leads" restart_killed 2
check "records with both" produce_consume
check "equal replicas after both were killed" until_true 30 equal mixed
check "the controller restarts; a topic is created through gregor" controller_restarts
check "transactions across both" copy
check "equal replicas with transactions" until_true 10 equal copied
check "gregor stops cleanly, its leaders moved" clean_stop
check "gregor starts from a clean stop" restart_killed 1
check "records at the end" produce_consume
summary
