//! One line of JSON in the layout of the Rekor/OpenALPR webhook, read into [`NewRead`]s.
//!
//! Fields that this node does not use are ignored, whatever they hold: newer agents add some. Those that it uses are
//! taken strictly, and a line with one wrong is refused whole, by the field's name. Only the crop of the plate is kept
//! of a line's images (`vehicle_crop_jpeg` shows more than a read needs to).

use agreements::plate::Plate;
use agreements::time::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::error::Category;

use super::check::{self, CONFIDENCE, DIRECTION, LATITUDE, LONGITUDE};
pub use super::field::{LineError, Problem};
use super::field::{Raw, array, decimal, identifier, object, required, text, whole, wrong};
use super::read::{NewRead, Vehicle};
pub use super::source::Line;

/// The longest name of a vehicle's property, in characters.
const MAX_NAME: usize = 64;

/// The top-level fields that this node uses, of both layouts.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    data_type: Raw<'a>,
    #[serde(borrow)]
    agent_uid: Raw<'a>,
    #[serde(borrow)]
    camera_id: Raw<'a>,
    #[serde(borrow)]
    gps_latitude: Raw<'a>,
    #[serde(borrow)]
    gps_longitude: Raw<'a>,
    #[serde(borrow)]
    epoch_start: Raw<'a>,
    #[serde(borrow)]
    best_uuid: Raw<'a>,
    #[serde(borrow)]
    best_plate_number: Raw<'a>,
    #[serde(borrow)]
    best_confidence: Raw<'a>,
    #[serde(borrow)]
    best_region: Raw<'a>,
    #[serde(borrow)]
    best_plate: Raw<'a>,
    #[serde(borrow)]
    travel_direction: Raw<'a>,
    #[serde(borrow)]
    vehicle: Raw<'a>,
    #[serde(borrow)]
    epoch_time: Raw<'a>,
    #[serde(borrow)]
    uuid: Raw<'a>,
    #[serde(borrow)]
    results: Raw<'a>,
}

/// `best_plate` of a group, or one of a frame's `results`.
#[derive(Default, Deserialize)]
struct PlateResult<'a> {
    #[serde(borrow)]
    plate: Raw<'a>,
    #[serde(borrow)]
    confidence: Raw<'a>,
    #[serde(borrow)]
    region: Raw<'a>,
    #[serde(borrow)]
    plate_crop_jpeg: Raw<'a>,
}

#[derive(Deserialize)]
struct VehicleLists<'a> {
    #[serde(borrow)]
    color: Raw<'a>,
    #[serde(borrow)]
    make: Raw<'a>,
    #[serde(borrow)]
    make_model: Raw<'a>,
    #[serde(borrow)]
    body_type: Raw<'a>,
    #[serde(borrow)]
    year: Raw<'a>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Raw<'a>,
    #[serde(borrow)]
    confidence: Raw<'a>,
}

/// Reads one line.
///
/// `now` bounds the times that are believed (up to a day ahead); `image_limit` is in bytes, decoded.
///
/// # Errors
/// What is wrong with the line or with which of its fields; never what the line says.
pub fn parse(line: &[u8], now: Instant, image_limit: usize) -> Result<Line, LineError> {
    let line = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?.trim();
    let is_object = line.starts_with('{');
    let message: Message<'_> = serde_json::from_str(line).map_err(|error| match error.classify() {
        Category::Data if is_object => LineError::Twice,
        Category::Data => LineError::NotObject,
        _ => LineError::NotJson { column: error.column() },
    })?;
    if !is_object {
        return Err(LineError::NotObject); // serde also reads a struct from an array
    }
    match required("data_type", text("data_type", message.data_type)?)?.as_ref() {
        "alpr_group" => Ok(Line::Reads(vec![group(&message, now, image_limit)?])),
        "alpr_results" => frame(&message, now, image_limit).map(Line::Reads),
        "heartbeat" => Ok(Line::Heartbeat { agent: identifier("agent_uid", message.agent_uid)? }),
        _ => Err(wrong("data_type", Problem::Not("alpr_group, alpr_results or heartbeat"))),
    }
}

fn group(message: &Message<'_>, now: Instant, image_limit: usize) -> Result<NewRead, LineError> {
    let origin = Origin::of(message, "best_uuid", message.best_uuid)?;
    let best: PlateResult<'_> = object("best_plate", message.best_plate)?.unwrap_or_default();
    Ok(NewRead {
        plate: plate("best_plate_number", message.best_plate_number.or(best.plate))?,
        state: state("best_region", message.best_region.or(best.region))?,
        seen_at: seen_at("epoch_start", message.epoch_start, now)?,
        confidence: confidence("best_confidence", message.best_confidence.or(best.confidence))?,
        direction: direction(message.travel_direction)?,
        vehicle: vehicle(message.vehicle)?,
        image: image("best_plate.plate_crop_jpeg", best.plate_crop_jpeg, image_limit)?,
        uuid: origin.uuid,
        camera: origin.camera,
        agent: origin.agent,
        lat: origin.lat,
        lon: origin.lon,
    })
}

