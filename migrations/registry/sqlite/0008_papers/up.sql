-- Sealed documents that renewals stand on: compliance packets, this agency's own and partners', and reviews. Which of them
-- count, and whose they are, is what the trail says; here are their bytes, which are held to the hash in the trail.
CREATE TABLE paper (
    id       BLOB PRIMARY KEY NOT NULL,  -- SHA-256 of the canonical payload (32 bytes); never changes
    typ      TEXT NOT NULL,              -- the `typ` of its seal, such as concordat-packet+jws; never changes
    body     BLOB NOT NULL,              -- flattened JWS, as it was sealed; never changes
    kept_at  BIGINT NOT NULL             -- microseconds since 1970 UTC
);
