#!/bin/sh
# Messages come in order of priority, lowest number first, then in order of
# arrival; what fails three times is put aside.
. "$(dirname "$0")/../lib.sh"

Q=v1/queues/$RUN

put() { ask -o /dev/null -H "Idempotency-Key: $(token)" -d "$2" "$(gateway 1)/$Q/messages?priority=$1"; }
claim() { ask -H "Idempotency-Key: $(token)" -d '{"ttl_ms":30000,"wait_ms":10000}' "$(gateway 2)/$Q/claim?include=text"; }

put 5 e1; put 5 e2; put 1 a1; put 9 z1; put 1 a2; put -3 now; put 5 e3
order=
for _ in 1 2 3 4 5 6 7; do
	message=$(claim)
	order="$order $(echo "$message" | field text)"
	ask -o /dev/null -d '{"receipts":["'"$(echo "$message" | field receipt)"'"]}' "$H/$Q/ack"
done
[ "$order" = " now a1 a2 e1 e2 e3 z1" ] || fail "the order was:$order"
say "they came as:$order"

# A message that nobody can digest must not stand before all others for ever.
ask -o /dev/null -X PUT -d '{"max_attempts":3,"dead_letter":"'"$RUN"'-dead"}' "$H/$Q"
put 0 poison
put 7 good
for attempt in 1 2 3; do
	message=$(claim)
	[ "$(echo "$message" | field text) $(echo "$message" | field attempts)" = "poison $attempt" ] || fail "attempt $attempt brought $message"
	ask -o /dev/null -d '{"receipts":["'"$(echo "$message" | field receipt)"'"]}' "$H/$Q/nack"
done
[ "$(claim | field text)" = good ] || fail "the message behind the bad one did not come"
[ "$(ask "$H/v1/queues/$RUN-dead" | field ready)" = 1 ] || fail "the bad message was not put aside"
ask -X DELETE "$H/$Q?force=true"
ask -X DELETE "$H/v1/queues/$RUN-dead?force=true"
say "after three attempts a bad message is put aside, and the next one comes"
