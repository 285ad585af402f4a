//! Profit and loss, balance sheet and statement of cash flow.

use serde_json::{Value, json};
use time::Date;

use crate::data::accounts::{
    ACCOUNTS, CARD, CHECKING, EQUIPMENT, EXCLUDED, Kind, LOAN, UNCATEGORIZED,
};
use crate::data::book::Book;
use crate::data::calendar::{YearMonth, noon_text};
use crate::data::json::{account_line, ledger_account, line_item};
use crate::data::request::DataRequest;

pub(crate) fn profit_and_loss(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let (from, to) = request.period();
    let section = |name: &str, display_name: &str, kind: Kind| {
        let accounts = ACCOUNTS.into_iter().filter(|account| account.kind == kind);
        let lines = accounts
            .map(|account| (account, book.movement(account, from, to)))
            .filter(|(_, cents)| *cents != 0)
            .map(|(account, cents)| account_line(account, cents))
            .collect();
        line_item(name, display_name, book.total(kind, from, to), lines)
    };
    let net_profit = book.net_income(from, to);
    let gross_profit = book.total(Kind::Income, from, to) - book.total(Kind::CostOfGoods, from, to);
    let review = book.to_review(from, to);
    json!({"data": {
        "type": "Profit_And_Loss",
        "business_id": book.business,
        "start_date": noon_text(from),
        "end_date": noon_text(to),
        "fully_categorized": review.count == 0,
        "income": section("INCOME", "Income", Kind::Income),
        "cost_of_goods_sold": section("COGS", "Cost of Goods Sold", Kind::CostOfGoods),
        "gross_profit": gross_profit,
        "expenses": section("EXPENSES", "Expenses", Kind::Expense),
        "profit_before_taxes": net_profit + book.total(Kind::Taxes, from, to),
        "taxes": section("TAXES", "Taxes", Kind::Taxes),
        "net_profit": net_profit,
        "custom_line_items": null,
        "other_outflows": null,
        "personal_expenses": null,
        "uncategorized_inflows":
            line_item("UNCATEGORIZED_INFLOWS", "Uncategorized inflows", review.money_in, vec![]),
        "uncategorized_outflows":
            line_item("UNCATEGORIZED_OUTFLOWS", "Uncategorized outflows", review.money_out, vec![]),
    }})
}

pub(crate) fn summaries(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let this = YearMonth::of(book.today);
    let month = |year: &str, month: &str| {
        Some(YearMonth::new(
            request.number(year)?,
            request.number(month)?,
        ))
    };
    let first = month("start_year", "start_month").unwrap_or(book.first);
    let last = month("end_year", "end_month").unwrap_or(this);
    let months: Vec<Value> = if book.has_demo_data {
        first
            .until(last)
            .map(|month| summary(book, month))
            .collect()
    } else {
        Vec::new()
    };
    json!({"data": {"type": "Profit_And_Loss_Summaries", "months": months}})
}

fn summary(book: &Book, month: YearMonth) -> Value {
    let (from, to) = (month.first_day(), month.last_day());
    let income = book.total(Kind::Income, from, to);
    let goods = book.total(Kind::CostOfGoods, from, to);
    let operating = book.total(Kind::Expense, from, to);
    let taxes = book.total(Kind::Taxes, from, to);
    let review = book.to_review(from, to);
    let entries = i64::try_from(book.between(from, to).count()).unwrap_or(0);
    json!({
        "year": month.year(),
        "month": month.month(),
        "income": income,
        "costOfGoodsSold": goods,
        "grossProfit": income - goods,
        "operatingExpenses": operating,
        "profitBeforeTaxes": income - goods - operating,
        "taxes": taxes,
        "netProfit": income - goods - operating - taxes,
        "fullyCategorized": review.count == 0,
        "totalExpenses": goods + operating + taxes,
        "uncategorizedInflows": review.money_in,
        "uncategorizedOutflows": review.money_out,
        "uncategorized_transactions": review.count,
        "categorized_transactions": entries - review.count,
    })
}

/// The entries behind a line of the profit and loss report.
pub(crate) fn profit_and_loss_lines(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let (from, to) = request.period();
    let name = request.parameter("line_item_name").unwrap_or_default();
    let mut lines = Vec::new();
    for entry in book.between(from, to) {
        for (at, line) in entry.lines.iter().enumerate() {
            let is_section = match line.account.kind {
                Kind::Income => name == "INCOME",
                Kind::CostOfGoods => name == "COGS",
                Kind::Expense => name == "EXPENSES",
                Kind::Taxes => name == "TAXES",
                Kind::Asset | Kind::Liability | Kind::Equity => false,
            };
            if is_section
                || (line.account.name == name && line.account.kind.is_in_profit_and_loss())
            {
                lines.push(json!({
                    "id": format!("{}-{at}", entry.id),
                    "entry_id": entry.id,
                    "account": ledger_account(book, line.account),
                    "amount": line.cents,
                    "direction": if entry.is_money_in { "CREDIT" } else { "DEBIT" },
                    "date": noon_text(entry.day),
                }));
            }
        }
    }
    json!({"data": {
        "type": "Profit_And_Loss_Detail_Lines",
        "business_id": book.business,
        "start_date": noon_text(from),
        "end_date": noon_text(to),
        "pnl_structure_line_item_name": name,
        "reporting_basis": null,
        "pnl_structure": null,
        "tag_filter": null,
        "lines": lines,
    }})
}

