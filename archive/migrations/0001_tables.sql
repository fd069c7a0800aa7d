CREATE TABLE perch.clusters (
    cluster_id text PRIMARY KEY,
    name       text NOT NULL,
    last_zxid  bigint NOT NULL,
    last_chain bigint NOT NULL,
    last_at    timestamptz,
    epoch      bigint NOT NULL,
    shipper    integer NOT NULL,
    shipped_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE perch.clusters IS 'The clusters that are archived here, one row each.';
COMMENT ON COLUMN perch.clusters.cluster_id IS 'As /v1/cluster tells it.';
COMMENT ON COLUMN perch.clusters.name IS '--cluster-name.';
COMMENT ON COLUMN perch.clusters.last_zxid IS 'Everything up to here is archived; 0: nothing yet.';
COMMENT ON COLUMN perch.clusters.last_chain IS 'Chain hash of the log there.';
COMMENT ON COLUMN perch.clusters.last_at IS 'Time of the last transaction, by the clock of the leader.';
COMMENT ON COLUMN perch.clusters.epoch IS 'Highest epoch that was known.';
COMMENT ON COLUMN perch.clusters.shipper IS 'Node that wrote last.';
COMMENT ON COLUMN perch.clusters.shipped_at IS 'When it did, by the clock of the database.';

CREATE TABLE perch.snapshots (
    cluster_id       text NOT NULL REFERENCES perch.clusters ON DELETE CASCADE,
    zxid             bigint NOT NULL,
    at               timestamptz NOT NULL,
    chain            bigint NOT NULL,
    digest           text NOT NULL,
    level            integer NOT NULL,
    nodes            bigint NOT NULL,
    sessions         bigint NOT NULL,
    chunks           integer NOT NULL,
    bytes            bigint NOT NULL,
    compressed_bytes bigint NOT NULL,
    shipper          integer NOT NULL,
    taken_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster_id, zxid)
);
COMMENT ON TABLE perch.snapshots IS 'Whole states of clusters, each at one zxid.';
COMMENT ON COLUMN perch.snapshots.at IS 'Time of the last transaction in it, by the clock of the leader, where that is archived.';
COMMENT ON COLUMN perch.snapshots.digest IS 'Digest of the state, as the nodes compare it, hexadecimal.';
COMMENT ON COLUMN perch.snapshots.level IS 'Feature level; a program that knows less cannot read it.';
COMMENT ON COLUMN perch.snapshots.bytes IS 'Before compression.';

CREATE TABLE perch.snapshot_chunks (
    cluster_id text NOT NULL,
    zxid       bigint NOT NULL,
    number     integer NOT NULL,
    sha256     bytea NOT NULL,
    data       bytea NOT NULL,
    PRIMARY KEY (cluster_id, zxid, number),
    FOREIGN KEY (cluster_id, zxid) REFERENCES perch.snapshots ON DELETE CASCADE
);
ALTER TABLE perch.snapshot_chunks ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE perch.snapshot_chunks IS 'The content of snapshots: one zstd stream each, cut into chunks.';
COMMENT ON COLUMN perch.snapshot_chunks.number IS 'From 0.';
COMMENT ON COLUMN perch.snapshot_chunks.sha256 IS 'Of data: sha256(data).';

CREATE TABLE perch.batches (
    cluster_id    text NOT NULL REFERENCES perch.clusters ON DELETE CASCADE,
    after_zxid    bigint NOT NULL,
    through_zxid  bigint NOT NULL,
    transactions  integer NOT NULL,
    from_at       timestamptz NOT NULL,
    through_at    timestamptz NOT NULL,
    digest        text,
    changes_known boolean NOT NULL,
    shipper       integer NOT NULL,
    shipped_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster_id, through_zxid)
);
COMMENT ON TABLE perch.batches IS 'What was archived at once: all transactions after one position and up to another. Where no batch begins at the end of the one before, the archive has a hole.';
COMMENT ON COLUMN perch.batches.digest IS 'Digest of the state at through_zxid, hexadecimal, where it was known.';
COMMENT ON COLUMN perch.batches.changes_known IS 'False: what the transactions did was not known any more when they were archived late, so perch.changes holds nothing of them. They can be restored all the same.';

CREATE TABLE perch.transactions (
    cluster_id text NOT NULL REFERENCES perch.clusters ON DELETE CASCADE,
    zxid       bigint NOT NULL,
    at         timestamptz NOT NULL,
    principal  text,
    address    text,
    operation  text NOT NULL,
    target     text,
    changes    integer,
    chain      bigint NOT NULL,
    entry      bytea NOT NULL,
    PRIMARY KEY (cluster_id, zxid)
);
CREATE INDEX transactions_at ON perch.transactions (cluster_id, at);
COMMENT ON TABLE perch.transactions IS 'The log: what was asked for, also what was refused.';
COMMENT ON COLUMN perch.transactions.at IS 'By the clock of the leader, which may be set back.';
COMMENT ON COLUMN perch.transactions.principal IS 'Who asked; NULL: nobody in particular, or the cluster itself.';
COMMENT ON COLUMN perch.transactions.address IS 'From where, where the log says so.';
COMMENT ON COLUMN perch.transactions.operation IS 'As in `perch log`: put, create, acquire, expire_sessions …';
COMMENT ON COLUMN perch.transactions.target IS 'Path or name that was asked for, as the principal wrote it.';
COMMENT ON COLUMN perch.transactions.changes IS 'How many rows of perch.changes it made; 0: it was refused or changed no node; NULL: not known.';
COMMENT ON COLUMN perch.transactions.chain IS 'Chain hash of the log at zxid.';
COMMENT ON COLUMN perch.transactions.entry IS 'The entry as the log of a node holds it (message Entry of wal.proto).';

CREATE TABLE perch.changes (
    cluster_id  text NOT NULL REFERENCES perch.clusters ON DELETE CASCADE,
    zxid        bigint NOT NULL,
    number      integer NOT NULL,
    at          timestamptz NOT NULL,
    path        text COLLATE "C" NOT NULL,
    change      text NOT NULL,
    version     bigint,
    bytes       bigint,
    mode        text,
    cause       text NOT NULL,
    principal   text,
    address     text,
    operation   text NOT NULL,
    PRIMARY KEY (cluster_id, zxid, number)
);
CREATE INDEX changes_path ON perch.changes (path, at);
CREATE INDEX changes_at ON perch.changes (at);
CREATE INDEX changes_principal ON perch.changes (principal, at);
COMMENT ON TABLE perch.changes IS 'What happened to nodes: one row for each node that a transaction created, changed or deleted. Values are not here.';
COMMENT ON COLUMN perch.changes.number IS 'Place in the transaction, from 0.';
COMMENT ON COLUMN perch.changes.path IS 'Whole path, also of a principal with a root. COLLATE "C": LIKE ''/app/%'' uses the index.';
COMMENT ON COLUMN perch.changes.change IS 'created, changed, deleted, or acl: its ACL changed.';
COMMENT ON COLUMN perch.changes.version IS 'After the change; NULL for deleted.';
COMMENT ON COLUMN perch.changes.bytes IS 'Length of the value after the change; NULL for deleted.';
COMMENT ON COLUMN perch.changes.mode IS 'persistent, ephemeral, container or ttl; NULL for deleted.';
COMMENT ON COLUMN perch.changes.cause IS 'request, session_expired, session_closed, ttl or container.';
COMMENT ON COLUMN perch.changes.principal IS 'Who asked for the transaction; NULL: nobody in particular, or the cluster itself.';
