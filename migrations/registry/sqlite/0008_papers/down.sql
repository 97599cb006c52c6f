DROP TABLE paper;
