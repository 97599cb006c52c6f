//! This agency's people, their roles and their training.

use std::fmt;
use std::str::FromStr;

use agreements::time::Instant;
use diesel::prelude::*;
use diesel::result::Error;
use jiff::civil::Date;

use super::parsed;
use super::roster::Rosters;
use super::schema::account;
use crate::db::{Conn, steady};

/// What a person may do here. What each may is a table: see [`Role::may`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Investigates cases.
    Investigator,
    /// Analyses crime.
    Analyst,
    /// Supervises investigators and analysts.
    Supervisor,
    /// Drafts and renews agreements, keeps the register of findings.
    AgreementsAdministrator,
    /// Custodian of records: authorizes disclosure, signs (XI-04, XI-05).
    Custodian,
    /// Reviews; never queries.
    Auditor,
    /// Runs the node; never queries, never touches the trail.
    SystemAdministrator,
}

/// What a person does that needs a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To query partners.
    Query,
    /// To draft, propose, decline, suspend, resume or terminate an agreement.
    ManageAgreements,
    /// As the custodian: to take back what was authorized once for all.
    SignAgreements,
    /// To approve, as the second person, what opens or widens sharing (II-10).
    ApproveSharing,
    /// To enter findings and checks.
    KeepRegister,
    /// To enrol partners.
    EnrolPartners,
    /// To open accounts and record training.
    ManagePeople,
    /// To read the trail.
    ReadTrail,
    /// To bring in reads, and to let readers' agents bring them in.
    Ingest,
    /// To load an own hotlist.
    LoadHotlists,
    /// To approve entries of the agency's own, to accept partners' hotlists.
    ApproveHotlists,
    /// To see hits and to verify them.
    VerifyHits,
    /// To tell partners of this node's new keys or place.
    ChangeKeys,
    /// As the custodian: to close a discrepancy with a partner's trail.
    CloseDiscrepancies,
    /// To ask that records be held beyond their retention, or released again (VI-06).
    AskHolds,
    /// To approve, as the second person, holds and their release (VI-10).
    ApproveHolds,
    /// To delete what the trail's entries say, after its retention (XI).
    DeleteDetails,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 17] = [
        Self::Query,
        Self::ManageAgreements,
        Self::SignAgreements,
        Self::ApproveSharing,
        Self::KeepRegister,
        Self::EnrolPartners,
        Self::ManagePeople,
        Self::ReadTrail,
        Self::Ingest,
        Self::LoadHotlists,
        Self::ApproveHotlists,
        Self::VerifyHits,
        Self::ChangeKeys,
        Self::CloseDiscrepancies,
        Self::AskHolds,
        Self::ApproveHolds,
        Self::DeleteDetails,
    ];
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 7] = [
        Self::Investigator,
        Self::Analyst,
        Self::Supervisor,
        Self::AgreementsAdministrator,
        Self::Custodian,
        Self::Auditor,
        Self::SystemAdministrator,
    ];

    /// The written name, such as `agreements_administrator`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Investigator => "investigator",
            Self::Analyst => "analyst",
            Self::Supervisor => "supervisor",
            Self::AgreementsAdministrator => "agreements_administrator",
            Self::Custodian => "custodian",
            Self::Auditor => "auditor",
            Self::SystemAdministrator => "system_administrator",
        }
    }

    /// Whether the role allows the action (II-01 to II-11).
    #[must_use]
    pub fn may(self, action: Action) -> bool {
        match action {
            Action::Query => matches!(self, Self::Investigator | Self::Analyst | Self::Supervisor),
            Action::ManageAgreements | Action::ApproveSharing | Action::KeepRegister => {
                matches!(self, Self::AgreementsAdministrator | Self::Custodian)
            }
            Action::SignAgreements | Action::CloseDiscrepancies | Action::DeleteDetails => self == Self::Custodian,
            Action::EnrolPartners => {
                matches!(self, Self::AgreementsAdministrator | Self::Custodian | Self::SystemAdministrator)
            }
            Action::ManagePeople => matches!(self, Self::Supervisor | Self::SystemAdministrator),
            Action::ReadTrail => matches!(self, Self::Custodian | Self::Auditor),
            Action::Ingest => self == Self::SystemAdministrator,
            Action::LoadHotlists => matches!(self, Self::Analyst | Self::Supervisor | Self::SystemAdministrator),
            Action::AskHolds => {
                matches!(self, Self::Investigator | Self::Analyst | Self::Supervisor | Self::Custodian)
            }
            Action::ApproveHotlists | Action::ApproveHolds => matches!(self, Self::Supervisor | Self::Custodian),
            Action::ChangeKeys => matches!(self, Self::Custodian | Self::SystemAdministrator),
            Action::VerifyHits => matches!(self, Self::Investigator | Self::Analyst | Self::Supervisor),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no role.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no such role; there are {}", Role::ALL.map(Role::as_str).join(", "))]
pub struct RoleError;

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

/// A person's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, never reused.
    pub username: String,
    /// The person's name.
    pub name: String,
    /// Unit or assignment.
    pub affiliation: String,
    /// What the person may do.
    pub role: Role,
    /// When it was opened.
    pub opened_at: Instant,
    /// By whom.
    pub opened_by: String,
    /// The date of the last complete training.
    pub trained_on: Option<Date>,
    /// Since when it is closed.
    pub disabled_at: Option<Instant>,
}

type Row = (String, String, String, String, i64, String, Option<String>, Option<i64>);

fn account_of(row: Row) -> QueryResult<Account> {
    let (username, name, affiliation, role, opened_at, opened_by, trained_on, disabled_at) = row;
    Ok(Account {
        username,
        name,
        affiliation,
        role: parsed("account", role.parse())?,
        opened_at: Instant::from_micros(opened_at),
        opened_by,
        trained_on: trained_on.map(|date| parsed("account", date.parse())).transpose()?,
        disabled_at: disabled_at.map(Instant::from_micros),
    })
}

/// Every account, open or closed, by username.
pub fn all(conn: &mut Conn) -> QueryResult<Vec<Account>> {
    account::table.order(account::username).load::<Row>(conn)?.into_iter().map(account_of).collect()
}

/// One account.
pub fn find(conn: &mut Conn, username: &str) -> QueryResult<Option<Account>> {
    account::table.find(username).first::<Row>(conn).optional()?.map(account_of).transpose()
}

/// The account of the person who acts, if it is open, its role allows `action`, and its row is what the trail recorded;
/// otherwise why not.
pub fn operator(conn: &mut Conn, username: &str, action: Action) -> QueryResult<Result<Account, String>> {
    operator_of(conn, &Rosters::default(), username, action)
}

/// The same with a roster that need not be read anew each time.
pub fn operator_of(
    conn: &mut Conn,
    rosters: &Rosters,
    username: &str,
    action: Action,
) -> QueryResult<Result<Account, String>> {
    // Both from one state of the database: another process may just be changing the account.
    let (row, roster) = steady(conn, |conn| {
        let row = match find(conn, username) {
            Err(Error::DeserializationError(_)) => None,
            row => Some(row?),
        };
        Ok::<_, Error>((row, rosters.read(conn)?))
    })?;
    let sworn = roster.as_ref().map(|roster| roster.get(username));
    let account = match (row, sworn) {
        (Some(None), Ok(None)) => {
            return Ok(Err(format!("there is no account {username}; `concordat user add` opens one")));
        }
        (Some(Some(row)), Ok(Some(sworn))) if row == *sworn => row,
        (_, sworn) => {
            let why = sworn.err().map_or("its row is not what the trail recorded", String::as_str);
            tracing::error!(why, "ALARM: an account was changed by other hands; it may do nothing");
            return Ok(Err(format!(
                "the account {username} was changed in the database by other hands and may do nothing until its row is \
                 again what the trail recorded; `concordat trail verify` tells whether the trail itself is sound"
            )));
        }
    };
    Ok(match account {
        account if account.disabled_at.is_some() => Err(format!("the account {username} is closed")),
        account if !account.role.may(action) => Err(format!(
            "{username} is {}, which does not allow this: {} may; `concordat user list` shows who that is",
            account.role,
            said_or(&Role::ALL.into_iter().filter(|role| role.may(action)).map(Role::as_str).collect::<Vec<_>>())
        )),
        account => Ok(account),
    })
}

/// Names, with an "or" before the last.
fn said_or(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        names => names.join(""),
    }
}

