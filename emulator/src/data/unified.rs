//! The list of reports, and the reports of `reports/unified/{id}`.

use serde_json::{Value, json};

use crate::data::book::Book;
use crate::data::request::DataRequest;
use crate::data::statements::{balance_sections, cash_flow_sections, profit_and_loss};

/// Key, name and control of each report.
const REPORTS: [(&str, &str, &str); 3] = [
    ("profit-and-loss", "Profit & Loss", "date_range"),
    ("balance-sheet", "Balance Sheet", "date"),
    ("cashflow-statement", "Statement of Cash Flow", "date_range"),
];

pub(crate) fn config() -> Value {
    let report = |(key, name, control): (&str, &str, &str)| {
        json!({
            "key": key,
            "report_route": key,
            "display_name": name,
            "controls": [control],
            "base_query_parameters": {},
            "is_default_report": key == "profit-and-loss",
            "tag_control": null,
        })
    };
    json!({"data": [{
        "group_type": "FINANCIAL_STATEMENTS",
        "display_name": "Financial statements",
        "reports": REPORTS.map(report),
    }]})
}

pub(crate) fn report(request: &DataRequest<'_>) -> Option<Value> {
    let book = request.book;
    let (from, to) = request.period();
    let sections: Vec<Value> = match request.resource.id? {
        "profit-and-loss" => {
            let report = profit_and_loss(request);
            let data = report.get("data")?;
            let total = |name: &str, display_name: &str, field: &str| json!({"name": name, "display_name": display_name, "value": data.get(field)});
            let section = |field: &str| data.get(field).cloned().unwrap_or(Value::Null);
            vec![
                section("income"),
                section("cost_of_goods_sold"),
                total("GROSS_PROFIT", "Gross profit", "gross_profit"),
                section("expenses"),
                section("taxes"),
                total("NET_PROFIT", "Net profit", "net_profit"),
            ]
        }
        "balance-sheet" => {
            let day = request.day("effective_date").unwrap_or(book.today);
            balance_sections(book, day).into()
        }
        "cashflow-statement" => cash_flow_sections(book, from, to).into(),
        _ => return None,
    };
    Some(table(book, &sections))
}

/// A table with the name and the amount of each line.
fn table(book: &Book, sections: &[Value]) -> Value {
    json!({"data": {
        "type": "Unified_Report",
        "business_id": book.business,
        "columns": [
            {"column_key": "name", "display_name": "", "is_row_header": true},
            {"column_key": "total", "display_name": "Total", "alignment": "Right"},
        ],
        "rows": sections.iter().map(row).collect::<Vec<_>>(),
    }})
}

fn row(line: &Value) -> Value {
    let lines = line.get("line_items").and_then(Value::as_array);
    let rows: Vec<Value> = lines.into_iter().flatten().map(row).collect();
    let bold = json!({"bold": !rows.is_empty()});
    json!({
        "row_key": line.get("name"),
        "cells": {
            "name": {
                "value": {"type": "Text", "value": line.get("display_name")},
                "format": bold,
            },
            "total": {"value": {"type": "Currency", "value": line.get("value")}, "format": bold},
        },
        "rows": rows,
    })
}
