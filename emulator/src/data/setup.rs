//! The business, and its settings at Layer.

use serde_json::{Value, json};

use crate::data::book::Book;
use crate::data::json::one_page;

/// When the business without demo data was activated.
const ACTIVATED: &str = "2024-01-01T00:00:00Z";

/// The body of `GET /v1/businesses/{id}`.
pub(crate) fn business(book: &Book) -> Value {
    let activated = if book.has_demo_data {
        format!(
            "{:04}-{:02}-01T00:00:00Z",
            book.first.year(),
            book.first.month()
        )
    } else {
        ACTIVATED.to_owned()
    };
    json!({"data": {
        "type": "Business",
        "id": book.business,
        "external_id": null,
        "activation_at": activated,
        "archived_at": null,
        "entity_type": "LLC",
        "imported_at": activated,
        "legal_name": "Example Business LLC",
        "phone_number": null,
        "sms_enabled": false,
        "tin": null,
        "updated_at": activated,
        "us_state": "CA",
        "is_demo": true,
    }})
}

pub(crate) fn accounting_config(book: &Book) -> Value {
    json!({"data": {
        "type": "Accounting_Configuration",
        "id": book.business,
        "enable_account_numbers": book.has_demo_data,
        "enable_customer_management": book.has_demo_data,
        "enable_vendor_management": book.has_demo_data,
        "enable_tax_estimates": book.has_demo_data,
        "enable_mileage_tracking": book.has_demo_data,
        "enable_stripe_onboarding": false,
        "tax_estimates_user_agreement_at": null,
        "category_list_mode": "ALL_ACCOUNTS",
        "platform_display_tags": [],
    }})
}

pub(crate) fn bookkeeping_status() -> Value {
    json!({"data": {
        "type": "Bookkeeping_Status",
        "status": "NOT_PURCHASED",
        "show_embedded_onboarding": false,
        "onboarding_call_url": null,
    }})
}

pub(crate) fn bookkeeping_config(book: &Book) -> Value {
    json!({"data": {
        "type": "Bookkeeping_Configuration",
        "business_id": book.business,
        "bookkeeper_id": null,
        "first_month_purchased_date": null,
        "onboarding_date": null,
        "churned_date": null,
        "bookkeeping_end_date": null,
        "bookkeeping_status": "NOT_PURCHASED",
        "transaction_tagging_strategy": null,
        "notes": null,
        "onboarding_call_url": null,
        "adhoc_call_url": null,
    }})
}

pub(crate) fn bookkeeping_periods() -> Value {
    json!({"data": {"type": "Bookkeeping_Periods", "periods": []}})
}

pub(crate) fn custom_accounts() -> Value {
    json!({"data": {"type": "Custom_Accounts", "custom_accounts": []}})
}

pub(crate) fn tag_dimensions() -> Value {
    json!({"data": {"type": "Tag_Dimensions", "dimensions": []}})
}

pub(crate) fn stripe_status() -> Value {
    json!({"data": {"type": "Stripe_Account_Status", "account_status": "not_created"}})
}

/// A list without items.
pub(crate) fn nothing() -> Value {
    one_page(Vec::new())
}
