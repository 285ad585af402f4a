//! [`Book`]: the books of one business up to today.

use std::collections::HashMap;

use time::Date;
use uuid::Uuid;

use crate::data::accounts::{ACCOUNTS, Account, UNCATEGORIZED};
use crate::data::calendar::YearMonth;
use crate::data::entries::{self, Entry, Line, id_of};

/// Bank transactions that the list shows, newest first.
const LISTED: usize = 40;
/// Months of the books, the current one included.
const MONTHS: i32 = 12;

/// Categories that users chose, by transaction.
pub(crate) type Choices = HashMap<Uuid, Vec<Line>>;

/// The books of one business. Without demo data they have no entries.
pub(crate) struct Book {
    pub(crate) business: Uuid,
    pub(crate) today: Date,
    /// The first month of the books.
    pub(crate) first: YearMonth,
    pub(crate) has_demo_data: bool,
    /// Oldest first.
    pub(crate) entries: Vec<Entry>,
}

impl Book {
    pub(crate) fn new(business: Uuid, today: Date, has_demo_data: bool, chosen: &Choices) -> Self {
        let first = YearMonth::of(today).plus(1 - MONTHS);
        let mut entries = Vec::new();
        if has_demo_data {
            entries = entries::entries(business, first, today);
            for entry in entries.iter_mut().rev().take(LISTED) {
                if entry.is_for_review {
                    entry.is_categorized = false;
                    entry.lines = vec![Line {
                        account: &UNCATEGORIZED,
                        cents: entry.cents,
                    }];
                }
            }
        }
        for entry in &mut entries {
            if let Some(lines) = chosen.get(&entry.id) {
                entry.is_categorized = true;
                entry.lines.clone_from(lines);
            }
        }
        Self {
            business,
            today,
            first,
            has_demo_data,
            entries,
        }
    }

    /// The transactions of the bank feed, newest first.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().take(LISTED)
    }

    /// The entries from one day to another, both included.
    pub(crate) fn between(&self, from: Date, to: Date) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| (from..=to).contains(&entry.day))
    }

    pub(crate) fn account_id(&self, account: &Account) -> Uuid {
        id_of(self.business, account.name, 0)
    }

    /// Finds an account by its id or its stable name.
    pub(crate) fn account(&self, id_or_name: &str) -> Option<&'static Account> {
        ACCOUNTS.into_iter().find(|account| {
            account.name == id_or_name || self.account_id(account).to_string() == id_or_name
        })
    }
}
