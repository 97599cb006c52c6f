//! Synthetic reads in the webhook layout, with drawn plate crops. The same seed gives the same bytes.
//!
//! Nothing real is in them: plates are drawn by lot, and the coordinates are scattered around one point of desert.

use std::collections::HashSet;

use agreements::ids::Digest;
use agreements::plate::Plate;
use agreements::time::Instant;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use serde_json::{Value, json};

use super::crop;

/// Plates that every agency's cars may bear.
const SHARED: usize = 60;
/// Plates that only one agency sees.
const OWN: usize = 400;
/// One sighting in so many is of a shared plate, the shared ones in turn.
const SHARED_EVERY: usize = 4;
/// Reads lie in the days before `until`, evenly but for jitter.
const SPAN: i64 = 7 * Instant::DAY;
/// What a reader takes for each other. Plates are drawn without `O`, but personalised ones may have it.
const CONFUSED: [(char, char); 10] = [
    ('0', 'O'),
    ('O', '0'),
    ('1', 'I'),
    ('2', 'Z'),
    ('5', 'S'),
    ('8', 'B'),
    ('6', 'G'),
    ('B', '8'),
    ('S', '5'),
    ('G', '6'),
];

/// One fixed reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// Its number at its agent.
    pub id: u32,
    /// Latitude in microdegrees.
    pub lat: i32,
    /// Longitude in microdegrees.
    pub lon: i32,
}

/// A fictional agency's agent and its cameras.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agency {
    /// The agent's id: what readers sign their reads with.
    pub agent_uid: String,
    /// At least one.
    pub cameras: Vec<Camera>,
}

impl Agency {
    /// An agency with `count` cameras from number `first` on, scattered within a tenth of a degree.
    #[must_use]
    pub fn scattered(agent_uid: &str, first: u32, count: u32, seed: u64) -> Self {
        let mut rng = rng(seed, agent_uid, "cameras");
        let cameras = (first..first.saturating_add(count))
            .map(|id| Camera {
                id,
                lat: 34_600_000 + rng.i32(-10..=10) * 10_000,
                lon: -118_300_000 + rng.i32(-10..=10) * 10_000,
            })
            .collect();
        Self { agent_uid: agent_uid.to_owned(), cameras }
    }
}

/// One car before one camera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its plate.
    pub plate: Plate,
    /// When, to the millisecond.
    pub seen_at: Instant,
    /// Before which camera.
    pub camera: Camera,
}

/// What `agency` sees: `count` sightings in the seven days before `until`, oldest first. Every fourth, from the first
/// on, is of the plates of [`shared_plates`] in turn, so any two agencies with one seed have seen the first of them.
pub fn sightings(agency: &Agency, seed: u64, count: usize, until: Instant) -> impl Iterator<Item = Sighting> + use<> {
    let shared = shared_plates(seed);
    let own = pool(&mut rng(seed, &agency.agent_uid, "plates"), OWN);
    let mut rng = rng(seed, &agency.agent_uid, "sightings");
    let step = (SPAN / 1000 / i64::try_from(count.max(1)).unwrap_or(i64::MAX)).max(1);
    let first = until.micros() / 1000 - step.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
    let cameras = agency.cameras.clone();
    let mut next_ms = first;
    (0..count).filter_map(move |index| {
        let seen_at = Instant::from_micros((next_ms + rng.i64(0..step)) * 1000);
        next_ms += step;
        let turn = index / SHARED_EVERY % SHARED;
        let plate = if index % SHARED_EVERY == 0 { shared.get(turn) } else { rng.choice(&own) };
        Some(Sighting { plate: plate?.clone(), seen_at, camera: rng.choice(&cameras)?.clone() })
    })
}

/// The plates that agencies with this seed share, in the order in which each sees them.
#[must_use]
pub fn shared_plates(seed: u64) -> Vec<Plate> {
    pool(&mut rng(seed, "", "plates"), SHARED)
}

/// The [`sightings`] as `alpr_group` lines, without line ends, as an agent would post them.
///
/// # Errors
/// An item is an error when its crop cannot be encoded.
pub fn lines(
    agency: &Agency,
    seed: u64,
    count: usize,
    until: Instant,
) -> impl Iterator<Item = Result<String, jpeg_encoder::EncodingError>> + use<> {
    let agent = agency.agent_uid.clone();
    sightings(agency, seed, count, until).map(move |sighting| line(&agent, seed, &sighting))
}

/// A generator that depends on nothing but its arguments: agencies and uses do not disturb each other.
fn rng(seed: u64, agency: &str, subject: &str) -> Rng {
    let Digest(bytes) = Digest::of(format!("{seed}/{agency}/{subject}").as_bytes());
    Rng::with_seed(bytes.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte)))
}

/// `size` different plates.
fn pool(rng: &mut Rng, size: usize) -> Vec<Plate> {
    let mut seen = HashSet::new();
    let mut plates = Vec::with_capacity(size);
    while plates.len() < size {
        if let Ok(plate) = plate_text(rng).parse::<Plate>()
            && seen.insert(plate.clone())
        {
            plates.push(plate);
        }
    }
    plates
}

