//! A vehicle and its trips.

use serde_json::{Value, json};

use crate::data::book::Book;
use crate::data::calendar::{YearMonth, day_text, plus_days};
use crate::data::entries::id_of;
use crate::data::json::{one_page, with_times};

/// Age in days, miles, purpose, and the two places of each trip.
const TRIPS: [(i64, i64, &str, &str, &str); 6] = [
    (
        0,
        18,
        "BUSINESS",
        "12 Mission Street",
        "Harbor Dental Group",
    ),
    (
        5,
        34,
        "BUSINESS",
        "12 Mission Street",
        "Summit Paper Supply",
    ),
    (9, 11, "UNREVIEWED", "12 Mission Street", "Bluebird Bakery"),
    (
        16,
        27,
        "BUSINESS",
        "12 Mission Street",
        "Kestrel Architects",
    ),
    (23, 42, "PERSONAL", "12 Mission Street", "Ocean Beach"),
    (30, 19, "BUSINESS", "12 Mission Street", "Northside Yoga"),
];
/// The deduction for a business mile, in cents.
const CENTS_PER_MILE: i64 = 70;

fn vehicle(book: &Book) -> Value {
    let vehicle = json!({
        "id": id_of(book.business, "vehicle", 0),
        "business_id": book.business,
        "external_id": null,
        "make_and_model": "Ford Transit Connect",
        "year": 2021,
        "license_plate": "DEMO 1",
        "vin": null,
        "description": null,
        "deleted_at": null,
        "archived_at": null,
        "is_primary": true,
        "is_eligible_for_deletion": false,
    });
    with_times(vehicle, book.first.first_day())
}

pub(crate) fn vehicles(book: &Book) -> Value {
    let vehicles: Vec<Value> = book
        .has_demo_data
        .then(|| vehicle(book))
        .into_iter()
        .collect();
    json!({"data": vehicles})
}

pub(crate) fn trips(book: &Book) -> Value {
    let trips = (0_i32..).zip(TRIPS).filter(|_| book.has_demo_data);
    let trip = |(at, (age, miles, purpose, from, to)): (i32, (i64, i64, &str, &str, &str))| {
        let day = plus_days(book.today, -age);
        let trip = json!({
            "id": id_of(book.business, "trip", at),
            "vehicle": vehicle(book),
            "external_id": null,
            "distance": i64::to_string(&miles),
            "distance_source": "MANUAL",
            "trip_date": day_text(day),
            "purpose": purpose,
            "start_address": from,
            "end_address": to,
            "description": null,
            "deleted_at": null,
        });
        with_times(trip, day)
    };
    one_page(trips.map(trip).collect())
}

/// Miles and trips of one period, by purpose.
fn stats(book: &Book, is_in: impl Fn(YearMonth) -> bool) -> Value {
    let sum = |wanted: Option<&str>| {
        TRIPS
            .iter()
            .filter(|_| book.has_demo_data)
            .filter(|(age, ..)| is_in(YearMonth::of(plus_days(book.today, -age))))
            .filter(|(_, _, purpose, ..)| wanted.is_none_or(|wanted| wanted == *purpose))
            .fold((0, 0), |(trips, all), (_, miles, ..)| {
                (trips + 1, all + miles)
            })
    };
    let (trips, miles) = sum(None);
    let (business_trips, business) = sum(Some("BUSINESS"));
    let (personal_trips, personal) = sum(Some("PERSONAL"));
    let (uncategorized_trips, uncategorized) = sum(Some("UNREVIEWED"));
    json!({
        "miles": i64::to_string(&miles),
        "business_miles": i64::to_string(&business),
        "personal_miles": i64::to_string(&personal),
        "uncategorized_miles": i64::to_string(&uncategorized),
        "estimated_deduction": business * CENTS_PER_MILE,
        "trips": trips,
        "business_trips": business_trips,
        "personal_trips": personal_trips,
        "uncategorized_trips": uncategorized_trips,
    })
}

pub(crate) fn summary(book: &Book) -> Value {
    let with = |mut stats: Value, more: &[(&str, Value)]| {
        if let Some(fields) = stats.as_object_mut() {
            for (name, value) in more {
                fields.insert((*name).to_owned(), value.clone());
            }
        }
        stats
    };
    let year = |year: i32| {
        let january = YearMonth::new(year, 1);
        let months: Vec<Value> = january
            .until(january.plus(11))
            .map(|month| {
                with(
                    stats(book, |other| other == month),
                    &[
                        ("month", month.month().into()),
                        ("deduction_rate", CENTS_PER_MILE.into()),
                    ],
                )
            })
            .collect();
        with(
            stats(book, |other| other.year() == year),
            &[("year", year.into()), ("months", months.into())],
        )
    };
    let this = book.today.year();
    let years: Vec<Value> = if book.has_demo_data {
        vec![year(this), year(this.saturating_sub(1))]
    } else {
        Vec::new()
    };
    json!({"data": {"type": "Mileage_Summary", "years": years}})
}
