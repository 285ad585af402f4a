//! Estimates of income taxes.

use serde_json::{Value, json};

use crate::data::accounts::{Kind, TAXES};
use crate::data::book::Book;
use crate::data::calendar::{YearMonth, day_text, noon_text};
use crate::data::request::DataRequest;

/// The estimate of one year, in cents.
struct Estimate {
    year: i32,
    income: i64,
    deductions: i64,
    federal: i64,
    state: i64,
    paid: i64,
}

impl Estimate {
    fn of(request: &DataRequest<'_>) -> Self {
        let book = request.book;
        let year = request.number("year").unwrap_or_else(|| book.today.year());
        let from = YearMonth::new(year, 1).first_day();
        let to = YearMonth::new(year, 12).last_day();
        let income = book.total(Kind::Income, from, to);
        let deductions =
            book.total(Kind::CostOfGoods, from, to) + book.total(Kind::Expense, from, to);
        let taxable = (income - deductions).max(0);
        Self {
            year,
            income,
            deductions,
            federal: taxable * 18 / 100,
            state: taxable * 5 / 100,
            paid: book.movement(&TAXES, from, to),
        }
    }

    const fn total(&self) -> i64 {
        self.federal + self.state
    }

    fn owed(&self) -> i64 {
        (self.total() - self.paid).max(0)
    }

    const fn state_name(&self) -> &'static str {
        if self.income == 0 {
            "NO_TRANSACTIONS"
        } else if self.total() == 0 {
            "NO_TAXES_OWED"
        } else {
            "TAXES_OWED"
        }
    }

    /// The day on which the year's taxes are due.
    fn due(&self) -> time::Date {
        YearMonth::new(self.year.saturating_add(1), 4).day(15)
    }
}

pub(crate) fn profile(book: &Book) -> Value {
    let us = json!({
        "federal": {
            "filing_status": "SINGLE",
            "annual_w2_income": null,
            "tip_income": null,
            "overtime_income": null,
            "withholding": {"use_custom_withholding": false, "amount": null},
        },
        "state": {
            "tax_state": "CA",
            "filing_status": "SINGLE",
            "withholding": {"use_custom_withholding": false, "amount": null},
        },
        "deductions": {
            "home_office": {"use_home_office_deduction": false, "home_office_area": null},
            "vehicle": {"use_mileage_deduction": true},
        },
    });
    json!({"data": {
        "type": "Tax_Profile",
        "tax_country_code": "US",
        "us_configuration": book.has_demo_data.then_some(us),
        "user_has_saved_tax_profile": book.has_demo_data,
    }})
}

pub(crate) fn summary(request: &DataRequest<'_>) -> Value {
    let estimate = Estimate::of(request);
    let federal_paid = estimate.paid * 18 / 23;
    let section = |kind: &str, label: &str, total: i64, paid: i64| {
        json!({
            "type": kind,
            "key": kind,
            "label": label,
            "total": total,
            "taxes_paid": paid,
            "taxes_owed": (total - paid).max(0),
        })
    };
    json!({"data": {
        "type": "Tax_Summary",
        "year": estimate.year,
        "state": estimate.state_name(),
        "projected_taxes_owed": estimate.owed(),
        "taxes_due_at": noon_text(estimate.due()),
        "uncategorized_tax_payments": 0,
        "sections": [
            section("federal", "Federal taxes", estimate.federal, federal_paid),
            section("state", "State taxes", estimate.state, estimate.paid - federal_paid),
        ],
    }})
}

pub(crate) fn details(request: &DataRequest<'_>) -> Value {
    let estimate = Estimate::of(request);
    let row = |key: &str, label: &str, cents: i64, operator: Option<&str>| {
        let mut row = json!({
            "row_key": key,
            "label": label,
            "value": {"type": "Currency", "value": cents},
        });
        if let (Some(operator), Some(fields)) = (operator, row.as_object_mut()) {
            fields.insert("operator".to_owned(), operator.into());
        }
        row
    };
    json!({"data": {
        "type": "US_Tax_Details",
        "meta": {
            "year": estimate.year,
            "state": estimate.state_name(),
            "filing_status": "SINGLE",
        },
        "rows": [
            row("income", "Business income", estimate.income, None),
            row("deductions", "Business deductions", estimate.deductions, Some("-")),
            row("federal", "Federal taxes", estimate.federal, None),
            row("state", "State taxes", estimate.state, Some("+")),
            row("total", "Estimated taxes", estimate.total(), Some("=")),
        ],
    }})
}

/// The four quarters of the year: last month of the period, and the day on which
/// its payment is due.
fn quarters(year: i32) -> [(i32, YearMonth, YearMonth, time::Date); 4] {
    let month = |month| YearMonth::new(year, month);
    [
        (1, month(1), month(3), month(4).day(15)),
        (2, month(4), month(5), month(6).day(15)),
        (3, month(6), month(8), month(9).day(15)),
        (4, month(9), month(12), month(13).day(15)),
    ]
}

pub(crate) fn payments(request: &DataRequest<'_>) -> Value {
    let estimate = Estimate::of(request);
    let book = request.book;
    let share = estimate.total() / 4;
    let rows: Vec<Value> = quarters(estimate.year)
        .into_iter()
        .filter(|_| book.has_demo_data)
        .map(|(quarter, from, to, _)| {
            let paid = book.movement(&TAXES, from.first_day(), to.last_day());
            json!({
                "row_key": format!("Q{quarter}"),
                "label": format!("Q{quarter}"),
                "rolled_over_from_previous": 0,
                "owed_this_quarter": share,
                "total_paid": paid,
                "remaining_balance": (share - paid).max(0),
            })
        })
        .collect();
    json!({"data": {"type": "US_Tax_Payments", "data": rows}})
}

pub(crate) fn banner(request: &DataRequest<'_>) -> Value {
    let estimate = Estimate::of(request);
    let book = request.book;
    let share = estimate.total() / 4;
    let quarters: Vec<Value> = quarters(estimate.year)
        .into_iter()
        .map(|(quarter, from, to, due)| {
            let (from, to) = (from.first_day(), to.last_day());
            let review = book.to_review(from, to);
            let paid = book.movement(&TAXES, from, to);
            json!({
                "quarter": quarter,
                "due_date": day_text(due),
                "is_past_due": due < book.today && paid < share,
                "amount_owed": share,
                "state": if paid >= share { "PAID" } else { "DUE" },
                "amount_paid": paid,
                "balance": (share - paid).max(0),
                "uncategorized_count": review.count,
                "uncategorized_money_in": review.money_in,
                "uncategorized_money_out": review.money_out,
            })
        })
        .collect();
    let from = YearMonth::new(estimate.year, 1).first_day();
    let to = YearMonth::new(estimate.year, 12).last_day();
    let review = book.to_review(from, to);
    let mut open = book.between(from, to).filter(|entry| !entry.is_categorized);
    let earliest = open.next().map(|entry| entry.day);
    let latest = open.last().map(|entry| entry.day).or(earliest);
    json!({"data": {
        "type": "Tax_Estimates_Banner",
        "year": estimate.year,
        "taxes_due_at": day_text(estimate.due()),
        "total_taxes_owed": estimate.owed(),
        "total_uncategorized_count": review.count,
        "total_uncategorized_money_in": review.money_in,
        "total_uncategorized_money_out": review.money_out,
        "earliest_uncategorized_at": earliest.map(noon_text),
        "latest_uncategorized_at": latest.map(noon_text),
        "quarters": quarters,
    }})
}
