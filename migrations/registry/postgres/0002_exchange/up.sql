-- Texts compare by bytes ("C"), as on SQLite: no order of rows may depend on the server's locale.

-- Partners enrolled from their descriptor files. Written once; a partner's later keys come by events. A row counts where a
-- peer.enrolled entry of the trail names its descriptor by SHA-256.
CREATE TABLE agency (
    ori         TEXT COLLATE "C" PRIMARY KEY NOT NULL,  -- the partner's ORI; never changes
    party       BYTEA NOT NULL,              -- its `Party`, canonical JSON, as its identity key sealed it
    descriptor  BYTEA NOT NULL,              -- the sealed file as imported
    enrolled_at BIGINT NOT NULL,            -- microseconds since 1970 UTC
    enrolled_by TEXT COLLATE "C" NOT NULL,              -- username who imported the file
    confirmed_by TEXT COLLATE "C" NOT NULL              -- username who compared the fingerprint by voice; another person
);

-- Agreement documents. Immutable: where one stands is computed from stream_event.
CREATE TABLE agreement (
    id          TEXT COLLATE "C" PRIMARY KEY NOT NULL,  -- UUIDv7 of the document
    partner     TEXT COLLATE "C" NOT NULL REFERENCES agency (ori), -- the other party
    document    BYTEA NOT NULL,              -- canonical JSON; its SHA-256 is what is signed
    offer       BYTEA,                     -- id of our entry that offered it; absent when the partner offered it
    kept_at     BIGINT NOT NULL             -- microseconds since 1970 UTC
);
CREATE INDEX agreement_by_partner ON agreement (partner);

-- Both parties' event streams, each entry as it was sworn. Append only.
CREATE TABLE stream_event (
    agreement   TEXT COLLATE "C" NOT NULL REFERENCES agreement (id),
    party       TEXT COLLATE "C" NOT NULL,              -- ORI of the one whose event it is
    n           BIGINT NOT NULL,            -- 1, 2, ... in that party's stream
    rid         BYTEA NOT NULL,              -- id of the entry in that party's trail
    leaf        BYTEA NOT NULL,              -- canonical leaf
    message     BYTEA NOT NULL,              -- the StreamEvent as it arrived
    salt        BYTEA NOT NULL,              -- the message's salt
    proof       TEXT COLLATE "C",                       -- tlog-proof of a partner's event; absent for our own, which our trail proves
    PRIMARY KEY (agreement, party, n)
);

-- What the Attorney General's office is known to have said of agencies, in the order entered. Append only. The rows count
-- where they are the ag.finding entries of the trail, byte for byte and in their order; otherwise nobody counts as checked.
CREATE TABLE finding (
    n           BIGINT PRIMARY KEY NOT NULL, -- 1, 2, ...
    ori         TEXT COLLATE "C" NOT NULL,
    body        BYTEA NOT NULL,               -- `Finding`, canonical JSON
    entered_at  BIGINT NOT NULL              -- microseconds since 1970 UTC
);

-- Sweeps over the Attorney General's sources. Append only. As with findings: the ag.check entries of the trail.
CREATE TABLE ag_check (
    n           BIGINT PRIMARY KEY NOT NULL, -- 1, 2, ...
    checked_at  BIGINT NOT NULL,             -- microseconds since 1970 UTC
    body        BYTEA NOT NULL                -- `AgCheck`, canonical JSON
);

-- This agency's people. A row counts where it is what the user.changed and training.recorded entries of the trail add up to.
-- What those entries say is kept as long as the row.
CREATE TABLE account (
    username    TEXT COLLATE "C" PRIMARY KEY NOT NULL,   -- never changes
    name        TEXT COLLATE "C" NOT NULL,
    affiliation TEXT COLLATE "C" NOT NULL,               -- unit or assignment
    role        TEXT COLLATE "C" NOT NULL,
    opened_at   BIGINT NOT NULL,             -- microseconds since 1970 UTC
    opened_by   TEXT COLLATE "C" NOT NULL,
    trained_on  TEXT COLLATE "C",                        -- date of the last complete training, YYYY-MM-DD; changes with each
    disabled_at BIGINT                       -- microseconds since 1970 UTC; absent while open
);

-- Questions answered with a permit, by day. Changes with each, and is counted again from the trail when it differs.
CREATE TABLE day_use (
    agreement   TEXT COLLATE "C" NOT NULL,
    day         TEXT COLLATE "C" NOT NULL,               -- YYYY-MM-DD in America/Los_Angeles
    questions   BIGINT NOT NULL,
    PRIMARY KEY (agreement, day)
);

-- Entries of partners that this node acted on, so that none is acted on twice.
CREATE TABLE heard (
    origin      TEXT COLLATE "C" NOT NULL,               -- ORI of the log's owner
    rid         BYTEA NOT NULL,               -- id of its entry
    leaf        BYTEA NOT NULL,               -- leaf hash (32 bytes)
    answer      BYTEA NOT NULL,               -- id of our entry that answered it
    PRIMARY KEY (origin, rid)
);

-- Partners' answers and acknowledgements to us, with their proofs: they verify offline, for ever.
CREATE TABLE receipt (
    leaf_hash   BYTEA PRIMARY KEY NOT NULL,   -- leaf hash of the partner's entry (32 bytes)
    origin      TEXT COLLATE "C" NOT NULL,               -- ORI of the log's owner
    of          BYTEA NOT NULL,               -- id of our entry that it answers
    leaf        BYTEA NOT NULL,               -- canonical leaf
    message     BYTEA NOT NULL,               -- as it arrived
    salt        BYTEA NOT NULL,               -- the message's salt
    proof       TEXT COLLATE "C" NOT NULL,               -- tlog-proof@v1
    kept_at     BIGINT NOT NULL              -- microseconds since 1970 UTC
);
CREATE INDEX receipt_by_entry ON receipt (of);

-- The newest head seen of each partner's log; the proof of a receipt has its signed text.
CREATE TABLE partner_head (
    origin      TEXT COLLATE "C" PRIMARY KEY NOT NULL,   -- ORI of the log's owner
    size        BIGINT NOT NULL,             -- entries in the tree
    root        BYTEA NOT NULL,               -- root hash (32 bytes)
    seen_at     BIGINT NOT NULL              -- microseconds since 1970 UTC
);
