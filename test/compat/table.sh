# Read after lib.sh: counts the checks of each client apart and prints them as one table.
: >"$work/table"
skipped=0 reason=

# wanted KEY: whether ONLY names the row.
wanted() {
  local o
  [ -z "${ONLY:-}" ] && return
  for o in ${ONLY//,/ }; do [ "$1" = "$o" ] && return; done
  return 1
}
# row KEY CLIENT VERSION COMMAND...: the checks of a client. The command says with skip
# why it can make none, or not all.
row() {
  local key=$1 client=$2 version=$3 p=$passed f=$failed began=$SECONDS
  shift 3
  wanted "$key" || return 0
  reason=
  printf '      %s %s\n' "$client" "$version"
  "$@"
  p=$((passed - p)) f=$((failed - f))
  [ $((p + f)) -gt 0 ] || skipped=$((skipped + 1))
  printf '%s\t%s\t%d\t%d\t%s\n' "$client" "$version" $((p + f)) "$p" "${reason:+skipped: $reason}" >>"$work/table"
  printf '      %d s\n' $((SECONDS - began))
}
skip() { reason=$1; printf 'skip  %s\n' "$1"; }

# program SECONDS COMMAND...: a program that prints a line a test, "ok NAME" or "FAIL
# NAME: why", and at its end "tests N passed M". Without that line it has failed. What a
# failed one printed stays in a file.
program() {
  local seconds=$1 line ended= before=$failed
  shift
  timeout -k 10 "$seconds" "$@" >"$work/program" 2>"$work/program.err"
  while IFS= read -r line; do
    case $line in
    "ok "*) pass "${line#ok }" ;;
    "FAIL "*) failed=$((failed + 1)); printf 'FAIL  %s\n' "${line#FAIL }" ;;
    "tests "*) ended=1 ;;
    esac
  done <"$work/program"
  if [ -z "$ended" ]; then
    tail -n 15 "$work/program" "$work/program.err" >"$work/out" 2>&1
    fail "$1 does not come to its end in $seconds seconds"
  fi
  [ "$failed" = "$before" ] || cat "$work/program" "$work/program.err" >"$work/failed.$key.$failed"
}

# print_table ends the script, as summary does.
print_table() {
  echo
  awk -F '\t' 'BEGIN { OFS = FS; print "client", "version", "tests", "passed", "remarks" } { print }' "$work/table" |
    awk -F '\t' '{ printf "%-34s %-9s %5s %6s  %s\n", $1, $2, $3, $4, $5 }' | sed 's/ *$//'
  echo
  echo "$area, $nodes node$([ "$nodes" = 1 ] || echo s): $(wc -l <"$work/table") clients, $((passed + failed)) tests, $passed passed, $failed failed, $skipped clients skipped"
  [ "$failed" -eq 0 ]
  exit
}
