-- What a witness that runs alone keeps: the same as a node's does.

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
