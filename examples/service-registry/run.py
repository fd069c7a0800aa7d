#!/usr/bin/env python3
"""A registry for RPC: providers, consumers, and a service that moves.

Providers are processes that register the methods they serve; consumers find
them, register themselves, and call. A provider is killed with SIGKILL, another
version is rolled out, and no call is lost.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import perch

METHODS = {"add": lambda a, b: a + b, "mul": lambda a, b: a * b}


def provide(root, name, version, gateway):
    """A provider: serves POST /METHOD with a list of arguments, until killed."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"result": METHODS[self.path[1:]](*arguments), "by": name}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    session = perch.Session(ttl_ms=4000, gateway=gateway)

    def leave(*_):
        session.close()
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    # Registered last: whoever finds it can call it.
    about = {"url": f"http://127.0.0.1:{server.server_address[1]}", "version": version, "methods": sorted(METHODS)}
    session.register(f"{root}/providers/{name}", json.dumps(about))
    server.serve_forever()


class Consumer:
    """Calls a method of whichever provider is there; it keeps the list it
    knows, and asks for a newer one when a provider does not answer."""

    def __init__(self, root, name):
        self.root, self.turn = root, 0
        self.session = perch.Session(ttl_ms=10000, gateway=1)
        self.session.register(f"{root}/consumers/{name}", "calls add, mul")
        self.providers, self.etag = {}, '"absent"'
        self.learn()

    def learn(self):
        """Waits until the list differs from the one that is known."""
        known = None
        while known is None:
            known, self.etag = perch.children(self.root + "/providers", self.etag, gateway=2)
        self.providers = {name: json.loads(text) for name, text in known.items()}

    def await_names(self, *names):
        while sorted(self.providers) != sorted(names):
            self.learn()

    def call(self, method, *arguments):
        broken = 0
        while True:
            able = sorted(n for n, about in self.providers.items() if method in about["methods"])
            if not able or broken > len(able):
                self.learn()  # all that are known are dead: wait for news
                broken = 0
                continue
            self.turn += 1
            about = self.providers[able[self.turn % len(able)]]
            try:
                request = urllib.request.Request(f"{about['url']}/{method}", json.dumps(arguments).encode())
                answer = json.load(urllib.request.urlopen(request, timeout=10))
                return answer["result"], answer["by"]
            except OSError:
                broken += 1


def calls(consumer, count):
    """Who answered count calls, each of them rightly."""
    by = set()
    for n in range(count):
        result, name = consumer.call("mul", n, 3)
        perch.check(result == 3 * n, f"mul({n}, 3) = {result}")
        by.add(name)
    return sorted(by)


def main():
    root = "/examples/" + perch.name()
    running = {}

    def start(name, version):
        running[name] = subprocess.Popen([sys.executable, __file__, "provide", root, name, version, str(len(running))])

    try:
        start("p1", "1.0")
        start("p2", "1.0")
        consumer = Consumer(root, "shop")
        consumer.await_names("p1", "p2")
        perch.say(f"calls answered by {calls(consumer, 20)}")

        running["p1"].kill()
        running["p1"].wait()
        perch.check(calls(consumer, 20) == ["p2"], "a killed provider answered")
        consumer.await_names("p2")
        perch.say("p1 was killed: no call was lost, and the list shrank")

        start("p3", "1.1")  # a rollout: the new one first, then the old one leaves
        consumer.await_names("p2", "p3")
        running["p2"].terminate()
        consumer.await_names("p3")
        perch.check(calls(consumer, 20) == ["p3"], "an old version answered after it had left")
        perch.check(consumer.providers["p3"]["version"] == "1.1", f"versions: {consumer.providers}")
        perch.say("version 1.1 has replaced 1.0: no call was lost")

        consumers, _ = perch.children(root + "/consumers")
        perch.check(list(consumers) == ["shop"], f"the service knows its consumers: {consumers}")
        perch.say(f"who uses the service: {sorted(consumers)}")
        consumer.session.close()
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        perch.call("DELETE", f"/v1/nodes{root}?recursive=true", patience=5)


if sys.argv[1:2] == ["provide"]:
    provide(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
else:
    main()
