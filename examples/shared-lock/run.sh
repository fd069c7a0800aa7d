#!/bin/sh
# Two readers hold the lock together, a writer waits for both, and readers who
# come later wait behind the writer.
. "$(dirname "$0")/../lib.sh"

L=v1/locks/$RUN

# acquire WHO MODE WAIT
acquire() {
	ask -H "Perch-Session: $(cat "$TMP/$1")" -d '{"mode":"'"$2"'","ttl_ms":60000,"wait_ms":'"$3"',"owner":"'"$1"'"}' "$(gateway 1)/$L/acquire"
}
release() { ask -H "Perch-Session: $(cat "$TMP/$1")" -X POST "$(gateway 2)/$L/release"; }

# turn WHO MODE waits for its turn, notes it, and gives the lock back.
turn() {
	acquire "$1" "$2" 50000 | field fencing_token >"$TMP/token-$1"
	echo "$1" >>"$TMP/order"
	release "$1"
}

for who in ann ben cleo wendy; do
	token >"$TMP/$who"
done
first=$(acquire ann shared 0 | field fencing_token)
second=$(acquire ben shared 0 | field fencing_token)
say "ann and ben read together, under tokens $first and $second"
[ "$first" = "$second" ] || fail "one shared period has one token: $first and $second"

start turn wendy exclusive
await_state "$H/$L" '"waiting":1' >"$TMP/state"
[ "$(grep -o '"owner"' "$TMP/state" | wc -l)" -eq 2 ] || fail "the lock does not show two holders: $(cat "$TMP/state")"
[ "$(status -d '{"mode":"shared","ttl_ms":5000}' "$H/$L/acquire")" = "409 lock_held" ] || fail "a reader overtook the waiting writer"
start turn cleo shared
await_state "$H/$L" '"waiting":2' >/dev/null
say "wendy waits to write, cleo behind her to read"

release ann
[ ! -e "$TMP/order" ] || fail "$(cat "$TMP/order") got the lock while ben reads"
release ben
join
[ "$(paste -sd ' ' "$TMP/order")" = "wendy cleo" ] || fail "the order was: $(paste -sd ' ' "$TMP/order")"
[ "$(cat "$TMP/token-wendy")" -gt "$first" ] && [ "$(cat "$TMP/token-cleo")" -gt "$(cat "$TMP/token-wendy")" ] ||
	fail "tokens do not rise: $first, $(cat "$TMP/token-wendy"), $(cat "$TMP/token-cleo")"
say "wendy wrote when both had gone, cleo read after her"
