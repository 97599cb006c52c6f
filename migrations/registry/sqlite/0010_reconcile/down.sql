DROP INDEX receipt_by_time;
