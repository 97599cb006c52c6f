//! What each error of a service means at a terminal: its exit code and, where its own text does not say it, what to do.

use super::exit::{Exit, Explain};
use crate::agency::AgencyError;
use crate::auditing::ReceiptError;
use crate::ca_folder::CaFolderError;
use crate::changes::ChangeError;
use crate::compliance::bundle::BundleError;
use crate::compliance::policies::PolicyError;
use crate::confirming::Unconfirmed;
use crate::db::{DbError, RecordError};
use crate::evidence::EvidenceError;
use crate::exchange::Failure;
use crate::exchange::ask::AskError;
use crate::exchange::descriptor::DescriptorError;
use crate::exchange::draft::DraftError;
use crate::exchange::lifecycle::ActError;
use crate::hotlists::load::LoadError;
use crate::hotlists::people::HotlistError;
use crate::hotlists::reading::ReadingError;
use crate::hotlists::refresh::RefreshError;
use crate::hotlists::shared::SharedError;
use crate::intake::IntakeError;
use crate::keyfile::KeyFileError;
use crate::logs::LogsError;
use crate::node::OpenError;
use crate::people::PeopleError;
use crate::publishing::PolicyFileError;
use crate::reads::images::ImageError;
use crate::reads::ingest::IngestError;
use crate::serve::ServeError;
use crate::tls::TlsError;
use crate::trail::head::HeadError;
use crate::trail::verify::VerifyError;

impl Explain for diesel::result::Error {}

impl Explain for agreements::json::StrictError {}

impl Explain for askama::Error {}

impl Explain for crate::reconciling::run::NotDone {
    fn exit(&self) -> Exit {
        match self {
            Self::Stranger(_) | Self::NoDay | Self::Person(_) | Self::NotYet(_) | Self::Forked(_) => Exit::Refused,
            Self::Away(_) => Exit::Failure,
            Self::Failure(failure) => failure.exit(),
        }
    }
}

impl Explain for crate::document::kept::KeptError {}

impl Explain for crate::document::pdf::PdfError {}

impl Explain for ImageError {
    fn hint(&self) -> Option<String> {
        Some("see store.images in concordat.toml".to_owned())
    }
}

impl Explain for crate::reads::store::StoreError {
    fn hint(&self) -> Option<String> {
        Some("see store.reads in concordat.toml".to_owned())
    }
}

impl Explain for crate::renewal::HeldError {
    fn exit(&self) -> Exit {
        match self {
            Self::Store(_) | Self::Open(_) => Exit::Failure,
            Self::Changed(_) | Self::Missing { .. } => Exit::Refused,
        }
    }
}

impl Explain for crate::renewal::forms::FormError {
    fn exit(&self) -> Exit {
        match self {
            Self::File(error) => error.exit(),
            Self::Io { .. } => Exit::Failure,
            Self::Form { .. } => Exit::Usage,
        }
    }
}

impl Explain for certs::key::KeyError {
    fn exit(&self) -> Exit {
        match self {
            Self::OpenSsl(_) => Exit::Failure,
            _ => Exit::Usage,
        }
    }
}

impl Explain for LogsError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Explain for CaFolderError {
    fn exit(&self) -> Exit {
        match self {
            Self::Exists(_) | Self::UnknownSerial(_) | Self::AlreadyRevoked { .. } => Exit::Refused,
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(KeyFileError::Io { .. }) | Self::Io { .. } => {
                Some("name the authority's folder with --dir; `concordat ca init` makes one".to_owned())
            }
            _ => None,
        }
    }
}

impl Explain for KeyFileError {
    fn exit(&self) -> Exit {
        match self {
            Self::Exposed { .. } | Self::Exists(_) => Exit::Refused,
            Self::NotAKey(_) | Self::Io { .. } => Exit::Failure,
        }
    }
}

impl Explain for TlsError {
    fn exit(&self) -> Exit {
        match self {
            Self::Key(error) => error.exit(),
            Self::NoCa | Self::NoCrl => Exit::Usage,
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read(path, _) if path.ends_with("tls.pem") => Some(
                "send tls.csr, beside it, to your certificate authority (`concordat ca issue --csr tls.csr`) and put the certificate there"
                    .to_owned(),
            ),
            Self::Read(..) => Some("see peer.ca and peer.crl in concordat.toml".to_owned()),
            _ => None,
        }
    }
}

impl Explain for AgencyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Missing(_) | Self::Purpose(..) | Self::Processor(_) | Self::Future(..) => Exit::Usage,
            Self::Key(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Future(..) | Self::Processor(_) => None,
            Self::Missing(_) | Self::Purpose(..) => {
                Some("fill in [policy] and [approvals] of concordat.toml, then run this again".to_owned())
            }
            Self::Key(error) => error.hint(),
        }
    }
}

