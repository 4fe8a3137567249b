#!/usr/bin/env bash
# Apache's Java consumers in groups, classic and KIP-848, against one gregor node: the
# console consumer, and the verifiable producer and consumers with members that come,
# go and are killed. It installs Apache Kafka by its Maven coordinates, binds to
# loopback, prints a line a check and one summary line, and ends by itself.
#
#   MESSAGES  how many messages the verifiable producer sends a round (20000)
#   ROUNDS    how many rounds of members a protocol (1)
area=groups port=${COMPAT_PORT:-19292}
. "$(dirname "$0")/lib.sh"
messages=${MESSAGES:-20000} rounds=${ROUNDS:-1}
cli=org.apache.kafka.tools

# console GROUP PROTOCOL COUNT: what the group reads next of the topic.
console() {
  timeout 60 java "${jvm[@]}" -cp "$libs/*" $cli.consumer.ConsoleConsumer --bootstrap-server "$addr" --topic console --group "$1" \
    --command-property "group.protocol=$2" --command-property auto.offset.reset=earliest --max-messages "$3" 2>>"$work/err"
}

# A group reads a topic in three parts, each where the last one stopped; then two
# members share another group's partitions.
console_in_parts() {
  local protocol=$1 n got
  got=$work/console-$protocol
  : >"$got"
  for n in 1000 3000 1000; do console "console-$protocol" "$protocol" "$n" >>"$got" || return 1; done
  sort "$got" | cmp - "$work/console.want" && echo "= 5000 messages in 3 parts"
}
console_two() {
  local protocol=$1 got=$work/console-two-$1 one two
  timeout 60 java "${jvm[@]}" -cp "$libs/*" $cli.consumer.ConsoleConsumer --bootstrap-server "$addr" --topic console --group "two-$protocol" \
    --command-property "group.protocol=$protocol" --from-beginning --timeout-ms 9000 >"$got.1" 2>>"$work/err" &
  one=$!
  timeout 60 java "${jvm[@]}" -cp "$libs/*" $cli.consumer.ConsoleConsumer --bootstrap-server "$addr" --topic console --group "two-$protocol" \
    --command-property "group.protocol=$protocol" --from-beginning --timeout-ms 9000 >"$got.2" 2>>"$work/err" &
  two=$!
  wait "$one" "$two"
  # A first member may read all before the second one comes: the set is what counts.
  sort -u "$got.1" "$got.2" | cmp - "$work/console.want" && echo "= 5000 messages, $(wc -l <"$got.1") and $(wc -l <"$got.2") to the members"
}
# described GROUP: Apache's tool shows the group at the end of its partitions.
described() {
  java_tool $cli.consumer.group.ConsumerGroupCommand --bootstrap-server "$addr" --describe --group "$1" --offsets >"$work/described" 2>&1
  awk -v g="$1" '$1 == g { n++; if ($4 != $5 || $6 != 0) bad++ } END { exit !(n == 4 && !bad) }' "$work/described" || { cat "$work/described"; return 1; }
  echo "= 4 partitions without lag"
}

# member NAME GROUP PROTOCOL TOPIC [FLAG...]: a VerifiableConsumer in the background;
# its words go to NAME, its process id into `last`.
member() {
  local name=$1 group=$2 protocol=$3 topic=$4
  shift 4
  java "${jvm[@]}" -cp "$libs/*" $cli.VerifiableConsumer --bootstrap-server "$addr" --topic "$topic" --group-id "$group" \
    --group-protocol "$protocol" --verbose "$@" >"$name" 2>>"$work/err" &
  last=$!
}
owns() { grep -q 'partitions_assigned","partitions":\[{' "$1"; }
leave() { kill "$1" 2>/dev/null; wait "$1" 2>/dev/null; }
caught_up() {
  java_tool $cli.consumer.group.ConsumerGroupCommand --bootstrap-server "$addr" --describe --group "$1" --offsets 2>/dev/null |
    awk -v g="$1" '$1 == g { n++; if ($6 != 0) bad++ } END { exit !(n == 6 && !bad) }'
}

# members NAME PROTOCOL leave|kill [FLAG...]: four members come and two of them go while the
# producer sends; with kill one is killed, and what it had not committed comes again.
# So may a cooperative member's: it reads during a rebalance, when a group takes no
# commits once all have joined, and may lose the partition before it has tried again.
members() {
  local name=$1 protocol=$2 mode=$3 dir=$work/members-$1 repeats=0 a b c d e producer
  shift 3
  case $* in *Cooperative*) repeats=1000 ;; esac
  rm -rf "$dir"
  mkdir -p "$dir"
  topic "$name" 6
  java "${jvm[@]}" -cp "$libs/*" $cli.VerifiableProducer --bootstrap-server "$addr" --topic "$name" --max-messages "$messages" \
    --throughput $((messages / 30)) --repeating-keys 97 >"$dir/sent" 2>>"$work/err" &
  producer=$!
  member "$dir/a" "$name" "$protocol" "$name" "$@"; a=$last
  until_true 120 owns "$dir/a" || return 1
  member "$dir/b" "$name" "$protocol" "$name" "$@"; b=$last
  member "$dir/c" "$name" "$protocol" "$name" "$@"; c=$last
  until_true 120 owns "$dir/b" || return 1
  until_true 120 owns "$dir/c" || return 1
  leave "$a"
  member "$dir/d" "$name" "$protocol" "$name" "$@"; d=$last
  until_true 120 owns "$dir/d" || return 1
  if [ "$mode" = kill ]; then
    kill -9 "$b"
    wait "$b" 2>/dev/null
    repeats=1000
  else
    leave "$b"
  fi
  member "$dir/e" "$name" "$protocol" "$name" "$@"; e=$last
  wait "$producer"
  until_true 90 caught_up "$name"
  leave "$c"; leave "$d"; leave "$e"
  "$cache/ledger" members -repeats "$repeats" "$dir/sent" "$dir"/[a-e]
}

need_kafka
go build -o "$cache/ledger" ./test/compat/ledger || exit 1
: >"$work/err"
start
topic console 4
seq -f 'message %.0f' 5000 >"$work/console.lines"
sort "$work/console.lines" >"$work/console.want"
check "5000 lines from Apache's console producer" bash -c "java ${jvm[*]} -cp '$libs/*' $cli.ConsoleProducer --bootstrap-server $addr --topic console --batch-size 512 <'$work/console.lines'"
for protocol in classic consumer; do
  check "console consumer with --group, $protocol" console_in_parts "$protocol"
  check "its group in Apache's kafka-consumer-groups" described "console-$protocol"
  check "two console consumers, $protocol" console_two "$protocol"
done
for round in $(seq "$rounds"); do
  check "members come and go, classic, range, round $round" members "classic-$round" classic leave
  check "members come and go, classic, cooperative, round $round" members "coop-$round" classic leave --assignment-strategy org.apache.kafka.clients.consumer.CooperativeStickyAssignor
  check "members come and go, consumer, uniform, round $round" members "uniform-$round" consumer leave --group-remote-assignor uniform
  check "members come and go, consumer, range, round $round" members "range-$round" consumer leave --group-remote-assignor range
  check "a member is killed, classic, round $round" members "killed-classic-$round" classic kill --session-timeout 6000
  check "a member is killed, consumer, round $round" members "killed-consumer-$round" consumer kill --group-remote-assignor uniform
done
stop
summary
