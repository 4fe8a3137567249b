# Read by the scripts of this folder, which name their area first: `area=groups`.
# It installs what they need, runs the node that they test and counts their checks.
# A script may run beside the others: each has a folder and a port of its own, below
# the ports that the system gives to outgoing connections, one of which could take the
# port while the node is down.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
cache=$root/test/compat/.work
work=${COMPAT_WORK:-$cache}/$area
mkdir -p "$cache" "$work"
bin=${GREGOR:-$root/bin/gregor}
addr=localhost:$port
passed=0 failed=0 node=

pass() { passed=$((passed + 1)); printf 'ok    %s\n' "$1"; }
fail() { failed=$((failed + 1)); printf 'FAIL  %s\n' "$1"; [ -s "$work/out" ] && tail -n 15 "$work/out"; }
# check NAME COMMAND...: passes when the command ends with 0. What it prints last on
# a line that begins with "= " is shown behind the name.
check() {
  local name=$1 note
  shift
  if "$@" >"$work/out" 2>&1; then
    note=$(sed -n 's/^= //p' "$work/out" | tail -n 1)
    pass "$name${note:+: $note}"
  else
    fail "$name"
  fi
}
# summary ends the script: one line, and 1 when a check failed.
summary() {
  echo "$area: $passed passed, $failed failed"
  [ "$failed" -eq 0 ]
  exit
}

# need_package COMMAND PACKAGE: installs Debian's package unless the command is there.
need_package() { command -v "$1" >/dev/null || { apt-get update -qq && apt-get install -y -qq "$2"; } >/dev/null; }
need_command() { need_package "$1" "$2" || exit 1; }
# fetch_jars DIR POM [FLAG]...: what the pom depends on, once for each text of the pom.
fetch_jars() {
  local dir=$1 pom=$2
  shift 2
  cmp -s "$pom" "$dir/.done" && return
  need_package mvn maven && rm -rf "$dir" &&
    mvn -q -B -f "$pom" "$@" -DoutputDirectory="$dir" dependency:copy-dependencies && cp "$pom" "$dir/.done"
}

# need_kafka fetches Apache Kafka's broker and tools by Maven coordinates, once.
need_kafka() {
  need_command mvn maven
  libs=$root/bench/.work/kafka-libs
  [ -f "$libs/.done" ] && return
  mvn -q -B -f bench/kafka.pom.xml dependency:copy-dependencies -DoutputDirectory="$libs" && touch "$libs/.done" || exit 1
}
# need_streams fetches Kafka Streams and builds the program that uses it.
need_streams() {
  need_command mvn maven
  streams=$cache/streams-libs
  if [ ! -f "$streams/.done" ]; then
    mvn -q -B -f test/compat/java/streams.pom.xml dependency:copy-dependencies -DoutputDirectory="$streams" && touch "$streams/.done" || exit 1
  fi
}
# need_python: Python's clients in an environment of their own, anew for each text of the
# list of them. Debian's python3 has the module that makes one in a package apart.
need_python() {
  local list=test/compat/python/requirements.txt
  cmp -s "$list" "$cache/python/.done" && return
  need_package python3 python3 && rm -rf "$cache/python" &&
    { python3 -m venv "$cache/python" 2>/dev/null || { apt-get install -y -qq python3-venv >/dev/null && python3 -m venv "$cache/python"; }; } &&
    "$cache/python/bin/pip" install -q -r "$list" && cp "$list" "$cache/python/.done"
}
# compile CLASSES CLASSPATH FILE...: Java programs of this folder into CLASSES.
compile() {
  local classes=$1 path=$2
  shift 2
  mkdir -p "$classes"
  (cd test/compat/java/src/main/java && javac -cp "$path" -d "$classes" "$@") || exit 1
}

# The short runs of Apache's tools want a quick start more than a quick run.
jvm=(-XX:TieredStopAtLevel=1 -Xmx256m -Dorg.apache.logging.log4j.level=OFF)
java_tool() { local class=$1; shift; java "${jvm[@]}" -cp "$libs/*" "$class" "$@"; }
# until_true SECONDS COMMAND...: waits for the command to succeed.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

# launch runs a node on the directory as it is; start first empties it.
launch() {
  "$bin" dev --port "$port" --data "$work/data" "${node_flags[@]+"${node_flags[@]}"}" >"$work/node.log" 2>&1 &
  node=$!
  for _ in $(seq 600); do
    grep -q 'Kafka Server started' "$work/node.log" && return
    kill -0 "$node" 2>/dev/null || break
    sleep 0.05
  done
  echo "the node did not start:"
  tail "$work/node.log"
  exit 1
}
start() { rm -rf "$work/data"; launch; }
stop() { [ -n "$node" ] && kill "$node" 2>/dev/null && wait "$node" 2>/dev/null; node=; }
# crash ends the node as a power cut of the process does, and starts it again.
crash() {
  kill -9 "$node"
  wait "$node" 2>/dev/null
  cat "$work/node.log" >>"$work/nodes.log"
  launch
}
# cleanup stops the node and every process that the script still has.
cleanup() {
  stop
  local left
  left=$(jobs -p)
  [ -n "$left" ] || return
  kill $left 2>/dev/null
  sleep 1
  kill -9 $left 2>/dev/null
  wait 2>/dev/null
}
trap cleanup EXIT

# topic NAME PARTITIONS [FLAG...]
topic() {
  local name=$1 partitions=$2
  shift 2
  "$bin" kafka-topics --bootstrap-server "$addr" --create --topic "$name" --partitions "$partitions" --replication-factor "${rf:-1}" "$@" >/dev/null
}
drop() { "$bin" kafka-topics --bootstrap-server "$addr" --delete --topic "$1" >/dev/null; }
