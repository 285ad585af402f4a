//! Envelopes and parts that several bodies share.

use serde_json::{Value, json};
use time::Date;
use uuid::Uuid;

use crate::data::accounts::Account;
use crate::data::book::Book;

/// A page of a list, as `offset` and `limit` ask.
pub(crate) fn page(items: Vec<Value>, offset: usize, limit: usize) -> Value {
    let total = items.len();
    let shown: Vec<Value> = items.into_iter().skip(offset).take(limit).collect();
    let end = offset.saturating_add(shown.len());
    let more = end < total;
    json!({
        "data": shown,
        "meta": {"pagination": {
            "cursor": more.then(|| end.to_string()),
            "has_more": more,
            "total_count": total,
        }},
    })
}

/// A whole list in one page.
pub(crate) fn one_page(items: Vec<Value>) -> Value {
    page(items, 0, usize::MAX)
}

/// A line of a report, with the lines that it is the sum of.
pub(crate) fn line_item(name: &str, display_name: &str, cents: i64, lines: Vec<Value>) -> Value {
    json!({
        "name": name,
        "display_name": display_name,
        "value": cents,
        "is_contra": false,
        "line_items": lines,
    })
}

/// The line of an account in a report.
pub(crate) fn account_line(account: &Account, cents: i64) -> Value {
    line_item(account.name, account.display_name, cents, Vec::new())
}

/// An account as the ledger describes it.
pub(crate) fn ledger_account(book: &Book, account: &Account) -> Value {
    let (kind, kind_name) = account.kind.ledger_type();
    let (subtype, subtype_name) = account.subtype;
    json!({
        "id": book.account_id(account),
        "name": account.display_name,
        "stable_name": account.name,
        "account_number": account.number,
        "normality": if account.kind.is_credit() { "CREDIT" } else { "DEBIT" },
        "account_type": {"value": kind, "display_name": kind_name},
        "account_subtype": {"value": subtype, "display_name": subtype_name},
    })
}

/// Creation and change times of an object.
pub(crate) fn with_times(mut object: Value, day: Date) -> Value {
    let time = crate::data::calendar::noon_text(day);
    if let Some(fields) = object.as_object_mut() {
        fields.insert("created_at".to_owned(), time.clone().into());
        fields.insert("updated_at".to_owned(), time.into());
    }
    object
}

/// A customer or vendor, which have the same fields.
pub(crate) fn company(id: Uuid, name: &str, email: &str) -> Value {
    json!({
        "id": id,
        "external_id": null,
        "individual_name": null,
        "company_name": name,
        "email": email,
        "mobile_phone": null,
        "office_phone": null,
        "address_string": null,
        "status": "ACTIVE",
        "memo": null,
    })
}
