//! Chart of accounts of the demo business.

/// The kind of an account, which decides where reports show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Asset,
    Liability,
    Equity,
    Income,
    /// Cost of goods sold; its ledger type is an expense.
    CostOfGoods,
    Expense,
    /// Income taxes; their ledger type is an expense.
    Taxes,
}

impl Kind {
    /// The account type in the ledger, and its name for people.
    pub(crate) const fn ledger_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Asset => ("ASSET", "Asset"),
            Self::Liability => ("LIABILITY", "Liability"),
            Self::Equity => ("EQUITY", "Equity"),
            Self::Income => ("REVENUE", "Revenue"),
            Self::CostOfGoods | Self::Expense | Self::Taxes => ("EXPENSE", "Expense"),
        }
    }

    /// Whether a credit increases the account.
    pub(crate) const fn is_credit(self) -> bool {
        matches!(self, Self::Liability | Self::Equity | Self::Income)
    }

    /// Whether the profit and loss report contains the account.
    pub(crate) const fn is_in_profit_and_loss(self) -> bool {
        !matches!(self, Self::Asset | Self::Liability | Self::Equity)
    }
}

/// One account. Accounts are compared by their name.
#[derive(Debug)]
pub(crate) struct Account {
    /// The stable name, which is the same for every business.
    pub(crate) name: &'static str,
    pub(crate) display_name: &'static str,
    pub(crate) number: &'static str,
    pub(crate) kind: Kind,
    /// The account subtype in the ledger, and its name for people.
    pub(crate) subtype: (&'static str, &'static str),
}

impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const fn account(
    number: &'static str,
    name: &'static str,
    display_name: &'static str,
    kind: Kind,
    subtype: (&'static str, &'static str),
) -> Account {
    Account {
        name,
        display_name,
        number,
        kind,
        subtype,
    }
}

const CASH: (&str, &str) = ("BANK_ACCOUNTS", "Bank accounts");
const SALES: (&str, &str) = ("SALES", "Sales");
const COGS: (&str, &str) = ("COGS", "Cost of goods sold");
const OPERATING: (&str, &str) = ("OPERATING_EXPENSES", "Operating expenses");

pub(crate) static CHECKING: Account =
    account("1000", "CHECKING", "Business checking", Kind::Asset, CASH);
pub(crate) static EQUIPMENT: Account = account(
    "1500",
    "EQUIPMENT",
    "Equipment",
    Kind::Asset,
    ("FIXED_ASSET", "Fixed assets"),
);
pub(crate) static CARD: Account = account(
    "2000",
    "CREDIT_CARD",
    "Business credit card",
    Kind::Liability,
    ("CREDIT_CARD", "Credit cards"),
);
pub(crate) static LOAN: Account = account(
    "2500",
    "BUSINESS_LOAN",
    "Business loan",
    Kind::Liability,
    ("LOANS", "Loans"),
);
pub(crate) static CAPITAL: Account = account(
    "3000",
    "OWNERS_CAPITAL",
    "Owner's capital",
    Kind::Equity,
    ("CONTRIBUTIONS", "Contributions"),
);
/// Transactions that a user excluded from the books.
pub(crate) static EXCLUDED: Account = account(
    "3100",
    "OWNERS_DRAWS",
    "Owner's draws",
    Kind::Equity,
    ("DISTRIBUTIONS", "Distributions"),
);
/// Bank transactions without a category.
pub(crate) static UNCATEGORIZED: Account = account(
    "3900",
    "UNCATEGORIZED",
    "Uncategorized transactions",
    Kind::Equity,
    ("UNCATEGORIZED", "Uncategorized"),
);
pub(crate) static SERVICES: Account = account(
    "4000",
    "SERVICE_REVENUE",
    "Service revenue",
    Kind::Income,
    SALES,
);
pub(crate) static PRODUCTS: Account = account(
    "4100",
    "PRODUCT_SALES",
    "Product sales",
    Kind::Income,
    SALES,
);
pub(crate) static MATERIALS: Account =
    account("5000", "MATERIALS", "Materials", Kind::CostOfGoods, COGS);
pub(crate) static SUBCONTRACTORS: Account = account(
    "5100",
    "SUBCONTRACTORS",
    "Subcontractors",
    Kind::CostOfGoods,
    COGS,
);
pub(crate) static PAYROLL: Account =
    account("6000", "PAYROLL", "Payroll", Kind::Expense, OPERATING);
pub(crate) static RENT: Account = account("6100", "RENT", "Rent", Kind::Expense, OPERATING);
pub(crate) static SOFTWARE: Account =
    account("6200", "SOFTWARE", "Software", Kind::Expense, OPERATING);
pub(crate) static ADVERTISING: Account = account(
    "6300",
    "ADVERTISING",
    "Advertising",
    Kind::Expense,
    OPERATING,
);
pub(crate) static INSURANCE: Account =
    account("6400", "INSURANCE", "Insurance", Kind::Expense, OPERATING);
pub(crate) static UTILITIES: Account =
    account("6500", "UTILITIES", "Utilities", Kind::Expense, OPERATING);
pub(crate) static TRAVEL: Account = account("6600", "TRAVEL", "Travel", Kind::Expense, OPERATING);
pub(crate) static MEALS: Account = account("6700", "MEALS", "Meals", Kind::Expense, OPERATING);
pub(crate) static OFFICE: Account = account(
    "6800",
    "OFFICE_SUPPLIES",
    "Office supplies",
    Kind::Expense,
    OPERATING,
);
pub(crate) static ADVISERS: Account = account(
    "6900",
    "PROFESSIONAL_FEES",
    "Professional fees",
    Kind::Expense,
    OPERATING,
);
pub(crate) static BANK_FEES: Account =
    account("6950", "BANK_FEES", "Bank fees", Kind::Expense, OPERATING);
pub(crate) static TAXES: Account = account(
    "7000",
    "ESTIMATED_TAXES",
    "Estimated income taxes",
    Kind::Taxes,
    ("INCOME_TAXES", "Income taxes"),
);

/// All accounts, in the order of the chart of accounts.
pub(crate) static ACCOUNTS: [&Account; 23] = [
    &CHECKING,
    &EQUIPMENT,
    &CARD,
    &LOAN,
    &CAPITAL,
    &EXCLUDED,
    &UNCATEGORIZED,
    &SERVICES,
    &PRODUCTS,
    &MATERIALS,
    &SUBCONTRACTORS,
    &PAYROLL,
    &RENT,
    &SOFTWARE,
    &ADVERTISING,
    &INSURANCE,
    &UTILITIES,
    &TRAVEL,
    &MEALS,
    &OFFICE,
    &ADVISERS,
    &BANK_FEES,
    &TAXES,
];
