# What the scripts of examples/ share; each of them reads this file first.
#
# PERCH_URL names a Perch node, PERCH_URLS several, separated by spaces: parts
# of an example then talk to different ones. (With --auth, put a line
#   header = "Authorization: Bearer perch_…"
# into ~/.curlrc.)
set -eu

PERCH_URLS=${PERCH_URLS:-${PERCH_URL:-http://127.0.0.1:7070}}
H=${PERCH_URL:-${PERCH_URLS%% *}}

RUN=$(basename "$(dirname "$0")")-$(openssl rand -hex 4) # two runs never meet
ROOT=examples/$RUN                                        # of this run's nodes
TMP=$(mktemp -d)
STARTED=

# gateway N is one of the nodes: whichever, they all tell the same story.
gateway() (
	n=$1
	set -- $PERCH_URLS
	shift $((n % $#))
	echo "$1"
)

# ask is curl that tries again after a 503, a 504 or a broken connection. Each
# request in these examples may be sent twice: it names a session, carries an
# Idempotency-Key, or sets what it sets. A refusal is an error, told on stderr.
ask() {
	curl -fsS --retry 8 --retry-delay 1 --retry-connrefused --max-time 90 \
		-w '%{stderr}%{onerror}%{method} %{url_effective}: %{http_code} %header{perch-code}\n' "$@"
}

# status prints the status and the code of an answer that may be a refusal.
status() { curl -sS --retry 8 --retry-delay 1 --max-time 90 -o /dev/null -w '%{http_code} %header{perch-code}' "$@"; }

token() { openssl rand -hex 16; }

# field NAME prints the first value of that name in the JSON on stdin.
field() { tr '{},[]' '\n\n\n\n\n' | sed -n "s/^\"$1\":\"\{0,1\}\([^\"]*\).*/\1/p" | sed 1q; }

# await PATH SCOPE CURSOR PATTERN follows a watch until an event matches, and
# prints the cursor behind it. Nothing is missed between two calls, because the
# second starts where the first ended.
await() (
	cursor=$3
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		answer=$(ask "$H/v1/watch/$1?scope=$2&since=$cursor&wait_ms=10000")
		cursor=$(echo "$answer" | field cursor)
		if echo "$answer" | awk '{gsub(/\{"cause"/, "\n&"); print}' | grep -q "$4"; then
			echo "$cursor"
			exit
		fi
	done
	fail "no event like $4 at $1"
)

# await_state URL PATTERN waits until the state of a primitive matches, and
# prints it. A wait without news ends with 304, which has no body.
await_state() (
	tag='""'
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		answer=$(ask -H "If-None-Match: $tag" "$1?wait_ms=5000")
		tag=$(echo "$answer" | field etag)
		if echo "$answer" | grep -q "$2"; then
			echo "$answer"
			exit
		fi
	done
	fail "no state like $2 at $1: $answer"
)

say() { echo "$(date +%T) $*"; }

fail() {
	echo "FAILED: $*" >&2
	exit 1
}

# start runs a part in the background; it ends with the script.
start() {
	"$@" &
	STARTED="$STARTED $!"
}

# join waits for the parts that were started: all of them must succeed.
join() {
	for part in $STARTED; do
		wait "$part" || fail "a part of this example failed"
	done
	STARTED=
}

finish() {
	for part in $STARTED; do
		kill "$part" 2>/dev/null || :
	done
	curl -sS -o /dev/null -X DELETE "$H/v1/nodes/$ROOT?recursive=true" || :
	rm -rf "$TMP"
}
trap finish EXIT
trap 'exit 130' INT TERM
