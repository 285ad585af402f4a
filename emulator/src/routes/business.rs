//! `GET /v1/businesses/{id}` and what lies below it: enough for Layer's React
//! components to come up, with no data in them.

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Received;
use crate::answer::Answer;
use crate::envelope::Problem;
use crate::random::parse_uuid;
use crate::state::State;
use crate::tokens::Claims;

pub(crate) fn is_business_data(resource: &str) -> bool {
    data(resource).is_some()
}

pub(super) fn answer(
    state: &State,
    request: &Received<'_>,
    claims: &Claims,
) -> Result<Answer, Problem> {
    let id = request.target.business.unwrap_or_default();
    let business = parse_uuid(id).ok_or(Problem::InvalidBusinessId)?;
    if claims.business_id.is_some_and(|own| own != business) {
        return Err(Problem::Forbidden(
            "A business token is good for its business only.",
        ));
    }
    if !state.owns(&business) {
        return Err(Problem::BusinessNotFound);
    }
    let body = match request.target.resource {
        "" => json!({"data": profile(&business)}),
        resource => data(resource).ok_or(Problem::NotFound)?,
    };
    Ok(Answer::json(StatusCode::OK, &body))
}

fn profile(id: &Uuid) -> Value {
    json!({
        "type": "Business",
        "id": id,
        "external_id": null,
        "activation_at": "2024-01-01T00:00:00Z",
        "archived_at": null,
        "entity_type": "LLC",
        "imported_at": "2024-01-01T00:00:00Z",
        "legal_name": "Example Business LLC",
        "phone_number": null,
        "sms_enabled": false,
        "tin": null,
        "updated_at": "2024-01-01T00:00:00Z",
        "us_state": "CA",
        "is_demo": true,
    })
}

/// The whole answer of a resource: empty, and well-formed.
fn data(resource: &str) -> Option<Value> {
    let page = || json!({"data": [], "meta": {"pagination": {"cursor": null, "has_more": false}}});
    Some(match resource {
        "accounting-config" => json!({"data": {
            "type": "Accounting_Configuration",
            "id": "00000000-0000-4000-8000-000000000000",
            "enable_stripe_onboarding": false,
            "platform_display_name": "layerfi-auth emulator",
            "report_config": null,
        }}),
        "bookkeeping/status" => json!({"data": {"status": "NOT_PURCHASED"}}),
        "reports/profit-and-loss" => profit_and_loss(),
        "reports/profit-and-loss-summaries" => {
            json!({"data": {"type": "Profit_And_Loss_Summaries", "months": []}})
        }
        "bank-transactions" | "customers" | "vendors" => page(),
        "bank-accounts" | "custom-accounts" | "tags/dimensions" => json!({"data": []}),
        "categories" => json!({"data": {"type": "Category_List", "categories": []}}),
        _ => return None,
    })
}

fn profit_and_loss() -> Value {
    let line =
        |name: &str| json!({"display_name": name, "name": name, "value": 0, "line_items": null});
    json!({"data": {
        "type": "Profit_And_Loss",
        "business_id": null,
        "start_date": "2024-01-01T00:00:00Z",
        "end_date": "2024-01-31T23:59:59Z",
        "fully_categorized": true,
        "income": line("Income"),
        "cost_of_goods_sold": null,
        "gross_profit": 0,
        "gross_profit_percent": 0,
        "expenses": line("Expenses"),
        "profit_before_taxes": 0,
        "taxes": null,
        "net_profit": 0,
        "other_outflows": null,
        "personal_expenses": null,
    }})
}
