# Read after lib.sh by the scripts that run on one node or on three: `nodes` says which.
# With three, each is controller and broker, topics have three replicas, and two must
# have a record before it is acknowledged. `rf` is the number of replicas to ask for.
nodes=${NODES:-1}
rf=$nodes
# Process ids of a run that was killed may be those of others by now.
rm -f "$work"/*.pid

write_properties() {
  local id voters
  voters=1@localhost:$((port + 10)),2@localhost:$((port + 20)),3@localhost:$((port + 30))
  for id in 1 2 3; do
    cat >"$work/$id.properties" <<EOF
process.roles=broker,controller
node.id=$id
listeners=PLAINTEXT://localhost:$((port + id)),CONTROLLER://localhost:$((port + 10 * id))
advertised.listeners=PLAINTEXT://localhost:$((port + id)),CONTROLLER://localhost:$((port + 10 * id))
controller.listener.names=CONTROLLER
controller.quorum.voters=$voters
log.dirs=$work/data-$id
default.replication.factor=3
min.insync.replicas=2
group.initial.rebalance.delay.ms=0
EOF
    "$bin" kafka-storage format -t A1b2C3d4E5f6G7h8I9j0Kw -c "$work/$id.properties" >/dev/null || exit 1
  done
}
# up ID: runs a node. Its process id is in a file, since a subshell may start nodes too.
up() {
  "$bin" kafka-server-start "$work/$1.properties" >>"$work/$1.log" 2>&1 &
  echo $! >"$work/$1.pid"
}
start_nodes() {
  if [ "$nodes" = 1 ]; then
    start
    return
  fi
  local id
  rm -rf "$work"/data-* "$work"/*.log "$work"/*.pid
  write_properties
  for id in 1 2 3; do up "$id"; done
  addr=localhost:$((port + 1)),localhost:$((port + 2)),localhost:$((port + 3))
  until_true 60 all_up || { tail "$work"/*.log; exit 1; }
}
all_up() { [ "$("$bin" kafka-broker-api-versions --bootstrap-server "$addr" | grep -c '^localhost')" = 3 ]; }
# stop_nodes ends all of them and waits until they are gone.
stop_nodes() {
  local f pid
  if [ "$nodes" = 1 ]; then
    stop
    return
  fi
  for f in "$work"/*.pid; do
    [ -f "$f" ] && kill "$(cat "$f")" 2>/dev/null
  done
  for f in "$work"/*.pid; do
    [ -f "$f" ] || continue
    pid=$(cat "$f")
    until_true 30 bash -c "! kill -0 $pid" || kill -9 "$pid"
    rm -f "$f"
  done
}
