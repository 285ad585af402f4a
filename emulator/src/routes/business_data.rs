//! Bodies of the business endpoints, so that Layer's React components can start.

use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) fn is_business_data(name: &str) -> bool {
    resource(name, &Uuid::nil()).is_some()
}

/// The body of `GET /v1/businesses/{id}`.
pub(crate) fn profile(id: &Uuid) -> Value {
    json!({"data": {
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
    }})
}

/// The body of a resource: no data, only the fields that the schemas of the
/// React components require. `None` if the resource does not exist.
pub(crate) fn resource(name: &str, business: &Uuid) -> Option<Value> {
    let page = || {
        let pagination = json!({"cursor": null, "has_more": false, "total_count": 0});
        json!({"data": [], "meta": {"pagination": pagination}})
    };
    Some(match name {
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
