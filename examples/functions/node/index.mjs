// An AWS Lambda handler: books event.amount on event.account exactly once,
// whatever retries, duplicates, freezes or kills it. No packages, only fetch.
//
//   event  {"id": "invocation 7", "account": "a", "amount": 3}
//   env    PERCH_URLS (or PERCH_URL), LEDGER_URL
import { randomBytes } from "node:crypto";

const gateways = (process.env.PERCH_URLS || process.env.PERCH_URL || "http://127.0.0.1:7070").split(" ");
let turn = 0;

// perch sends one request until a gateway answers it. Both requests below name
// a session, so sending them twice is the same as once.
async function perch(path, session, body) {
  for (let failures = 0; ; ) {
    try {
      const answer = await fetch(gateways[turn++ % gateways.length] + path, {
        method: "POST",
        headers: { "Perch-Session": session },
        body: body && JSON.stringify(body),
        signal: AbortSignal.timeout(30_000),
      });
      const text = await answer.text();
      if (answer.status < 500 && answer.status !== 429) {
        return { status: answer.status, code: answer.headers.get("perch-code"), json: text ? JSON.parse(text) : {} };
      }
    } catch (error) {
      if (failures > 10) throw error;
    }
    if (++failures > 10) throw new Error(`Perch does not answer ${path}`);
    await new Promise((resume) => setTimeout(resume, 100));
  }
}

// ledger does one operation under the fencing token; undefined: refused,
// somebody with a later token has been there.
async function ledger(account, operation) {
  const answer = await fetch(`${process.env.LEDGER_URL}/accounts/${account}`, { method: "POST", body: JSON.stringify(operation) });
  if (answer.status === 409) return undefined;
  if (!answer.ok) throw new Error(`the ledger says ${answer.status}`);
  return answer.json();
}

export async function handler(event) {
  // Drawn for each execution, never from the event: a duplicate is somebody else.
  const session = randomBytes(16).toString("hex");
  const lock = `/v1/locks/account-${event.account}`;
  const grant = await perch(`${lock}/acquire`, session, { ttl_ms: 1500, wait_ms: 20_000, owner: event.id });
  if (grant.status !== 200) return { status: "not acquired", error: grant.code };
  const fence = grant.json.fencing_token;
  try {
    // The look is under the token as well: from here on nobody with an earlier
    // one can write, so what is seen now is still so at the write.
    const account = await ledger(event.account, { fence, op: 1, invocation: event.id });
    if (!account) return { status: "refused" };
    if (account.invocations.includes(event.id)) return { status: "already" };
    const booked = await ledger(event.account, { fence, op: 2, invocation: event.id, amount: event.amount });
    return { status: booked ? "applied" : "refused" };
  } finally {
    await perch(`${lock}/release`, session); // 410: it was lost meanwhile, and the ledger has decided
  }
}
