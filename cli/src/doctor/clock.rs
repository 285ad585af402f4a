//! This machine's clock against the server's: certificates and the expiry that
//! a browser is told depend on it.

use std::time::{Duration, SystemTime};

use http::header;
use layerfi_auth::Client;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::network::Way;
use super::report::Report;
use super::step_ends;
use crate::failure::Failure;
use crate::net::place::Place;
use crate::net::request;

/// How far the clocks may be apart. Smaller differences harm nobody: the
/// shortest sessions are minutes, and `Date` has whole seconds.
const TOLERATED: Duration = Duration::from_secs(60);

pub(super) async fn check(
    way: Option<Way>,
    api: &Place,
    client: &Client,
    ends: Instant,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let Some(way) = way else {
        return report.skipped("clock", None, "the API is not reached");
    };
    // With no credential: a refusal tells the time as well as an answer.
    let path = Url::parse(&format!("{}/whoami", client.api_url()))
        .map_or_else(|_| "/".to_owned(), |url| url.path().to_owned());
    let sent = SystemTime::now();
    let ask = async {
        match way {
            Way::Plain(stream) => request::get(stream, api, &path, None).await,
            Way::Tls(stream) => request::get(*stream, api, &path, None).await,
            Way::Unseen => Err("not looked into through an https:// proxy".to_owned()),
        }
    };
    let head = match timeout_at(step_ends(ends), ask).await {
        Ok(Ok(head)) => head,
        Ok(Err(why)) => {
            return report.skipped("clock", None, format!("no answer over HTTP ({why})"));
        }
        Err(_) => return report.skipped("clock", None, "no answer over HTTP in time"),
    };
    let date = head
        .headers
        .get(header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date).ok());
    let Some(date) = date else {
        return report.skipped("clock", None, "the server does not tell its time");
    };
    let (apart, direction) = skew(date, sent, SystemTime::now());
    if apart <= TOLERATED {
        return report.passed(
            "clock",
            None,
            format!("within {} s of the server's", apart.as_secs() + 1),
        );
    }
    report.failed_as(
        "clock",
        None,
        format!(
            "this machine is {} s {direction} the server",
            apart.as_secs()
        ),
        "set this machine's clock, best by NTP (timedatectl set-ntp true)",
    )
}

/// How far this clock is from a `Date` that was made between two moments. The
/// header's second is taken whole: any moment in it is no difference.
fn skew(date: SystemTime, sent: SystemTime, received: SystemTime) -> (Duration, &'static str) {
    let until = date + Duration::from_secs(1);
    if let Ok(behind) = date.duration_since(received) {
        (behind, "behind")
    } else {
        (sent.duration_since(until).unwrap_or_default(), "ahead of")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_round_trip_and_the_whole_second_are_no_difference() {
        let at = |ms: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        for (date, sent, received, apart, direction) in [
            (10_000, 10_400, 10_500, 0, "ahead of"),
            (10_000, 9_000, 12_000, 0, "ahead of"),
            (10_000, 4_000, 5_000, 5_000, "behind"),
            (10_000, 15_000, 16_000, 4_000, "ahead of"),
        ] {
            assert_eq!(
                skew(at(date), at(sent), at(received)),
                (Duration::from_millis(apart), direction),
                "{date} {sent} {received}"
            );
        }
    }
}
