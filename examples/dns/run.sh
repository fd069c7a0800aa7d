#!/bin/sh
# A name is resolved before it exists, when it changes and when it is removed;
# the resolver keeps a cache, and is told instead of asking.
. "$(dirname "$0")/../lib.sh"

ZONE=$ROOT/zone

# resolver follows the name www and writes down what it resolves to, until it
# is removed for good.
resolver() {
	tag='"absent"'
	while :; do
		answer=$(curl -sS --retry 8 -H "If-None-Match: $tag" -o "$TMP/answer-$1" -w '%{http_code} %header{etag}' \
			"$(gateway "$1")/v1/nodes/$ZONE/www?wait_ms=25000")
		tag=${answer#* }
		case $answer in
		200*) cat "$TMP/answer-$1" >>"$TMP/cache-$1" && echo >>"$TMP/cache-$1" ;;
		404*) echo NXDOMAIN >>"$TMP/cache-$1" && return ;;
		304*) ;;
		*) fail "resolver $1: $answer" ;;
		esac
	done
}

# wait_for N LINE waits until resolver N has it in its cache.
wait_for() {
	for _ in $(seq 300); do
		[ "$(tail -n 1 "$TMP/cache-$1" 2>/dev/null)" = "$2" ] && return
		sleep 0.1
	done
	fail "resolver $1 did not learn $2"
}

cursor=$(ask "$H/v1/watch/$ZONE?scope=subtree" | field cursor) # now
for n in 1 2 3; do
	start resolver $n
done
for address in 10.0.0.7 10.0.0.8; do
	ask -X PUT -d $address -o /dev/null "$H/v1/nodes/$ZONE/www?parents=true"
	for n in 1 2 3; do
		wait_for $n $address
	done
	say "www is $address: three resolvers know"
done

# The same by name, for the whole zone, in the order in which it happened.
ask -X PUT -d 10.0.0.25 -o /dev/null "$H/v1/nodes/$ZONE/mail"
ask -X DELETE "$H/v1/nodes/$ZONE/www"
join
for n in 1 2 3; do
	[ "$(paste -sd ' ' "$TMP/cache-$n")" = "10.0.0.7 10.0.0.8 NXDOMAIN" ] || fail "resolver $n saw $(paste -sd ' ' "$TMP/cache-$n")"
done
say "www is gone: three resolvers know"
events=$(ask "$H/v1/watch/$ZONE?scope=subtree&since=$cursor" | awk '{gsub(/\{"cause"/, "\n&"); print}' |
	sed -n 's/.*"path":"[^"]*\/\([^"]*\)".*"type":"\([a-z]*\)".*/\1 \2/p' | paste -sd ,)
[ "$events" = "zone created,www created,www changed,mail created,www deleted" ] || fail "the zone's history is: $events"
say "the zone's history: $events"
