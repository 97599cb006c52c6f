//! What a read is: as a reader sends it, and as a partner gets it.

use std::fmt;

use agreements::ids::{Digest, ReadId};
use agreements::plate::Plate;
use agreements::time::Instant;
use serde::{Deserialize, Serialize};

/// What the reader made of the vehicle: for each property its most confident name, as the reader writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vehicle {
    /// Such as `silver-gray`.
    pub color: Option<String>,
    /// Such as `honda`.
    pub make: Option<String>,
    /// Make and model, such as `honda_civic`.
    pub model: Option<String>,
    /// Such as `suv-standard`.
    pub body: Option<String>,
    /// A range of model years, such as `2010-2014`.
    pub year: Option<String>,
}

/// A read as it came, checked. Numbers are integers in small units because rows travel as canonical JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct NewRead {
    /// The agent's id of the read: with the plate, what makes a re-delivery known.
    pub uuid: String,
    /// The plate that the reader is most confident of.
    pub plate: Plate,
    /// The issuing state as its two letters (`us-ca` is `CA`). `None` when not read, or not of the United States.
    pub state: Option<String>,
    /// When the vehicle was seen: the start of the group or the frame's time, to the millisecond.
    pub seen_at: Instant,
    /// The camera's number at its agent.
    pub camera: String,
    /// Latitude in microdegrees, north positive; there exactly when `lon` is.
    pub lat: Option<i32>,
    /// Longitude in microdegrees, east positive.
    pub lon: Option<i32>,
    /// Confidence in the plate, thousandths of a percent: 0 to 100,000.
    pub confidence: Option<i32>,
    /// Direction of travel, hundredths of a degree clockwise from north: 0 to 35,999.
    pub direction: Option<i32>,
    /// What the reader made of the vehicle.
    pub vehicle: Option<Vehicle>,
    /// The JPEG crop of the plate.
    pub image: Option<Vec<u8>>,
    /// The agent that made the read, as it names itself.
    pub agent: Option<String>,
}

impl fmt::Debug for NewRead {
    /// Neither the plate (also in some agents' uuid) nor the image.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRead").field("seen_at", &self.seen_at).field("camera", &self.camera).finish_non_exhaustive()
    }
}

/// A read as an answer carries it. It has a canonical form: integers only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Our id of it.
    pub id: ReadId,
    /// The plate as read.
    pub plate: Plate,
    /// The issuing state as its two letters.
    pub state: Option<String>,
    /// When the vehicle was seen.
    pub seen_at: Instant,
    /// The camera's number.
    pub camera: String,
    /// Latitude in microdegrees.
    pub lat: Option<i32>,
    /// Longitude in microdegrees.
    pub lon: Option<i32>,
    /// Thousandths of a percent.
    pub confidence: Option<i32>,
    /// Hundredths of a degree clockwise from north.
    pub direction: Option<i32>,
    /// What the reader made of the vehicle.
    pub vehicle: Option<Vehicle>,
    /// The SHA-256 of the plate crop, by which it can be asked for.
    pub image: Option<Digest>,
}
