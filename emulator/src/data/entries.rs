//! The bank transactions of the demo business: the same for every start on the
//! same day.

use ring::digest::{SHA256, digest};
use time::Date;
use uuid::{Builder, Uuid};

use crate::data::accounts::{
    ADVERTISING, ADVISERS, Account, BANK_FEES, CARD, CHECKING, EQUIPMENT, EXCLUDED, INSURANCE,
    LOAN, MATERIALS, MEALS, OFFICE, PAYROLL, PRODUCTS, RENT, SERVICES, SOFTWARE, SUBCONTRACTORS,
    TAXES, TRAVEL, UTILITIES,
};
use crate::data::calendar::YearMonth;

/// A part of a transaction that belongs to one account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) account: &'static Account,
    pub(crate) cents: i64,
}

/// A bank transaction.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    pub(crate) day: Date,
    /// The account at the bank: checking or the card.
    pub(crate) bank: &'static Account,
    pub(crate) is_money_in: bool,
    pub(crate) cents: i64,
    pub(crate) counterparty: &'static str,
    /// The account that the transaction usually belongs to.
    pub(crate) usual: &'static Account,
    /// Whether a user should look at the transaction while it is new.
    pub(crate) is_for_review: bool,
    pub(crate) is_categorized: bool,
    pub(crate) lines: Vec<Line>,
}

/// An id that is the same at every start: derived from the business, what it is
/// for, and a number.
pub(crate) fn id_of(business: Uuid, what: &str, number: i32) -> Uuid {
    let text = format!("{business} {what} {number}");
    let mut bytes = [0; 16];
    for (to, from) in bytes
        .iter_mut()
        .zip(digest(&SHA256, text.as_bytes()).as_ref())
    {
        *to = *from;
    }
    Builder::from_random_bytes(bytes).into_uuid()
}

/// A number that only looks random, 0 to `limit - 1`.
fn scatter(seed: i64, limit: i64) -> i64 {
    // The multiplier of Knuth's MMIX generator.
    let mixed = seed.wrapping_mul(6_364_136_223_846_793_005) >> 33;
    mixed.rem_euclid(limit)
}

/// How amounts of one line differ between months.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Fixed,
    Varies,
    /// Varies, and increases from month to month.
    Grows,
}

/// The months in which a line occurs.
#[derive(Clone, Copy)]
enum When {
    Monthly,
    /// Every second month.
    Alternately,
    /// The months of estimated tax payments in the United States.
    TaxMonths,
    /// The fourth month of the books.
    Once,
}

/// A line of the list below.
struct Template {
    day: u8,
    counterparty: &'static str,
    account: &'static Account,
    bank: &'static Account,
    is_money_in: bool,
    dollars: i64,
    change: Change,
    when: When,
    is_for_review: bool,
}

const fn money_in(
    day: u8,
    counterparty: &'static str,
    account: &'static Account,
    dollars: i64,
) -> Template {
    Template {
        day,
        counterparty,
        account,
        bank: &CHECKING,
        is_money_in: true,
        dollars,
        change: Change::Grows,
        when: When::Monthly,
        is_for_review: false,
    }
}

const fn money_out(
    day: u8,
    counterparty: &'static str,
    account: &'static Account,
    dollars: i64,
    change: Change,
) -> Template {
    Template {
        is_money_in: false,
        change,
        ..money_in(day, counterparty, account, dollars)
    }
}

impl Template {
    const fn by_card(mut self) -> Self {
        self.bank = &CARD;
        self
    }

    const fn for_review(mut self) -> Self {
        self.is_for_review = true;
        self
    }

    const fn when(mut self, when: When) -> Self {
        self.when = when;
        self
    }
}