/// The sections of the balance sheet at the end of a day: assets, liabilities,
/// equity.
pub(crate) fn balance_sections(book: &Book, day: Date) -> [Value; 3] {
    let section = |name: &str, display_name: &str, kind: Kind, more: Option<(Value, i64)>| {
        let mut total = 0;
        let mut lines = Vec::new();
        for account in ACCOUNTS.into_iter().filter(|account| account.kind == kind) {
            let cents = book.balance(account, day);
            total += cents;
            if cents != 0 {
                lines.push(account_line(account, cents));
            }
        }
        if let Some((line, cents)) = more {
            total += cents;
            lines.push(line);
        }
        line_item(name, display_name, total, lines)
    };
    let earned = if book.has_demo_data {
        book.net_income(book.first.first_day(), day)
    } else {
        0
    };
    let retained = line_item("RETAINED_EARNINGS", "Retained earnings", earned, Vec::new());
    [
        section("ASSETS", "Assets", Kind::Asset, None),
        section("LIABILITIES", "Liabilities", Kind::Liability, None),
        section(
            "EQUITY",
            "Equity",
            Kind::Equity,
            book.has_demo_data.then_some((retained, earned)),
        ),
    ]
}

/// The value of a report's line.
pub(crate) fn cents_of(line: &Value) -> i64 {
    line.get("value").and_then(Value::as_i64).unwrap_or(0)
}

pub(crate) fn balance_sheet(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let day = request.day("effective_date").unwrap_or(book.today);
    let [assets, liabilities, equity] = balance_sections(book, day);
    let total = cents_of(&liabilities) + cents_of(&equity);
    json!({"data": {
        "type": "Balance_Sheet",
        "business_id": book.business,
        "effective_date": noon_text(day),
        "fully_categorized": book.to_review(book.first.first_day(), day).count == 0,
        "assets": assets,
        "liabilities_and_equity": line_item(
            "LIABILITIES_AND_EQUITY",
            "Liabilities & Equity",
            total,
            vec![liabilities, equity],
        ),
    }})
}

/// The sections of the statement of cash flow: operating, investing, financing.
pub(crate) fn cash_flow_sections(book: &Book, from: Date, to: Date) -> [Value; 3] {
    let section = |name: &str, display_name: &str, lines: Vec<(&str, &str, i64)>| {
        let total = lines.iter().map(|(_, _, cents)| cents).sum();
        let lines = lines
            .into_iter()
            .filter(|(_, _, cents)| *cents != 0)
            .map(|(name, display_name, cents)| line_item(name, display_name, cents, Vec::new()))
            .collect();
        line_item(name, display_name, total, lines)
    };
    let change = |account| book.movement(account, from, to);
    [
        section(
            "OPERATING_ACTIVITIES",
            "Operating activities",
            vec![
                ("NET_INCOME", "Net income", book.net_income(from, to)),
                (
                    "CREDIT_CARD",
                    "Change in business credit card",
                    change(&CARD),
                ),
                (
                    "UNCATEGORIZED",
                    "Uncategorized transactions",
                    change(&UNCATEGORIZED),
                ),
            ],
        ),
        section(
            "INVESTING_ACTIVITIES",
            "Investing activities",
            vec![("EQUIPMENT", "Purchase of equipment", -change(&EQUIPMENT))],
        ),
        section(
            "FINANCING_ACTIVITIES",
            "Financing activities",
            vec![
                ("BUSINESS_LOAN", "Repayment of business loan", change(&LOAN)),
                ("OWNERS_DRAWS", "Owner's draws", change(&EXCLUDED)),
            ],
        ),
    ]
}

pub(crate) fn cash_flow(request: &DataRequest<'_>) -> Value {
    let book = request.book;
    let (from, to) = request.period();
    let [operating, investing, financing] = cash_flow_sections(book, from, to);
    let increase = cents_of(&operating) + cents_of(&investing) + cents_of(&financing);
    let end = book.balance(&CHECKING, to);
    json!({"data": {
        "type": "Cashflow_Statement",
        "business_id": book.business,
        "start_date": noon_text(from),
        "end_date": noon_text(to),
        "operating_activities": operating,
        "investing_activities": investing,
        "financing_activities": financing,
        "period_net_cash_increase": increase,
        "cash_at_start_of_period": end - increase,
        "cash_at_end_of_period": end,
    }})
}
