//! The trail's tables, as `migrations/registry` makes and explains them.

diesel::table! {
    head (id) {
        id -> BigInt,
        size -> BigInt,
        root -> Binary,
        checkpoint -> Text,
        epoch -> BigInt,
        time_mark -> BigInt,
    }
}

diesel::table! {
    leaf (idx) {
        idx -> BigInt,
        rid -> Binary,
        kind -> Text,
        at -> BigInt,
        hash -> Binary,
        body -> Binary,
    }
}

diesel::table! {
    detail (idx) {
        idx -> BigInt,
        message -> Binary,
        message_salt -> Binary,
        note -> Binary,
        note_salt -> Binary,
    }
}

diesel::table! {
    fact (idx) {
        idx -> BigInt,
        partner -> Nullable<Text>,
        username -> Nullable<Text>,
        purpose -> Nullable<Text>,
        reference -> Nullable<Text>,
        plate -> Nullable<Text>,
        decision -> Nullable<Text>,
        rule -> Nullable<Text>,
    }
}

diesel::table! {
    tile (level, n) {
        level -> BigInt,
        n -> BigInt,
        w -> BigInt,
        data -> Binary,
    }
}

diesel::table! {
    published (size) {
        size -> BigInt,
        checkpoint -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    cosignature (witness, size) {
        witness -> Text,
        size -> BigInt,
        line -> Text,
        at -> BigInt,
    }
}

diesel::table! {
    behind (id) {
        id -> BigInt,
        checkpoint -> Text,
        witness -> Text,
        seen_at -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(leaf, detail, fact);
diesel::allow_tables_to_appear_in_same_query!(published, cosignature);
diesel::joinable!(detail -> leaf (idx));
diesel::joinable!(fact -> leaf (idx));
