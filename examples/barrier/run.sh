#!/bin/sh
# Five workers stand at a barrier until somebody opens it; who comes late walks
# through.
. "$(dirname "$0")/../lib.sh"

B=v1/barriers/$RUN

# worker N notes when it stands at the barrier, and when it is through.
worker() {
	echo "stands $1" >>"$TMP/log"
	tag='""'
	while :; do
		answer=$(ask -H "If-None-Match: $tag" "$(gateway "$1")/$B?wait_ms=25000")
		[ "$(echo "$answer" | field open)" != true ] || break
		tag=$(echo "$answer" | field etag)
		echo "$1" >>"$TMP/parked"
	done
	echo "through $1" >>"$TMP/log"
}

ask -o /dev/null -X PUT "$H/$B" # up
for n in 1 2 3 4 5; do
	start worker $n
done
until [ "$(sort -u "$TMP/parked" 2>/dev/null | wc -l)" -eq 5 ]; do
	waited=$((${waited:-0} + 1))
	[ $waited -lt 300 ] || fail "not all workers reached the barrier"
	sleep 0.1
done
! grep -q through "$TMP/log" || fail "somebody walked through a closed barrier"
say "five workers stand at the barrier"

echo "opened" >>"$TMP/log"
ask -X DELETE "$H/$B"
join
start worker 6 # late
join
[ "$(sed -n '/opened/,$p' "$TMP/log" | grep -c through)" -eq 6 ] || fail "not everybody is through: $(paste -sd , "$TMP/log")"
say "it was opened: all five are through, and one that came late"
