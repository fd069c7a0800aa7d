#!/bin/sh
# Five workers add to one number by reading and writing it. Under the lock no
# step is lost; a holder that slept too long writes nothing.
. "$(dirname "$0")/../lib.sh"

L=v1/locks/$RUN
NUMBER=v1/nodes/$ROOT/number

worker() {
	url=$(gateway "$1")
	session=$(token) # drawn when the worker starts; each acquire opens it anew
	for _ in 1 2 3; do
		ask -o /dev/null -H "Perch-Session: $session" -d '{"ttl_ms":30000,"wait_ms":50000,"owner":"worker '"$1"'"}' "$url/$L/acquire"
		value=$(ask "$url/$NUMBER")
		ask -o /dev/null -H "Perch-Session: $session" -X PUT -d $((value + 1)) "$url/$NUMBER?fence=$RUN"
		ask -o /dev/null -H "Perch-Session: $session" -X POST "$url/$L/release"
	done
}

ask -o /dev/null -X PUT -d 0 "$H/$NUMBER?parents=true"
for n in 1 2 3 4 5; do
	start worker $n
done
join
[ "$(ask "$H/$NUMBER")" = 15 ] || fail "five workers added 3 each, and the number is $(ask "$H/$NUMBER")"
say "5 workers, 3 steps each: 15"

# A holder freezes: it renews no more. Who waits gets the lock after the TTL.
frozen=$(token) next=$(token)
old=$(ask -H "Perch-Session: $frozen" -d '{"ttl_ms":3000,"owner":"frozen"}' "$H/$L/acquire" | field fencing_token)
holder=$(curl -sS -d '{"ttl_ms":30000,"owner":"impatient"}' "$H/$L/acquire" | field owner)
[ "$holder" = frozen ] || fail "a refusal names the holder; it named '$holder'"
new=$(ask -H "Perch-Session: $next" -d '{"ttl_ms":30000,"wait_ms":50000,"owner":"next"}' "$(gateway 1)/$L/acquire" | field fencing_token)
[ "$new" -gt "$old" ] || fail "the fencing token did not rise: $old, then $new"
say "the next holder has token $new, above $old"

# It wakes up, and believes that it still holds the lock.
[ "$(status -X PUT -d 0 "$H/$NUMBER?fence=$RUN:$old")" = "412 fence_stale" ] || fail "a write under an old token passed"
[ "$(status -H "Perch-Session: $frozen" -X POST "$H/$L/release")" = "410 hold_lost" ] || fail "the frozen holder was not told that it lost the lock"
ask -o /dev/null -X PUT -d 16 "$(gateway 2)/$NUMBER?fence=$RUN:$new"
ask -H "Perch-Session: $next" -X POST "$H/$L/release"
[ "$(ask "$H/$NUMBER")" = 16 ] || fail "the number is $(ask "$H/$NUMBER"), not 16"
say "the old one is refused, the new one is not"
