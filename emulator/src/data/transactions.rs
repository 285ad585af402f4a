//! Bank transactions, their categories, and the accounts at the bank.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::data::accounts::{ACCOUNTS, Account, CARD, CHECKING, EXCLUDED, Kind, UNCATEGORIZED};
use crate::data::book::Book;
use crate::data::calendar::noon_text;
use crate::data::entries::{Entry, Line, id_of};
use crate::data::json::page;
use crate::data::request::DataRequest;
use crate::ids::parse_uuid;

const DEFAULT_LIMIT: usize = 200;
/// The bank that both accounts are linked to.
const BANK: &str = "Community Bank";

/// The last digits of an account at the bank.
fn mask(account: &Account) -> &'static str {
    if account == &CARD { "7301" } else { "4417" }
}

pub(crate) fn bank_accounts(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let account = |account: &'static Account| {
        let cents = book.balance(account, book.today);
        json!({
            "id": id_of(book.business, "bank account", i32::from(account == &CARD)),
            "account_name": account.display_name,
            "institution": {"name": BANK, "logo": null},
            "notify_when_disconnected": true,
            "is_disconnected": false,
            "external_accounts": [{
                "id": external_account_id(book, account),
                "external_account_source": "PLAID",
                "external_account_name": account.display_name,
                "mask": mask(account),
                "institution": {"name": BANK, "logo": null},
                "notifications": [],
                "connection_needs_repair_as_of": null,
                "reconnect_with_new_credentials": false,
                "connection_external_id": "demo-connection",
                "user_created": false,
                "is_syncing": false,
            }],
            "latest_balance_timestamp": {"balance": cents},
            "current_ledger_balance": cents,
            "mask": mask(account),
            "notifications": [],
        })
    };
    let accounts: Vec<Value> = if book.has_demo_data {
        vec![account(&CHECKING), account(&CARD)]
    } else {
        Vec::new()
    };
    json!({"data": accounts})
}

fn external_account_id(book: &Book, account: &Account) -> Uuid {
    id_of(
        book.business,
        "external account",
        i32::from(account == &CARD),
    )
}

pub(crate) fn list(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let text = request.parameter("q").unwrap_or_default().to_lowercase();
    let (from, to) = (request.day("start_date"), request.day("end_date"));
    let wanted = |entry: &&Entry| {
        let categorized = match request.parameter("categorized") {
            Some("true") => entry.is_categorized,
            Some("false") => !entry.is_categorized,
            _ => true,
        };
        let direction = match request.parameter("direction") {
            Some("INFLOW" | "CREDIT" | "MONEY_IN") => entry.is_money_in,
            Some("OUTFLOW" | "DEBIT" | "MONEY_OUT") => !entry.is_money_in,
            _ => true,
        };
        categorized
            && direction
            && from.is_none_or(|from| entry.day >= from)
            && to.is_none_or(|to| entry.day <= to)
            && entry.counterparty.to_lowercase().contains(&text)
    };
    let mut entries: Vec<&Entry> = book.listed().filter(wanted).collect();
    if request.parameter("sort_order") == Some("ASC") {
        entries.reverse();
    }
    let items = entries.into_iter().map(|entry| transaction(book, entry));
    page(
        items.collect(),
        request.number("cursor").unwrap_or(0),
        request.number("limit").unwrap_or(DEFAULT_LIMIT),
    )
}

/// One transaction. Without demo data every UUID is one, as every UUID is a
/// business: it has a category if somebody has set one.
pub(crate) fn detail(book: &Book, id: &str, chosen: Option<&[Line]>) -> Option<Value> {
    let id = parse_uuid(id)?;
    if book.has_demo_data {
        let entry = book.entries.iter().find(|entry| entry.id == id)?;
        return Some(json!({"data": transaction(book, entry)}));
    }
    let cents = EXAMPLE_CENTS;
    let uncategorized = Line {
        account: &UNCATEGORIZED,
        cents,
    };
    let entry = Entry {
        id,
        day: book.today,
        bank: &CHECKING,
        is_money_in: false,
        cents,
        counterparty: "Example transaction",
        usual: &UNCATEGORIZED,
        is_for_review: true,
        is_categorized: chosen.is_some(),
        lines: chosen.map_or_else(|| vec![uncategorized], <[Line]>::to_vec),
    };
    Some(json!({"data": transaction(book, &entry)}))
}

/// The amount of a transaction without demo data.
const EXAMPLE_CENTS: i64 = 1_000;

pub(crate) fn documents() -> Value {
    json!({"data": {"type": "Document_Urls", "documentUrls": []}})
}

