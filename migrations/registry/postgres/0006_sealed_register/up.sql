-- The seal of this agency over a finding or a check, made when it was entered: with it the row's `body` is a document that
-- can leave the node (JWS, RFC 7515, flattened). No decision stands on it: what counts is the entry of the trail.
ALTER TABLE finding ADD COLUMN seal BYTEA; -- protected header and signature, canonical JSON; never changes; NULL in rows of before
ALTER TABLE ag_check ADD COLUMN seal BYTEA; -- the same
