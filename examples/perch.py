"""What the Python examples share: Perch over plain HTTP, standard library only.

PERCH_URL names a node, PERCH_URLS several, separated by spaces. PERCH_TOKEN is
sent as a bearer token where --auth asks for one.
"""
import json
import os
import secrets
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

URLS = os.environ.get("PERCH_URLS", os.environ.get("PERCH_URL", "http://127.0.0.1:7070")).split()


class Answer:
    """An answer of Perch, a refusal too: status, headers, body."""

    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.etag = headers.get("ETag", "")
        self.code = headers.get("Perch-Code", "")

    def json(self):
        return json.loads(self.body)

    def ok(self):
        """The answer, if it is not a refusal."""
        if self.status >= 400:
            raise RuntimeError(f"{self.status} {self.code}: {self.body.decode()}")
        return self


def call(method, path, body=b"", gateway=0, patience=60, **headers):
    """Sends a request until some gateway answers it. What is sent this way
    names a session, carries a key, or sets what it sets: twice is once."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token := os.environ.get("PERCH_TOKEN"):
        headers["Authorization"] = "Bearer " + token
    body = body.encode() if isinstance(body, str) else body
    end = time.monotonic() + patience
    while True:
        request = urllib.request.Request(URLS[gateway % len(URLS)] + path, body or None, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return Answer(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as refusal:
            answer = Answer(refusal.code, refusal.headers, refusal.read())
            if answer.status < 500 and answer.status != 429:
                return answer
            error = f"{answer.status} {answer.code}"
        except OSError as broken:
            error = str(broken)
        if time.monotonic() > end:
            raise RuntimeError(f"{method} {path}: {error}")
        gateway += 1
        time.sleep(0.2)


class Session:
    """A lease that a thread renews four times within its TTL, until it is
    closed, abandoned or expired. The token is drawn here, so the first request
    that gives ttl_ms opens it."""

    def __init__(self, ttl_ms=3000, gateway=0):
        self.token, self.ttl_ms, self.gateway = secrets.token_hex(16), ttl_ms, gateway
        self.stopped = threading.Event()

    def register(self, path, value):
        """Makes an ephemeral node, and keeps it. One that is there is that of
        an earlier life of the same program, and is taken over."""
        query = f"?mode=ephemeral&parents=true&takeover=true&ttl_ms={self.ttl_ms}"
        call("PUT", "/v1/nodes" + path + query, value, self.gateway, Perch_Session=self.token).ok()
        threading.Thread(target=self._renew, daemon=True).start()

    def _renew(self):
        while not self.stopped.wait(self.ttl_ms / 4000):
            if call("POST", "/v1/sessions/self/keepalive", b"", self.gateway, Perch_Session=self.token).status == 410:
                return

    def close(self):
        """Says goodbye: the nodes go at once."""
        self.stopped.set()
        call("DELETE", "/v1/sessions/self", b"", self.gateway, Perch_Session=self.token).ok()

    def abandon(self):
        """Dies: the nodes go when the TTL has passed."""
        self.stopped.set()


def children(path, etag="", gateway=0):
    """Names and values below path, and their tag, as soon as they differ from
    those of etag; the old tag and None if there was no news in 25 s."""
    wait = "&wait_ms=25000" if etag else ""
    # With data there is no tag: the wait is on the names, the values follow.
    news = call("GET", "/v1/children" + path + "?limit=1000" + wait, b"", gateway, **({"If_None_Match": etag} if etag else {}))
    if news.status == 304:
        return None, etag
    if news.status == 404:
        return {}, news.etag
    page = call("GET", "/v1/children" + path + "?limit=1000&include=text", b"", gateway)
    if page.status == 404:
        return {}, news.etag
    return {n["path"].rsplit("/", 1)[1]: n.get("text", "") for n in page.ok().json()["nodes"]}, news.etag


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


def check(holds, text):
    if not holds:
        sys.exit("FAILED: " + text)


def name():
    """A name for this run: two runs never meet."""
    return os.path.basename(os.path.dirname(os.path.abspath(sys.argv[0]))) + "-" + secrets.token_hex(4)
