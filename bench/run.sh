#!/usr/bin/env bash
# Installs Apache Kafka from Maven by its coordinates, builds the programs and runs
# the rows given as the first argument (all without one).
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
libs=bench/.work/kafka-libs
if [ ! -f "$libs/.done" ]; then
  echo "bench: fetching Apache Kafka by Maven coordinates (once)" >&2
  mvn -q -B -f bench/kafka.pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/$libs"
  touch "$libs/.done"
fi
go build -trimpath -o bin/floor ./bench/floor
go build -trimpath -o bin/bench ./bench
data=${BENCH_DATA:-/dev/shm}
[ -d "$data" ] || data=$(mktemp -d)
exec bin/bench -rows "${1:-}" -kafka-libs "$libs" -data "$data" ${BENCH_FLAGS:-}
