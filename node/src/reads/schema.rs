//! The table as diesel knows it; `migrations/reads` says what its columns mean.

diesel::table! {
    read (plate_key, seen_at, uuid, plate) {
        plate_key -> Text,
        seen_at -> BigInt,
        uuid -> Text,
        plate -> Text,
        id -> Binary,
        state -> Nullable<Text>,
        camera -> Text,
        lat -> Nullable<Integer>,
        lon -> Nullable<Integer>,
        confidence -> Nullable<Integer>,
        direction -> Nullable<Integer>,
        vehicle -> Nullable<Text>,
        image -> Nullable<Binary>,
        source -> Nullable<Text>,
        ingested_at -> BigInt,
    }
}
