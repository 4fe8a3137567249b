#!/usr/bin/env bash
# One data directory, served by gregor and Apache Kafka in turn (4.3.1, formatted at
# metadata.version 4.3, stopped cleanly each time). Before each change a server is
# filled: classic and KIP-848 groups with offsets and static members, idempotent
# producers, transactions that are committed, aborted and under way. After it Apache's
# tools must print of the next server what they printed of the last one, and the same
# groups and transactional ids go on. Each server compacts what it and the other one
# wrote, the topics of the coordinators among it; a compacted topic is compared with a
# model by a Java consumer and by Apache's kafka-dump-log, and in the end gregor's kafka-dump-log
# has to print of every file what Apache's prints. Meanwhile an idempotent
# producer and two groups stay connected through all changes. At the end each server
# takes over between a transaction's decision and its markers. It installs Apache Kafka by its Maven
# coordinates, binds to loopback, prints a line a check and one summary line, and ends
# by itself.
#
#   ROUNDS  how many servers have the directory, one after the other (5)
#   FIRST   who formats the directory and has it first: "gregor", "kafka" or both (both)
area=exchange port=${COMPAT_PORT:-19592}
. "$(dirname "$0")/lib.sh"
rounds=${ROUNDS:-5} first=${FIRST:-gregor kafka}
cli=org.apache.kafka.tools

