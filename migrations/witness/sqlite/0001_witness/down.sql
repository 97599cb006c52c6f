DROP TABLE fork;
DROP TABLE witnessed;
