DROP TABLE cosignature;
DROP TABLE published;
DROP TABLE fork;
DROP TABLE witnessed;