write_properties() {
  cat >"$work/server.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:$((port + 1))
listeners=PLAINTEXT://localhost:$port,CONTROLLER://localhost:$((port + 1))
advertised.listeners=PLAINTEXT://localhost:$port
controller.listener.names=CONTROLLER
log.dirs=$work/data
num.partitions=4
offsets.topic.num.partitions=5
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.max.session.timeout.ms=1800000
group.consumer.max.session.timeout.ms=600000
group.consumer.session.timeout.ms=600000
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=16000000
log.retention.check.interval.ms=1000
END
}
format() {
  rm -rf "$work/data"
  case $1 in
    gregor) "$bin" kafka-storage format -t A1b2C3d4E5f6G7h8I9j0Kw -c "$work/server.properties" --standalone --release-version 4.3 ;;
    kafka) java_tool kafka.tools.StorageTool format -t A1b2C3d4E5f6G7h8I9j0Kw -c "$work/server.properties" --standalone --release-version 4.3 ;;
  esac
}
# serve WHO: starts a server and waits for it; stop (of lib.sh) ends it.
serve() {
  case $1 in
    gregor) "$bin" kafka-server-start "$work/server.properties" >"$work/node.log" 2>&1 & ;;
    kafka) java -Xmx512m -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$work/log4j2.properties" -cp "$libs/*" kafka.Kafka "$work/server.properties" >"$work/node.log" 2>&1 & ;;
  esac
  node=$!
  if ! until_true 600 grep -q "Kafka Server started" "$work/node.log"; then
    echo "$1 did not start:"
    tail "$work/node.log"
    exit 1
  fi
}
hand_over() {
  stop
  cat "$work/node.log" >>"$work/nodes.log"
  [ -f "$work/data/.kafka_cleanshutdown" ] || { echo "the stop was not clean"; return 1; }
}

# snapshot FILE: what Apache's tools say of groups, offsets, transactions and records.
# How long a transaction has been under way is left out, and so is the order of rows.
snapshot() {
  local g=$cli.consumer.group.ConsumerGroupCommand t=$cli.TransactionsCommand b="--bootstrap-server $addr" id p
  {
    echo "$g $b --list --state --type"
    for p in --offsets --state "--members --verbose"; do echo "$g $b --describe --all-groups $p"; done
    echo "$t $b list"
    for id in tx-commit tx-abort tx-empty tx-copy tx-open; do echo "$t $b describe --transactional-id $id"; done
    for p in 0 1 2 3; do
      echo "$t $b describe-producers --topic txn --partition $p"
      echo "$t $b describe-producers --topic plain --partition $p"
    done
    echo "$cli.GetOffsetShell $b --exclude-internal-topics"
    echo "$cli.TopicCommand $b --describe --exclude-internal"
    for p in txn table both; do
      for id in read_committed read_uncommitted; do echo "Records $addr $p $id"; done
    done
  } | java -XX:TieredStopAtLevel=1 -Xmx512m -Dorg.apache.logging.log4j.level=OFF -cp "$libs/*:$work/classes" Tools >"$1.raw" 2>"$work/err"
  awk '/^# / { section++; duration = 0 }
    { $1 = $1 }
    /TransactionDurationMs/ { duration = 1 }
    duration && $6 ~ /^[0-9]+$/ && NF >= 8 { $8 = "-" }
    $1 ~ /^live/ || $2 ~ /^live/ { next }
    /Configs: / { n = split($NF, c, ","); for (i = 1; i <= n; i++) printf "%03d %s has %s\n", section, $2, c[i]; $NF = "" }
    NF { printf "%03d %s\n", section, $0 }' "$1.raw" | LC_ALL=C sort >"$1"
}
same() {
  snapshot "$work/after"
  diff "$work/before" "$work/after" || return 1
  echo "= $(wc -l <"$work/after") lines, $(grep -c -E ' g-[a-z-]+ ' "$work/after") of groups, $(grep -c ' tx-' "$work/after") of transactions"
}
# told: the snapshot holds what the fill left, so that two empty answers are no success.
told() {
  snapshot "$work/before"
  awk '/^001 g-/ { groups++ } /^005 tx-/ { states[$NF]++ }
    END { printf "= %d groups; transactions:", groups
      for (s in states) printf " %d %s", states[s], s
      print ""
      exit !(groups == 7 && states["Ongoing"] == 2 && states["CompleteCommit"] == 1 && states["CompleteAbort"] == 1 && states["Empty"] == 1) }' "$work/before"
}
exchange() { java "${jvm[@]}" -cp "$libs/*:$work/classes" Exchange "$1" "$addr" "$2"; }
tables() { java "${jvm[@]}" -cp "$libs/*:$work/classes" Tables "$1" "$addr" "$2"; }

# rested: compaction has looked at everything but the active segments.
rested() {
  local d active
  for d in "$work"/data/table-? "$work"/data/both-?; do
    active=$(ls "$d" | grep -E '^[0-9]+\.log$' | tail -n 1)
    active=$((10#${active%.log}))
    grep -qx "$(basename "$d" | sed 's/-/ /') $active" "$work/data/cleaner-offset-checkpoint" || return 1
  done
}
# compacted ROUND: a round of compacted topics, and the server has done its work.
compacted() {
  tables fill "$1" && until_true 60 rested || { cat "$work/data/cleaner-offset-checkpoint"; return 1; }
}
# retired: what is compacted and deleted loses its oldest segments as well. What compaction
# leaves is less than retention.bytes, which is lower here for a moment.
retired() {
  local before
  before=$(firsts)
  retention 1 && until_true 60 moved "$before" && retention 12000 && echo "= both begins at $(firsts | tr '\n' ' ')"
}
retention() {
  "$bin" kafka-configs --bootstrap-server "$addr" --alter --entity-type topics --entity-name both --add-config "retention.bytes=$1" >/dev/null
}
firsts() {
  local p
  for p in 0 1; do ls "$work/data/both-$p" | grep -E '^[0-9]+\.log$' | head -n 1; done
}
# moved BEFORE: neither partition begins with the segment of before any more.
moved() { ! firsts | grep -qxFf <(echo "$1"); }
# internals: the coordinators' topics are compacted too, as far as the checkpoint says.
internals() {
  awk '/^__consumer_offsets/ && $3 > 0 { o++ } /^__transaction_state/ && $3 > 0 { t++ }
    END { printf "= %d partitions of __consumer_offsets, %d of __transaction_state\n", o, t; exit !(o > 0 && t > 0) }' "$work/data/cleaner-offset-checkpoint"
}
# dumped ROUND: Apache's kafka-dump-log reads the compacted files without a complaint, and
# the last record of each key is the model's. Nothing aborted is left in them.
dumped() {
  local files
  files=$(find "$work"/data/table-? "$work"/data/both-? -name '*.log' -size +0 | LC_ALL=C sort)
  java_tool $cli.DumpLogSegments --print-data-log --deep-iteration --files "$(echo $files | tr ' ' ,)" >"$work/dump" 2>&1 || return 1
  ! grep -iE 'exception|mismatch|not valid|non-monotonic|corrupt' "$work/dump" || return 1
  awk '/^Dumping / { table = /table-/ }
    table && /^\|/ && match($0, / key: key-[0-9]+/) {
      key = substr($0, RSTART + 6, RLENGTH - 6)
      if (match($0, / payload: .*/)) state[key] = substr($0, RSTART + 10, RLENGTH - 10); else delete state[key]
    }
    END { for (k in state) print k, state[k] }' "$work/dump" | LC_ALL=C sort >"$work/dump.state"
  tables model "$1" | LC_ALL=C sort >"$work/model.state"
  diff "$work/dump.state" "$work/model.state" || return 1
  echo "= $(wc -l <"$work/model.state") keys in $(echo "$files" | wc -l) files"
}

