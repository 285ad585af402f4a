//! Checks that the token endpoint accepts the credentials and that the API
//! accepts the token.

use layerfi_auth::Client;

use crate::commands::doctor::deadline::Deadline;
use crate::commands::doctor::report::Report;
use crate::failure::Failure;
use crate::terminal::sanitize;

pub(super) async fn check(
    client: &Client,
    auth_is_reachable: bool,
    api_is_reachable: bool,
    deadline: Deadline,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    if !auth_is_reachable {
        report.skipped("credentials", None, "the token endpoint is not reachable")?;
        return report.skipped("whoami", None, "no access token");
    }
    let client_in_time = || client.with_timeout(deadline.remaining());
    match client_in_time().token().await {
        Ok(token) => {
            let lifetime = token.remaining().as_secs();
            let detail = format!("received an access token that expires in {lifetime} s");
            report.passed("credentials", None, detail)?;
        }
        Err(error) => {
            report.failed_with("credentials", None, &error.into())?;
            return report.skipped("whoami", None, "no access token");
        }
    }
    if !api_is_reachable {
        return report.skipped("whoami", None, "the API is not reachable");
    }
    match client_in_time().whoami().await {
        Ok(me) => {
            let detail = format!(
                "{} ({})",
                sanitize(&me.client_name),
                sanitize(&me.client_id)
            );
            report.passed("whoami", None, detail)
        }
        Err(error) => report.failed_with("whoami", None, &error.into()),
    }
}
