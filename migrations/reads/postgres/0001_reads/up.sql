-- One row per plate read of the agency's own readers. Rows are written once and never changed (IV-04); retention removes
-- them. The key begins with plate_key and seen_at, so that the same table can be spread on Citus by plate_key, and holds
-- plate, because two plates of one frame share its uuid and may fold to one plate_key. Texts that order or identify rows
-- compare by bytes ("C"), as on SQLite: the order of an answer must not depend on the server's locale.
CREATE TABLE read (
    plate_key   TEXT COLLATE "C" NOT NULL, -- the plate with misread classes folded (0 O D Q -> 0, ...); what is searched by
    seen_at     BIGINT  NOT NULL, -- when the vehicle was seen, by the reader's clock: microseconds since 1970 UTC
    uuid        TEXT COLLATE "C" NOT NULL, -- the agent's id of the read (<agent>-<camera>-<epoch ms>); a re-delivery repeats it
    plate       TEXT COLLATE "C" NOT NULL, -- the plate as read: upper case, letters and digits only
    id          BYTEA   NOT NULL CHECK (length(id) = 16), -- our id of the read (UUIDv7, 16 bytes), made at ingest
    state       TEXT COLLATE "C", -- the issuing state as its two letters; null when not read or not of the US
    camera      TEXT COLLATE "C" NOT NULL, -- the camera's number at its agent
    lat         INTEGER,          -- latitude in microdegrees, north positive; null when the reader did not say
    lon         INTEGER,          -- longitude in microdegrees, east positive; null exactly when lat is
    confidence  INTEGER,          -- the reader's confidence in the plate, thousandths of a percent (0..=100000); or null
    direction   INTEGER,          -- direction of travel, hundredths of a degree clockwise from north (0..36000); or null
    vehicle     TEXT COLLATE "C", -- JSON {color, make, model, body, year}, each the most confident name; or null
    image       BYTEA CHECK (length(image) = 32), -- SHA-256 of the plate crop in the image store; null when none was sent
    source      TEXT COLLATE "C", -- the agent that made the read, as it named itself; null when it did not
    ingested_at BIGINT  NOT NULL, -- when this row was written, by the node's clock: microseconds since 1970 UTC
    CHECK ((lat IS NULL) = (lon IS NULL)),
    PRIMARY KEY (plate_key, seen_at, uuid, plate)
) PARTITION BY RANGE (seen_at);

-- Its partitions are months of UTC, named read_YYYY_MM, each made by the node before a row needs it. There is no default
-- partition: what fell into it would be out of the months' sight, and would keep its month from ever being made.

-- For retention and for what the status page says; not unique, so Citus can have it.
CREATE INDEX read_by_time ON read (seen_at);
