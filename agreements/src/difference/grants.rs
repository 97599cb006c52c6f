//! What another document changes of the grants.

use super::{At, Effect, Found, OPENING, Said, keyed};
use crate::agreement::{Area, Authorization, Grant, HitsGrant, HotlistGrant, QueryGrant};
use crate::purpose::Purpose;

fn grant_at(grant: &Grant) -> At {
    match grant {
        Grant::Query(QueryGrant { owner, recipient, .. }) => {
            At::new(&format!("grants[query {owner} {recipient}]"), &format!("{recipient} queries {owner}"))
        }
        Grant::Hotlist(HotlistGrant { owner, recipient, list, .. }) => At::new(
            &format!("grants[hotlist {owner} {recipient} {list}]"),
            &format!("{recipient} gets the hotlist {list} of {owner}"),
        ),
        Grant::Hits(HitsGrant { owner, recipient, list }) => At::new(
            &format!("grants[hits {owner} {recipient} {list}]"),
            &format!("{recipient} is told of hits of {owner} on {list}"),
        ),
    }
}

pub(super) fn grant_is(found: &mut Found, grant: &Grant, is: bool) {
    let granted = Some("granted".to_owned());
    let (before, after, effect) = if is { (None, granted, Effect::Wider) } else { (granted, None, Effect::Narrower) };
    found.add(&grant_at(grant), "", "grant", before, after, effect);
}

pub(super) fn all_grants(found: &mut Found, old: &[Grant], new: &[Grant]) {
    let (before, after) = (keyed(old, |it| grant_at(it).path), keyed(new, |it| grant_at(it).path));
    for (key, was) in &before {
        match (was, after.get(key)) {
            (_, None) => grant_is(found, was, false),
            (Grant::Query(was), Some(Grant::Query(is))) => query(found, was, is),
            (Grant::Hotlist(was), Some(Grant::Hotlist(is))) => hotlist(found, was, is),
            // The key says everything that a grant of hits says.
            (_, Some(_)) => {}
        }
    }
    for (_, is) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        grant_is(found, is, true);
    }
}

fn query(found: &mut Found, old: &QueryGrant, new: &QueryGrant) {
    let QueryGrant {
        owner: _,
        recipient: _,
        purposes,
        lookback_days,
        max_rows,
        daily_quota,
        area,
        partial,
        fuzzy,
        images,
        without_plate,
        authorization,
    } = new;
    let at = grant_at(&Grant::Query(new.clone()));
    let names = |all: &[Purpose]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    found.set(&at, "purposes", "purpose", &names(&old.purposes), &names(purposes), OPENING);
    found.more(&at, "lookback_days", "lookback", &old.lookback_days, lookback_days, " days");
    found.more(&at, "max_rows", "reads in an answer", &old.max_rows, max_rows, "");
    found.more(&at, "daily_quota", "questions a day", &old.daily_quota, daily_quota, "");
    within(found, &at, old.area, *area);
    found.right(&at, "partial", "by part of a plate", old.partial, *partial);
    found.right(&at, "fuzzy", "by plates that readers confuse", old.fuzzy, *fuzzy);
    found.right(&at, "images", "images", old.images, *images);
    found.right(&at, "without_plate", "without a plate", old.without_plate, *without_plate);
    let said = |it: Authorization| match it {
        Authorization::PerRequest => Said(false, "per request"),
        Authorization::Standing => Said(true, "standing"),
    };
    found.more(&at, "authorization", "authorization", &said(old.authorization), &said(*authorization), "");
}

/// Ground that was not covered before makes it wider, however much is lost elsewhere.
fn within(found: &mut Found, at: &At, old: Option<Area>, new: Option<Area>) {
    let effect = match (old, new) {
        (None, Some(_)) => Effect::Narrower,
        (Some(was), Some(is)) if was.intersection(is) == Some(is) => Effect::Narrower,
        _ => Effect::Wider,
    };
    let said = |area: Option<Area>| {
        area.map_or_else(
            || "anywhere".to_owned(),
            |Area { south, west, north, east }| format!("{south},{west} to {north},{east} (south,west to north,east)"),
        )
    };
    if old != new {
        found.add(at, "area", "area", Some(said(old)), Some(said(new)), effect);
    }
}

fn hotlist(found: &mut Found, old: &HotlistGrant, new: &HotlistGrant) {
    let HotlistGrant { owner: _, recipient: _, list: _, categories } = new;
    let at = grant_at(&Grant::Hotlist(new.clone()));
    found.set(&at, "categories", "category", &old.categories, categories, OPENING);
}