# alike: gregor's kafka-dump-log prints of every file, with every decoder, what Apache's
# prints. Only the order of files in the lists of faults at the end is not compared.
alike() {
  local mode of names path lines=0 n=0
  while read -r mode of names path; do
    local files flags=()
    [ "$mode" = - ] || flags=(${mode//,/ })
    files=$(find "$work/data" -name "$names" -path "$path" -size +0 | { if [ "$of" = users ]; then grep -v /__; else grep /__; fi; } | LC_ALL=C sort | paste -sd,)
    java_tool $cli.DumpLogSegments --files "$files" "${flags[@]}" >"$work/theirs" 2>&1 || return 1
    "$bin" kafka-dump-log --files "$files" "${flags[@]}" >"$work/ours" 2>&1 || return 1
    diff <(LC_ALL=C sort "$work/theirs") <(LC_ALL=C sort "$work/ours") || { echo "with $mode"; return 1; }
    n=$((n + 1)) lines=$((lines + $(wc -l <"$work/theirs")))
  done <<'END'
- users *.log *
--deep-iteration users *.log *
--print-data-log users *.log *
--print-data-log,--skip-record-metadata users *.log *
--max-bytes,300 users *.log *
--offsets-decoder own *.log *__consumer_offsets*
--transaction-log-decoder own *.log *__transaction_state*
--cluster-metadata-decoder own *.log *__cluster_metadata*
--cluster-metadata-decoder own *.checkpoint *__cluster_metadata*
- users *.index *
--verify-index-only users *.index *
--index-sanity-check users *.index *
- users *.timeindex *
--verify-index-only users *.timeindex *
--index-sanity-check users *.timeindex *
- users *.txnindex *
- users *.snapshot *
END
  echo "= $n ways, $lines lines"
}

# sound: no server complained of what the one before it left, while all stops were clean.
sound() {
  ! grep -E 'Corrupt|corrupted|Error (while )?(loading|recovering)|Non-monotonic|cutting off|unusable|is damaged|read again from|beyond the end of the recovered|goes offline|uncleanable|Error due to|Failed to (clean|load)' "$work/nodes.log" || return 1
  echo "= $(grep -c 'cleaned log partition' "$work/nodes.log") rounds of compaction by gregor, $(grep -c 'Log cleaner thread 0 cleaned log' "$work/nodes.log") by Apache Kafka"
}

# between N NEXT: the server ends after two transactions, and its directory is cut to
# where they are decided and have no markers. NEXT must write them. gregor takes over from
# a kill. Apache Kafka takes over from a clean stop: after a kill it loads decided
# transactions while their partitions still wait for a leader, takes these for deleted
# ones and writes no marker, its own transactions' too.
between() {
  exchange decide "$1" || return 1
  if [ "$2" = gregor ]; then
    kill -9 "$node"
    wait "$node" 2>/dev/null
  else
    stop
  fi
  cat "$work/node.log" >>"$work/nodes.log"
  "$cache/cut" "$work/data" tx-decided-keep 5 decided-0 && "$cache/cut" "$work/data" tx-decided-drop 5 decided-1
}

# Clients that stay: a producer, and two members of a classic and of a consumer group.
live() {
  local m
  java "${jvm[@]}" -cp "$libs/*" $cli.VerifiableProducer --bootstrap-server "$addr" --topic live --throughput 100 --repeating-keys 97 --command-config "$work/producer.properties" \
    >"$work/live.sent" 2>>"$work/live.err" &
  producer=$!
  members=()
  for m in classic.1 classic.2 consumer.1 consumer.2; do
    java "${jvm[@]}" -cp "$libs/*" $cli.VerifiableConsumer --bootstrap-server "$addr" --topic live --group-id "live-${m%.*}" --group-protocol "${m%.*}" --verbose \
      >"$work/live.$m" 2>>"$work/live.err" &
    members+=($!)
  done
}
# read_all: every acknowledged message has been received by both groups.
read_all() {
  local n
  n=$(grep -c producer_send_success "$work/live.sent")
  [ "$(cat "$work"/live.classic.? | grep -c record_data)" -ge "$n" ] && [ "$(cat "$work"/live.consumer.? | grep -c record_data)" -ge "$n" ]
}
live_end() {
  local p
  kill "$producer"
  wait "$producer" 2>/dev/null
  until_true 120 read_all
  for p in "${members[@]}"; do kill "$p"; wait "$p" 2>/dev/null; done
}

turns() {
  local who=$1 begin=$1 round next t
  format "$who" >"$work/out" 2>&1 || { fail "format by $who"; return; }
  serve "$who"
  topic plain 4
  topic txn 4
  topic live 4
  local small=(--config segment.ms=300 --config min.cleanable.dirty.ratio=0.01 --config delete.retention.ms=500)
  topic table 2 --config cleanup.policy=compact "${small[@]}"
  topic both 2 --config cleanup.policy=compact,delete --config retention.bytes=12000 "${small[@]}"
  topic decided 2
  live
  for round in $(seq "$rounds"); do
    check "$begin first, round $round: groups and transactions go on, on $who" exchange fill "$round"
    if [ "$round" = 1 ]; then
      # They exist now; their segments are to be closed often enough to be compacted.
      for t in __consumer_offsets __transaction_state; do
        "$bin" kafka-configs --bootstrap-server "$addr" --alter --entity-type topics --entity-name "$t" --add-config segment.ms=2000,min.cleanable.dirty.ratio=0.01 >/dev/null
      done
    fi
    check "$begin first, round $round: $who compacts" compacted "$round"
    [ "$round" = 3 ] || [ "$round" = 4 ] && check "$begin first, round $round: $who retires what is compacted" retired
    check "$begin first, round $round: Apache's tools see them" told
    hand_over || fail "$who stops cleanly"
    next=gregor
    [ "$who" = gregor ] && next=kafka
    serve "$next"
    check "$begin first, round $round: $next tells the same as $who" same
    check "$begin first, round $round: read_committed, on $next" exchange verify "$round"
    check "$begin first, round $round: what $who compacted, read from $next" tables verify "$round"
    check "$begin first, round $round: Apache's kafka-dump-log of it" dumped "$round"
    who=$next
  done
  check "$begin first: topics of the coordinators were compacted" internals
  check "$begin first: no server complained of what another left" sound
  for round in 1 2; do
    next=gregor
    [ "$who" = gregor ] && next=kafka
    check "$begin first: $who ends between two decisions and their markers" between "$round" "$next"
    serve "$next"
    check "$begin first: $next writes the markers" exchange decided "$round"
    who=$next
  done
  live_end
  check "$begin first: a classic group that stayed through $rounds changes" "$cache/ledger" members -repeats 1000 "$work/live.sent" "$work"/live.classic.?
  check "$begin first: a consumer group that stayed through $rounds changes" "$cache/ledger" members -repeats 1000 "$work/live.sent" "$work"/live.consumer.?
  stop
  check "$begin first: kafka-dump-log prints what Apache's prints" alike
}

need_kafka
go build -o "$cache/ledger" ./test/compat/ledger && go build -o "$cache/cut" ./test/compat/cut || exit 1
compile "$work/classes" "$libs/*" Exchange.java Records.java Tables.java Tools.java
write_properties
# The verifiable producer does not retry unless it is told to. A change of servers may
# take long on a machine that has other work.
printf 'retries=2147483647\nmax.block.ms=600000\ndelivery.timeout.ms=600000\n' >"$work/producer.properties"
printf 'rootLogger.level=INFO\nrootLogger.appenderRef.a.ref=A\nappender.a.type=Console\nappender.a.name=A\nappender.a.layout.type=PatternLayout\nappender.a.layout.pattern=[%%d] %%p %%m (%%c)%%n\n' >"$work/log4j2.properties"
: >"$work/nodes.log"
for who in $first; do turns "$who"; done
summary
