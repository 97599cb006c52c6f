-- Tokens of the readers' agents that may post what they read. A token is shown once and only its digest is kept.
CREATE TABLE agent (
    key         TEXT COLLATE "C" PRIMARY KEY NOT NULL,   -- the public part of the token, 16 hexadecimal digits; never changes
    uid         TEXT COLLATE "C" NOT NULL,               -- the agent's own id, as it stands in its messages; never changes
    secret      BYTEA NOT NULL,               -- SHA-256 of the whole token (32 bytes); never changes
    added_at    BIGINT NOT NULL,             -- microseconds since 1970 UTC
    added_by    TEXT COLLATE "C" NOT NULL,               -- username
    revoked_at  BIGINT,                      -- microseconds since 1970 UTC; absent while the token counts
    revoked_by  TEXT COLLATE "C",                        -- username; there exactly when revoked_at is
    heard_at    BIGINT,                      -- when the agent last sent something, to about a minute; microseconds since 1970 UTC
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
-- An agent has one token that counts.
CREATE UNIQUE INDEX agent_in_use ON agent (uid) WHERE revoked_at IS NULL;
