-- What the node does by itself, and the mail that comes of it. Times are microseconds since 1970-01-01T00:00:00Z.

-- Every run of a job. A row is inserted when a run is claimed and changed until it is finished; old rows are deleted.
CREATE TABLE job_run (
    job         TEXT COLLATE "C" NOT NULL,              -- the job's name in the program's table of jobs
    slot        BIGINT NOT NULL,            -- the time of the schedule that this run is for, or when it was asked for
    attempt     BIGINT NOT NULL,            -- 1, 2, ... of that slot
    started_at  BIGINT NOT NULL,            -- when it was claimed
    finished_at BIGINT,                     -- absent while it runs
    outcome     TEXT COLLATE "C",                       -- done, failed or abandoned; absent while it runs
    error       TEXT COLLATE "C",                       -- why it failed or was abandoned, or what it left for later
    applied     BIGINT NOT NULL,            -- how many operations it applied
    holder      TEXT COLLATE "C" NOT NULL,              -- the process that runs it
    lease_until BIGINT NOT NULL,            -- from then on the holder counts as dead; put off while it runs
    PRIMARY KEY (job, slot, attempt)
);
-- Single flight: of a job only one run is unfinished, whichever process it is in.
CREATE UNIQUE INDEX job_run_unfinished ON job_run (job) WHERE finished_at IS NULL;

-- Mail that leaves or left. Queued in the transaction of what caused it; rows stay, so that nothing is said twice.
CREATE TABLE outbox (
    id           TEXT COLLATE "C" PRIMARY KEY NOT NULL, -- UUIDv7; the Message-ID is made of it
    dedup        TEXT COLLATE "C" NOT NULL UNIQUE,      -- what is said to whom: it is said once
    recipient    TEXT COLLATE "C" NOT NULL,             -- one address
    subject      TEXT COLLATE "C" NOT NULL,
    body         TEXT COLLATE "C" NOT NULL,             -- plain text
    created_at   BIGINT NOT NULL,
    state        TEXT COLLATE "C" NOT NULL,             -- waiting, claimed, handed_over, unknown, sent or given_up
    attempts     BIGINT NOT NULL,           -- how often it was claimed
    doubtful     BIGINT NOT NULL,           -- how often it was handed over without learning whether it was taken
    next_attempt BIGINT NOT NULL,           -- not before
    give_up_at   BIGINT NOT NULL,           -- from then on it is given up
    sent_at      BIGINT,
    last_error   TEXT COLLATE "C",                      -- why the last attempt failed
    claimed_by   TEXT COLLATE "C",                      -- the process that is sending it
    claim_until  BIGINT                     -- from then on that process counts as dead
);
CREATE INDEX outbox_by_state ON outbox (state, next_attempt);
