#!/usr/bin/env bash
# Other people's clients and tools against one gregor node. Installs what it needs
# (kcat from Debian's packages, Apache Kafka by its Maven coordinates) and prints a
# line a check and one summary line. Everything runs on loopback and ends by itself.
# Afterwards it runs the scripts of the areas, once each.
#
#   AREAS  which of them (franz groups copier codes streams exchange)
area=compat port=${COMPAT_PORT:-19192}
. "$(dirname "$0")/lib.sh"

need() {
  need_command kcat kcat
  need_kafka
  for v in 3.1.0 4.4.0; do
    [ -f "$cache/clients-$v/.done" ] && continue
    mvn -q -B -f test/compat/java/pom.xml -Dkafka.version=$v -DoutputDirectory="$cache/clients-$v" dependency:copy-dependencies &&
      touch "$cache/clients-$v/.done" || exit 1
  done
  go build -o "$cache/lines" ./test/compat/lines || exit 1
}

large() { topic "$1" 6 --config max.message.bytes=4000000; }

roundtrips() {
  local codec t
  for codec in none gzip snappy lz4 zstd; do
    t=kcat-$codec
    large "$t"
    check "kcat produces, $codec" bash -c "'$cache/lines' gen | kcat -P -b $addr -t $t -K \$'\\t' -z $codec -X message.max.bytes=4000000"
    check "kcat consumes, $codec" bash -c "kcat -C -b $addr -t $t -e -q -f '%k\\t%s\\n' | '$cache/lines' check"
    check "gregor consumes, $codec" bash -c "'$bin' consume $t -b $addr --format '%k\\t%v' | '$cache/lines' check"
    drop "$t"
    t=kgo-$codec
    large "$t"
    check "franz-go produces, $codec" "$cache/lines" produce "$addr" "$t" "$codec"
    check "franz-go consumes, $codec" bash -c "'$cache/lines' consume $addr $t | '$cache/lines' check"
    drop "$t"
  done
  for codec in none lz4 zstd; do
    t=java-$codec
    large "$t"
    check "Apache's console producer, $codec" bash -c "'$cache/lines' gen | java -cp '$libs/*' org.apache.kafka.tools.ConsoleProducer --bootstrap-server $addr --topic $t --compression-codec $codec --reader-property parse.key=true --command-property max.request.size=4000000 --command-property buffer.memory=67108864 --request-timeout-ms 30000"
    # Partition by partition: without a group, as a consumer that assigns itself.
    check "Apache's console consumer, $codec" bash -c "for p in 0 1 2 3 4 5; do n=\$('$bin' kafka-get-offsets --bootstrap-server $addr --topic $t --partitions \$p | cut -d: -f3); java -Dorg.apache.logging.log4j.level=OFF -cp '$libs/*' org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server $addr --topic $t --partition \$p --offset earliest --formatter-property print.key=true --max-messages \$n; done | '$cache/lines' check"
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
    compile "$work/classes-$v" "$cache/clients-$v/*" Produce.java
    check "KafkaProducer, kafka-clients $v" java -cp "$cache/clients-$v/*:$work/classes-$v" Produce "$addr" "java-$v" 1000
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

need
start
roundtrips
mission
tools
# An area's script is a check of its own here; its lines are its own.
: >"$work/out"
for name in ${AREAS-franz groups copier codes streams exchange}; do
  if env -u COMPAT_PORT RUNS=1 ROUNDS="${ROUNDS:-1}" bash "test/compat/$name.sh"; then pass "$name"; else fail "$name"; fi
done
summary
