#!/usr/bin/env bash
# Other people's clients and tools against one gregor node. Installs what it needs
# (kcat from Debian's packages, Apache Kafka by its Maven coordinates) and prints a
# line a check and one summary line. Everything runs on loopback and ends by itself.
set -uo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
work=$root/test/compat/.work
mkdir -p "$work"
bin=$root/bin/gregor
port=${COMPAT_PORT:-39192}
addr=localhost:$port
passed=0 failed=0

pass() { passed=$((passed + 1)); printf 'ok    %s\n' "$1"; }
fail() { failed=$((failed + 1)); printf 'FAIL  %s\n' "$1"; [ -s "$work/out" ] && tail -n 15 "$work/out"; }
# check NAME COMMAND...: passes when the command ends with 0.
check() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then pass "$name${note:+: $note}"; else fail "$name"; fi; }

need() {
  command -v kcat >/dev/null || { apt-get update -qq && apt-get install -y -qq kcat; } >/dev/null || exit 1
  command -v mvn >/dev/null || { apt-get update -qq && apt-get install -y -qq maven; } >/dev/null || exit 1
  libs=$root/bench/.work/kafka-libs
  if [ ! -f "$libs/.done" ]; then
    mvn -q -B -f bench/kafka.pom.xml dependency:copy-dependencies -DoutputDirectory="$libs" && touch "$libs/.done" || exit 1
  fi
  for v in 3.1.0 4.4.0; do
    [ -f "$work/clients-$v/.done" ] && continue
    mvn -q -B -f test/compat/java/pom.xml -Dkafka.version=$v -DoutputDirectory="$work/clients-$v" dependency:copy-dependencies &&
      touch "$work/clients-$v/.done" || exit 1
  done
  go build -o "$work/lines" ./test/compat/lines || exit 1
  if [ ! -x "$work/kgo.test" ]; then
    go test -c -o "$work/kgo.test" github.com/twmb/franz-go/pkg/kgo || exit 1
  fi
}

# start runs a node on a new directory.
start() {
  rm -rf "$work/data"
  "$bin" dev --port "$port" --data "$work/data" >"$work/node.log" 2>&1 &
  node=$!
  for _ in $(seq 200); do grep -q 'Kafka Server started' "$work/node.log" && return; sleep 0.05; done
  echo "the node did not start:"; tail "$work/node.log"; exit 1
}
stop() { kill "$node" 2>/dev/null; wait "$node" 2>/dev/null; }
trap 'stop' EXIT

topic() { "$bin" kafka-topics --bootstrap-server "$addr" --create --topic "$1" --partitions 6 --replication-factor 1 --config max.message.bytes=4000000 >/dev/null; }
drop() { "$bin" kafka-topics --bootstrap-server "$addr" --delete --topic "$1" >/dev/null; }

java_tool() { local class=$1; shift; java -cp "$libs/*" "$class" "$@"; }

roundtrips() {
  local codec t
  for codec in none gzip snappy lz4 zstd; do
    t=kcat-$codec
    topic "$t"
    check "kcat produces, $codec" bash -c "'$work/lines' gen | kcat -P -b $addr -t $t -K \$'\\t' -z $codec -X message.max.bytes=4000000"
    check "kcat consumes, $codec" bash -c "kcat -C -b $addr -t $t -e -q -f '%k\\t%s\\n' | '$work/lines' check"
    check "gregor consumes, $codec" bash -c "'$bin' consume $t -b $addr --format '%k\\t%v' | '$work/lines' check"
    drop "$t"
    t=kgo-$codec
    topic "$t"
    check "franz-go produces, $codec" "$work/lines" produce "$addr" "$t" "$codec"
    check "franz-go consumes, $codec" bash -c "'$work/lines' consume $addr $t | '$work/lines' check"
    drop "$t"
  done
  for codec in none lz4 zstd; do
    t=java-$codec
    topic "$t"
    check "Apache's console producer, $codec" bash -c "'$work/lines' gen | java -cp '$libs/*' org.apache.kafka.tools.ConsoleProducer --bootstrap-server $addr --topic $t --compression-codec $codec --reader-property parse.key=true --command-property max.request.size=4000000 --command-property buffer.memory=67108864 --request-timeout-ms 30000"
    # Partition by partition: without a group, as a consumer that assigns itself.
    check "Apache's console consumer, $codec" bash -c "for p in 0 1 2 3 4 5; do n=\$('$bin' kafka-get-offsets --bootstrap-server $addr --topic $t --partitions \$p | cut -d: -f3); java -Dorg.apache.logging.log4j.level=OFF -cp '$libs/*' org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server $addr --topic $t --partition \$p --offset earliest --formatter-property print.key=true --max-messages \$n; done | '$work/lines' check"
    drop "$t"
  done
}

