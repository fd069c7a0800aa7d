#!/usr/bin/env python3
"""Two-phase commit: a coordinator and three participants, each a process that
may die at any point; whoever is left, or comes back, ends with one outcome.

Below the node of a transaction:

    members/NAME   ephemeral: this participant is alive
    coordinator    ephemeral: somebody coordinates
    begin          the coordinator asks for votes
    votes/NAME     yes or no; written once
    outcome        commit or abort; written once, commit only over all votes
"""
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import perch

NAMES = ["ann", "ben", "cleo"]
TTL_MS = 2000


def die_if(point, crash):
    if point == crash:
        os.kill(os.getpid(), signal.SIGKILL)  # no goodbye


def write_once(path, text):
    """Creates a node unless it is there; a retry finds its own."""
    answer = perch.call("PUT", f"/v1/nodes{path}?parents=true", text, If_None_Match="*")
    if answer.status != 412:
        answer.ok()


def read(path):
    answer = perch.call("GET", "/v1/nodes" + path)
    return None if answer.status == 404 else answer.ok().body.decode()


def wait_for(path, wait_ms=25000):
    """What a node says, waiting for it to appear; None if it does not."""
    answer = perch.call("GET", f"/v1/nodes{path}?wait_ms={wait_ms}", If_None_Match='"absent"')
    return answer.body.decode() if answer.status == 200 else None


def decide(tx, crash=None):
    """Votes are collected until all are there or one is out of reach, and the
    outcome is written. Any number of processes may do this at any time: the
    first outcome is the outcome."""
    while read(tx + "/outcome") is None:
        members, _ = perch.children(tx + "/members")
        votes, tag = perch.children(tx + "/votes")  # after the members: who voted and then died has voted
        if "no" in votes.values() or any(n not in votes and n not in members for n in NAMES):
            die_if("before the decision", crash)
            write_once(tx + "/outcome", "abort")
        elif len(votes) == len(NAMES):
            die_if("before the decision", crash)
            ops = [{"op": "check", "path": f"{tx}/votes/{n}", "version": 0} for n in NAMES]
            ops.append({"op": "create", "path": tx + "/outcome", "text": "commit"})
            answer = perch.call("POST", "/v1/multi", json.dumps({"ops": ops}))
            if answer.code != "node_exists":
                answer.ok()
        else:  # another vote ends the wait; deaths are looked for twice a second
            perch.call("GET", f"/v1/children{tx}/votes?wait_ms=500", If_None_Match=tag)


def coordinator(tx, crash):
    session = perch.Session(TTL_MS)
    session.register(tx + "/coordinator", "first")
    tag = '"absent"'
    while True:  # all must be there before anybody is asked
        members, tag = perch.children(tx + "/members", tag)
        if members is not None and sorted(members) == NAMES:
            break
    write_once(tx + "/begin", "")
    decide(tx, crash)
    die_if("after the decision", crash)
    session.close()


def participant(tx, name, gateway, vote, crash, ledger):
    session = perch.Session(TTL_MS, gateway)
    session.register(f"{tx}/members/{name}", "")
    while wait_for(tx + "/begin") is None:
        pass
    die_if("before the vote", crash)
    # Here it makes sure that it can do either: the vote is a promise.
    write_once(f"{tx}/votes/{name}", vote)
    die_if("after the vote", crash)
    while (outcome := wait_for(tx + "/outcome", 1000)) is None:
        # Nobody decides? Then this one does: all that is needed is in the tree.
        if perch.call("GET", f"/v1/nodes{tx}/coordinator").status == 404:
            decide(tx)
    ledger.write_text(outcome)
    session.close()


def scenario(directory, title, expected, votes=None, crash=None, who=None):
    """Starts the four processes; the returned function sees it to its end."""
    tx = f"/examples/{perch.name()}"
    fork = multiprocessing.get_context("fork").Process
    ledgers = {n: pathlib.Path(directory, f"{tx.rsplit('/', 1)[1]}-{n}") for n in NAMES}
    arguments = {n: (tx, n, i, (votes or {}).get(n, "yes"), crash if n == who else None, ledgers[n]) for i, n in enumerate(NAMES)}
    running = {n: fork(target=participant, args=arguments[n]) for n in NAMES}
    running["coordinator"] = fork(target=coordinator, args=(tx, crash if who == "coordinator" else None))
    for process in running.values():
        process.start()

    def finish():
        try:
            for name, process in running.items():
                process.join(60)
                killed = process.exitcode == -signal.SIGKILL
                perch.check(killed if name == who else process.exitcode == 0, f"{title}: {name} ended with {process.exitcode}")
            if who in NAMES:  # it comes back, and finds out what has become of it
                again = fork(target=participant, args=arguments[who][:4] + (None, ledgers[who]))
                running["again"] = again
                again.start()
                again.join(60)
                perch.check(again.exitcode == 0, f"{title}: {who} did not recover")
            found = {n: path.read_text() for n, path in ledgers.items()}
            perch.check(set(found.values()) == {expected}, f"{title}: wanted {expected} everywhere, found {found}")
            perch.say(f"{title}: {expected}, everywhere")
        finally:
            for process in running.values():
                process.kill()
                process.join()
            perch.call("DELETE", f"/v1/nodes{tx}?recursive=true", patience=5)

    return finish


def main():
    with tempfile.TemporaryDirectory() as directory:
        for finish in [
            scenario(directory, "all say yes", "commit"),
            scenario(directory, "one says no", "abort", votes={"cleo": "no"}),
            scenario(directory, "a participant dies before its vote", "abort", crash="before the vote", who="ben"),
            scenario(directory, "a participant dies after its vote", "commit", crash="after the vote", who="ben"),
            scenario(directory, "the coordinator dies before the decision", "commit", crash="before the decision", who="coordinator"),
            scenario(directory, "the coordinator dies after the decision", "commit", crash="after the decision", who="coordinator"),
        ]:
            finish()


main()
