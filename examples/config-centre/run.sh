#!/bin/sh
# Twenty programs follow one configuration; everybody sees every release that
# is the last one for longer than a round trip, and nobody an older one again.
. "$(dirname "$0")/../lib.sh"

CONFIG=v1/nodes/$ROOT/app.conf

# program N takes over the configuration as it changes, until release 3.
program() {
	tag='"absent"' # what a node that is not there yet is tagged with
	until grep -qsx release=3 "$TMP/seen-$1"; do
		answer=$(ask -H "If-None-Match: $tag" -o "$TMP/new-$1" -w '%{http_code} %header{etag}' "$(gateway "$1")/$CONFIG?wait_ms=25000")
		tag=${answer#* }
		case $answer in
		200*) cat "$TMP/new-$1" >>"$TMP/seen-$1" ;;
		esac # 304: nothing new in that time
	done
}

for n in $(seq 20); do
	start program "$n"
done
say "twenty programs wait for a configuration"

echo release=1 | ask -X PUT --data-binary @- -o /dev/null "$H/$CONFIG?parents=true"
for release in 2 3; do
	tag=$(ask -o /dev/null -w '%header{etag}' "$H/$CONFIG")
	echo release=$release | ask -X PUT --data-binary @- -o /dev/null -H "If-Match: $tag" "$H/$CONFIG"
	say "release $release is out"
done
join
say "all of them have it"

for n in $(seq 20); do
	sort -c "$TMP/seen-$n" || fail "program $n went back to an older release"
	[ "$(tail -n 1 "$TMP/seen-$n")" = release=3 ] || fail "program $n ended with $(tail -n 1 "$TMP/seen-$n")"
done

# Somebody who read release 2 cannot overwrite release 3.
[ "$(status -X PUT -d release=4 -H "If-Match: $tag" "$H/$CONFIG")" = "412 etag_mismatch" ] || fail "a stale editor overwrote a newer release"
say "20 programs saw the change; an editor with an old copy was refused"
