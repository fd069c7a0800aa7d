#!/bin/sh
# Four clients draw five ids each, through different gateways, and send every
# request twice: twenty ids, none twice, none left out.
. "$(dirname "$0")/../lib.sh"

# draw KEY prints the next id; the same key, the same id.
draw() {
	n=$(ask -H "Idempotency-Key: $1" -d '{"add":1}' "$2/v1/counters/$RUN/add" | field value)
	printf 'job-%010d\n' "$n"
}

client() {
	for _ in 1 2 3 4 5; do
		key=$(token)
		id=$(draw "$key" "$(gateway "$1")")
		again=$(draw "$key" "$(gateway $(($1 + 1)))") # as after a lost answer
		[ "$id" = "$again" ] || fail "a retry drew $again after $id"
		echo "$id" >>"$TMP/ids"
	done
}

for n in 1 2 3 4; do
	start client "$n"
done
join
sort "$TMP/ids" >"$TMP/sorted"
seq 20 | xargs printf 'job-%010d\n' >"$TMP/wanted"
cmp "$TMP/sorted" "$TMP/wanted" || fail "the ids are not job-0000000001 to job-0000000020"
say "$(sed 1q "$TMP/sorted") to $(tail -n 1 "$TMP/sorted"), each once"
ask -X DELETE "$H/v1/counters/$RUN"

# A name that is a node as well: whoever makes it owns it, and all see it.
for n in 1 2 3; do
	ask -H "Idempotency-Key: $(token)" -d "worker $n" "$(gateway $n)/v1/nodes/$ROOT/job-?sequential=true&parents=true" | field path
done >"$TMP/paths"
[ "$(sort -u "$TMP/paths" | wc -l)" -eq 3 ] || fail "a sequential name was given twice"
[ "$(sort "$TMP/paths" | tail -n 1)" = "/$ROOT/job-0000000002" ] || fail "sequential names: $(cat "$TMP/paths")"
say "and three names that are nodes, the last $(tail -n 1 "$TMP/paths")"
