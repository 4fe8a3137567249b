# Read by run.sh: a worker of Kafka Connect in distributed mode, whose three topics are on
# gregor, with the file source, exactly once, and the file sink.
rest=$((port + 40)) connect=localhost:$((port + 40))

worker_up() {
  cat >"$work/worker.properties" <<EOF
bootstrap.servers=$addr
group.id=connect
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
config.storage.topic=connect-configs
config.storage.replication.factor=$rf
offset.storage.topic=connect-offsets
offset.storage.partitions=5
offset.storage.replication.factor=$rf
status.storage.topic=connect-status
status.storage.replication.factor=$rf
exactly.once.source.support=enabled
offset.flush.interval.ms=1000
scheduled.rebalance.max.delay.ms=0
consumer.isolation.level=read_committed
listeners=http://$connect
plugin.discovery=service_load
EOF
  java -Xmx512m -XX:TieredStopAtLevel=1 -cp "$cache/connect-libs/*" org.apache.kafka.connect.cli.ConnectDistributed "$work/worker.properties" >>"$work/worker.log" 2>&1 &
  worker=$!
  until_true 120 curl -sf "http://$connect/connectors"
}
# worker_down SIGNAL
worker_down() {
  kill "-$1" "$worker"
  wait "$worker" 2>/dev/null
  return 0
}
# connector NAME JSON: creates it, or changes it.
connector() { curl -sf -X PUT -H 'Content-Type: application/json' "http://$connect/connectors/$1/config" -d "$2"; }
runs() { curl -sf "http://$connect/connectors/$1/status" | grep -o '"state":"RUNNING"' | wc -l | grep -qx 2; }
# write FROM TO: lines at the end of the source's file.
write() { seq -f 'line %.0f of the file' "$1" "$2" >>"$work/connect.in"; }
# copied: the sink's file has each line once; copied_all: at least once.
copied() { cmp <(LC_ALL=C sort "$work/connect.in") <(LC_ALL=C sort "$work/connect.out"); }
copied_all() { cmp <(LC_ALL=C sort "$work/connect.in") <(LC_ALL=C sort -u "$work/connect.out"); }
# once: the topic has each line once for who reads what is committed.
once() {
  "$bin" kafka-console-consumer --bootstrap-server "$addr" --topic connect-lines --from-beginning --isolation-level read_committed --timeout-ms 3000 2>/dev/null |
    LC_ALL=C sort | cmp <(LC_ALL=C sort "$work/connect.in") -
}

c_topics() {
  local t
  for t in configs offsets status; do
    "$bin" kafka-configs --bootstrap-server "$addr" --describe --entity-type topics --entity-name "connect-$t" | grep cleanup.policy=compact || return 1
  done
}
c_copy() {
  write 1 1000
  connector source '{"connector.class":"org.apache.kafka.connect.file.FileStreamSourceConnector","tasks.max":"1","file":"'"$work"'/connect.in","topic":"connect-lines","exactly.once.support":"required"}' &&
    connector sink '{"connector.class":"org.apache.kafka.connect.file.FileStreamSinkConnector","tasks.max":"2","file":"'"$work"'/connect.out","topics":"connect-lines"}' &&
    until_true 60 copied || { tail -n 5 "$work/worker.log"; return 1; }
}
c_restart() {
  worker_down TERM
  write 1001 2000
  worker_up && until_true 90 copied || { wc -l "$work/connect.in" "$work/connect.out"; tail -n 5 "$work/worker.log"; return 1; }
}
c_kill() {
  write 2001 3000
  worker_down KILL
  write 3001 4000
  worker_up && until_true 120 copied_all && once || { wc -l "$work/connect.in" "$work/connect.out"; tail -n 5 "$work/worker.log"; return 1; }
}
c_pause() {
  curl -sf -X PUT "http://$connect/connectors/source/pause" && until_true 30 bash -c "curl -sf http://$connect/connectors/source/status | grep -q PAUSED" || return 1
  write 4001 4100
  curl -sf -X PUT "http://$connect/connectors/source/resume" && until_true 60 runs source && until_true 60 copied_all && once
}
c_offsets() { curl -sf "http://$connect/connectors/source/offsets" | grep position; }
c_delete() {
  curl -sf -X DELETE "http://$connect/connectors/source" && curl -sf -X DELETE "http://$connect/connectors/sink" &&
    until_true 30 bash -c "[ \"\$(curl -sf http://$connect/connectors)\" = '[]' ]"
}

kafka_connect() {
  need_package curl && fetch_jars "$cache/connect-libs" test/compat/connect/pom.xml || { skip "its jars cannot be fetched"; return; }
  rm -f "$work"/connect.in "$work"/connect.out "$work/worker.log"
  touch "$work/connect.out"
  topic connect-lines 4
  check "a worker makes its three topics" worker_up
  check "they are compacted" c_topics
  check "file source and file sink copy each line once" c_copy
  check "a worker that was stopped goes on" c_restart
  check "a worker that was killed goes on, exactly once in the topic" c_kill
  check "paused and resumed" c_pause
  check "the source's offsets" c_offsets
  check "connectors are deleted" c_delete
  worker_down TERM
}
