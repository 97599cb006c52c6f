//! The tables of the place of partners' lists as diesel sees them, and as they are made. Those of entries have names of
//! their own, one for each version.

diesel::table! {
    lease (owner, list) {
        owner -> Text,
        list -> Text,
        version -> BigInt,
        contents -> Binary,
        entries -> BigInt,
        source_loaded_at -> Nullable<BigInt>,
        asserted_at -> BigInt,
        received_at -> BigInt,
        ends_at -> BigInt,
        log_index -> BigInt,
        generation -> BigInt,
    }
}

diesel::table! {
    generation (id) {
        id -> BigInt,
        made_at -> BigInt,
    }
}

diesel::table! {
    alive (generation) {
        generation -> BigInt,
    }
}

diesel::table! {
    issued (number) {
        number -> BigInt,
    }
}

/// Every lease, and every version that was begun: `made_at` is when it was last added to, in microseconds
/// since 1970 UTC. `issued` has the highest number that a version ever had.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS lease (
        owner TEXT NOT NULL, list TEXT NOT NULL, version BIGINT NOT NULL, contents BYTEA NOT NULL,
        entries BIGINT NOT NULL, source_loaded_at BIGINT, asserted_at BIGINT NOT NULL, received_at BIGINT NOT NULL,
        ends_at BIGINT NOT NULL, log_index BIGINT NOT NULL, generation BIGINT NOT NULL, PRIMARY KEY (owner, list));
    CREATE TABLE IF NOT EXISTS generation (id BIGINT PRIMARY KEY NOT NULL, made_at BIGINT NOT NULL);
    CREATE TABLE IF NOT EXISTS issued (number BIGINT PRIMARY KEY NOT NULL);
";

/// The versions that have their entries. Where those are unlogged it is so too: a server that crashed empties all of them.
pub(super) const ALIVE: &str = "TABLE IF NOT EXISTS alive (generation BIGINT PRIMARY KEY NOT NULL)";
