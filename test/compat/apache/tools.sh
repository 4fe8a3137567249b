# Read by run.sh: Apache Kafka's command-line tools of one release, as people call them.
# The releases differ in the names of the classes, which is why a tool is looked for by
# the last part of its name, and in what tools there are.

# need_tools VERSION: the release's jars into $tools, its classes into $tools/.classes.
need_tools() {
  tools=$cache/apache-$1 release=$1
  fetch_jars "$tools" test/compat/apache/pom.xml "-Dkafka.version=$1" || return 1
  [ -s "$tools/.classes" ] && return
  local j
  for j in "$tools"/kafka_2.13-*.jar "$tools"/kafka-tools-*.jar; do jar tf "$j"; done |
    sed -nE 's,^(.*)\.class$,\1,p' | grep -E '^(org/apache/kafka/tools|kafka/(admin|tools))/' | grep -v '\$' | tr / . | sort -r >"$tools/.classes"
}
has() { grep -q "\.$1\$" "$tools/.classes"; }
# T CLASS ARG...: where two packages have the tool, that of org.apache.kafka is the newer.
T() {
  local class
  class=$(grep "\.$1\$" "$tools/.classes" | head -n 1)
  shift
  timeout -k 5 120 java "${jvm[@]}" -XX:+UseSerialGC -cp "$tools/*" "$class" "$@"
}
S="--bootstrap-server"
# flags: what the newest releases call otherwise, and complain of on standard output.
flags() {
  case $release in
  3.*) reader=--property formatter=--property records=--messages ;;
  *) reader=--reader-property formatter=--formatter-property records=--num-records ;;
  esac
}

