//! The codes of states and provinces on plates, as NCIC and the postal services write them.

const CODES: &str = "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NB NV NH NJ NM \
    NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY AS GM GU MP MK PR VI US AB BC MB NK NF NL NS NT NU ON PE PQ \
    QC SK SN YT MX MM";

/// Whether these two letters are the code of a state, territory or province (or of the federal government, `US`).
pub(super) fn known(code: &str) -> bool {
    code.len() == 2 && CODES.split(' ').any(|known| known == code)
}
