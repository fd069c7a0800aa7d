#!/bin/sh
# Three candidates; the master is killed, the next one takes over, and the old
# one's late orders are refused.
. "$(dirname "$0")/../lib.sh"

E=v1/elections/$RUN
ORDERS=v1/nodes/$ROOT/orders

# candidate N stands until it is elected, then renews until it ends. While the
# request is parked the candidate keeps its place in the queue.
candidate() {
	url=$(gateway "$1")
	session=$(cat "$TMP/session-$1")
	until grant=$(curl -fs -H "Perch-Session: $session" -d '{"ttl_ms":4000,"wait_ms":20000,"stay_ms":2000,"value":"candidate '"$1"'"}' "$url/$E/campaign"); do
		kill -0 $$ || return
		sleep 0.2
	done
	echo "$grant" | field fencing_token >"$TMP/fence-$1"
	while kill -0 $$ 2>/dev/null; do
		ask -o /dev/null -H "Perch-Session: $session" -X POST "$url/$E/renew" || return # 410: master no more
		sleep 0.5
	done
}

for n in 1 2 3; do
	token >"$TMP/session-$n"
	candidate $n &
	eval "pid_$n=$!"
	STARTED="$STARTED $!"
	case $n in
	1) await_state "$H/$E" '"value":"candidate 1"' >/dev/null ;;
	*) await_state "$H/$E" "\"candidates\":$((n - 1))" >/dev/null ;; # besides the leader
	esac
done
first=$(ask "$H/$E" | field fencing_token)
say "candidate 1 is master with token $first, two are waiting"
ask -o /dev/null -X PUT -d 'order of 1' "$H/$ORDERS?parents=true&fence=elections/$RUN:$first"

kill -9 "$pid_1" # it renews no more
second=$(await_state "$H/$E" '"value":"candidate 2"' | field fencing_token)
[ "$second" -gt "$first" ] || fail "the token did not rise: $first, then $second"
say "candidate 2 has taken over with token $second"
ask -o /dev/null -X PUT -d 'order of 2' "$H/$ORDERS?fence=elections/$RUN:$second"
[ "$(status -X PUT -d 'late order of 1' "$H/$ORDERS?fence=elections/$RUN:$first")" = "412 fence_stale" ] || fail "an order of the old master passed"
[ "$(ask "$H/$ORDERS")" = "order of 2" ] || fail "the orders are: $(ask "$H/$ORDERS")"
say "a late order of the old master was refused"

kill "$pid_2" # this one resigns, and nobody waits for a TTL
ask -H "Perch-Session: $(cat "$TMP/session-2")" -X POST "$H/$E/resign"
third=$(await_state "$H/$E" '"value":"candidate 3"' | field fencing_token)
[ "$third" -gt "$second" ] || fail "the token did not rise: $second, then $third"
say "candidate 2 resigned, candidate 3 is master with token $third"
ask -H "Perch-Session: $(cat "$TMP/session-3")" -X DELETE "$H/v1/sessions/self"