/// California's forms: passenger `9AAA999` (no I, O, Q in the first or third letter), commercial `9A99999`, trailer
/// `4AA9999`, personalised.
fn plate_text(rng: &mut Rng) -> String {
    let plain = |rng: &mut Rng| loop {
        let letter = rng.uppercase();
        if !matches!(letter, 'I' | 'O' | 'Q') {
            return letter;
        }
    };
    match rng.u8(0..100) {
        0..80 => {
            let (digit, first, second, third) = (rng.u8(1..=9), plain(rng), rng.uppercase(), plain(rng));
            format!("{digit}{first}{second}{third}{:03}", rng.u16(0..1000))
        }
        80..90 => format!("{}{}{:05}", rng.u8(1..=9), plain(rng), rng.u32(0..100_000)),
        90..95 => format!("4{}{}{:04}", plain(rng), plain(rng), rng.u16(0..10_000)),
        _ => (0..rng.u8(3..=7)).map(|_| rng.uppercase()).collect(),
    }
}

fn line(agent: &str, seed: u64, sighting: &Sighting) -> Result<String, jpeg_encoder::EncodingError> {
    let Sighting { plate, seen_at, camera } = sighting;
    let ms = seen_at.micros() / 1000;
    let uuid = format!("{agent}-{}-{ms}", camera.id);
    let mut rng = rng(seed, &uuid, "line");
    let confidence = rng.i32(78_000..=99_500);
    let candidates = candidates(plate, confidence, &mut rng);
    let crop = STANDARD.encode(crop::jpeg(plate.as_str(), &mut rng)?);
    let message = json!({
        "version": 2, "data_type": "alpr_group", "epoch_start": ms, "epoch_end": ms + rng.i64(200..1600),
        "company_id": "5f0c2d5e-0000-4000-8000-000000000001", "agent_uid": agent, "agent_version": "2.8.101",
        "agent_type": "alprd", "camera_id": camera.id, "gps_latitude": decimal(camera.lat, 1e6),
        "gps_longitude": decimal(camera.lon, 1e6), "country": "us", "uuids": [uuid], "plate_indexes": [0],
        "candidates": candidates,
        "best_plate": {
            "plate": plate.as_str(), "confidence": decimal(confidence, 1e3), "matches_template": 1,
            "plate_index": 0, "region": "us-ca", "region_confidence": 88,
            "coordinates": [{"x": 3274, "y": 187}, {"x": 3485, "y": 192}, {"x": 3480, "y": 306}, {"x": 3266, "y": 301}],
            "candidates": candidates, "vehicle_region": {"x": 3060, "y": 0, "width": 630, "height": 630},
            "plate_crop_jpeg": crop, "processing_time_ms": 47.0, "requested_topn": 10,
        },
        "best_confidence": decimal(confidence, 1e3), "best_plate_number": plate.as_str(), "best_region": "us-ca",
        "best_region_confidence": 88.0, "matches_template": true, "best_uuid": uuid, "best_image_width": 4096,
        "best_image_height": 2160, "travel_direction": decimal(rng.i32(0..36_000), 1e2),
        "is_parked": rng.u8(0..20) == 0, "vehicle": vehicle(plate, seed),
    });
    Ok(message.to_string())
}

fn decimal(units: i32, scale: f64) -> f64 {
    f64::from(units) / scale
}

/// The plate, and one with a character that readers confuse, when it has such a character.
fn candidates(plate: &Plate, confidence: i32, rng: &mut Rng) -> Value {
    let mut all = vec![json!({"plate": plate.as_str(), "confidence": decimal(confidence, 1e3), "matches_template": 1})];
    let misread = plate.as_str().char_indices().find_map(|(at, c)| {
        let (_, other) = CONFUSED.iter().find(|(from, _)| *from == c)?;
        let before = plate.as_str().get(..at)?;
        Some(format!("{before}{other}{}", plate.as_str().get(at + c.len_utf8()..)?))
    });
    if let Some(misread) = misread {
        let less = confidence - rng.i32(4_000..20_000);
        all.push(json!({"plate": misread, "confidence": decimal(less, 1e3), "matches_template": 0}));
    }
    Value::Array(all)
}

/// The car that bears the plate: the same before every camera.
fn vehicle(plate: &Plate, seed: u64) -> Value {
    let mut rng = rng(seed, plate.as_str(), "vehicle");
    let models = ["ford_focus", "toyota_camry", "honda_civic", "tesla_model-3"];
    let model = rng.choice(models).unwrap_or_default();
    let make = model.split('_').next().unwrap_or_default();
    let mut of = |names: &[&str]| {
        let first = rng.usize(0..names.len());
        let named = |at: usize, confidence: f64| json!({"name": names.get(at % names.len()), "confidence": confidence});
        json!([named(first, 71.2), named(first + 1, 12.9)])
    };
    json!({
        "color": of(&["black", "white", "silver-gray", "blue", "red"]),
        "make": [{"name": make, "confidence": 71.2}],
        "make_model": [{"name": model, "confidence": 71.2}],
        "body_type": of(&["sedan-standard", "suv-standard", "truck-standard"]),
        "year": of(&["2010-2014", "2015-2019", "2020-2024"]),
        "orientation": of(&["0", "90", "270"]),
    })
}

#[cfg(test)]
mod tests;
