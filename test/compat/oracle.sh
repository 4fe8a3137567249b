#!/usr/bin/env bash
# The oracle: the same requests go to Apache Kafka (4.4.0) and to gregor, every answer is
# compared field by field, and what differs must have a reason in
# docs/compat/differences.md. It installs Apache Kafka by its Maven coordinates, binds to
# loopback, prints a line a scenario and one summary line, and ends by itself.
#
#   ONLY   run only the scenarios that match this expression
#   TEXTS  1: print where the texts of errors differ (their presence is always compared)
area=oracle port=${COMPAT_PORT:-19992}
. "$(dirname "$0")/lib.sh"
kafka_pid=

write_properties() {
  cat >"$work/$1.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:$(($2 + 1))
listeners=PLAINTEXT://localhost:$2,CONTROLLER://localhost:$(($2 + 1))
advertised.listeners=PLAINTEXT://localhost:$2
controller.listener.names=CONTROLLER
log.dirs=$work/data-$1
num.partitions=3
default.replication.factor=1
offsets.topic.num.partitions=5
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
END
}
need_command mvn maven
libs=$cache/oracle-libs
if [ ! -f "$libs/.done" ]; then
  mvn -q -B -f test/compat/java/oracle.pom.xml dependency:copy-dependencies -DoutputDirectory="$libs" && touch "$libs/.done" || exit 1
fi
go build -o "$work/compare" ./test/compat/oracle || exit 1
rm -rf "$work"/data-*
write_properties gregor "$port"
write_properties apache $((port + 2))
cat >"$work/log4j2.properties" <<END
rootLogger.level = INFO
rootLogger.appenderRef.0.ref = STDOUT
appender.0.type = Console
appender.0.name = STDOUT
END
"$bin" kafka-storage format -t A1b2C3d4E5f6G7h8I9j0Kw -c "$work/gregor.properties" --standalone --release-version 4.4 >/dev/null || exit 1
java_tool kafka.tools.StorageTool format -t A1b2C3d4E5f6G7h8I9j0Kw -c "$work/apache.properties" --standalone --release-version 4.4 >/dev/null || exit 1
"$bin" kafka-server-start "$work/gregor.properties" >"$work/gregor.log" 2>&1 &
node=$!
java -Xmx512m -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$work/log4j2.properties" -cp "$libs/*" kafka.Kafka "$work/apache.properties" >"$work/apache.log" 2>&1 &
kafka_pid=$!
for who in gregor apache; do
  until_true 120 grep -q "Kafka Server started" "$work/$who.log" || { tail "$work/$who.log"; exit 1; }
done
flags=()
[ "${TEXTS:-0}" = 1 ] && flags+=(-texts)
"$work/compare" -kafka "localhost:$((port + 2))" -gregor "localhost:$port" -kafka-data "$work/data-apache" -gregor-data "$work/data-gregor" \
  -differences docs/compat/differences.md -only "${ONLY:-}" "${flags[@]+"${flags[@]}"}"
rc=$?
kill "$kafka_pid" 2>/dev/null
exit $rc