fn transaction(book: &Book, entry: &Entry) -> Value {
    let category = match entry.lines.as_slice() {
        _ if !entry.is_categorized => Value::Null,
        [line] => category_of(book, line.account),
        lines => split(book, entry, lines),
    };
    let is_split = entry.is_categorized && entry.lines.len() > 1;
    let suggestions: Vec<Value> = if entry.usual == &UNCATEGORIZED {
        Vec::new()
    } else {
        let same_kind = |account: &&Account| account.kind == entry.usual.kind;
        let others = ACCOUNTS
            .into_iter()
            .filter(same_kind)
            .filter(|account| *account != entry.usual);
        std::iter::once(entry.usual)
            .chain(others)
            .take(3)
            .map(|account| category_of(book, account))
            .collect()
    };
    json!({
        "type": "Bank_Transaction",
        "id": entry.id,
        "business_id": book.business,
        "source": "PLAID",
        "source_transaction_id": format!("demo-{}", entry.id.simple()),
        "source_account_id": format!("demo-account-{}", mask(entry.bank)),
        "external_account_id": external_account_id(book, entry.bank),
        "imported_at": noon_text(entry.day),
        "date": noon_text(entry.day),
        "direction": if entry.is_money_in { "CREDIT" } else { "DEBIT" },
        "amount": entry.cents,
        "counterparty_name": entry.counterparty,
        "description": entry.counterparty,
        "account_name": entry.bank.display_name,
        "account_mask": mask(entry.bank),
        "account_institution": {"name": BANK, "logo": null},
        "categorization_status": match (entry.is_categorized, is_split) {
            (false, _) => "READY_FOR_INPUT",
            (true, true) => "SPLIT",
            (true, false) => "CATEGORIZED",
        },
        "category": category,
        "categorization_flow": {
            "type": if entry.is_categorized { "AUTO" } else { "ASK_FROM_SUGGESTIONS" },
            "category": category,
            "suggestions": suggestions,
        },
        "tax_code": null,
        "tax_options": null,
        "suggested_matches": [],
        "match": null,
        "transaction_tags": [],
        "document_ids": [],
        "memo": null,
        "reference_number": null,
        "metadata": null,
        "customer": null,
        "vendor": null,
        "update_categorization_rules_suggestion": null,
    })
}

fn category_of(book: &Book, account: &Account) -> Value {
    if account == &EXCLUDED {
        return json!({
            "type": "Exclusion",
            "id": "PERSONAL",
            "category": "PERSONAL",
            "display_name": "Personal",
        });
    }
    json!({
        "type": "Account",
        "id": book.account_id(account),
        "stable_name": account.name,
        "category": account.name,
        "display_name": account.display_name,
    })
}

fn split(book: &Book, entry: &Entry, lines: &[Line]) -> Value {
    let part = |line: &Line| {
        let kind = if line.account == &EXCLUDED {
            "ExclusionSplitEntry"
        } else {
            "AccountSplitEntry"
        };
        json!({
            "type": kind,
            "amount": line.cents,
            "category": category_of(book, line.account),
            "tax_code": null,
            "tags": [],
        })
    };
    json!({
        "type": "Split_Categorization",
        "id": entry.id,
        "category": "SPLIT",
        "display_name": "Split",
        "entries": lines.iter().map(part).collect::<Vec<_>>(),
    })
}

pub(crate) fn categories(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let nested = |account: &Account| {
        json!({
            "type": "AccountNested",
            "id": book.account_id(account),
            "stable_name": account.name,
            "category": account.name,
            "display_name": account.display_name,
        })
    };
    let group = |name: &str, display_name: &str, kinds: &[Kind]| {
        let members: Vec<Value> = ACCOUNTS
            .into_iter()
            .filter(|account| kinds.contains(&account.kind) && *account != &UNCATEGORIZED)
            .filter(|account| *account != &EXCLUDED)
            .map(nested)
            .collect();
        json!({
            "type": "AccountNested",
            "id": name,
            "stable_name": name,
            "category": name,
            "display_name": display_name,
            "subCategories": members,
        })
    };
    let categories: Vec<Value> = if book.has_demo_data {
        vec![
            group("REVENUE", "Revenue", &[Kind::Income]),
            group("COGS", "Cost of goods sold", &[Kind::CostOfGoods]),
            group("EXPENSES", "Expenses", &[Kind::Expense, Kind::Taxes]),
            group(
                "BALANCE_SHEET",
                "Assets, loans and equity",
                &[Kind::Asset, Kind::Liability, Kind::Equity],
            ),
            json!({
                "type": "ExclusionNested",
                "id": "PERSONAL",
                "category": "PERSONAL",
                "display_name": "Personal",
            }),
        ]
    } else {
        Vec::new()
    };
    json!({"data": {"type": "Category_List", "categories": categories}})
}

/// The lines of a `PUT …/categorize`. The error says what is not valid.
pub(crate) fn parse_categorization(
    book: &Book,
    id: Uuid,
    body: &Value,
) -> Result<Vec<Line>, &'static str> {
    let entry = book.entries.iter().find(|entry| entry.id == id);
    let cents = entry.map_or(EXAMPLE_CENTS, |entry| entry.cents);
    match body.get("type").and_then(Value::as_str) {
        Some("Category") => {
            let account = classified(book, body.get("category"))?;
            Ok(vec![Line { account, cents }])
        }
        Some("Split") => {
            let entries = body.get("entries").and_then(Value::as_array);
            let lines = entries.into_iter().flatten().map(|part| {
                let amount = part.get("amount").and_then(Value::as_i64);
                Ok(Line {
                    account: classified(book, part.get("category"))?,
                    cents: amount
                        .ok_or("The amount of a split must be a whole number of cents.")?,
                })
            });
            let lines = lines.collect::<Result<Vec<_>, &'static str>>()?;
            let total: i64 = lines.iter().map(|line| line.cents).sum();
            if lines.len() < 2 || total != cents {
                return Err("A split must have two entries or more, with the amount as their sum.");
            }
            Ok(lines)
        }
        _ => Err("The type must be Category or Split."),
    }
}

/// The account of a category in a request.
fn classified(book: &Book, category: Option<&Value>) -> Result<&'static Account, &'static str> {
    let field = |name: &str| category?.get(name)?.as_str();
    let account = match field("type") {
        Some("Exclusion") => Some(&EXCLUDED),
        Some("StableName") => field("stable_name").and_then(|name| book.account(name)),
        Some("AccountId") => field("id").and_then(|id| book.account(id)),
        _ => None,
    };
    account.ok_or("The category is not one of the business's categories.")
}
