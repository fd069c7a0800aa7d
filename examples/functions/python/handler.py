"""An AWS Lambda handler: books event["amount"] on event["account"] exactly
once, whatever retries, duplicates, freezes or kills it. Only urllib.

    event  {"id": "invocation 7", "account": "a", "amount": 3}
    env    PERCH_URLS (or PERCH_URL), LEDGER_URL
"""
import json
import os
import secrets
import time
import urllib.error
import urllib.request

GATEWAYS = (os.environ.get("PERCH_URLS") or os.environ.get("PERCH_URL") or "http://127.0.0.1:7070").split()
turn = 0


def post(url, body, **headers):
    """Status, code and JSON of an answer, also of a refusal."""
    request = urllib.request.Request(url, json.dumps(body).encode() if body else b"", headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, "", json.loads(text) if text else {}
    except urllib.error.HTTPError as refusal:
        refusal.read()
        return refusal.code, refusal.headers.get("Perch-Code", ""), {}


def perch(path, session, body=None):
    """Sends one request until a gateway answers it. Both requests below name a
    session, so sending them twice is the same as once."""
    global turn
    for _ in range(11):
        turn += 1
        try:
            status, code, answer = post(GATEWAYS[turn % len(GATEWAYS)] + path, body, **{"Perch-Session": session})
            if status < 500 and status != 429:
                return status, code, answer
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"Perch does not answer {path}")


def ledger(account, **operation):
    """One operation under the fencing token; None: refused, somebody with a
    later token has been there."""
    status, _, answer = post(f"{os.environ['LEDGER_URL']}/accounts/{account}", operation)
    if status not in (200, 409):
        raise RuntimeError(f"the ledger says {status}")
    return answer if status == 200 else None


def handler(event, context):
    # Drawn for each execution, never from the event: a duplicate is somebody else.
    session = secrets.token_hex(16)
    lock = f"/v1/locks/account-{event['account']}"
    status, code, grant = perch(lock + "/acquire", session, {"ttl_ms": 1500, "wait_ms": 20_000, "owner": event["id"]})
    if status != 200:
        return {"status": "not acquired", "error": code}
    fence = grant["fencing_token"]
    try:
        # The look is under the token as well: from here on nobody with an
        # earlier one can write, so what is seen now is still so at the write.
        account = ledger(event["account"], fence=fence, op=1, invocation=event["id"])
        if account is None:
            return {"status": "refused"}
        if event["id"] in account["invocations"]:
            return {"status": "already"}
        booked = ledger(event["account"], fence=fence, op=2, invocation=event["id"], amount=event["amount"])
        return {"status": "applied" if booked else "refused"}
    finally:
        perch(lock + "/release", session)  # 410: it was lost meanwhile, and the ledger has decided
