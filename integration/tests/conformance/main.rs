//! What both databases must do alike: each test body runs over SQLite and over PostgreSQL, on a server of the tests' own.

mod agents;
mod exchanged;
mod hotlists;
mod jobs;
mod nodes;
mod noticed;
mod outages;
mod outbox;
mod people;
mod reads;
mod reconciling;
mod schema;
mod searches;
mod settings;
mod shared;
mod trail;