impl Explain for DbError {
    fn exit(&self) -> Exit {
        match self {
            Self::Url => Exit::Usage,
            Self::Trail(_) => Exit::Refused,
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Trail(_) => Some("run `concordat trail verify` to see what was changed".to_owned()),
            Self::Shared => Some("`createdb` makes another database; a file needs only another name".to_owned()),
            Self::File(_) | Self::Connect(_) => Some("see store.registry in concordat.toml".to_owned()),
            _ => None,
        }
    }
}

impl Explain for OpenError {
    fn exit(&self) -> Exit {
        match self {
            Self::Registry(error) => error.exit(),
            Self::KeyFile(error) => error.exit(),
            Self::Tls(error) => error.exit(),
            Self::Agency(error) => error.exit(),
            Self::OtherAgency(..) | Self::Seal(..) => Exit::Refused,
            Self::Policy(error) => error.exit(),
            Self::Compare(error) => error.exit(),
            Self::Reads(_) | Self::Key(..) | Self::Query(_) | Self::Shared(_) | Self::Rotation(_) => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Reads(error) => error.hint(),
            Self::KeyFile(KeyFileError::Io { .. }) => {
                Some("`concordat init` makes a node's keys; see keys.folder in concordat.toml".to_owned())
            }
            Self::KeyFile(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Agency(error) => error.hint(),
            Self::Compare(error) => error.hint(),
            Self::Rotation(_) => {
                Some("what was begun is completed by the next command, once that is mended".to_owned())
            }
            Self::Policy(error) => error.hint(),
            Self::Key(..) | Self::Seal(..) | Self::OtherAgency(..) | Self::Query(_) | Self::Shared(_) => None,
        }
    }
}

impl Explain for PolicyFileError {
    fn exit(&self) -> Exit {
        Exit::Refused
    }

    fn hint(&self) -> Option<String> {
        Some("c2sp.org/tlog-policy has the form of the file".to_owned())
    }
}

impl Explain for RecordError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Stopped => Some("run `concordat trail verify`".to_owned()),
            Self::Busy | Self::ClockBack { .. } | Self::Job(_) | Self::Database(_) => None,
        }
    }
}

impl Explain for DescriptorError {
    fn exit(&self) -> Exit {
        Exit::Refused
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Form(_) | Self::Seal(_) => {
                Some("ask the partner for the file that its `concordat peer export` writes".to_owned())
            }
            Self::Problems(_) => Some("its agency fills them in in concordat.toml and exports again".to_owned()),
            Self::Ineligible(_) | Self::Keys(_) | Self::Fingerprint { .. } => None,
        }
    }
}

impl Explain for EvidenceError {
    fn exit(&self) -> Exit {
        match self {
            Self::Empty(_) | Self::Long { .. } | Self::Unknown(_) => Exit::Refused,
            Self::Read(..) | Self::Damaged(_) | Self::Store(_) => Exit::Failure,
        }
    }
}

impl Explain for PolicyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Evidence(error) => error.exit(),
            Self::People(error) => error.exit(),
            Self::Registry(_) | Self::Open(_) => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Evidence(error) => error.hint(),
            Self::People(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Open(error) => error.hint(),
        }
    }
}

impl Explain for BundleError {
    fn exit(&self) -> Exit {
        match self {
            Self::Evidence(error) => error.exit(),
            Self::People(error) => error.exit(),
            Self::Registry(_) | Self::Open(_) => Exit::Failure,
            _ => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Form(_) | Self::Seal(..) => {
                Some("ask that agency for the file that its `concordat ag export --out FILE` writes".to_owned())
            }
            Self::Descriptor(error) => error.hint(),
            Self::Evidence(error) => error.hint(),
            Self::People(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Open(error) => error.hint(),
            Self::Stranger(_) | Self::Own | Self::Key(_) => None,
        }
    }
}

impl Explain for PeopleError {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Refused,
            Self::Descriptor(error) => error.exit(),
            Self::Record(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(_) => None,
            Self::Descriptor(error) => error.hint(),
            Self::Record(error) => error.hint(),
        }
    }
}

impl Explain for Failure {
    fn exit(&self) -> Exit {
        match self {
            Self::Behind(_) | Self::Unheard(_) => Exit::Refused,
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Record(error) => error.hint(),
            Self::Open(error) => error.hint(),
            Self::Reads(error) => error.hint(),
            _ => None,
        }
    }
}

impl Explain for AskError {
    fn exit(&self) -> Exit {
        match self {
            Self::Person(_) | Self::Screened(_) | Self::Nobody => Exit::Refused,
            Self::Window(_) => Exit::Usage,
            Self::Failure(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Person(_) => None,
            Self::Window(_) => Some("nothing left this node".to_owned()),
            Self::Screened(_) => Some("nothing left this node; the attempt is recorded".to_owned()),
            Self::Nobody => Some("`concordat agreement list` shows where each agreement stands".to_owned()),
            Self::Failure(error) => error.hint(),
        }
    }
}

impl Explain for ChangeError {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Refused,
            Self::Failure(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(_) => None,
            Self::Failure(error) => error.hint(),
        }
    }
}

