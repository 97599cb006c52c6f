-- The trail: one append-only Merkle log (RFC 6962) of all that this node records. Times are microseconds since
-- 1970-01-01T00:00:00Z; hashes are SHA-256, 32 bytes; rows are written once unless a comment says otherwise. Texts compare by bytes ("C"), as on SQLite, whatever the server's locale.

-- The head of the log: exactly one row, updated by every transaction that records. Updating it is the writers' lock.
CREATE TABLE head (
    -- Always 1.
    id BIGINT PRIMARY KEY CHECK (id = 1),
    -- How many entries the tree has. Only grows.
    size BIGINT NOT NULL CHECK (size >= 0),
    -- The root of the tree of `size` entries; that of the empty tree is the hash of nothing. Changes with `size`.
    root BYTEA NOT NULL,
    -- The signed checkpoint (c2sp.org/tlog-checkpoint) over `size` and `root`; empty while `size` is 0.
    checkpoint TEXT COLLATE "C" NOT NULL,
    -- The standing epoch: raised by whatever may change who is permitted what. Only grows.
    epoch BIGINT NOT NULL CHECK (epoch >= 0),
    -- The highest instant ever recorded. Only grows: a clock behind it records nothing.
    time_mark BIGINT NOT NULL
);
INSERT INTO head (id, size, root, checkpoint, epoch, time_mark)
VALUES (1, 0, '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', '', 0, 0);

-- The leaves of the tree, kept for ever: they hold no personal data.
CREATE TABLE leaf (
    -- The position in the log, from 0, without gaps.
    idx BIGINT PRIMARY KEY,
    -- The entry's id (UUID version 7, 16 bytes), also in `body`.
    rid BYTEA NOT NULL UNIQUE,
    -- What the entry records, such as `query.asked`, also in `body`.
    kind TEXT COLLATE "C" NOT NULL,
    -- When it was appended, also in `body`. Never less than that of the leaf before.
    at BIGINT NOT NULL,
    -- The leaf's hash in the tree: over a zero byte and `body`.
    hash BYTEA NOT NULL,
    -- The canonical JSON (RFC 8785) of the leaf: the record that the tree commits to.
    body BYTEA NOT NULL
);
CREATE INDEX leaf_at ON leaf (at);
CREATE INDEX leaf_kind ON leaf (kind, idx);

-- What an entry says. A row is deleted as a whole after its retention; the tree verifies without it.
CREATE TABLE detail (
    -- The entry's position in the log.
    idx BIGINT PRIMARY KEY REFERENCES leaf (idx),
    -- Canonical JSON of what the partner gets.
    message BYTEA NOT NULL,
    -- 32 random bytes: the leaf commits to the hash of these and `message`.
    message_salt BYTEA NOT NULL,
    -- Canonical JSON of what never travels: source address, internal reasons.
    note BYTEA NOT NULL,
    -- 32 random bytes: the leaf commits to the hash of these and `note`.
    note_salt BYTEA NOT NULL
);

-- By what an entry is searched; one row per leaf. An index, not a record: `detail` is what counts. The columns are
-- set to null together when the detail is deleted after its retention.
CREATE TABLE fact (
    -- The entry's position in the log.
    idx BIGINT PRIMARY KEY REFERENCES leaf (idx),
    -- The ORI of the other agency, where there is one.
    partner TEXT COLLATE "C",
    -- The user on whose behalf it happened.
    username TEXT COLLATE "C",
    -- The purpose that was named.
    purpose TEXT COLLATE "C",
    -- The typed reference: case, incident, warrant, order or project.
    reference TEXT COLLATE "C",
    -- The plate, normalised.
    plate TEXT COLLATE "C",
    -- How it was decided: permitted, denied, referred or withheld.
    decision TEXT COLLATE "C",
    -- The rule that decided.
    rule TEXT COLLATE "C"
);
CREATE INDEX fact_partner ON fact (partner, idx);
CREATE INDEX fact_username ON fact (username, idx);
CREATE INDEX fact_purpose ON fact (purpose, idx);
CREATE INDEX fact_reference ON fact (reference, idx);
CREATE INDEX fact_plate ON fact (plate, idx);
CREATE INDEX fact_decision ON fact (decision, idx);
-- Most entries have no rule.
CREATE INDEX fact_rule ON fact (rule, idx) WHERE rule IS NOT NULL;

-- The tree's hashes in tiles of height 8 (c2sp.org/tlog-tiles). The last tile of each level grows until it is full.
CREATE TABLE tile (
    -- The tile's level: its hashes are those of the tree's level 8 * `level`.
    level BIGINT NOT NULL,
    -- The tile's number within its level, from 0.
    n BIGINT NOT NULL,
    -- How many hashes it has, 1 to 256. Grows to 256.
    w BIGINT NOT NULL CHECK (w BETWEEN 1 AND 256),
    -- The hashes, 32 bytes each. Appended to while the tile is not full.
    data BYTEA NOT NULL,
    PRIMARY KEY (level, n)
);
