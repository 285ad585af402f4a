//! Services, and the time spent on them.

use serde_json::{Value, json};

use crate::data::book::Book;
use crate::data::calendar::{day_text, plus_days};
use crate::data::entries::id_of;
use crate::data::json::{one_page, with_times};
use crate::data::people::customer;

/// Name, and rate in cents per hour.
const SERVICES: [(&str, i64); 3] = [
    ("Brand design", 12_000),
    ("Web development", 14_500),
    ("Consulting", 16_000),
];
/// Age in days, minutes, and number of the service of each entry.
const ENTRIES: [(i64, i64, i32); 7] = [
    (0, 95, 0),
    (1, 240, 1),
    (1, 60, 2),
    (2, 180, 1),
    (3, 150, 0),
    (4, 45, 2),
    (6, 210, 1),
];

fn service(book: &Book, number: i32) -> Value {
    let (name, rate) = usize::try_from(number)
        .ok()
        .and_then(|at| SERVICES.get(at))
        .copied()
        .unwrap_or_default();
    json!({
        "id": id_of(book.business, "service", number),
        "name": name,
        "billable_rate_per_hour_amount": rate,
        "archived_at": null,
    })
}

pub(crate) fn services(book: &Book) -> Value {
    let services = (0_i32..).zip(SERVICES).filter(|_| book.has_demo_data);
    one_page(services.map(|(at, _)| service(book, at)).collect())
}

pub(crate) fn entries(book: &Book) -> Value {
    let entries = (0_i32..).zip(ENTRIES).filter(|_| book.has_demo_data);
    let entry = |(at, (age, minutes, of)): (i32, (i64, i64, i32))| {
        let day = plus_days(book.today, -age);
        let entry = json!({
            "id": id_of(book.business, "time entry", at),
            "business_id": book.business,
            "external_id": null,
            "date": day_text(day),
            "duration_minutes": minutes,
            "billable": true,
            "description": "Work for the customer",
            "memo": null,
            "metadata": null,
            "customer": customer(book, at),
            "service": service(book, of),
            "invoice_line_item": null,
            "status": "COMPLETED",
            "stopped_at": null,
            "deleted_at": null,
        });
        with_times(entry, day)
    };
    one_page(entries.map(entry).collect())
}

pub(crate) fn active() -> Value {
    json!({"data": {"type": "Active_Time_Tracker", "time_entry": null}})
}

pub(crate) fn summary(book: &Book) -> Value {
    let groups: Vec<(i64, i64, Value)> = (0_i32..)
        .zip(SERVICES)
        .filter(|_| book.has_demo_data)
        .map(|(number, (name, rate))| {
            let entries = ENTRIES.iter().filter(|(_, _, of)| *of == number);
            let minutes: i64 = entries.clone().map(|(_, minutes, _)| minutes).sum();
            let cents = minutes * rate / 60;
            let group = json!({
                "id": id_of(book.business, "service", number),
                "name": name,
                "total_minutes": minutes,
                "total_billable_minutes": minutes,
                "total_billable_amount": cents,
                "entry_count": entries.count(),
            });
            (minutes, cents, group)
        })
        .collect();
    let minutes: i64 = groups.iter().map(|(minutes, ..)| minutes).sum();
    let cents: i64 = groups.iter().map(|(_, cents, _)| cents).sum();
    json!({"data": {
        "type": "Time_Tracking_Summary",
        "total_minutes": minutes,
        "total_billable_minutes": minutes,
        "total_billable_amount": cents,
        "by_service": groups.into_iter().map(|(_, _, group)| group).collect::<Vec<_>>(),
    }})
}