/// Opens an account.
pub fn insert(conn: &mut Conn, new: &Account) -> QueryResult<()> {
    diesel::insert_into(account::table)
        .values((
            account::username.eq(&new.username),
            account::name.eq(&new.name),
            account::affiliation.eq(&new.affiliation),
            account::role.eq(new.role.as_str()),
            account::opened_at.eq(new.opened_at.micros()),
            account::opened_by.eq(&new.opened_by),
            account::trained_on.eq(new.trained_on.map(|date| date.to_string())),
            account::disabled_at.eq(new.disabled_at.map(Instant::micros)),
        ))
        .execute(conn)?;
    Ok(())
}

/// Records the date of a complete training. Whether there was such an account.
pub fn set_trained(conn: &mut Conn, username: &str, on: Date) -> QueryResult<bool> {
    let rows =
        diesel::update(account::table.find(username)).set(account::trained_on.eq(on.to_string())).execute(conn)?;
    Ok(rows == 1)
}

/// Closes an account. Whether there was such an open account.
pub fn disable(conn: &mut Conn, username: &str, at: Instant) -> QueryResult<bool> {
    let open = account::table.filter(account::username.eq(username)).filter(account::disabled_at.is_null());
    Ok(diesel::update(open).set(account::disabled_at.eq(at.micros())).execute(conn)? == 1)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// Who may what, as it was read last: a change of [`Role::may`] is a change of this table.
    const TABLE: &str = include_str!("roles.txt");

    #[test]
    fn who_may_what_is_what_was_read_last() {
        let mut table = String::new();
        for action in Action::ALL {
            let roles: Vec<&str> = Role::ALL.into_iter().filter(|role| role.may(action)).map(Role::as_str).collect();
            writeln!(table, "{action:?}: {}", roles.join(" ")).unwrap();
        }
        assert_eq!(table, TABLE, "read it, and write it to node/src/registry/roles.txt");
    }

    #[test]
    fn who_reviews_or_runs_the_node_opens_no_sharing() {
        for role in [Role::Auditor, Role::SystemAdministrator, Role::Investigator, Role::Analyst, Role::Supervisor] {
            for action in [Action::ManageAgreements, Action::ApproveSharing, Action::SignAgreements] {
                assert!(!role.may(action), "{role} {action:?}");
            }
        }
    }
}
