//! Customers, vendors and counterparties.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::data::book::Book;
use crate::data::entries::id_of;
use crate::data::json::{company, one_page};

const CUSTOMERS: [(&str, &str); 4] = [
    ("Harbor Dental Group", "office@harbordental.example"),
    ("Bluebird Bakery", "hello@bluebirdbakery.example"),
    ("Northside Yoga", "studio@northsideyoga.example"),
    ("Kestrel Architects", "accounts@kestrel.example"),
];
const VENDORS: [(&str, &str); 4] = [
    ("Mission Street Properties", "leasing@missionstreet.example"),
    ("Summit Paper Supply", "orders@summitpaper.example"),
    ("J. Alvarez Design", "j@alvarezdesign.example"),
    ("Hartwell Insurance", "service@hartwell.example"),
];

fn customer_id(book: &Book, number: i32) -> Uuid {
    id_of(book.business, "customer", number)
}

/// A customer; numbers beyond the last one begin again.
pub(crate) fn customer(book: &Book, number: i32) -> Value {
    let at = usize::try_from(number).unwrap_or(0) % CUSTOMERS.len();
    let (name, email) = CUSTOMERS.get(at).copied().unwrap_or_default();
    company(
        customer_id(book, i32::try_from(at).unwrap_or(0)),
        name,
        email,
    )
}

pub(crate) fn customers(book: &Book) -> Value {
    let customers = (0_i32..).zip(&CUSTOMERS).filter(|_| book.has_demo_data);
    one_page(customers.map(|(at, _)| customer(book, at)).collect())
}

pub(crate) fn vendors(book: &Book) -> Value {
    let vendors = (0_i32..).zip(VENDORS).filter(|_| book.has_demo_data);
    let vendor = |(at, (name, email))| company(id_of(book.business, "vendor", at), name, email);
    one_page(vendors.map(vendor).collect())
}

pub(crate) fn counterparties(book: &Book) -> Value {
    let mut names: Vec<_> = book.listed().map(|entry| entry.counterparty).collect();
    names.sort_unstable();
    names.dedup();
    let counterparty = |(at, name): (i32, &str)| {
        json!({
            "id": id_of(book.business, "counterparty", at),
            "name": name,
            "website": null,
            "logo": null,
            "mccs": [],
        })
    };
    one_page((0_i32..).zip(names).map(counterparty).collect())
}
