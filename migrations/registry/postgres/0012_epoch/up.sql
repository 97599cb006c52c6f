-- A restored registry, and new epochs of the trail's log.

-- The largest head of this node's own log that somebody showed to it and that its registry does not have: at most one row. It
-- is a reason to refuse and nothing else; what it says is compared with the trail again whenever it is read.
CREATE TABLE behind (
    id          BIGINT PRIMARY KEY NOT NULL CHECK (id = 1), -- there is one
    checkpoint  TEXT COLLATE "C" NOT NULL,    -- as this log signed it, with what the witness said of it
    witness     TEXT COLLATE "C" NOT NULL,    -- the name of the key of whoever showed it
    seen_at     BIGINT NOT NULL   -- when, microseconds since 1970 UTC
);

-- Partners' heads of logs that they do not use any more: each has begun a new epoch since. Append only.
CREATE TABLE past_head (
    origin      TEXT COLLATE "C" NOT NULL,    -- ORI of the log's owner
    log         TEXT COLLATE "C" NOT NULL,    -- the log's origin
    size        BIGINT NOT NULL,  -- entries in the tree
    root        BYTEA NOT NULL,     -- root hash (32 bytes)
    checkpoint  TEXT COLLATE "C" NOT NULL,    -- as its log signed it
    seen_at     BIGINT NOT NULL,  -- microseconds since 1970 UTC
    PRIMARY KEY (origin, log, size)
);
