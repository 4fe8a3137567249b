#!/usr/bin/env bash
# Other people's clients and tools against gregor, unmodified, on one node or on three.
# It installs what it needs from the package registries (Debian's, Maven's, PyPI, npm's,
# crates.io, Go's), prints a line a test and at its end a table: client, version, tests,
# passed, and why what was not tried was not. Everything runs on loopback and ends by
# itself. Afterwards it runs the scripts of the areas, once each.
#
#   NODES  1, or 3: nodes that are controller and broker each, topics with three replicas (1)
#   ONLY   the rows with these names: lines, kcat, franz, java, tools,
#          streams, connect, spring, python, javascript, rust, sarama, kafka-go, names, dump
#   AREAS  which scripts (franz groups copier codes streams exchange; franz with three
#          nodes; none with ONLY)
area=compat port=${COMPAT_PORT:-19192}
. "$(dirname "$0")/lib.sh"
. "$root/test/compat/cluster.sh"
. "$root/test/compat/table.sh"
. "$root/test/compat/apache/tools.sh"
. "$root/test/compat/connect/connect.sh"
trap 'stop_nodes; cleanup' EXIT
here=$root/test/compat
newest=4.4.0 # of Apache Kafka
newest_connect=4.3.1

large() { topic "$1" 6 --config max.message.bytes=4000000; }
lines() { "$cache/lines" "$@"; }
version_of() { go list -m -f '{{.Version}}' "$1"; }

# Round trips of some two million lines, each way of a client checked by another one too.
kcat_lines() {
  local codec=$1 t=kcat-$1
  large "$t"
  check "kcat produces, $codec" bash -c "'$cache/lines' gen | kcat -P -b $addr -t $t -K \$'\\t' -z $codec -X message.max.bytes=4000000"
  check "kcat consumes, $codec" bash -c "kcat -C -b $addr -t $t -e -q -f '%k\\t%s\\n' | '$cache/lines' check"
  check "gregor consumes, $codec" bash -c "'$bin' consume $t -b $addr --format '%k\\t%v' | '$cache/lines' check"
  drop "$t"
}
kcat_group() {
  local t=kcat-group
  topic "$t" 6
  seq 1000 | kcat -P -b "$addr" -t "$t" -X enable.idempotence=true -H number=1 -H empty= || return 1
  kcat -b "$addr" -G "$t" -X auto.offset.reset=earliest -X enable.partition.eof=true -e -q "$t" 2>/dev/null | sort -n | cmp - <(seq 1000) || return 1
  seq 1001 1100 | kcat -P -b "$addr" -t "$t" -z zstd || return 1
  kcat -b "$addr" -G "$t" -X auto.offset.reset=earliest -X enable.partition.eof=true -e -q "$t" 2>/dev/null | sort -n | cmp - <(seq 1001 1100)
}
# kcat_headers: those of kcat_group have them, but for the last hundred.
kcat_headers() {
  kcat -C -b "$addr" -t kcat-group -e -q -f '%s %h\n' | sort -n | cmp - <(seq 1000 | sed 's/$/ number=1,empty=/'; seq 1001 1100 | sed 's/$/ /')
}
kcat_transaction() {
  topic kcat-transaction 3
  seq 500 | kcat -P -b "$addr" -t kcat-transaction -X transactional.id=kcat && kcat -C -b "$addr" -t kcat-transaction -e -q -X isolation.level=read_committed | sort -n | cmp - <(seq 500)
}
kcat_metadata() { kcat -L -b "$addr" -J -t kcat-group | grep -o '"isrs":\[[^]]*' | grep -o '"id"' | wc -l | grep -qx $((6 * rf)); }
kcat_query() { kcat -Q -b "$addr" -t kcat-group:0:-2 | grep -q 'offset 0$'; }
kcat_rows() {
  need_package kcat kcat || { skip "Debian's package cannot be installed"; return; }
  local codec
  for codec in none gzip snappy lz4 zstd; do kcat_lines "$codec"; done
  check "a group goes on where it stopped" kcat_group
  check "headers" kcat_headers
  check "a transaction" kcat_transaction
  check "metadata" kcat_metadata
  check "offsets by time" kcat_query
}

