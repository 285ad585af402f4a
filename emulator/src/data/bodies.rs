//! The body of each resource.

use serde_json::Value;

use crate::data::book::Choices;
use crate::data::entries::Line;
use crate::data::request::DataRequest;
use crate::data::{
    invoices, ledger, mileage, people, setup, statements, taxes, time_tracking, transactions,
    unified,
};
use crate::ids::parse_uuid;

/// The body of a resource. `None` if its `{id}` does not exist.
pub(crate) fn body(request: &DataRequest<'_>, chosen: &Choices) -> Option<Value> {
    let book = request.book;
    Some(match request.resource.name {
        "accounting-config" => setup::accounting_config(book),
        "bank-accounts" => transactions::bank_accounts(request),
        "bank-transactions" => transactions::list(request),
        "bank-transactions/{id}" | "bank-transactions/{id}/categorize" => {
            let id = request.resource.id?;
            let lines = parse_uuid(id).and_then(|id| chosen.get(&id));
            transactions::detail(book, id, lines.map(Vec::<Line>::as_slice))?
        }
        "bank-transactions/{id}/documents" => transactions::documents(),
        "bookkeeping/config" => setup::bookkeeping_config(book),
        "bookkeeping/periods" => setup::bookkeeping_periods(),
        "bookkeeping/status" => setup::bookkeeping_status(),
        "call-bookings" | "categorization-rules" => setup::nothing(),
        "catalog/services" => time_tracking::services(book),
        "categories" => transactions::categories(request),
        "counterparties" => people::counterparties(book),
        "custom-accounts" => setup::custom_accounts(),
        "customers" => people::customers(book),
        "invoices" => invoices::list(request),
        "invoices/summary-stats" => invoices::summary(book),
        "ledger/accounts/{id}/lines" => ledger::account_lines(request)?,
        "ledger/balances" => ledger::balances(request),
        "ledger/entries" => ledger::entries(request),
        "ledger/entries/{id}" => ledger::entry(request)?,
        "mileage/summary" => mileage::summary(book),
        "mileage/trips" => mileage::trips(book),
        "mileage/vehicles" => mileage::vehicles(book),
        "reports/balance-sheet" => statements::balance_sheet(request),
        "reports/cashflow-statement" => statements::cash_flow(request),
        "reports/config" => unified::config(),
        "reports/profit-and-loss" => statements::profit_and_loss(request),
        "reports/profit-and-loss-summaries" => statements::summaries(request),
        "reports/profit-and-loss/lines" => statements::profit_and_loss_lines(request),
        "reports/unified/{id}" => unified::report(request)?,
        "stripe/status" => setup::stripe_status(),
        "tags/dimensions" => setup::tag_dimensions(),
        "tax-estimates/banner" => taxes::banner(request),
        "tax-estimates/details" => taxes::details(request),
        "tax-estimates/payments" => taxes::payments(request),
        "tax-estimates/profile" => taxes::profile(book),
        "tax-estimates/summary" => taxes::summary(request),
        "time-tracking/time-entries" => time_tracking::entries(book),
        "time-tracking/time-entries/summary" => time_tracking::summary(book),
        "time-tracking/tracker/active" => time_tracking::active(),
        "vendors" => people::vendors(book),
        _ => return None,
    })
}