/// The transactions of a month, without the payment of the card.
static MONTH: [Template; 29] = [
    money_out(1, "Mission Street Properties", &RENT, 2_400, Change::Fixed),
    money_in(2, "Harbor Dental Group", &SERVICES, 6_400),
    money_out(3, "Northwind Mail", &SOFTWARE, 72, Change::Fixed).by_card(),
    money_out(4, "Pixelboard", &SOFTWARE, 45, Change::Fixed).by_card(),
    money_out(5, "Summit Paper Supply", &MATERIALS, 1_150, Change::Grows).by_card(),
    money_in(6, "Storefront payout", &PRODUCTS, 2_150),
    money_out(7, "Lookalike Ads", &ADVERTISING, 380, Change::Varies).by_card(),
    money_in(9, "Bluebird Bakery", &SERVICES, 3_200),
    money_out(10, "City Power & Light", &UTILITIES, 185, Change::Varies),
    money_out(11, "Deskworks", &EQUIPMENT, 3_200, Change::Fixed).when(When::Once),
    money_out(12, "Fiberline Internet", &UTILITIES, 79, Change::Fixed).by_card(),
    money_in(13, "Storefront payout", &PRODUCTS, 1_980),
    money_out(14, "Paywell Payroll", &PAYROLL, 3_900, Change::Fixed),
    money_out(15, "Hartwell Insurance", &INSURANCE, 210, Change::Fixed),
    money_out(
        15,
        "State and federal tax payment",
        &TAXES,
        2_400,
        Change::Varies,
    )
    .when(When::TaxMonths),
    money_in(16, "Northside Yoga", &SERVICES, 2_750),
    money_out(17, "Corner Bistro", &MEALS, 64, Change::Varies)
        .by_card()
        .for_review(),
    money_out(
        18,
        "J. Alvarez Design",
        &SUBCONTRACTORS,
        1_600,
        Change::Varies,
    )
    .for_review(),
    money_out(19, "Skyway Airlines", &TRAVEL, 340, Change::Varies)
        .by_card()
        .when(When::Alternately)
        .for_review(),
    money_in(20, "Storefront payout", &PRODUCTS, 2_310).for_review(),
    money_out(21, "Deskworks", &OFFICE, 92, Change::Varies)
        .by_card()
        .for_review(),
    money_out(22, "Finch & Ledger CPA", &ADVISERS, 300, Change::Fixed),
    money_in(23, "Kestrel Architects", &SERVICES, 5_300),
    money_out(24, "Cloudbarn Hosting", &SOFTWARE, 118, Change::Varies)
        .by_card()
        .for_review(),
    money_out(26, "Community Bank loan payment", &LOAN, 450, Change::Fixed),
    money_out(26, "Owner's draw", &EXCLUDED, 7_000, Change::Fixed),
    money_in(27, "Storefront payout", &PRODUCTS, 2_060),
    money_out(
        28,
        "Community Bank monthly fee",
        &BANK_FEES,
        15,
        Change::Fixed,
    ),
    money_out(28, "Paywell Payroll", &PAYROLL, 3_900, Change::Fixed),
];

/// The day of the month on which the card's last month is paid.
const CARD_PAYMENT_DAY: u8 = 25;
/// More than the lines of a month, so that each has its own number.
const NUMBERS_PER_MONTH: i32 = 64;

/// All transactions of the months from `first` to the day `today`, oldest first.
pub(crate) fn entries(business: Uuid, first: YearMonth, today: Date) -> Vec<Entry> {
    // Businesses differ in size, so that a demo shows which one is on the page.
    let seed = i64::from(business.as_bytes().first().copied().unwrap_or(0));
    let size = 80 + scatter(seed, 41);
    let mut entries = Vec::new();
    let mut card_last_month = 0;
    for (age, month) in (0_i32..).zip(first.until(YearMonth::of(today))) {
        let number = |at: i32| month.index().saturating_mul(NUMBERS_PER_MONTH) + at;
        let mut card = 0;
        for (at, template) in (0_i32..).zip(&MONTH) {
            let is_due = match template.when {
                When::Monthly => true,
                When::Alternately => month.month() % 2 == 0,
                When::TaxMonths => matches!(month.month(), 1 | 4 | 6 | 9),
                When::Once => age == 3,
            };
            if !is_due {
                continue;
            }
            let cents = cents(template, size, age, seed + i64::from(number(at)));
            if template.bank == &CARD {
                card += cents;
            }
            entries.push(Entry {
                id: id_of(business, "transaction", number(at)),
                day: month.day(template.day),
                bank: template.bank,
                is_money_in: template.is_money_in,
                cents,
                counterparty: template.counterparty,
                usual: template.account,
                is_for_review: template.is_for_review,
                is_categorized: true,
                lines: vec![Line {
                    account: template.account,
                    cents,
                }],
            });
        }
        if card_last_month > 0 {
            entries.push(Entry {
                id: id_of(business, "transaction", number(NUMBERS_PER_MONTH - 1)),
                day: month.day(CARD_PAYMENT_DAY),
                bank: &CHECKING,
                is_money_in: false,
                cents: card_last_month,
                counterparty: "Community Bank card payment",
                usual: &CARD,
                is_for_review: false,
                is_categorized: true,
                lines: vec![Line {
                    account: &CARD,
                    cents: card_last_month,
                }],
            });
        }
        card_last_month = card;
    }
    entries.retain(|entry| entry.day <= today);
    entries.sort_by_key(|entry| entry.day);
    entries
}

fn cents(template: &Template, size: i64, age: i32, seed: i64) -> i64 {
    let mut cents = template.dollars * size;
    if template.change == Change::Grows {
        cents = cents * (100 + 2 * i64::from(age)) / 100;
    }
    if template.change != Change::Fixed {
        // 88 to 112 percent, and not a round sum.
        cents = cents * (880 + scatter(seed, 241)) / 1_000 + scatter(seed + 7, 100);
    }
    cents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::calendar::parse_day;

    #[test]
    fn entries_are_the_same_each_time_and_end_today() {
        let today = parse_day("2026-11-20").unwrap();
        let first = YearMonth::of(today).plus(-11);
        let of = |business: u128| entries(Uuid::from_u128(business), first, today);
        let one = of(1);
        let text = |entries: &[Entry]| format!("{entries:?}");
        assert_eq!(text(&one), text(&of(1)), "two calls must give the same");
        assert_ne!(text(&one), text(&of(2)), "another business must differ");
        assert!(
            one.iter()
                .all(|entry| entry.day <= today && entry.cents > 0),
            "no entry may be in the future or without an amount"
        );
        let mut ids: Vec<_> = one.iter().map(|entry| entry.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), one.len(), "two entries have the same id");
    }
}