t_create() { T TopicCommand $S "$addr" --create --topic "$1" --partitions 4 --replication-factor "$rf"; }
t_topics() {
  t_create "$t" && T TopicCommand $S "$addr" --list | grep -qx "$t" && T TopicCommand $S "$addr" --describe --topic "$t" >"$work/got" &&
    [ "$(grep -c 'Leader: [1-3]' "$work/got")" = 4 ] && T TopicCommand $S "$addr" --alter --topic "$t" --partitions 6 &&
    [ "$(T TopicCommand $S "$addr" --describe --topic "$t" | grep -c 'Leader: [1-3]')" = 6 ]
}
t_again() { ! t_create "$t" 2>&1; }
t_configs() {
  T ConfigCommand $S "$addr" --alter --entity-type topics --entity-name "$t" --add-config retention.ms=123456,cleanup.policy=[compact,delete] &&
    T ConfigCommand $S "$addr" --describe --entity-type topics --entity-name "$t" >"$work/got" && cat "$work/got" &&
    grep -q 'retention.ms=123456' "$work/got" && grep -q 'cleanup.policy=compact,delete' "$work/got" &&
    T ConfigCommand $S "$addr" --alter --entity-type topics --entity-name "$t" --delete-config retention.ms,cleanup.policy &&
    ! T ConfigCommand $S "$addr" --describe --entity-type topics --entity-name "$t" | grep 'retention.ms' &&
    T ConfigCommand $S "$addr" --describe --entity-type brokers --entity-name 1 --all | grep -q log.dirs
}
# t_console CODEC: 2000 lines with keys by the console producer, back by the consumer.
t_console() {
  local topic=$t-$1
  t_create "$topic" >/dev/null || return 1
  seq 2000 | sed 's/.*/key &\tmessage & of '"$1"'/' | sort >"$work/lines"
  T ConsoleProducer $S "$addr" --topic "$topic" --compression-codec "$1" $reader parse.key=true <"$work/lines" || return 1
  T ConsoleConsumer $S "$addr" --topic "$topic" --from-beginning $formatter print.key=true --max-messages 2000 --timeout-ms 60000 | sort >"$work/got"
  cmp "$work/lines" "$work/got"
}
# t_group: a group reads the lines in two parts, and the tool moves it back.
t_group() {
  local topic=$t-none g=$t-group c="ConsumerGroupCommand $S $addr"
  T ConsoleConsumer $S "$addr" --topic "$topic" --group "$g" --from-beginning $formatter print.key=true --max-messages 700 --timeout-ms 60000 >"$work/part" &&
    T ConsoleConsumer $S "$addr" --topic "$topic" --group "$g" $formatter print.key=true --max-messages 1300 --timeout-ms 60000 >>"$work/part" || return 1
  sort "$work/part" >"$work/got"
  sed 's/of .*/of none/' "$work/lines" | cmp - "$work/got" || return 1
  T $c --list | grep -qx "$g" && T $c --describe --group "$g" >"$work/got" && cat "$work/got" &&
    [ "$(awk -v g="$g" '$1 == g && $6 == 0 { n++ } END { print n }' "$work/got")" = 4 ] &&
    T $c --describe --group "$g" --state | grep -q Empty && T $c --describe --group "$g" --members &&
    T $c --group "$g" --topic "$topic" --reset-offsets --to-earliest --execute &&
    [ "$(T $c --describe --group "$g" | awk -v g="$g" '$1 == g { n += $6 } END { print n }')" = 2000 ] &&
    T $c --delete --group "$g" && ! T $c --list | grep -x "$g"
}
t_offsets() {
  [ "$(T GetOffsetShell $S "$addr" --topic "$t-none" | awk -F: '{ n += $3 } END { print n }')" = 2000 ] &&
    [ "$(T GetOffsetShell $S "$addr" --topic "$t-none" --time -2 | awk -F: '{ n += $3 } END { print NR, n }')" = '4 0' ]
}
t_delete_records() {
  echo '{"version":1,"partitions":[{"topic":"'"$t"'-gzip","partition":0,"offset":5}]}' >"$work/records.json"
  T DeleteRecordsCommand $S "$addr" --offset-json-file "$work/records.json" &&
    [ "$(T GetOffsetShell $S "$addr" --topic "$t-gzip" --partitions 0 --time -2 | cut -d: -f3)" = 5 ]
}
# t_verifiable: all that VerifiableProducer had acknowledged comes to VerifiableConsumer.
t_verifiable() {
  local topic=$t-verifiable consumer
  t_create "$topic" >/dev/null
  T VerifiableProducer $S "$addr" --topic "$topic" --max-messages 5000 --acks -1 --repeating-keys 97 >"$work/sent" || return 1
  T VerifiableConsumer $S "$addr" --topic "$topic" --group-id "$topic" --max-messages 5000 --verbose >"$work/member" || return 1
  "$cache/ledger" members -repeats 0 "$work/sent" "$work/member"
}
# t_copier MODE: TransactionalMessageCopier with random aborts; read_committed sees each
# message once.
t_copier() {
  local topic=$t-verifiable out=$t-copied-$1 p flags=()
  [ "$1" = group ] && flags=(--group-mode --use-group-metadata)
  t_create "$out" >/dev/null
  for p in 0 1 2 3; do
    T TransactionalMessageCopier --broker-list "$addr" --input-topic "$topic" --input-partition "$p" --output-topic "$out" --transactional-id "$out-$p" \
      --consumer-group "$out" --transaction-size 100 --enable-random-aborts --max-messages -1 "${flags[@]}" || return 1
    [ "$1" = group ] && break
  done
  for p in "$topic" "$out"; do
    T ConsoleConsumer $S "$addr" --topic "$p" --from-beginning --isolation-level read_committed --max-messages 5000 --timeout-ms 60000 $formatter print.key=true 2>/dev/null |
      LC_ALL=C sort >"$work/of-$p"
  done
  [ "$(wc -l <"$work/of-$topic")" = 5000 ] && cmp "$work/of-$topic" "$work/of-$out"
}
t_transactions() {
  T TransactionsCommand $S "$addr" list | grep -q "$t-copied-assign-0" &&
    T TransactionsCommand $S "$addr" describe --transactional-id "$t-copied-assign-0" | grep -q Complete &&
    T TransactionsCommand $S "$addr" describe-producers --topic "$t-copied-assign" --partition 0 | grep -q ProducerEpoch
}
t_perf() {
  t_create "$t-perf" >/dev/null
  T ProducerPerformance --topic "$t-perf" --num-records 100000 --record-size 100 --throughput -1 --producer-props "bootstrap.servers=$addr" compression.type=lz4 | grep -q '^100000 records sent' &&
    T ConsumerPerformance $S "$addr" --topic "$t-perf" $records 100000 --timeout 60000 | awk -F, 'NR == 2 { n = $5 } END { exit n + 0 < 100000 }'
}
t_latency() {
  case $release in
  3.*) T EndToEndLatency "$addr" "$t-perf" 200 all 100 ;;
  *) T EndToEndLatency $S "$addr" --topic "$t-perf" --num-records 200 --producer-acks all --record-size 100 ;;
  esac
}
# t_reassign: a partition moves, or on one node stays, and the tool says that it has.
t_reassign() {
  local to='[1]'
  [ "$rf" = 3 ] && to='[3,1,2]'
  echo '{"version":1,"partitions":[{"topic":"'"$t"'-lz4","partition":0,"replicas":'"$to"'}]}' >"$work/move.json"
  T ReassignPartitionsCommand $S "$addr" --reassignment-json-file "$work/move.json" --execute &&
    until_true 30 t_reassigned && T ReassignPartitionsCommand $S "$addr" --list
}
t_reassigned() { T ReassignPartitionsCommand $S "$addr" --reassignment-json-file "$work/move.json" --verify | grep -q 'is complete'; }
t_election() {
  T LeaderElectionCommand $S "$addr" --election-type preferred --all-topic-partitions
}
t_log_dirs() { T LogDirsCommand $S "$addr" --describe --topic-list "$t-none" | grep -q "\"$t-none-0\""; }
t_versions() { [ "$(T BrokerApiVersionsCommand $S "$addr" | grep -c '^localhost.*id: [1-3]')" = "$nodes" ]; }
t_cluster() { T ClusterTool cluster-id $S "$addr" | grep -qE 'Cluster ID: .{22}'; }
t_features() { T FeatureCommand $S "$addr" describe | grep -q metadata.version; }
t_quorum() { T MetadataQuorumCommand $S "$addr" describe --status | grep -q LeaderId && T MetadataQuorumCommand $S "$addr" describe --replication; }
t_groups() { T GroupsCommand $S "$addr" --list | grep -q "$t-verifiable"; }
t_delete() { T TopicCommand $S "$addr" --delete --topic "$t" && ! T TopicCommand $S "$addr" --list | grep -x "$t"; }

