//! The tables of what is published, as `migrations/registry` makes and explains them.

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
