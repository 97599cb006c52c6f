-- What is held of a partner's entries of a day is found by when it was kept. What was found when a day was reconciled has no
-- table: the trail has it.
CREATE INDEX receipt_by_time ON receipt (origin, kept_at);
