-- This agency's own hotlists. One row each; `version` and what describes it change with each load that ends well.
CREATE TABLE hotlist (
    name        TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    layout      TEXT COLLATE "C" NOT NULL,              -- the layout of its source: svs, sfr, slr, ncic or custom
    version     BIGINT NOT NULL,            -- the version in place; 0 while none is
    staging     BIGINT NOT NULL,            -- the highest number that a load took; above `version` while one runs or was cut off
    entries     BIGINT NOT NULL,            -- how many entries the version has
    dropped     BIGINT NOT NULL,            -- how many lines of type N its source had: counted, never kept
    source_at   BIGINT NOT NULL,            -- what its source says of its own age; microseconds since 1970 UTC
    source      BYTEA NOT NULL,             -- SHA-256 of the source's bytes
    loaded_at   BIGINT NOT NULL,            -- when it was loaded last, changed or not; microseconds since 1970 UTC
    loaded_by   TEXT COLLATE "C" NOT NULL               -- username
);

-- When each version came in, for deltas. Versions that no lease can stand on any more are removed.
CREATE TABLE hotlist_version (
    list        TEXT COLLATE "C" NOT NULL REFERENCES hotlist (name),
    version     BIGINT NOT NULL,
    loaded_at   BIGINT NOT NULL,            -- microseconds since 1970 UTC
    PRIMARY KEY (list, version)
);

-- Entries, each for the versions from `since` up to `until`. Rows of a load are here before it ends, with a `since` or an
-- `until` above the version in place, and change nothing until that version is.
CREATE TABLE hotlist_entry (
    list        TEXT COLLATE "C" NOT NULL,              -- the list's name
    digest      BYTEA NOT NULL,             -- SHA-256 of `body`
    since       BIGINT NOT NULL,            -- the first version that has it; never changes
    until       BIGINT,                     -- the first version that has it no more; absent while there is none
    plate_key   TEXT COLLATE "C" NOT NULL,              -- the plate with each class of confusable characters folded to its digit
    plate       TEXT COLLATE "C" NOT NULL,
    category    TEXT COLLATE "C" NOT NULL,
    body        TEXT COLLATE "C" NOT NULL,              -- the entry, canonical JSON
    PRIMARY KEY (list, digest, since)
);
CREATE INDEX hotlist_entry_by_plate ON hotlist_entry (plate_key);
CREATE INDEX hotlist_entry_by_until ON hotlist_entry (list, until);
CREATE INDEX hotlist_entry_by_since ON hotlist_entry (list, since);

-- What each partner was last told of an own list.
CREATE TABLE hotlist_share (
    list        TEXT COLLATE "C" NOT NULL,
    partner     TEXT COLLATE "C" NOT NULL,              -- ORI
    version     BIGINT NOT NULL,            -- the version that was asserted
    asserted_at BIGINT NOT NULL,            -- microseconds since 1970 UTC
    PRIMARY KEY (list, partner)
);

-- Partners' lists that a person accepted. Their entries are not in this database: see `shared-lists.db`.
CREATE TABLE accepted_list (
    owner       TEXT COLLATE "C" NOT NULL,              -- ORI of the owner
    list        TEXT COLLATE "C" NOT NULL,
    accepted_at BIGINT NOT NULL,            -- microseconds since 1970 UTC
    accepted_by TEXT COLLATE "C" NOT NULL,              -- username
    seen_index  BIGINT NOT NULL,            -- position in the owner's log of the newest assertion received; -1 before any
    PRIMARY KEY (owner, list)
);

-- Reads that matched an entry. Of a partner's entry only its digest and category are kept: the rest lives as long as
-- its lease.
CREATE TABLE hit (
    id          BYTEA PRIMARY KEY NOT NULL,  -- id of the entry of the trail that recorded it
    read_key    BYTEA NOT NULL,             -- SHA-256 of what makes a read known again
    owner       TEXT COLLATE "C" NOT NULL,              -- ORI of the list's owner
    list        TEXT COLLATE "C" NOT NULL,
    category    TEXT COLLATE "C" NOT NULL,
    entry       BYTEA NOT NULL,             -- SHA-256 of the entry
    plate       TEXT COLLATE "C" NOT NULL,              -- as read
    state       TEXT COLLATE "C",                       -- as read
    seen_at     BIGINT NOT NULL,            -- microseconds since 1970 UTC
    camera      TEXT COLLATE "C" NOT NULL,
    image       BYTEA,                       -- SHA-256 of the plate crop
    substitutions BIGINT NOT NULL,          -- characters in which the read differs from the entry; 0 is exact
    state_known BIGINT NOT NULL,            -- 1 when both say the same state; 0 when one of them says none
    matched_at  BIGINT NOT NULL,            -- microseconds since 1970 UTC
    status      TEXT COLLATE "C" NOT NULL,              -- unconfirmed, confirmed or misread; changes when a person looks
    verified_at BIGINT,                     -- microseconds since 1970 UTC
    verified_by TEXT COLLATE "C",                       -- username
    UNIQUE (read_key, owner, list, category)
);
CREATE INDEX hit_by_time ON hit (matched_at);