apache_tools() {
  need_tools "$1" || { skip "its jars cannot be fetched"; return; }
  local codec
  t=tools-$1
  flags
  check "kafka-topics creates, lists, describes, adds partitions" t_topics
  check "kafka-topics refuses a topic that is there" t_again
  check "kafka-configs alters, describes, deletes" t_configs
  for codec in none gzip snappy lz4 zstd; do check "kafka-console-producer and -consumer, $codec" t_console "$codec"; done
  check "kafka-console-consumer --group, kafka-consumer-groups" t_group
  check "kafka-get-offsets" t_offsets
  check "kafka-delete-records" t_delete_records
  check "kafka-verifiable-producer and -consumer" t_verifiable
  check "TransactionalMessageCopier, assigned" t_copier assign
  check "TransactionalMessageCopier, a group" t_copier group
  check "kafka-transactions" t_transactions
  check "kafka-producer-perf-test, kafka-consumer-perf-test" t_perf
  check "kafka-e2e-latency" t_latency
  check "kafka-reassign-partitions" t_reassign
  check "kafka-leader-election" t_election
  check "kafka-log-dirs" t_log_dirs
  check "kafka-broker-api-versions" t_versions
  check "kafka-cluster" t_cluster
  case $1 in
  3.1.*) ;; # its kafka-features knows no KRaft, and kafka-metadata-quorum came later
  *)
    check "kafka-features" t_features
    check "kafka-metadata-quorum" t_quorum
    ;;
  esac
  if has GroupsCommand; then check "kafka-groups" t_groups; fi
  check "kafka-topics deletes" t_delete
}
