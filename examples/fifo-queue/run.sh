#!/bin/sh
# Producers and consumers on one queue: first in, first out; what a consumer
# that died had claimed comes back; nothing is done twice.
. "$(dirname "$0")/../lib.sh"

Q=v1/queues/$RUN

put() { ask -o /dev/null -H "Idempotency-Key: $(token)" -d "$1" "$2/$Q/messages"; }

# take WAIT TTL claims a message: prints receipt, attempt and text, or nothing.
take() {
	ask -H "Idempotency-Key: $(token)" -d '{"count":1,"wait_ms":'"$1"',"ttl_ms":'"$2"'}' "$3/$Q/claim?include=text" >"$TMP/claim-$4"
	[ -z "$(field receipt <"$TMP/claim-$4")" ] ||
		echo "$(field receipt <"$TMP/claim-$4") $(field attempts <"$TMP/claim-$4") $(field text <"$TMP/claim-$4")"
}
ack() { ask -o /dev/null -d '{"receipts":["'"$1"'"]}' "$2/$Q/ack"; }

# One consumer sees the order in which messages were put.
for n in 1 2 3 4 5; do
	put "job $n" "$(gateway $n)"
done
for n in 1 2 3 4 5; do
	took=$(take 5000 30000 "$(gateway $((n + 1)))" order)
	[ "${took#* * }" = "job $n" ] || fail "job $n was expected, and came: $took"
	ack "${took%% *}" "$H"
done
say "five jobs came in the order in which they were put"

# Three consumers wait before there is anything; one more dies with a message.
consumer() {
	while took=$(take 20000 30000 "$(gateway "$1")" "$1") && [ -n "$took" ]; do
		[ "${took#* * }" != stop ] || { ack "${took%% *}" "$H" && return; }
		ack "${took%% *}" "$(gateway $(($1 + 1)))" && echo "${took#* }" >>"$TMP/done"
	done
}
put "job 0" "$H"
lost=$(take 5000 1500 "$H" dead) # claimed for 1.5 s, and never acked
for n in 1 2 3; do
	start consumer $n
done
for n in $(seq 12); do
	put "job $n" "$(gateway "$n")"
done
until grep -qs '^2 job 0$' "$TMP/done"; do
	waited=$((${waited:-0} + 1))
	[ $waited -lt 300 ] || fail "the job of the dead consumer did not come back"
	sleep 0.1
done
for n in 1 2 3; do
	put stop "$H"
done
join
cut -d' ' -f2- "$TMP/done" | sort >"$TMP/sorted"
seq 0 12 | sed 's/^/job /' | sort >"$TMP/wanted"
cmp "$TMP/sorted" "$TMP/wanted" || fail "not every job was done once: $(paste -sd , "$TMP/sorted")"
say "13 jobs, three consumers: each done once, that of the dead consumer at its second attempt"

[ "$(status -d '{"receipts":["'"${lost%% *}"'"]}' "$H/$Q/ack")" = "410 receipt_lost" ] || fail "the dead consumer's receipt still counts"
ask -X DELETE "$H/$Q"
say "a consumer that wakes up late is told that its claim is over"
