//! The registry's tables as diesel sees them. What each column means stands in `migrations/registry`.

diesel::table! {
    agency (ori) {
        ori -> Text,
        party -> Binary,
        descriptor -> Binary,
        enrolled_at -> BigInt,
        enrolled_by -> Text,
        confirmed_by -> Text,
    }
}

diesel::table! {
    agreement (id) {
        id -> Text,
        partner -> Text,
        document -> Binary,
        offer -> Nullable<Binary>,
        kept_at -> BigInt,
    }
}

diesel::table! {
    stream_event (agreement, party, n) {
        agreement -> Text,
        party -> Text,
        n -> BigInt,
        rid -> Binary,
        leaf -> Binary,
        message -> Binary,
        salt -> Binary,
        proof -> Nullable<Text>,
    }
}

diesel::joinable!(stream_event -> agreement (agreement));
diesel::allow_tables_to_appear_in_same_query!(agreement, stream_event, receipt);

diesel::table! {
    finding (n) {
        n -> BigInt,
        ori -> Text,
        body -> Binary,
        entered_at -> BigInt,
        seal -> Nullable<Binary>,
    }
}

diesel::table! {
    ag_check (n) {
        n -> BigInt,
        checked_at -> BigInt,
        body -> Binary,
        seal -> Nullable<Binary>,
    }
}

diesel::table! {
    account (username) {
        username -> Text,
        name -> Text,
        affiliation -> Text,
        role -> Text,
        opened_at -> BigInt,
        opened_by -> Text,
        trained_on -> Nullable<Text>,
        disabled_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    agent (key) {
        key -> Text,
        uid -> Text,
        secret -> Binary,
        added_at -> BigInt,
        added_by -> Text,
        revoked_at -> Nullable<BigInt>,
        revoked_by -> Nullable<Text>,
        heard_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    day_use (agreement, day) {
        agreement -> Text,
        day -> Text,
        questions -> BigInt,
    }
}

diesel::table! {
    heard (origin, rid) {
        origin -> Text,
        rid -> Binary,
        leaf -> Binary,
        answer -> Binary,
    }
}

diesel::table! {
    receipt (leaf_hash) {
        leaf_hash -> Binary,
        origin -> Text,
        of -> Binary,
        leaf -> Binary,
        message -> Binary,
        salt -> Binary,
        proof -> Text,
        kept_at -> BigInt,
    }
}

diesel::table! {
    past_head (origin, log, size) {
        origin -> Text,
        log -> Text,
        size -> BigInt,
        root -> Binary,
        checkpoint -> Text,
        seen_at -> BigInt,
    }
}

diesel::table! {
    seen_head (origin, size) {
        origin -> Text,
        size -> BigInt,
        root -> Binary,
        checkpoint -> Text,
        seen_at -> BigInt,
        found_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    job_run (job, slot, attempt) {
        job -> Text,
        slot -> BigInt,
        attempt -> BigInt,
        started_at -> BigInt,
        finished_at -> Nullable<BigInt>,
        outcome -> Nullable<Text>,
        error -> Nullable<Text>,
        applied -> BigInt,
        holder -> Text,
        lease_until -> BigInt,
    }
}

diesel::table! {
    outbox (id) {
        id -> Text,
        dedup -> Text,
        recipient -> Text,
        subject -> Text,
        body -> Text,
        created_at -> BigInt,
        state -> Text,
        attempts -> BigInt,
        doubtful -> BigInt,
        next_attempt -> BigInt,
        give_up_at -> BigInt,
        sent_at -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
        claimed_by -> Nullable<Text>,
        claim_until -> Nullable<BigInt>,
    }
}

diesel::table! {
    hotlist (name) {
        name -> Text,
        layout -> Text,
        version -> BigInt,
        staging -> BigInt,
        entries -> BigInt,
        dropped -> BigInt,
        source_at -> BigInt,
        source -> Binary,
        loaded_at -> BigInt,
        loaded_by -> Text,
    }
}

diesel::table! {
    hotlist_version (list, version) {
        list -> Text,
        version -> BigInt,
        loaded_at -> BigInt,
    }
}

diesel::table! {
    hotlist_entry (list, digest, since) {
        list -> Text,
        digest -> Binary,
        since -> BigInt,
        until -> Nullable<BigInt>,
        plate_key -> Text,
        plate -> Text,
        category -> Text,
        body -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(hotlist, hotlist_entry);

diesel::table! {
    hotlist_share (list, partner) {
        list -> Text,
        partner -> Text,
        version -> BigInt,
        asserted_at -> BigInt,
    }
}

diesel::table! {
    accepted_list (owner, list) {
        owner -> Text,
        list -> Text,
        accepted_at -> BigInt,
        accepted_by -> Text,
        seen_index -> BigInt,
    }
}

diesel::table! {
    hit (id) {
        id -> Binary,
        read_key -> Binary,
        owner -> Text,
        list -> Text,
        category -> Text,
        entry -> Binary,
        plate -> Text,
        state -> Nullable<Text>,
        seen_at -> BigInt,
        camera -> Text,
        image -> Nullable<Binary>,
        substitutions -> BigInt,
        state_known -> BigInt,
        matched_at -> BigInt,
        status -> Text,
        verified_at -> Nullable<BigInt>,
        verified_by -> Nullable<Text>,
    }
}

diesel::table! {
    paper (id) {
        id -> Binary,
        typ -> Text,
        body -> Binary,
        kept_at -> BigInt,
    }
}
