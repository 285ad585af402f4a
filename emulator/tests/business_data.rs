//! Resources of a business: without data, with demo data, and their faults.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic fails the test with its message"
)]

mod common;

use std::time::Duration;

use common::{Response, access_token, command, control, get, request_business_token, send, start};
use layerfi_auth_emulator::{DEMO_BUSINESS_ID as DEMO, Emulator, EmulatorBuilder, Endpoint, Fault};
use serde_json::{Value, json};

/// An emulator, and a token for the demo business.
struct Business {
    layer: Emulator,
    token: String,
}

impl Business {
    fn start(builder: EmulatorBuilder) -> Self {
        let layer = start(builder.rate_limit(None));
        // No day begins during the test.
        layer.stop_clock();
        let access = access_token(&layer);
        let token = request_business_token(&layer, &access, DEMO, "").access_token();
        Self { layer, token }
    }

    #[track_caller]
    fn get(&self, resource: &str) -> Response {
        let path = format!("/v1/businesses/{DEMO}/{resource}");
        get(&self.layer, &path, &self.token)
    }

    #[track_caller]
    fn data(&self, resource: &str) -> Value {
        let mut body = self.get(resource).expect_status(200).json();
        body["data"].take()
    }

    fn put(&self, resource: &str, body: &Value) -> Response {
        let authorization = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let path = format!("/v1/businesses/{DEMO}/{resource}");
        send(
            self.layer.address(),
            "PUT",
            &path,
            &headers,
            &body.to_string(),
        )
    }

    /// The id of the first transaction to review.
    fn transaction_to_review(&self) -> String {
        let list = self.data("bank-transactions?categorized=false");
        list[0]["id"].as_str().unwrap().to_owned()
    }
}

