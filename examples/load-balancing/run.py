#!/usr/bin/env python3
"""A balancer spreads requests over the servers that are alive.

Four servers register themselves with what they can bear; one is added while
requests run, one leaves, one dies. Every request is answered; after the news
nobody asks a dead one, and the shares follow the weights.
"""
import collections
import http.server
import pathlib
import sys
import threading
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import perch

ROOT = "/examples/" + perch.name()
SERVERS = ROOT + "/servers"


class Server:
    """Answers its own name, and is registered while it can."""

    def __init__(self, name, weight, gateway):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(server.name.encode())

            def log_message(self, *_):
                pass

        self.name = name
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        self.session = perch.Session(ttl_ms=4000, gateway=gateway)
        self.session.register(f"{SERVERS}/{name}", f"{self.http.server_address[1]} {weight}")

    def leave(self):
        """First out of the list, then down: no request meets a closed door."""
        self.session.close()

    def die(self):
        self.session.abandon()
        self.http.shutdown()
        self.http.server_close()


class Balancer:
    """Weighted round robin over a list that a thread keeps as it is."""

    def __init__(self):
        self.changed = threading.Condition()
        self.servers, self.ring, self.turn = {}, [], 0
        self.met = set()  # those that did not answer
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        etag = '"absent"'
        while True:
            servers, etag = perch.children(SERVERS, etag, gateway=1)
            if servers is None:
                continue
            with self.changed:
                self.servers = servers
                self.ring = [(n, port) for n, (port, weight) in sorted((n, v.split()) for n, v in servers.items())
                             for _ in range(int(weight))]
                self.changed.notify_all()

    def await_names(self, *names):
        with self.changed:
            known = self.changed.wait_for(lambda: sorted(self.servers) == sorted(names), 60)
            perch.check(known, f"the balancer knows {sorted(self.servers)}, not {sorted(names)}")

    def ask(self):
        """One request, sent to the next server until one answers."""
        for _ in range(20):
            with self.changed:
                self.turn += 1
                name, port = self.ring[self.turn % len(self.ring)]
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10).read().decode()
            except OSError:
                self.met.add(name)
        perch.check(False, "nobody answers")


def shares(balancer, requests):
    return dict(collections.Counter(balancer.ask() for _ in range(requests)))


def main():
    servers = {n: Server(n, w, i) for i, (n, w) in enumerate({"a": 1, "b": 1, "c": 2}.items())}
    balancer = Balancer()
    balancer.await_names("a", "b", "c")
    found = shares(balancer, 40)
    perch.check(found == {"a": 10, "b": 10, "c": 20}, f"shares by weight: {found}")
    perch.say(f"40 requests: {found}")

    servers["d"] = Server("d", 4, 2)
    balancer.await_names("a", "b", "c", "d")
    found = shares(balancer, 40)
    perch.check(found == {"a": 5, "b": 5, "c": 10, "d": 20}, f"shares with d: {found}")
    perch.say(f"d was added: {found}")

    servers["a"].leave()
    balancer.await_names("b", "c", "d")
    servers["c"].die()
    found = shares(balancer, 40)  # answered by somebody, however long c stays in the list
    perch.check(sum(found.values()) == 40 and "a" not in found and "c" not in found, f"shares: {found}")
    perch.say(f"a left, c died: {sorted(balancer.met)} did not answer, and others did instead: {found}")
    balancer.await_names("b", "d")
    found = shares(balancer, 40)
    perch.check(found == {"b": 8, "d": 32}, f"shares without a and c: {found}")
    perch.say(f"nobody asks for a and c any more: {found}")


try:
    main()
finally:
    perch.call("DELETE", f"/v1/nodes{ROOT}?recursive=true", patience=5)
