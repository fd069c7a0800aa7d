"""The scenario of doc.go with the client that openapi-generator makes.

Arguments: the URLs of three nodes.
"""

import json
import sys
from urllib.parse import unquote

import perch_client
from perch_client.rest import ApiException

ROOT = "of python/50% off/größe, ключ"
WAIT = 20000


class Node:
    """The interfaces of one node."""

    def __init__(self, url):
        configuration = perch_client.Configuration(host=url)
        configuration.access_token = None  # this generator forgets to declare it
        client = perch_client.ApiClient(configuration)
        self.nodes = perch_client.NodesApi(client)
        self.watch = perch_client.WatchApi(client)
        self.locks = perch_client.LocksApi(client)


A, B, C = (Node(url) for url in sys.argv[1:4])


def refused(status, code, call, *args, **kwargs):
    """The problem of a call that has to be refused."""
    try:
        answer = call(*args, **kwargs)
    except ApiException as refusal:
        problem = json.loads(refusal.body)
        assert (refusal.status, problem["code"]) == (status, code), refusal
        assert refusal.headers["Perch-Code"] == code, refusal
        return problem
    raise AssertionError("not refused: %s" % (answer,))


def content(name):
    """What a read gave: the generator stores it in a temporary file."""
    with open(name, "rb") as file:
        return file.read()


def preconditions():
    # This generator writes a bool as Python does, which is not a value of the contract.
    node, status, header = A.nodes.create_node_with_http_info(ROOT, parents="true", body=b"eins \x00\xff")
    assert (status, node.path) == (201, "/" + ROOT), node
    assert unquote(header["Location"]) == "/v1/nodes/" + ROOT, header
    name, status, header = B.nodes.read_node_with_http_info(ROOT)
    assert content(name) == b"eins \x00\xff"
    etag = header["ETag"]
    assert etag == '"%s"' % node.etag, etag
    refused(409, "node_exists", B.nodes.create_node, ROOT, body=b"")

    changed = C.nodes.put_node(ROOT, if_match=etag, body=b"zwei")
    assert changed.stat.version == 1, changed
    refused(412, "etag_mismatch", A.nodes.put_node, ROOT, if_match=etag, body=b"drei")
    B.nodes.put_node(ROOT, version=1, body=b"vier")
    refused(412, "version_mismatch", C.nodes.put_node, ROOT, version=1, body=b"five")


def children():
    names = ["100%", "a b", "q?x=1&y#z", "zeiß", "日本"]
    for name in names:
        B.nodes.create_node(ROOT + "/" + name, body=name.encode())
        assert content(C.nodes.read_node(ROOT + "/" + name)) == name.encode()
    page = C.nodes.list_children(ROOT, include=["text"])
    seen = sorted((child.path, child.text) for child in page.nodes)
    assert seen == sorted(("/%s/%s" % (ROOT, name), name) for name in names), seen


def watching():
    path = ROOT + "/100%"
    cursor = A.watch.watch_node(path).cursor
    poll = A.watch.watch_node(path, since=cursor, wait_ms=WAIT, async_req=True)
    etag = B.nodes.read_node_with_http_info(path)[2]["ETag"]
    read = B.nodes.read_node(path, if_none_match=etag, wait_ms=WAIT, async_req=True)
    put = C.nodes.put_node(path, body=b"seen")
    batch = poll.get()
    assert len(batch.events) == 1, batch
    event = batch.events[0]
    assert (event.type, event.path, event.zxid) == ("changed", "/" + path, put.stat.mzxid), event
    assert int(batch.cursor) >= event.zxid, batch
    assert content(read.get()) == b"seen"


def locking():
    name, spec = "python:job.1", perch_client.AcquireSpec
    grant = A.locks.acquire_lock(name, acquire_spec=spec(ttl_ms=60000, owner="größe"))
    problem = refused(409, "lock_held", B.locks.acquire_lock, name, acquire_spec=spec(ttl_ms=60000))
    assert problem["holder"]["owner"] == "größe", problem
    state = C.locks.get_lock(name)
    assert [h.fencing_token for h in state.holders] == [grant.fencing_token], state

    fence = ["%s:%d" % (name, grant.fencing_token)]
    C.nodes.put_node(ROOT, fence=fence, body=b"fenced")
    waiting = B.locks.acquire_lock(name, acquire_spec=spec(ttl_ms=60000, wait_ms=WAIT), async_req=True)
    C.locks.release_lock(name, perch_session=grant.session_token)
    second = waiting.get()
    assert second.fencing_token > grant.fencing_token, (grant, second)
    refused(412, "fence_stale", A.nodes.put_node, ROOT, fence=fence, body=b"late")
    A.locks.release_lock(name, perch_session=second.session_token)


preconditions()
children()
watching()
locking()
