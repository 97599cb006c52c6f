-- The newest head seen of each partner's log; the proof of a receipt has its signed text.
CREATE TABLE partner_head (
    origin      TEXT COLLATE "C" PRIMARY KEY NOT NULL,   -- ORI of the log's owner
    size        BIGINT NOT NULL,             -- entries in the tree
    root        BYTEA NOT NULL,               -- root hash (32 bytes)
    seen_at     BIGINT NOT NULL              -- microseconds since 1970 UTC
);
DROP TABLE seen_head;
DROP TABLE cosignature;
DROP TABLE published;
DROP TABLE fork;
DROP TABLE witnessed;
