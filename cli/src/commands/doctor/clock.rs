//! Compares this machine's clock with the server's `Date` header.
//!
//! A wrong clock breaks certificate verification and the expiry times that are
//! given to a browser.

use std::time::{Duration, SystemTime};

use http::header;
use layerfi_auth::Client;
use tokio::time::timeout_at;
use url::Url;

use crate::commands::doctor::connection::Connection;
use crate::commands::doctor::deadline::Deadline;
use crate::commands::doctor::report::Report;
use crate::failure::Failure;
use crate::net::endpoint::Endpoint;
use crate::net::request;

/// The allowed difference. The shortest sessions are minutes, and `Date` has a
/// resolution of one second.
const TOLERANCE: Duration = Duration::from_secs(60);

pub(super) async fn check(
    connection: Option<Connection>,
    api: &Endpoint,
    client: &Client,
    deadline: Deadline,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let Some(connection) = connection else {
        return report.skipped("clock", None, "the API is not reachable");
    };
    // Sent without a token: the 401 response has a `Date` header too.
    let path = Url::parse(&format!("{}/whoami", client.api_url()))
        .map_or_else(|_| "/".to_owned(), |url| url.path().to_owned());
    let sent = SystemTime::now();
    let request = async {
        match connection {
            Connection::Plain(stream) => request::get(stream, api, &path, None).await,
            Connection::Tls(stream) => request::get(*stream, api, &path, None).await,
            Connection::NotOpened => Err("not supported with an https:// proxy".to_owned()),
        }
    };
    let head = match timeout_at(deadline.of_step(), request).await {
        Ok(Ok(head)) => head,
        Ok(Err(error)) => {
            return report.skipped("clock", None, format!("no HTTP response: {error}"));
        }
        Err(_) => return report.skipped("clock", None, "no HTTP response in time"),
    };
    let date = head
        .headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(date) = date else {
        return report.skipped("clock", None, "the response has no valid Date header");
    };
    let (difference, direction) = difference(date, sent, SystemTime::now());
    if difference <= TOLERANCE {
        let seconds = difference.as_secs() + 1;
        return report.passed(
            "clock",
            None,
            format!("within {seconds} s of the server's clock"),
        );
    }
    let seconds = difference.as_secs();
    report.failed_as(
        "clock",
        None,
        format!("this machine's clock is {seconds} s {direction} the server's"),
        "set this machine's clock, for example with NTP: timedatectl set-ntp true",
    )
}

/// Compares this clock with a `Date` that the server made between `sent` and
/// `received`. The header has whole seconds, so any time within its second
/// counts as equal.
fn difference(
    date: SystemTime,
    sent: SystemTime,
    received: SystemTime,
) -> (Duration, &'static str) {
    let date_end = date + Duration::from_secs(1);
    if let Ok(behind) = date.duration_since(received) {
        (behind, "behind")
    } else {
        (
            sent.duration_since(date_end).unwrap_or_default(),
            "ahead of",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_time_and_part_seconds_are_not_a_difference() {
        let at = |ms: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        for (date, sent, received, expected, direction) in [
            (10_000, 10_400, 10_500, 0, "ahead of"),
            (10_000, 9_000, 12_000, 0, "ahead of"),
            (10_000, 4_000, 5_000, 5_000, "behind"),
            (10_000, 15_000, 16_000, 4_000, "ahead of"),
        ] {
            assert_eq!(
                difference(at(date), at(sent), at(received)),
                (Duration::from_millis(expected), direction),
                "Date {date}, sent {sent}, received {received}"
            );
        }
    }
}
