-- What this node saw of other logs as their witness (c2sp.org/tlog-witness), and what witnesses said of its own.

-- The newest head of each log that this node cosigned. Only grows: it is compared and replaced in one statement.
CREATE TABLE witnessed (
    origin      TEXT PRIMARY KEY NOT NULL,  -- the log's origin
    size        BIGINT NOT NULL CHECK (size >= 0), -- entries in the tree
    root        BLOB NOT NULL,              -- root hash (32 bytes)
    checkpoint  TEXT NOT NULL,              -- as the log signed it, with this witness's cosignature
    at          BIGINT NOT NULL             -- when it was cosigned, microseconds since 1970 UTC
);

-- Two heads of one log that cannot both be true, each signed by it. Append only, and kept for ever.
CREATE TABLE fork (
    id          BLOB PRIMARY KEY NOT NULL,  -- SHA-256 of `evidence`
    origin      TEXT NOT NULL,              -- the log's origin
    evidence    TEXT NOT NULL,              -- canonical JSON: both heads and what shows that they exclude each other
    found_at    BIGINT NOT NULL             -- microseconds since 1970 UTC
);
CREATE INDEX fork_by_origin ON fork (origin);

-- Own heads that were shown to witnesses. Those before the newest that a quorum cosigned are deleted.
CREATE TABLE published (
    size        BIGINT PRIMARY KEY NOT NULL, -- entries in the tree
    checkpoint  TEXT NOT NULL,               -- as this log signed it
    at          BIGINT NOT NULL              -- when it was shown first, microseconds since 1970 UTC
);

-- What witnesses said of own heads. Of each witness the newest line is kept, and those for the heads above.
CREATE TABLE cosignature (
    witness     TEXT NOT NULL,               -- the name of its key
    size        BIGINT NOT NULL,             -- of the head
    line        TEXT NOT NULL,               -- the signature line, with its newline
    at          BIGINT NOT NULL,             -- when the witness says that it signed, microseconds since 1970 UTC
    PRIMARY KEY (witness, size)
);

-- Partners' heads that were seen, with every exchange: of each the newest is kept, and those that were not found yet in a
-- later one that its witnesses saw.
CREATE TABLE seen_head (
    origin      TEXT NOT NULL,               -- ORI of the log's owner
    size        BIGINT NOT NULL,             -- entries in the tree
    root        BLOB NOT NULL,               -- root hash (32 bytes)
    checkpoint  TEXT NOT NULL,               -- as its log signed it
    seen_at     BIGINT NOT NULL,             -- microseconds since 1970 UTC
    found_at    BIGINT,                      -- when it was found to be the beginning of a later one; absent before
    PRIMARY KEY (origin, size)
);
-- It had the newest of each alone, without what its log signed: what comes next is kept above.
DROP TABLE partner_head;
