#!/bin/sh
# Three machines report themselves and their load. One leaves, one is killed:
# the group shrinks both times, and says which it was.
. "$(dirname "$0")/../lib.sh"

GROUP=$ROOT/machines

# machine N reports its load twice a second. The report renews the session that
# keeps the machine's node; it ends with this script.
machine() {
	session=$(cat "$TMP/session-$1")
	while kill -0 $$ 2>/dev/null; do
		ask -X PUT -H "Perch-Session: $session" -d "load $(cut -d' ' -f1 /proc/loadavg 2>/dev/null || uptime)" -o /dev/null \
			"$(gateway "$1")/v1/nodes/$GROUP/machine-$1?mode=ephemeral&parents=true&ttl_ms=4000" || return 1
		sleep 0.5
	done
}

cursor=$(ask "$H/v1/watch/$GROUP?scope=children" | field cursor) # now

for n in 1 2 3; do
	token >"$TMP/session-$n"
	machine $n &
	eval "pid_$n=$!"
	STARTED="$STARTED $!"
done
for n in 1 2 3; do
	await "$GROUP" children "$cursor" "/machine-$n.*created" >/dev/null
	say "machine-$n is up"
done
cursor=$(await "$GROUP/machine-1" node "$cursor" changed)
say "machine-1 reports: $(ask "$H/v1/nodes/$GROUP/machine-1")"

kill "$pid_1" # no more reports, and a goodbye: the node goes at once
ask -X DELETE -H "Perch-Session: $(cat "$TMP/session-1")" "$H/v1/sessions/self"
await "$GROUP" children "$cursor" 'session_closed.*/machine-1.*deleted' >/dev/null
say "machine-1 has left"

kill -9 "$pid_2" # no goodbye: the node goes when the session has expired
await "$GROUP" children "$cursor" 'session_expired.*/machine-2.*deleted' >/dev/null
say "machine-2 is down"

left=$(ask "$H/v1/children/$GROUP" | field path)
[ "$left" = "/$GROUP/machine-3" ] || fail "the group is $left"
[ "$(status -X POST -H "Perch-Session: $(cat "$TMP/session-2")" "$H/v1/sessions/self/keepalive")" = "410 session_expired" ] ||
	fail "the session of machine-2 came back"
kill "$pid_3"
ask -X DELETE -H "Perch-Session: $(cat "$TMP/session-3")" "$H/v1/sessions/self"
say "machine-3 is what was left; a machine-2 that wakes up is told that it was given up"
