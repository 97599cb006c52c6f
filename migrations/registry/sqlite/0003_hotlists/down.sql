DROP TABLE hit;
DROP TABLE accepted_list;
DROP TABLE hotlist_share;
DROP TABLE hotlist_entry;
DROP TABLE hotlist_version;
DROP TABLE hotlist;
