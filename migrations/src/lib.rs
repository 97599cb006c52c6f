//! The schemas of the two stores, embedded. Every column is commented where it is made.
//!
//! In scope: diesel migrations for the registry (agreements, agencies, people, the trail) and for the reads.
//! Out of scope: running them (the node does, at start).

use diesel_migrations::{EmbeddedMigrations, embed_migrations};

/// The registry's schema on SQLite.
pub const REGISTRY_SQLITE: EmbeddedMigrations = embed_migrations!("registry/sqlite");
/// The registry's schema on PostgreSQL.
pub const REGISTRY_POSTGRES: EmbeddedMigrations = embed_migrations!("registry/postgres");
/// The schema of a witness that runs alone, on SQLite.
pub const WITNESS_SQLITE: EmbeddedMigrations = embed_migrations!("witness/sqlite");
/// The reads' schema on SQLite.
pub const READS_SQLITE: EmbeddedMigrations = embed_migrations!("reads/sqlite");
/// The reads' schema on PostgreSQL.
pub const READS_POSTGRES: EmbeddedMigrations = embed_migrations!("reads/postgres");