impl Explain for ActError {
    fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Refused,
            Self::Failure(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(_) => None,
            Self::Failure(error) => error.hint(),
        }
    }
}

impl Explain for DraftError {
    fn exit(&self) -> Exit {
        match self {
            Self::Text(_) | Self::Faults { unreadable: true, .. } | Self::Framework(_) => Exit::Usage,
            Self::Faults { unreadable: false, .. } | Self::NotEnrolled(_) | Self::Problems(_) => Exit::Refused,
            Self::Random(_) | Self::Json(_) => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Text(_) | Self::Faults { unreadable: true, .. } => {
                Some("`concordat agreement draft --template` prints one to start from".to_owned())
            }
            Self::NotEnrolled(_) => Some("import its descriptor with `concordat peer add`".to_owned()),
            Self::Faults { .. } | Self::Problems(_) | Self::Framework(_) | Self::Random(_) | Self::Json(_) => None,
        }
    }
}

impl Explain for IngestError {
    fn hint(&self) -> Option<String> {
        Some("what was kept stays; run the same `concordat ingest` again to go on from there".to_owned())
    }
}

impl Explain for IntakeError {
    fn exit(&self) -> Exit {
        match self {
            Self::People(error) => error.exit(),
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::People(error) => error.hint(),
            Self::Ingest(error) => error.hint(),
            Self::Registry(_) | Self::Open(_) | Self::Thread(_) => None,
        }
    }
}

impl Explain for ServeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Peer(crate::peer::BindError::Listen(..)) => {
                Some("name another address in peer.listen of concordat.toml".to_owned())
            }
            Self::Peer(crate::peer::BindError::Tls(error)) => error.hint(),
            Self::Images(error) => error.hint(),
            Self::Intake(_) | Self::Other(..) => None,
        }
    }
}

impl Explain for HeadError {
    fn hint(&self) -> Option<String> {
        Some("run `concordat trail verify` to see what was changed".to_owned())
    }
}

impl Explain for VerifyError {}

impl Explain for crate::retention::RetentionError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unconfirmed(Unconfirmed::Open(_) | Unconfirmed::Store(_))
            | Self::Open(_)
            | Self::Store(_)
            | Self::Key(_)
            | Self::Panicked
            | Self::NotErased => Exit::Failure,
            Self::Refused(_) | Self::Unready(_) | Self::Unconfirmed(_) => Exit::Refused,
            Self::Record(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unready(error) => error.hint(),
            Self::Unconfirmed(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Open(error) => error.hint(),
            _ => None,
        }
    }
}

impl Explain for crate::exporting::ExportError {
    fn exit(&self) -> Exit {
        match self {
            Self::There(_) | Self::Foreign(_) => Exit::Usage,
            Self::Empty | Self::Changed(_) => Exit::Refused,
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, Self::Stopped).then(|| "run the same command again".to_owned())
    }
}

impl Explain for crate::receipts::ExportError {
    fn hint(&self) -> Option<String> {
        matches!(self, Self::Stopped).then(|| "run the same command again: it writes all of them".to_owned())
    }
}

impl Explain for crate::receipts::FileError {}

impl Explain for crate::trail::policy::PolicyError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }
}

impl Explain for ReceiptError {
    fn exit(&self) -> Exit {
        Exit::Refused
    }
}

impl Explain for SharedError {
    fn hint(&self) -> Option<String> {
        Some("see store.registry in concordat.toml: partners' hotlists are beside it".to_owned())
    }
}

impl Explain for LoadError {
    fn exit(&self) -> Exit {
        match self {
            Self::Reading(
                ReadingError::Source(..)
                | ReadingError::Report(..)
                | ReadingError::Sink(_)
                | ReadingError::Internal(_)
                | ReadingError::Stopped,
            )
            | Self::Registry(_)
            | Self::Open(_)
            | Self::Thread(_) => Exit::Failure,
            Self::Refused(_) | Self::Reading(_) => Exit::Refused,
            Self::Record(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(_) | Self::Reading(_) => None,
            Self::Record(error) => error.hint(),
            Self::Registry(_) | Self::Open(_) | Self::Thread(_) => {
                Some("the version in place stays; run the same command again".to_owned())
            }
        }
    }
}

impl Explain for HotlistError {
    fn exit(&self) -> Exit {
        match self {
            Self::People(error) => error.exit(),
            Self::Query(_) | Self::Open(_) | Self::Shared(_) => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::People(error) => error.hint(),
            Self::Shared(error) => error.hint(),
            Self::Query(_) | Self::Open(_) => None,
        }
    }
}

impl Explain for RefreshError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Failure(error) => error.hint(),
            Self::Shared(error) => error.hint(),
        }
    }
}
