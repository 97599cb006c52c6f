//! The tables of a witness, as `migrations/registry` and `migrations/witness` make and explain them.

diesel::table! {
    witnessed (origin) {
        origin -> Text,
        size -> BigInt,
        root -> Binary,
        checkpoint -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    fork (id) {
        id -> Binary,
        origin -> Text,
        evidence -> Text,
        found_at -> BigInt,
    }
}
