//! Who cannot be named, and by which law: said of a description that the types already refuse, because "unknown variant" is
//! no answer to an agency that asks why (V-01, V-03, V-05).
//!
//! Nothing is admitted here. What is eligible is what [`crate::party::Party`] can express.

use serde_json::Value;

use crate::ids::{Ori, OriError};
use crate::party::AgencyKind;
use crate::purpose::Purpose;

/// What ORIs of other states and of federal agencies begin with is only of interest for saying which of the two it is.
const STATES: &str = "AL AK AZ AR CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND \
                      OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY";

/// Why the body that `party` describes cannot be a party; empty when nothing of what it says is known to be against it.
#[must_use]
pub fn of_party(party: &Value) -> Vec<String> {
    let text = |name: &str| party.get(name).and_then(Value::as_str);
    let mut objections = Vec::new();
    objections.extend(text("ori").and_then(of_ori));
    if let Some(state) = text("state").filter(|state| *state != "CA") {
        objections.push(format!(
            "`{state}`: an agency of another state is no public agency in the sense of Civ. Code 1798.90.5(f), and ALPR \
             information goes to those alone (Civ. Code 1798.90.55(b)): it cannot be enrolled"
        ));
    }
    objections.extend(text("kind").and_then(of_kind));
    let purposes = party.get("policy").and_then(|policy| policy.get("purposes")).and_then(Value::as_array);
    objections.extend(purposes.into_iter().flatten().filter_map(of_purpose));
    objections
}

/// The same of both parties of an agreement, and of whoever its grants name.
#[must_use]
pub fn of_agreement(agreement: &Value) -> Vec<String> {
    let list = |name: &str| agreement.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut objections: Vec<String> = list("parties").flat_map(of_party).collect();
    for grant in list("grants") {
        for role in ["owner", "recipient"] {
            let named = grant.get(role).and_then(Value::as_str);
            let named = named.filter(|named| matches!(named.parse::<Ori>(), Err(OriError::Form)));
            objections.extend(named.map(|named| {
                format!(
                    "a grant names `{}`, which has no ORI: whoever hosts or tows for an agency is its processor \
                     (Civ. Code 1798.90.55(b); V-05), is listed in agency.processors, and can never hold a grant",
                    named.escape_debug()
                )
            }));
        }
    }
    objections.sort_unstable();
    objections.dedup();
    objections
}

fn of_ori(text: &str) -> Option<String> {
    let Err(OriError::NotCalifornia(ori)) = text.parse::<Ori>() else { return None };
    let prefix = ori.get(..2).unwrap_or_default();
    Some(if STATES.split(' ').any(|state| state == prefix) {
        format!(
            "`{ori}` is the ORI of an agency of {prefix}: another state's agency is no public agency in the sense of Civ. \
             Code 1798.90.5(f), and ALPR information goes to those alone (Civ. Code 1798.90.55(b)): it cannot be enrolled"
        )
    } else {
        format!(
            "`{ori}` is a federal ORI: a federal agency is no public agency in the sense of Civ. Code 1798.90.5(f), and ALPR \
             information goes to those alone (Civ. Code 1798.90.55(b); Gov. Code 7284.6): it cannot be enrolled"
        )
    })
}

fn of_kind(kind: &str) -> Option<String> {
    if kind.parse::<AgencyKind>().is_ok() {
        return None;
    }
    let why = match kind {
        "federal" => {
            "a federal agency is no public agency in the sense of Civ. Code 1798.90.5(f), and ALPR information goes to those \
             alone (Civ. Code 1798.90.55(b); Gov. Code 7284.6): it cannot be enrolled"
        }
        "private" | "vendor" | "company" => {
            "a private body is no public agency in the sense of Civ. Code 1798.90.5(f): it cannot be enrolled, and ALPR \
             information is neither sold nor shared with it (Civ. Code 1798.90.55(b))"
        }
        "processor" | "hosting" | "towing" => {
            "whoever hosts or tows for an agency is its processor (Civ. Code 1798.90.55(b); V-05) and no public agency in the \
             sense of Civ. Code 1798.90.5(f): the agency lists it in agency.processors; it cannot be enrolled or hold a grant"
        }
        "tribal" | "fusion_center" | "fusion_centre" | "university" | "campus" => {
            "Civ. Code 1798.90.5(f) names the state, its counties and cities, and their subdivisions: a tribal, fusion-centre \
             or university body needs a written determination that it is one of these, and then names that kind \
             (agency.kind) and the determination (agency.determination_sha256, agency.determination_expires_on)"
        }
        _ => return Some(format!("`{}`: {}", kind.escape_debug(), crate::party::AgencyKindError)),
    };
    Some(format!("`{kind}`: {why}"))
}

fn of_purpose(purpose: &Value) -> Option<String> {
    let maps_to = purpose.get("purpose").and_then(Value::as_str)?;
    maps_to.parse::<Purpose>().is_err().then(|| {
        let name = purpose.get("name").and_then(Value::as_str).unwrap_or(maps_to);
        format!(
            "policy.purposes: `{}` maps to `{}`, which is none of the seven purposes (I-01): {}. A purpose that is none of \
             these, such as immigration enforcement (Gov. Code 7284.6), cannot be named: have the policy's list mapped to \
             the seven, and leave out what is none of them",
            name.escape_debug(),
            maps_to.escape_debug(),
            Purpose::ALL.map(Purpose::as_str).join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_body_is_told_which_law_keeps_it_out() {
        for (party, says) in [
            (json!({"ori": "DCICE0900"}), "federal ORI"),
            (json!({"ori": "CAFBILA00"}), "federal ORI"),
            (json!({"ori": "NV0020100"}), "agency of NV"),
            (json!({"state": "OR"}), "another state"),
            (json!({"kind": "federal"}), "Gov. Code 7284.6"),
            (json!({"kind": "private"}), "neither sold nor shared"),
            (json!({"kind": "towing"}), "agency.processors"),
            (json!({"kind": "tribal"}), "written determination"),
            (json!({"kind": "university"}), "written determination"),
            (json!({"kind": "guild"}), "state, county, city"),
        ] {
            let objections = of_party(&party);
            assert_eq!(objections.len(), 1, "{party}: {objections:?}");
            assert!(objections[0].contains(says) && objections[0].contains("1798.90.5(f)"), "{party}: {objections:?}");
        }
        assert!(of_party(&json!({"ori": "CA0990000", "state": "CA", "kind": "city"})).is_empty());
    }

    #[test]
    fn a_purpose_that_maps_to_nothing_and_a_grant_to_a_processor_are_said() {
        let purposes = json!({"policy": {"purposes": [
            {"name": "Solving crimes", "purpose": "criminal_investigation"},
            {"name": "Border work", "purpose": "immigration"},
        ]}});
        let objections = of_party(&purposes);
        assert_eq!(objections.len(), 1);
        assert!(objections[0].contains("`Border work` maps to `immigration`"), "{objections:?}");
        let grants = json!({"grants": [{"kind": "query", "owner": "CA0990000", "recipient": "Valley Hosting"}]});
        assert!(of_agreement(&grants)[0].contains("can never hold a grant"));
    }
}
