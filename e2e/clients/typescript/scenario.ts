// The scenario of doc.go with the client that @hey-api/openapi-ts generates.
// Arguments: the URLs of three nodes.
import { createClient, createConfig, type Client } from '../out/typescript/client';
import {
  acquireLock,
  createNode,
  getLock,
  listChildren,
  putNode,
  readNode,
  releaseLock,
  watchNode,
} from '../out/typescript';

declare const process: { argv: string[]; exitCode: number };

const nodes: Client[] = process.argv.slice(2).map((baseUrl) => createClient(createConfig({ baseUrl })));
const [a, b, c] = nodes;
const root = 'of typescript/50% off/größe, ключ';
const wait = 20_000;

function check(holds: boolean, what: string, seen?: unknown): asserts holds {
  if (!holds) throw new Error(`${what}: ${JSON.stringify(seen)}`);
}

// must takes the answer apart that has to have the status.
async function must<D, E>(status: number, call: Promise<{ data?: D; error?: E; response?: Response }>) {
  const { data, error, response } = await call;
  check(response?.status === status, `status ${response?.status} instead of ${status}`, error ?? data);
  return { data: data as NonNullable<D>, error: error as { code?: string; holder?: { owner?: string } }, header: response.headers };
}

const text = async (body: unknown) => (body as Blob).text();
const bytes = (s: string) => new Blob([s]);

async function preconditions() {
  const made = await must(201, createNode({ client: a, path: { path: root }, query: { parents: true }, body: bytes('eins ✓') }));
  check(made.data.path === '/' + root, 'path', made.data);
  const location = decodeURIComponent(made.header.get('Location') ?? '');
  check(location === '/v1/nodes/' + root, 'Location', location);

  const read = await must(200, readNode({ client: b, path: { path: root } }));
  check((await text(read.data)) === 'eins ✓', 'bytes', read.data);
  const etag = read.header.get('ETag') ?? '';
  check(etag === `"${made.data.etag}"`, 'ETag', etag);

  const twice = await must(409, createNode({ client: b, path: { path: root }, body: bytes('') }));
  check(twice.error.code === 'node_exists', 'code', twice.error);

  const changed = await must(200, putNode({ client: c, path: { path: root }, headers: { 'If-Match': etag }, body: bytes('zwei') }));
  check(changed.data.stat.version === 1, 'version', changed.data);
  const stale = await must(412, putNode({ client: a, path: { path: root }, headers: { 'If-Match': etag }, body: bytes('drei') }));
  check(stale.error.code === 'etag_mismatch', 'code', stale.error);
  await must(200, putNode({ client: b, path: { path: root }, query: { version: 1 }, body: bytes('vier') }));
  const old = await must(412, putNode({ client: c, path: { path: root }, query: { version: 1 }, body: bytes('five') }));
  check(old.error.code === 'version_mismatch', 'code', old.error);
}

async function children() {
  const names = ['100%', 'a b', 'q?x=1&y#z', 'zeiß', '日本'];
  for (const name of names) {
    await must(201, createNode({ client: b, path: { path: `${root}/${name}` }, body: bytes(name) }));
    const read = await must(200, readNode({ client: c, path: { path: `${root}/${name}` } }));
    check((await text(read.data)) === name, 'bytes', name);
  }
  const list = await must(200, listChildren({ client: c, path: { path: root }, query: { include: ['text'] } }));
  const seen = list.data.nodes.map((n) => [n.path, n.text]).sort();
  check(JSON.stringify(seen) === JSON.stringify(names.map((n) => [`/${root}/${n}`, n]).sort()), 'children', seen);
}

async function watching() {
  const path = { path: root + '/100%' };
  const start = await must(200, watchNode({ client: a, path }));
  const poll = must(200, watchNode({ client: a, path, query: { since: start.data.cursor, wait_ms: wait } }));
  const before = await must(200, readNode({ client: b, path }));
  const headers = { 'If-None-Match': before.header.get('ETag') ?? '' };
  const longRead = must(200, readNode({ client: b, path, headers, query: { wait_ms: wait } }));

  const put = await must(200, putNode({ client: c, path, body: bytes('seen') }));
  const { data: batch } = await poll;
  check(batch.events.length === 1, 'events', batch);
  const [event] = batch.events;
  check(event.type === 'changed' && event.path === '/' + path.path, 'event', event);
  check(event.zxid === put.data.stat.mzxid && Number(batch.cursor) >= event.zxid, 'zxid', batch);
  check((await text((await longRead).data)) === 'seen', 'long read');
}

async function locking() {
  const path = { name: 'typescript:job.1' };
  const grant = (await must(200, acquireLock({ client: a, path, body: { ttl_ms: 60_000, owner: 'größe' } }))).data;
  const headers = { 'Perch-Session': grant.session_token ?? '' };
  const refused = await must(409, acquireLock({ client: b, path, body: { ttl_ms: 60_000 } }));
  check(refused.error.code === 'lock_held' && refused.error.holder?.owner === 'größe', 'refusal', refused.error);
  const state = (await must(200, getLock({ client: c, path }))).data;
  check(state.holders.length === 1 && state.holders[0].fencing_token === grant.fencing_token, 'state', state);

  const fence = [`${path.name}:${grant.fencing_token}`];
  await must(200, putNode({ client: c, path: { path: root }, query: { fence }, body: bytes('fenced') }));
  const next = must(200, acquireLock({ client: b, path, body: { ttl_ms: 60_000, wait_ms: wait } }));
  await must(204, releaseLock({ client: c, path, headers }));
  const second = (await next).data;
  check(second.fencing_token > grant.fencing_token, 'tokens', [grant, second]);
  const late = await must(412, putNode({ client: a, path: { path: root }, query: { fence }, body: bytes('late') }));
  check(late.error.code === 'fence_stale', 'code', late.error);
  await must(204, releaseLock({ client: a, path, headers: { 'Perch-Session': second.session_token ?? '' } }));
}

async function main() {
  await preconditions();
  await children();
  await watching();
  await locking();
}

main().catch((err) => {
  console.error(err);
  process.exitCode = 1;
});
