DROP TABLE past_head;
DROP TABLE behind;