/// The resources of the guide, with an id for `{id}`.
fn resources() -> Vec<String> {
    let (_, table) = include_str!("../../docs/emulator.md")
        .split_once("| resource | contents |\n")
        .unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let mut names: Vec<String> = rows
        .flat_map(|row| {
            row.split(" | ")
                .next()
                .unwrap()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(names.len(), 43, "wrong number of resources: {names:?}");
    names.retain(|name| !name.ends_with("/categorize"));
    names
}

#[test]
fn every_resource_answers_without_and_with_demo_data() {
    for demo_data in [false, true] {
        let business = Business::start(Emulator::builder().demo_data(demo_data));
        let transaction = if demo_data {
            business.transaction_to_review()
        } else {
            DEMO.to_owned()
        };
        for name in resources() {
            let resource = match name.as_str() {
                "reports/unified/{id}" => name.replace("{id}", "balance-sheet"),
                "ledger/entries/{id}" if !demo_data => continue,
                "ledger/accounts/{id}/lines" => name.replace("{id}", "CHECKING"),
                _ => name.replace("{id}", &transaction),
            };
            let data = business.data(&resource);
            assert_ne!(data, Value::Null, "{resource} must have data");
            let empty_list = data.as_array().is_some_and(Vec::is_empty);
            let is_always_empty = ["call-bookings", "categorization-rules"].contains(&&*name);
            if demo_data {
                assert!(
                    !empty_list || is_always_empty,
                    "{resource} must have demo data"
                );
            }
        }
        let log = business.layer.log();
        assert!(
            log.iter()
                .any(|entry| entry.resource == Some("bank-transactions/{id}")),
            "the log must name the resource"
        );
    }
}

fn cents(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("{value} is no number of cents"))
}

#[test]
fn demo_reports_agree_with_each_other() {
    let business = Business::start(Emulator::builder().demo_data(true));
    let months = business.data("reports/profit-and-loss-summaries")["months"].clone();
    let months = months.as_array().unwrap();
    assert_eq!(months.len(), 12, "the books must have twelve months");
    for month in &months[..11] {
        assert!(cents(&month["netProfit"]) > 0, "no profit in {month}");
        let (year, number) = (&month["year"], cents(&month["month"]));
        let period = format!("start_date={year}-{number:02}-01&end_date={year}-{number:02}-28");
        let flow = business.data(&format!("reports/cashflow-statement?{period}"));
        assert_eq!(
            cents(&flow["cash_at_start_of_period"]) + cents(&flow["period_net_cash_increase"]),
            cents(&flow["cash_at_end_of_period"]),
            "the cash flow of {period} does not add up: {flow}"
        );
        let report = business.data(&format!("reports/profit-and-loss?{period}"));
        assert_eq!(
            cents(&report["income"]["value"]) - cents(&report["cost_of_goods_sold"]["value"]),
            cents(&report["gross_profit"]),
            "the report of {period} does not add up: {report}"
        );
    }
    let sheet = business.data("reports/balance-sheet");
    assert_eq!(
        sheet["assets"]["value"], sheet["liabilities_and_equity"]["value"],
        "the balance sheet does not balance: {sheet}"
    );
    let accounts = business.data("bank-accounts");
    assert_eq!(accounts.as_array().unwrap().len(), 2, "two linked accounts");
    assert_eq!(
        accounts[0]["current_ledger_balance"], sheet["assets"]["line_items"][0]["value"],
        "the account at the bank must have the balance of the balance sheet"
    );
    let transactions = business.data("bank-transactions");
    assert_eq!(
        transactions.as_array().unwrap().len(),
        40,
        "40 transactions"
    );
    let two = business.get("bank-transactions?limit=2&cursor=1").json();
    assert_eq!(
        (&two["data"][0]["id"], &two["data"][1]["id"]),
        (&transactions[1]["id"], &transactions[2]["id"]),
        "wrong page of transactions"
    );
    assert_eq!(two["meta"]["pagination"]["cursor"], "3", "wrong next page");
}

#[test]
fn demo_data_is_the_same_in_another_emulator() {
    let one = Business::start(Emulator::builder().demo_data(true));
    let two = Business::start(Emulator::builder());
    // To the same day, also if one began between the starts.
    two.layer
        .advance(one.layer.now().saturating_sub(two.layer.now()));
    two.layer
        .set_back(two.layer.now().saturating_sub(one.layer.now()));
    command(&two.layer, "POST", "/settings", r#"{"demo_data": true}"#);
    for name in ["bank-transactions", "reports/balance-sheet", "invoices"] {
        assert_eq!(one.data(name), two.data(name), "{name} must be the same");
    }
    command(&two.layer, "POST", "/reset", "");
    assert_eq!(
        two.data("bank-transactions").as_array().unwrap().len(),
        0,
        "a reset must restore the setting"
    );
}

#[test]
fn demo_data_follows_the_clock_of_the_emulator() {
    let business = Business::start(Emulator::builder().demo_data(true));
    let newest = |business: &Business| business.data("bank-transactions")[0]["date"].to_string();
    let before = newest(&business);
    business
        .layer
        .set_business_token_lifetime(Some(Duration::from_secs(86_400 * 90)));
    let access = access_token(&business.layer);
    let token = request_business_token(&business.layer, &access, DEMO, "").access_token();
    business.layer.advance(Duration::from_secs(86_400 * 40));
    let later = Business {
        layer: business.layer,
        token,
    };
    assert!(
        newest(&later) > before,
        "40 days later there must be newer transactions"
    );
}

#[test]
fn confirmed_category_is_kept_until_a_reset() {
    let business = Business::start(Emulator::builder().demo_data(true));
    let id = business.transaction_to_review();
    let open = || {
        let list = business.data("bank-transactions?categorized=false");
        list.as_array().unwrap().len()
    };
    let before = open();
    let categorize = format!("bank-transactions/{id}/categorize");
    let category = json!({"type": "StableName", "stable_name": "SOFTWARE"});
    let body = json!({"type": "Category", "category": category});
    let answer = business.put(&categorize, &body).expect_status(200).json();
    let answer = &answer["data"];
    assert_eq!(answer["id"], id.as_str(), "wrong transaction: {answer}");
    assert_eq!(answer["categorization_status"], "CATEGORIZED", "{answer}");
    assert_eq!(answer["category"]["stable_name"], "SOFTWARE", "{answer}");
    assert_eq!(open(), before - 1, "it must not be up for review any more");
    let detail = business.data(&format!("bank-transactions/{id}"));
    assert_eq!(detail, *answer, "the detail must have the category");

    // By the account's id, as a split, and as personal.
    let account = answer["category"]["id"].clone();
    let by_id = json!({"type": "AccountId", "id": account});
    let amount = cents(&answer["amount"]);
    let split = json!({"type": "Split", "entries": [
        {"category": by_id, "amount": amount - 1},
        {"category": {"type": "Exclusion", "exclusion_type": "PERSONAL"}, "amount": 1},
    ]});
    let answer = business.put(&categorize, &split).expect_status(200).json();
    assert_eq!(answer["data"]["categorization_status"], "SPLIT", "{answer}");
    let sheet = business.data("reports/balance-sheet");
    assert_eq!(
        sheet["assets"]["value"], sheet["liabilities_and_equity"]["value"],
        "the balance sheet must still balance: {sheet}"
    );
    command(&business.layer, "POST", "/reset", "");
    assert_eq!(open(), before, "a reset must forget the categories");
}

#[test]
fn invalid_category_is_refused() {
    let business = Business::start(Emulator::builder().demo_data(true));
    let id = business.transaction_to_review();
    let categorize = format!("bank-transactions/{id}/categorize");
    for body in [
        json!({}),
        json!({"type": "Category"}),
        json!({"type": "Category", "category": {"type": "StableName", "stable_name": "NONE"}}),
        json!({"type": "Split", "entries": []}),
        json!({"type": "Split", "entries": [
            {"category": {"type": "StableName", "stable_name": "RENT"}, "amount": 1},
            {"category": {"type": "StableName", "stable_name": "RENT"}, "amount": 1},
        ]}),
    ] {
        business
            .put(&categorize, &body)
            .expect_error(400, "INVALID_REQUEST_BODY");
    }
    let valid =
        json!({"type": "Category", "category": {"type": "StableName", "stable_name": "RENT"}});
    let unknown = format!("bank-transactions/{DEMO}/categorize");
    business
        .put(&unknown, &valid)
        .expect_error(404, "NOT_FOUND");
    business
        .put("bank-transactions/x/categorize", &valid)
        .expect_error(404, "NOT_FOUND");
    business
        .get(&categorize)
        .expect_error(405, "METHOD_NOT_ALLOWED");
    business
        .put("vendors", &valid)
        .expect_error(405, "METHOD_NOT_ALLOWED");
}

#[test]
fn without_demo_data_every_uuid_is_a_transaction() {
    let business = Business::start(Emulator::builder());
    let detail = business.data(&format!("bank-transactions/{DEMO}"));
    assert_eq!(detail["id"], DEMO, "wrong transaction: {detail}");
    let body =
        json!({"type": "Category", "category": {"type": "StableName", "stable_name": "RENT"}});
    let categorize = format!("bank-transactions/{DEMO}/categorize");
    let answer = business.put(&categorize, &body).expect_status(200).json();
    assert_eq!(
        answer["data"]["category"]["stable_name"], "RENT",
        "{answer}"
    );
    business
        .get("bank-transactions/x")
        .expect_error(404, "NOT_FOUND");
}

#[test]
fn fault_can_name_a_resource() {
    let business = Business::start(Emulator::builder());
    let fault = r#"{"resource": "bank-transactions/{id}", "status": 500, "times": "forever"}"#;
    command(&business.layer, "POST", "/faults", fault);
    business.get("bank-transactions").expect_status(200);
    for id in [DEMO, "x"] {
        business
            .get(&format!("bank-transactions/{id}"))
            .expect_status(500);
    }
    business.layer.clear_faults();
    business
        .layer
        .fault(
            Endpoint::BusinessData,
            Fault::status(503).resource("vendors"),
        )
        .unwrap();
    business.get("customers").expect_status(200);
    business.get("vendors").expect_status(503);
    let unknown = control(&business.layer, "POST", "/faults", r#"{"resource": "x"}"#);
    assert!(
        unknown.status == 400 && unknown.body.contains("bank-transactions/{id}"),
        "the error must list the resources: {unknown:?}"
    );
}
