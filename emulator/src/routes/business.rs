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
    data(resource, &Uuid::nil()).is_some()
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
        resource => data(resource, &business).ok_or(Problem::NotFound)?,
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

/// The whole answer of a resource: empty, and with the fields that the
/// components' own schemas require.
fn data(resource: &str, business: &Uuid) -> Option<Value> {
    let page = || {
        let pagination = json!({"cursor": null, "has_more": false, "total_count": 0});
        json!({"data": [], "meta": {"pagination": pagination}})
    };
    Some(match resource {
        "accounting-config" => json!({"data": {
            "type": "Accounting_Configuration",
            "id": business,
            "enable_account_numbers": false,
            "enable_customer_management": false,
            "enable_vendor_management": false,
            "enable_tax_estimates": false,
            "enable_mileage_tracking": false,
            "enable_stripe_onboarding": false,
            "tax_estimates_user_agreement_at": null,
            "category_list_mode": "ALL_ACCOUNTS",
            "platform_display_tags": [],
        }}),
        "bookkeeping/status" => json!({"data": {
            "type": "Bookkeeping_Status",
            "status": "NOT_PURCHASED",
            "show_embedded_onboarding": false,
            "onboarding_call_url": null,
        }}),
        "reports/profit-and-loss" => json!({"data": profit_and_loss(business)}),
        "reports/profit-and-loss-summaries" => {
            json!({"data": {"type": "Profit_And_Loss_Summaries", "months": []}})
        }
        "bank-transactions" | "customers" | "vendors" => page(),
        "bank-accounts" | "tags/dimensions" => json!({"data": []}),
        "custom-accounts" => json!({"data": {"type": "Custom_Accounts", "custom_accounts": []}}),
        "categories" => json!({"data": {"type": "Category_List", "categories": []}}),
        _ => return None,
    })
}

fn profit_and_loss(business: &Uuid) -> Value {
    let line = |name: &str, display_name: &str| {
        json!({
            "name": name,
            "display_name": display_name,
            "value": 0,
            "is_contra": false,
            "line_items": [],
        })
    };
    json!({
        "type": "Profit_And_Loss",
        "business_id": business,
        "start_date": "2024-01-01T00:00:00Z",
        "end_date": "2024-01-31T23:59:59Z",
        "fully_categorized": true,
        "income": line("INCOME", "Income"),
        "cost_of_goods_sold": line("COGS", "Cost of Goods Sold"),
        "gross_profit": 0,
        "expenses": line("EXPENSES", "Expenses"),
        "profit_before_taxes": 0,
        "taxes": line("TAXES", "Taxes"),
        "net_profit": 0,
        "custom_line_items": null,
        "other_outflows": null,
        "personal_expenses": null,
    })
}
