//! Sums over a book. All amounts are in cents.

use time::Date;

use crate::data::accounts::{ACCOUNTS, Account, CAPITAL, CHECKING, Kind, LOAN};
use crate::data::book::Book;

/// Balances when the books begin.
const OPENING_CASH: i64 = 2_400_000;
const OPENING_LOAN: i64 = 1_800_000;

/// Uncategorized bank transactions of a period.
#[derive(Default)]
pub(crate) struct ToReview {
    pub(crate) count: i64,
    pub(crate) money_in: i64,
    pub(crate) money_out: i64,
}

impl Book {
    /// What the entries of a period add to an account, in its normal direction.
    pub(crate) fn movement(&self, account: &Account, from: Date, to: Date) -> i64 {
        let mut debits = 0;
        for entry in self.between(from, to) {
            let lines: i64 = entry
                .lines
                .iter()
                .filter(|line| line.account == account)
                .map(|line| line.cents)
                .sum();
            // Money that leaves the bank debits the other account.
            let sign = if entry.is_money_in { -1 } else { 1 };
            debits += sign * lines;
            if entry.bank == account {
                debits -= sign * entry.cents;
            }
        }
        if account.kind.is_credit() {
            -debits
        } else {
            debits
        }
    }

    /// The balance of an account at the end of a day, in its normal direction.
    pub(crate) fn balance(&self, account: &Account, day: Date) -> i64 {
        let opened = self.first.first_day();
        if !self.has_demo_data || day < opened {
            return 0;
        }
        let opening = if account == &CHECKING {
            OPENING_CASH
        } else if account == &LOAN {
            OPENING_LOAN
        } else if account == &CAPITAL {
            OPENING_CASH - OPENING_LOAN
        } else {
            0
        };
        opening + self.movement(account, opened, day)
    }

    /// The sum of all accounts of a kind.
    pub(crate) fn total(&self, kind: Kind, from: Date, to: Date) -> i64 {
        ACCOUNTS
            .into_iter()
            .filter(|account| account.kind == kind)
            .map(|account| self.movement(account, from, to))
            .sum()
    }

    pub(crate) fn net_income(&self, from: Date, to: Date) -> i64 {
        self.total(Kind::Income, from, to)
            - self.total(Kind::CostOfGoods, from, to)
            - self.total(Kind::Expense, from, to)
            - self.total(Kind::Taxes, from, to)
    }

    pub(crate) fn to_review(&self, from: Date, to: Date) -> ToReview {
        let mut sum = ToReview::default();
        for entry in self.between(from, to).filter(|entry| !entry.is_categorized) {
            sum.count += 1;
            if entry.is_money_in {
                sum.money_in += entry.cents;
            } else {
                sum.money_out += entry.cents;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::data::book::Choices;
    use crate::data::calendar::parse_day;

    #[test]
    fn books_balance_on_every_day() {
        let today = parse_day("2026-11-20").unwrap();
        let book = Book::new(Uuid::from_u128(3), today, true, &Choices::new());
        let opened = book.first.first_day();
        for month in book.first.until(book.first.plus(11)) {
            let day = month.last_day();
            let (mut debits, mut credits) = (0, 0);
            for account in ACCOUNTS {
                let balance = book.balance(account, day);
                if account.kind.is_credit() {
                    credits += balance;
                } else {
                    debits += balance;
                }
            }
            assert_eq!(debits, credits, "debits and credits differ on {day}");
            assert!(
                book.balance(&CHECKING, day) > 0,
                "a demo business must have money on {day}"
            );
            assert!(
                book.net_income(month.first_day(), day) > 0 || month.last_day() >= today,
                "a demo business must make a profit in the month of {day}"
            );
        }
        assert!(book.net_income(opened, today) > 0, "no profit in the year");
        let review = book.to_review(opened, today);
        assert!(
            (4..=12).contains(&review.count),
            "a demo needs some transactions to review, got {}",
            review.count
        );
        assert_eq!(book.listed().count(), 40, "wrong number of transactions");
    }
}