franz_rows() {
  local codec t
  for codec in none gzip snappy lz4 zstd; do
    t=kgo-$codec
    large "$t"
    check "franz-go produces, $codec" lines produce "$addr" "$t" "$codec"
    check "franz-go consumes, $codec" bash -c "'$cache/lines' consume $addr $t | '$cache/lines' check"
    drop "$t"
  done
}

# The lines again through Apache's console tools, partition by partition: a consumer
# without a group assigns itself.
console_rows() {
  local codec t
  need_tools "$newest" || { skip "its jars cannot be fetched"; return; }
  for codec in none lz4 zstd; do
    t=java-$codec
    large "$t"
    check "the console producer, $codec" bash -c "'$cache/lines' gen | java -cp '$tools/*' org.apache.kafka.tools.ConsoleProducer --bootstrap-server $addr --topic $t --compression-codec $codec --reader-property parse.key=true --command-property max.request.size=4000000 --command-property buffer.memory=67108864 --request-timeout-ms 30000"
    check "the console consumer, $codec" bash -c "for p in 0 1 2 3 4 5; do n=\$('$bin' kafka-get-offsets --bootstrap-server $addr --topic $t --partitions \$p | cut -d: -f3); java -Dorg.apache.logging.log4j.level=OFF -cp '$tools/*' org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server $addr --topic $t --partition \$p --offset earliest --formatter-property print.key=true --max-messages \$n; done | '$cache/lines' check"
    drop "$t"
  done
}

# gregor's commands under Kafka's names, word for word as people type them.
name_rows() {
  local links=$work/links
  "$bin" install-links "$links" >/dev/null
  check "kafka-topics --create" "$links/kafka-topics" --create --topic email --bootstrap-server "$addr" --replication-factor "$rf" --partitions 3
  check "kafka-console-producer" bash -c "printf 'one\ntwo\n' | '$links/kafka-console-producer' --topic email --bootstrap-server $addr"
  check "kafka-console-consumer --from-beginning" bash -c "[ \"\$('$links/kafka-console-consumer.sh' --topic email --from-beginning --bootstrap-server $addr --max-messages 2 | sort | tr '\n' ' ')\" = 'one two ' ]"
}

# java_rows VERSION PROTOCOL...
java_rows() {
  local jars=$cache/clients-$1
  fetch_jars "$jars" test/compat/java/pom.xml "-Dkafka.version=$1" || { skip "its jars cannot be fetched"; return; }
  compile "$work/classes-$1" "$jars/*" Client.java Produce.java 2>/dev/null
  program 400 java -XX:TieredStopAtLevel=1 -cp "$jars/*:$work/classes-$1" Client "$addr" "java-$1" "$rf" "${@:2}"
  check "KafkaProducer waits for each of 1000 messages" java -cp "$jars/*:$work/classes-$1" Produce "$addr" "one-by-one-$1" 1000
  check "they are there once" bash -c "[ \$('$bin' consume one-by-one-$1 -b $addr | sort | uniq | wc -l) = 1000 ]"
}