# The commands of the mission, word for word, under Kafka's names.
mission() {
  local links=$work/links
  "$bin" install-links "$links" >/dev/null
  export PATH=$links:$PATH
  check "kafka-topics --create" kafka-topics --create --topic email --bootstrap-server "$addr" --replication-factor 1 --partitions 3
  check "kafka-console-producer" bash -c "printf 'one\ntwo\n' | kafka-console-producer --topic email --bootstrap-server $addr"
  check "kafka-console-consumer --from-beginning" bash -c "[ \"\$(kafka-console-consumer.sh --topic email --from-beginning --bootstrap-server $addr --max-messages 2 | sort | tr '\n' ' ')\" = 'one two ' ]"
  local v
  for v in 3.1.0 4.4.0; do
    mkdir -p "$work/classes-$v"
    javac -cp "$work/clients-$v/*" -d "$work/classes-$v" test/compat/java/src/main/java/Produce.java
    check "KafkaProducer, kafka-clients $v" java -cp "$work/clients-$v/*:$work/classes-$v" Produce "$addr" "java-$v" 1000
    check "its messages" bash -c "[ \$('$bin' consume java-$v -b $addr | sort | uniq | wc -l) = 1000 ]"
  done
}

# Apache's tools read what gregor serves and wrote.
tools() {
  check "Apache's kafka-topics --describe" java_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$addr" --describe
  check "Apache's kafka-get-offsets" java_tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$addr"
  check "Apache's kafka-configs" java_tool kafka.admin.ConfigCommand --bootstrap-server "$addr" --alter --entity-type topics --entity-name email --add-config retention.ms=100000
  check "Apache's kafka-log-dirs" java_tool org.apache.kafka.tools.LogDirsCommand --bootstrap-server "$addr" --describe
  check "Apache's kafka-broker-api-versions" java_tool org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "$addr"
  check "Apache's kafka-features describe" java_tool org.apache.kafka.tools.FeatureCommand --bootstrap-server "$addr" describe
  check "Apache's kafka-metadata-quorum describe" java_tool org.apache.kafka.tools.MetadataQuorumCommand --bootstrap-server "$addr" describe --status
  check "Apache's producer perf test" java_tool org.apache.kafka.tools.ProducerPerformance --bootstrap-server "$addr" --topic perf --num-records 200000 --record-size 100 --throughput -1
  stop
  dump "segments" --deep-iteration "$work"/data/*/*.log
  dump "indexes" --index-sanity-check "$work"/data/*/*index
  dump "producer snapshots" --print-data-log "$work"/data/*/*.snapshot
  dump "the metadata log" --cluster-metadata-decoder "$work"/data/__cluster_metadata-0/*.log "$work"/data/__cluster_metadata-0/*.checkpoint
}

# dump NAME FLAG FILE...: Apache's kafka-dump-log reads all the files without a complaint.
dump() {
  local name="Apache's kafka-dump-log, $1" flag=$2 f files=
  shift 2
  for f in "$@"; do [ -s "$f" ] && files=$files,$f; done
  if [ -n "$files" ] && java_tool org.apache.kafka.tools.DumpLogSegments --files "${files#,}" "$flag" >"$work/dump" 2>&1 &&
    ! grep -iE 'exception|mismatch|not valid|non-monotonic|corrupt' "$work/dump" >"$work/out"; then
    pass "$name ($#) files"
  else
    fail "$name"
  fi
}

franz() {
  local skip='Share' # share groups are not served
  local dir
  dir=$(go list -m -f '{{.Dir}}' github.com/twmb/franz-go)/pkg/kgo
  check "franz-go's suite without share groups" bash -c "cd '$dir' && KGO_SEEDS=$addr KGO_TEST_RF=1 '$work/kgo.test' -test.timeout 300s -test.skip '$skip'"
}

need
start
roundtrips
mission
franz
tools
echo "compat: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