fn frame(message: &Message<'_>, now: Instant, image_limit: usize) -> Result<Vec<NewRead>, LineError> {
    let origin = Origin::of(message, "uuid", message.uuid)?;
    let seen_at = seen_at("epoch_time", message.epoch_time, now)?;
    required("results", message.results)?;
    let mut reads = Vec::new();
    for raw in array("results", message.results)? {
        let result: PlateResult<'_> = required("results", object("results", Some(raw))?)?;
        reads.push(NewRead {
            plate: plate("results.plate", result.plate)?,
            state: state("results.region", result.region)?,
            seen_at,
            confidence: confidence("results.confidence", result.confidence)?,
            direction: None,
            vehicle: None,
            image: image("results.plate_crop_jpeg", result.plate_crop_jpeg, image_limit)?,
            uuid: origin.uuid.clone(),
            camera: origin.camera.clone(),
            agent: origin.agent.clone(),
            lat: origin.lat,
            lon: origin.lon,
        });
    }
    Ok(reads)
}

/// Who saw it and where.
struct Origin {
    uuid: String,
    agent: Option<String>,
    camera: String,
    lat: Option<i32>,
    lon: Option<i32>,
}

impl Origin {
    /// Agent and camera are also in the uuid (`<agent_uid>-<camera_id>-<epoch_ms>`), for lines that lack the fields.
    fn of(message: &Message<'_>, field: &'static str, uuid: Raw<'_>) -> Result<Self, LineError> {
        let uuid = required(field, identifier(field, uuid)?)?;
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let mut parts = uuid.rsplitn(3, '-');
        let named = match (parts.next(), parts.next(), parts.next()) {
            (Some(ms), Some(camera), Some(agent)) if digits(ms) && digits(camera) && !agent.is_empty() => {
                Some((agent.to_owned(), camera.to_owned()))
            }
            _ => None,
        };
        let (agent_in_uuid, camera_in_uuid) = named.unzip();
        let camera = match whole("camera_id", message.camera_id)? {
            Some(number) if number < 0 => return Err(wrong("camera_id", Problem::Negative)),
            number => number.map(|n| n.to_string()),
        };
        let lat = decimal("gps_latitude", message.gps_latitude, &LATITUDE)?;
        let lon = decimal("gps_longitude", message.gps_longitude, &LONGITUDE)?;
        check::place(["gps_latitude", "gps_longitude"], lat, lon)?;
        Ok(Self {
            agent: identifier("agent_uid", message.agent_uid)?.or(agent_in_uuid),
            camera: required("camera_id", camera.or(camera_in_uuid))?,
            uuid,
            lat,
            lon,
        })
    }
}

fn plate(field: &'static str, raw: Raw<'_>) -> Result<Plate, LineError> {
    check::plate(field, &required(field, text(field, raw)?)?)
}

/// `us-ca` is `CA`; other countries' regions are no states.
fn state(field: &'static str, raw: Raw<'_>) -> Result<Option<String>, LineError> {
    let Some(region) = text(field, raw)? else { return Ok(None) };
    let letters = region.strip_prefix("us-").filter(|s| s.len() == 2 && s.bytes().all(|b| b.is_ascii_alphabetic()));
    Ok(letters.map(str::to_ascii_uppercase))
}

fn seen_at(field: &'static str, raw: Raw<'_>, now: Instant) -> Result<Instant, LineError> {
    let ms = required(field, whole(field, raw)?)?;
    check::seen_at(field, Instant::from_micros(ms.saturating_mul(1000)), now)
}

fn confidence(field: &'static str, raw: Raw<'_>) -> Result<Option<i32>, LineError> {
    decimal(field, raw, &CONFIDENCE)
}

fn direction(raw: Raw<'_>) -> Result<Option<i32>, LineError> {
    Ok(decimal("travel_direction", raw, &DIRECTION)?.map(check::direction))
}

fn vehicle(raw: Raw<'_>) -> Result<Option<Vehicle>, LineError> {
    let Some(lists) = object::<VehicleLists<'_>>("vehicle", raw)? else { return Ok(None) };
    let vehicle = Vehicle {
        color: likeliest("vehicle.color", lists.color)?,
        make: likeliest("vehicle.make", lists.make)?,
        model: likeliest("vehicle.make_model", lists.make_model)?,
        body: likeliest("vehicle.body_type", lists.body_type)?,
        year: likeliest("vehicle.year", lists.year)?,
    };
    Ok(Some(vehicle).filter(|v| *v != Vehicle::default()))
}

/// The most confident name of a list; of equals the first.
fn likeliest(field: &'static str, raw: Raw<'_>) -> Result<Option<String>, LineError> {
    let mut best: Option<(i32, String)> = None;
    for item in array(field, raw)? {
        let named: Named<'_> = required(field, object(field, Some(item))?)?;
        let confidence = confidence(field, named.confidence)?.unwrap_or(0);
        let Some(name) = text(field, named.name)?.filter(|name| !name.is_empty()) else { continue };
        if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(wrong(field, Problem::Not("a name of at most 64 printable characters")));
        }
        if best.as_ref().is_none_or(|(most, _)| confidence > *most) {
            best = Some((confidence, name.into_owned()));
        }
    }
    Ok(best.map(|(_, name)| name))
}

/// The crop. An empty text is how agents say that they were told to send none.
fn image(field: &'static str, raw: Raw<'_>, limit: usize) -> Result<Option<Vec<u8>>, LineError> {
    let Some(encoded) = text(field, raw)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    if encoded.len() / 4 > limit / 3 + 1 {
        return Err(wrong(field, Problem::Large(limit)));
    }
    let bytes = STANDARD.decode(encoded.as_bytes()).map_err(|_| wrong(field, Problem::Base64))?;
    check::jpeg(field, bytes, limit).map(Some)
}

#[cfg(test)]
mod tests;