# streams_rows VERSION: the word count in two instances; each word's counts are 1, 2, 3 ...
# once each.
word_count() {
  local name=words-$release i apps=() rc
  local run=(java -Xmx384m -XX:TieredStopAtLevel=1 "-Dreplicas=$rf" -Dorg.slf4j.simpleLogger.defaultLogLevel=off -cp "$jars/*:$work/streams-$release" WordCount)
  topic "lines-$name" 4
  topic "counts-$name" 4
  rm -rf "$work/state-$release"-?
  for i in 0 1; do
    "${run[@]}" app "$addr" "$name" "$work/state-$release-$i" exactly_once_v2 >"$work/app-$release-$i" 2>&1 &
    apps+=($!)
  done
  until_true 120 grep -q '^running' "$work/app-$release-0" && until_true 120 grep -q '^running' "$work/app-$release-1" &&
    "${run[@]}" check "$addr" "$name" 10 200 < <(cat README.md docs/*.md docs/architecture/*.md)
  rc=$?
  for i in "${apps[@]}"; do kill "$i" 2>/dev/null; wait "$i" 2>/dev/null; done
  return "$rc"
}
streams_rows() {
  local jars=$cache/streams-$1 release=$1
  fetch_jars "$jars" test/compat/java/streams.pom.xml "-Dkafka.version=$1" || { skip "its jars cannot be fetched"; return; }
  compile "$work/streams-$1" "$jars/*" WordCount.java
  check "word count, exactly_once_v2, two instances" word_count
}

spring_rows() {
  fetch_jars "$cache/spring-libs" test/compat/spring/pom.xml || { skip "its jars cannot be fetched"; return; }
  mkdir -p "$work/spring"
  javac -parameters -cp "$cache/spring-libs/*" -d "$work/spring" test/compat/spring/src/main/java/gregor/SpringClient.java || exit 1
  program 300 java -XX:TieredStopAtLevel=1 -cp "$cache/spring-libs/*:$work/spring" gregor.SpringClient "$addr" spring "$rf"
}

python_rows() {
  need_python || { skip "PyPI's packages cannot be installed"; return; }
  program 300 "$cache/python/bin/python" "$here/python/$1.py" "$addr" "py-$1" "$rf"
}
python_version() { sed -n "s/^$1==//p" "$here/python/requirements.txt"; }

# need_node NAME: npm's packages of javascript/NAME. What has a part in C is built here.
need_node() {
  need_package node nodejs && need_package npm npm || return 1
  cmp -s "$here/javascript/$1/package.json" "$cache/node-$1/.done" && return
  rm -rf "$cache/node-$1" && mkdir -p "$cache/node-$1" && cp "$here/javascript/$1/package.json" "$cache/node-$1" &&
    (cd "$cache/node-$1" && npm install --no-audit --no-fund) >"$work/npm-$1.log" 2>&1 && cp "$here/javascript/$1/package.json" "$cache/node-$1/.done"
}
node_rows() {
  need_node "$1" || { skip "npm cannot install it"; tail -n 5 "$work/npm-$1.log"; return; }
  NODE_PATH=$cache/node-$1/node_modules program 400 node "$here/javascript/$1/main.js" "$addr" "js-$1" "$rf"
}
# librdkafka under JavaScript: the prebuilt file of its maker is not in npm's registry, so
# it is built, with Debian's libraries instead of those that its build would download.
confluent_rows() {
  export CKJS_LINKING=dynamic
  if ! [ -f "$cache/node-confluent/.done" ]; then
    apt-get update -qq && apt-get install -y -qq build-essential python3 pkg-config zlib1g-dev libzstd-dev libssl-dev libcurl4-openssl-dev >/dev/null || { skip "Debian's libraries cannot be installed"; return; }
  fi
  node_rows confluent
}

rust_rows() {
  need_package cargo cargo && need_package make build-essential || { skip "no cargo"; return; }
  mkdir -p "$cache/rust" && cp -r "$here/rust-rdkafka/." "$cache/rust" &&
    (cd "$cache/rust" && cargo build -q) >"$work/cargo.log" 2>&1 || { skip "cargo cannot build it"; tail -n 5 "$work/cargo.log"; return; }
  program 400 "$cache/rust/target/debug/rust-rdkafka-client" "$addr" rust "$rf"
}

# go_rows NAME
go_rows() {
  (cd "$here/go/$1" && go build -o "$cache/$1" .) || { skip "its modules cannot be fetched"; return; }
  program 400 "$cache/$1" "$addr" "go-$1" "$rf"
}
go_version() { sed -nE "s,^(require )?[[:space:]]*$2 (v[^ ]*).*,\2,p" "$here/go/$1/go.mod"; }

# What all of them left on the disks of all nodes, in the eyes of Apache's kafka-dump-log.
dump_rows() {
  need_tools "$newest" || { skip "its jars cannot be fetched"; return; }
  stop_nodes
  dump "segments" --deep-iteration "$work"/data*/*/*.log
  dump "indexes" --index-sanity-check "$work"/data*/*/*index
  dump "producer snapshots" --print-data-log "$work"/data*/*/*.snapshot
  dump "the metadata log" --cluster-metadata-decoder "$work"/data*/__cluster_metadata-0/*.log "$work"/data*/__cluster_metadata-0/*.checkpoint
}
# dump NAME FLAG FILE...: it reads all the files without a complaint, some hundreds at once
# because a word of a command has a longest length.
dump() {
  local name=$1 flag=$2 f n=0 rc=0 files=()
  shift 2
  for f in "$@"; do [ -s "$f" ] && files+=("$f"); done
  : >"$work/out"
  while [ "$n" -lt ${#files[@]} ]; do
    T DumpLogSegments --files "$(IFS=,; echo "${files[*]:n:400}")" "$flag" >"$work/dump" 2>&1 || rc=1
    grep -iE 'exception|mismatch|not valid|non-monotonic|corrupt' "$work/dump" >>"$work/out" && rc=1
    n=$((n + 400))
  done
  if [ "$rc" = 0 ] && [ ${#files[@]} -gt 0 ]; then pass "$name, ${#files[@]} files"; else fail "$name"; fi
}

# area_row NAME: an area's script prints lines of its own; its summary is the row.
area_row() {
  local p f
  env -u ONLY COMPAT_PORT="${COMPAT_PORT:+$((port + 100))}" RUNS=1 ROUNDS="${ROUNDS:-1}" bash "test/compat/$1.sh" | tee "$work/area"
  read -r p f < <(sed -nE 's/^[a-z]+: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$work/area" | tail -n 1)
  passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
}

go build -o "$cache/lines" ./test/compat/lines && go build -o "$cache/ledger" ./test/compat/ledger || exit 1
start_nodes
row names "gregor under Kafka's names" - name_rows
row kcat "kcat (librdkafka)" "$(kcat -V 2>/dev/null | sed -nE 's/^Version ([0-9.]+).*/\1/p' | grep . || echo 1.7.1)" kcat_rows
row franz "franz-go" "$(version_of github.com/twmb/franz-go)" franz_rows
row sarama "sarama" "$(go_version sarama github.com/IBM/sarama)" go_rows sarama
row kafka-go "segmentio kafka-go" "$(go_version kafka-go github.com/segmentio/kafka-go)" go_rows kafka-go
row java "Apache Kafka's Java client" 3.1.0 java_rows 3.1.0 classic
row java "Apache Kafka's Java client" 3.9.2 java_rows 3.9.2 classic consumer
row java "Apache Kafka's Java client" $newest java_rows $newest classic consumer
row python "confluent-kafka-python" "$(python_version confluent-kafka)" python_rows confluent
row python "kafka-python" "$(python_version kafka-python)" python_rows kafka_python
row python "aiokafka" "$(python_version aiokafka)" python_rows aio_kafka
row javascript "KafkaJS" 2.2.4 node_rows kafkajs
row javascript "confluent-kafka-javascript" 1.10.1 confluent_rows
row rust "rust-rdkafka" 0.39.0 rust_rows
row spring "spring-kafka (Boot 4.0.7)" 4.0.6 spring_rows
row streams "Kafka Streams" 3.9.2 streams_rows 3.9.2
row streams "Kafka Streams" $newest streams_rows $newest
row connect "Kafka Connect" $newest_connect kafka_connect
for v in 3.1.0 3.9.2 $newest; do row tools "Apache Kafka's tools" "$v" apache_tools "$v"; done
row lines "Apache Kafka's console tools" $newest console_rows
row dump "Apache Kafka's kafka-dump-log" $newest dump_rows
stop_nodes
: >"$work/out"
areas="franz groups copier codes streams exchange"
[ "$nodes" = 1 ] || areas=franz
[ -z "${ONLY:-}" ] || areas=
for name in ${AREAS-$areas}; do ONLY= row "$name" "make compat-$name" - area_row "$name"; done
print_table
