//! The credentials, and what they are good for.

use layerfi_auth::Client;
use tokio::time::Instant;

use super::report::Report;
use crate::failure::Failure;
use crate::output::plain;

pub(super) async fn check(
    client: &Client,
    auth_is_reached: bool,
    api_is_reached: bool,
    ends: Instant,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    if !auth_is_reached {
        report.skipped("credentials", None, "the token endpoint is not reached")?;
        return report.skipped("whoami", None, "there is no token");
    }
    let in_time = || client.with_timeout(ends.saturating_duration_since(Instant::now()));
    match in_time().token().await {
        Ok(token) => {
            let life = token.remaining().as_secs();
            report.passed("credentials", None, format!("a token for {life} s"))?;
        }
        Err(error) => {
            report.failed_with("credentials", None, &error.into())?;
            return report.skipped("whoami", None, "there is no token");
        }
    }
    if !api_is_reached {
        return report.skipped("whoami", None, "the API is not reached");
    }
    match in_time().whoami().await {
        Ok(me) => {
            let detail = format!("{} ({})", plain(&me.client_name), plain(&me.client_id));
            report.passed("whoami", None, detail)
        }
        Err(error) => report.failed_with("whoami", None, &error.into()),
    }
}
