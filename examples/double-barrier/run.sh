#!/bin/sh
# Four workers begin together and end together, twice over; one that dies at
# the entrance is replaced.
. "$(dirname "$0")/../lib.sh"

B=v1/barriers/$RUN
COUNT=4

# worker N ROUND enters, works and leaves; a key for each makes retries safe.
worker() {
	url=$(gateway "$1")
	session=$(cat "$TMP/session-$1")
	echo "comes $1" >>"$TMP/log-$2"
	generation=$(ask -H "Perch-Session: $session" -H "Idempotency-Key: $RUN-in-$1-$2" \
		-d '{"count":'$COUNT',"wait_ms":50000,"ttl_ms":60000,"owner":"worker '"$1"'"}' "$url/$B/enter" | field generation)
	echo "works $1" >>"$TMP/log-$2"
	echo "goes $1" >>"$TMP/log-$2"
	ask -o /dev/null -H "Perch-Session: $session" -d '{"generation":'"$generation"',"wait_ms":50000}' "$url/$B/leave"
	echo "gone $1" >>"$TMP/log-$2"
}

# after LOG FIRST LAST: the first line with LAST comes after all with FIRST.
after() {
	[ "$(sed "/^$3/q" "$1" | grep -c "^$2")" -eq $COUNT ] || fail "somebody $3 before everybody $2: $(paste -sd , "$1")"
}

for n in 1 2 3 4; do
	token >"$TMP/session-$n"
done

# One comes to the entrance and dies there: its place is not counted.
dead=$(token)
[ "$(status -H "Perch-Session: $dead" -d '{"count":'$COUNT',"ttl_ms":2500}' "$H/$B/enter")" = "409 barrier_waiting" ] || fail "one of four was let in alone"
await_state "$H/$B" '"entered":1' >/dev/null
await_state "$H/$B" '"entered":0' >/dev/null
say "one came alone and died: it is not counted"

for round in 1 2; do
	for n in 1 2 3; do
		start worker $n $round
	done
	await_state "$H/$B" '"entered":3' >/dev/null
	! grep -q works "$TMP/log-$round" || fail "three of four began without the fourth"
	start worker 4 $round
	join
	after "$TMP/log-$round" comes works
	after "$TMP/log-$round" goes gone
	say "round $round: four began together and ended together"
done
for n in 1 2 3 4; do
	ask -H "Perch-Session: $(cat "$TMP/session-$n")" -X DELETE "$H/v1/sessions/self"
done
