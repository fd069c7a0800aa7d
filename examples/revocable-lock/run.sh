#!/bin/sh
# Somebody important needs the lock. A holder that listens gives it up when it
# is asked to; from one that does not, it is taken after a grace.
. "$(dirname "$0")/../lib.sh"

L=v1/locks/$RUN

acquire() { ask -H "Perch-Session: $1" -d '{"ttl_ms":60000,"wait_ms":50000,"owner":"'"$2"'"}' "$H/$L/acquire" | field fencing_token; }

# polite renews its hold, and learns from the answer that it is asked for it.
polite() {
	while kill -0 $$ 2>/dev/null; do
		asked=$(ask -H "Perch-Session: $1" -X POST "$(gateway 1)/$L/renew" | field revoke_requested)
		if [ "$asked" = true ]; then
			echo "finished my step" >"$TMP/polite"
			ask -H "Perch-Session: $1" -X POST "$(gateway 1)/$L/release"
			return
		fi
		sleep 0.3
	done
}

listener=$(token) urgent=$(token)
one=$(acquire "$listener" batch)
start polite "$listener"
ask -o /dev/null -d '{"reason":"a customer waits"}' "$H/$L/revoke"
two=$(acquire "$urgent" urgent)
[ -e "$TMP/polite" ] || fail "the lock changed hands before its holder had finished"
join
say "the holder was asked, finished its step and gave way: token $one, then $two"
ask -H "Perch-Session: $urgent" -X POST "$H/$L/release"

deaf=$(token)
three=$(acquire "$deaf" deaf)
ask -o /dev/null -d '{"reason":"maintenance","break_after_ms":2500}' "$H/$L/revoke"
reason=$(ask "$H/$L" | field revoke_reason)
[ "$reason" = maintenance ] || fail "the lock does not show why it is wanted: '$reason'"
four=$(acquire "$urgent" urgent)
[ "$four" -gt "$three" ] || fail "tokens do not rise: $three, $four"
[ "$(status -H "Perch-Session: $deaf" -X POST "$H/$L/renew")" = "410 hold_lost" ] || fail "the deaf holder renewed a hold that was broken"
[ "$(status -H "Perch-Session: $deaf" -X POST "$H/$L/release")" = "410 hold_lost" ] || fail "the deaf holder was not told that it lost the lock"
[ "$(status -X PUT -d x "$H/v1/nodes/$ROOT/work?parents=true&fence=$RUN:$three")" = "412 fence_stale" ] || fail "its fenced write passed"
ask -H "Perch-Session: $urgent" -X POST "$H/$L/release"
say "from one that did not listen it was taken: its token $three is worth nothing now"
