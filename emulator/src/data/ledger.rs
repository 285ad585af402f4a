//! The general ledger: balances and entries.

use serde_json::{Value, json};

use crate::data::accounts::{ACCOUNTS, Account};
use crate::data::book::Book;
use crate::data::calendar::noon_text;
use crate::data::entries::{Entry, id_of};
use crate::data::json::{ledger_account, page};
use crate::data::request::DataRequest;

pub(crate) fn balances(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let day = request.day("end_date").unwrap_or(book.today);
    let accounts: Vec<Value> = ACCOUNTS
        .into_iter()
        .filter(|_| book.has_demo_data)
        .map(|account| {
            let mut value = ledger_account(book, account);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("balance".to_owned(), book.balance(account, day).into());
                fields.insert("is_deletable".to_owned(), false.into());
                fields.insert("sub_accounts".to_owned(), json!([]));
            }
            value
        })
        .collect();
    json!({"data": {"type": "Ledger_Balances", "accounts": accounts}})
}

pub(crate) fn entries(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let items = book.listed().map(|entry| ledger_entry(book, entry));
    page(
        items.collect(),
        request.number("cursor").unwrap_or(0),
        request.number("limit").unwrap_or(200),
    )
}

pub(crate) fn entry(request: &DataRequest<'_>) -> Option<Value> {
    let book = request.book;
    let id = request.resource.id?;
    let entry = book
        .entries
        .iter()
        .find(|entry| entry.id.to_string() == id)?;
    Some(json!({"data": ledger_entry(book, entry)}))
}

/// The debit and credit lines of an entry: account, cents, whether it is a credit.
fn both_sides(entry: &Entry) -> impl Iterator<Item = (&'static Account, i64, bool)> {
    let bank = (entry.bank, entry.cents, !entry.is_money_in);
    let is_credit = entry.is_money_in;
    entry
        .lines
        .iter()
        .map(move |line| (line.account, line.cents, is_credit))
        .chain(std::iter::once(bank))
}

const fn direction(is_credit: bool) -> &'static str {
    if is_credit { "CREDIT" } else { "DEBIT" }
}

fn source(entry: &Entry) -> Value {
    json!({
        "type": "Transaction_Ledger_Entry_Source",
        "transaction_id": entry.id,
        "external_id": null,
        "account_name": entry.bank.display_name,
        "date": noon_text(entry.day),
        "amount": entry.cents,
        "direction": direction(entry.is_money_in),
        "counterparty": entry.counterparty,
        "display_description": entry.counterparty,
        "entity_name": "Transaction",
    })
}

fn ledger_entry(book: &Book, entry: &Entry) -> Value {
    let time = noon_text(entry.day);
    let lines: Vec<Value> = both_sides(entry)
        .enumerate()
        .map(|(at, (account, cents, is_credit))| {
            json!({
                "id": format!("{}-{at}", entry.id),
                "entry_id": entry.id,
                "account": ledger_account(book, account),
                "amount": cents,
                "direction": direction(is_credit),
                "entry_at": time,
                "createdAt": time,
                "entry_reversal_of": null,
                "entry_reversed_by": null,
            })
        })
        .collect();
    json!({
        "type": "Ledger_Entry",
        "id": entry.id,
        "business_id": book.business,
        "ledger_id": id_of(book.business, "ledger", 0),
        "entry_number": null,
        "agent": "LAYER_AUTO",
        "entry_type": if entry.is_money_in { "REVENUE" } else { "EXPENSE" },
        "date": time,
        "entry_at": time,
        "reversal_of_id": null,
        "reversal_id": null,
        "line_items": lines,
        "source": source(entry),
        "transaction_tags": [],
        "memo": null,
        "metadata": null,
        "reference_number": null,
    })
}

/// The lines of one account, newest first.
pub(crate) fn account_lines(request: &DataRequest<'_>) -> Option<Value> {
    let book = request.book;
    let account = book.account(request.resource.id?);
    let mut lines = Vec::new();
    if let Some(account) = account.filter(|_| book.has_demo_data) {
        let mut balance = book.balance(account, book.first.first_day());
        // The balance of the first day contains the entries of that day.
        balance -= book.movement(account, book.first.first_day(), book.first.first_day());
        for entry in &book.entries {
            for (at, (own, cents, is_credit)) in both_sides(entry).enumerate() {
                if own != account {
                    continue;
                }
                let increases = is_credit == account.kind.is_credit();
                balance += if increases { cents } else { -cents };
                lines.push(json!({
                    "id": format!("{}-{at}", entry.id),
                    "entry_id": entry.id,
                    "entry_number": null,
                    "account": ledger_account(book, account),
                    "amount": cents,
                    "direction": direction(is_credit),
                    "date": noon_text(entry.day),
                    "source": source(entry),
                    "entry_reversal_of": null,
                    "entry_reversed_by": null,
                    "is_reversed": false,
                    "running_balance": balance,
                    "tags": [],
                }));
            }
        }
    }
    lines.reverse();
    Some(page(
        lines,
        request.number("cursor").unwrap_or(0),
        request.number("limit").unwrap_or(200),
    ))
}
