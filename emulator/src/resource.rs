//! Names of a business's resources.

/// The resources below `/v1/businesses/{id}/`. `{id}` stands for one segment of
/// the path. A literal name comes before a name with `{id}` that also matches.
pub(crate) const RESOURCES: [&str; 43] = [
    "accounting-config",
    "bank-accounts",
    "bank-transactions",
    "bank-transactions/{id}",
    "bank-transactions/{id}/categorize",
    "bank-transactions/{id}/documents",
    "bookkeeping/config",
    "bookkeeping/periods",
    "bookkeeping/status",
    "call-bookings",
    "catalog/services",
    "categories",
    "categorization-rules",
    "counterparties",
    "custom-accounts",
    "customers",
    "invoices",
    "invoices/summary-stats",
    "ledger/accounts/{id}/lines",
    "ledger/balances",
    "ledger/entries",
    "ledger/entries/{id}",
    "mileage/summary",
    "mileage/trips",
    "mileage/vehicles",
    "reports/balance-sheet",
    "reports/cashflow-statement",
    "reports/config",
    "reports/profit-and-loss",
    "reports/profit-and-loss-summaries",
    "reports/profit-and-loss/lines",
    "reports/unified/{id}",
    "stripe/status",
    "tags/dimensions",
    "tax-estimates/banner",
    "tax-estimates/details",
    "tax-estimates/payments",
    "tax-estimates/profile",
    "tax-estimates/summary",
    "time-tracking/time-entries",
    "time-tracking/time-entries/summary",
    "time-tracking/tracker/active",
    "vendors",
];

/// The resource that only takes `PUT`; all others only take `GET`.
pub(crate) const CATEGORIZE: &str = "bank-transactions/{id}/categorize";

/// A resource, and the segment of the path that its `{id}` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resource<'a> {
    pub(crate) name: &'static str,
    pub(crate) id: Option<&'a str>,
}

/// Finds the resource of a path below the business, such as `ledger/balances`.
pub(crate) fn find(path: &str) -> Option<Resource<'_>> {
    RESOURCES.into_iter().find_map(|name| matched(name, path))
}

fn matched<'a>(name: &'static str, path: &'a str) -> Option<Resource<'a>> {
    let (mut names, mut segments) = (name.split('/'), path.split('/'));
    let mut id = None;
    loop {
        match (names.next(), segments.next()) {
            (None, None) => return Some(Resource { name, id }),
            (Some("{id}"), Some(segment)) if !segment.is_empty() => id = Some(segment),
            (Some(expected), Some(segment)) if expected == segment => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_belongs_to_one_resource() {
        let found = |path| find(path).map(|resource| (resource.name, resource.id));
        for (path, expected) in [
            ("vendors", Some(("vendors", None))),
            ("bank-transactions", Some(("bank-transactions", None))),
            (
                "bank-transactions/abc",
                Some(("bank-transactions/{id}", Some("abc"))),
            ),
            (
                "bank-transactions/abc/categorize",
                Some((CATEGORIZE, Some("abc"))),
            ),
            (
                "invoices/summary-stats",
                Some(("invoices/summary-stats", None)),
            ),
            ("bank-transactions/", None),
            ("vendors/", None),
            ("vendors/abc", None),
            ("secrets", None),
            ("", None),
        ] {
            assert_eq!(found(path), expected, "wrong resource of {path:?}");
        }
        for name in RESOURCES {
            assert_eq!(
                found(name).map(|(name, _)| name),
                Some(name),
                "another resource hides {name}"
            );
        }
    }
}
