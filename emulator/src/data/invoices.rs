//! Invoices and their sums.

use serde_json::{Value, json};
use time::Date;

use crate::data::book::Book;
use crate::data::calendar::{noon_text, plus_days};
use crate::data::entries::id_of;
use crate::data::json::page;
use crate::data::people::customer;
use crate::data::request::DataRequest;

/// Status, age in days, days until due, and amount in dollars of each invoice.
const INVOICES: [(&str, i64, i64, i64); 7] = [
    ("SAVED", 4, 30, 3_450),
    ("SAVED", 11, 30, 5_200),
    ("DRAFT", 1, 30, 1_800),
    ("PAID", 32, 30, 6_100),
    ("SAVED", 48, 30, 2_275),
    ("PAID", 63, 30, 4_980),
    ("PAID", 91, 30, 3_300),
];

struct Invoice {
    number: i32,
    status: &'static str,
    sent: Date,
    due: Date,
    cents: i64,
}

fn all(book: &Book) -> impl Iterator<Item = Invoice> {
    let today = book.today;
    (0_i32..).zip(INVOICES).filter(|_| book.has_demo_data).map(
        move |(number, (status, age, days, dollars))| {
            let sent = plus_days(today, -age);
            Invoice {
                number,
                status,
                sent,
                due: plus_days(sent, days),
                cents: dollars * 100,
            }
        },
    )
}

pub(crate) fn list(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let wanted = request.parameter("status").map(str::to_owned);
    let items = all(book)
        .filter(|invoice| {
            wanted
                .as_deref()
                .is_none_or(|wanted| wanted.split(',').any(|status| status == invoice.status))
        })
        .map(|invoice| body(book, &invoice));
    page(
        items.collect(),
        request.number("cursor").unwrap_or(0),
        request.number("limit").unwrap_or(200),
    )
}

fn body(book: &Book, invoice: &Invoice) -> Value {
    let id = id_of(book.business, "invoice", invoice.number);
    let customer = customer(book, invoice.number);
    let name = customer.get("company_name").cloned();
    let is_paid = invoice.status == "PAID";
    let is_draft = invoice.status == "DRAFT";
    json!({
        "type": "Invoice",
        "id": id,
        "business_id": book.business,
        "external_id": null,
        "status": invoice.status,
        "sent_at": (!is_draft).then(|| noon_text(invoice.sent)),
        "due_at": noon_text(invoice.due),
        "paid_at": is_paid.then(|| noon_text(invoice.due.min(book.today))),
        "voided_at": null,
        "invoice_number": format!("{}", 1_042 - invoice.number),
        "recipient_name": name,
        "customer": customer,
        "line_items": [{
            "id": id_of(book.business, "invoice line", invoice.number),
            "external_id": null,
            "invoice_id": id,
            "description": "Consulting",
            "unit_price": invoice.cents,
            "quantity": "1",
            "subtotal": invoice.cents,
            "discount_amount": 0,
            "sales_taxes_total": 0,
            "total_amount": invoice.cents,
            "memo": null,
            "transaction_tags": [],
            "account_identifier": null,
        }],
        "subtotal": invoice.cents,
        "additional_discount": 0,
        "additional_sales_taxes_total": 0,
        "total_amount": invoice.cents,
        "outstanding_balance": if is_paid { 0 } else { invoice.cents },
        "imported_at": noon_text(invoice.sent),
        "updated_at": noon_text(invoice.sent),
        "memo": null,
        "custom_payment_instructions": null,
    })
}

pub(crate) fn summary(book: &Book) -> Value {
    let open = || all(book).filter(|invoice| invoice.status == "SAVED");
    let sum = |invoices: &mut dyn Iterator<Item = Invoice>| {
        invoices.fold((0, 0), |(count, cents), invoice| {
            (count + 1, cents + invoice.cents)
        })
    };
    let (overdue_count, overdue) = sum(&mut open().filter(|invoice| invoice.due < book.today));
    let (sent_count, sent) = sum(&mut open().filter(|invoice| invoice.due >= book.today));
    let (_, paid) = sum(&mut all(book).filter(|invoice| invoice.status == "PAID"));
    json!({"data": {
        "type": "Invoice_Summary_Stats",
        "invoices": {
            "overdue_count": overdue_count,
            "overdue_total": overdue,
            "sent_count": sent_count,
            "sent_total": sent,
        },
        "invoice_payments": {"sum_total": paid},
    }})
}
