-- One row per plate read of the agency's own readers. Rows are written once and never changed (IV-04); retention removes
-- them. The key begins with plate_key and seen_at, so that the same table can be spread on Citus by plate_key, and holds
-- plate, because two plates of one frame share its uuid and may fold to one plate_key.
CREATE TABLE read (
    plate_key   TEXT    NOT NULL, -- the plate with misread classes folded (0 O D Q -> 0, ...); what is searched by
    seen_at     INTEGER NOT NULL, -- when the vehicle was seen, by the reader's clock: microseconds since 1970 UTC
    uuid        TEXT    NOT NULL, -- the agent's id of the read (<agent>-<camera>-<epoch ms>); a re-delivery repeats it
    plate       TEXT    NOT NULL, -- the plate as read: upper case, letters and digits only
    id          BLOB    NOT NULL CHECK (length(id) = 16), -- our id of the read (UUIDv7, 16 bytes), made at ingest
    state       TEXT,             -- the issuing state as its two letters; null when not read or not of the US
    camera      TEXT    NOT NULL, -- the camera's number at its agent
    lat         INTEGER,          -- latitude in microdegrees, north positive; null when the reader did not say
    lon         INTEGER,          -- longitude in microdegrees, east positive; null exactly when lat is
    confidence  INTEGER,          -- the reader's confidence in the plate, thousandths of a percent (0..=100000); or null
    direction   INTEGER,          -- direction of travel, hundredths of a degree clockwise from north (0..36000); or null
    vehicle     TEXT,             -- JSON {color, make, model, body, year}, each the most confident name; or null
    image       BLOB CHECK (length(image) = 32), -- SHA-256 of the plate crop in the image store; null when none was sent
    source      TEXT,             -- the agent that made the read, as it named itself; null when it did not
    ingested_at INTEGER NOT NULL, -- when this row was written, by the node's clock: microseconds since 1970 UTC
    CHECK ((lat IS NULL) = (lon IS NULL)),
    PRIMARY KEY (plate_key, seen_at, uuid, plate)
) STRICT;

-- For retention and for what the status page says; not unique, so Citus can have it.
CREATE INDEX read_by_time ON read (seen_at);
