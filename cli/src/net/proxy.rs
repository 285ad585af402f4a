//! The proxy that the engine uses for an endpoint.

use layerfi_auth::Client;
use layerfi_auth::diagnosis;
use tokio::net::TcpStream;

use crate::flag_names;
use crate::net::endpoint::Endpoint;
use crate::net::tls::Problem;

/// The proxy that requests to an endpoint go through.
pub(crate) struct Proxy {
    pub(crate) endpoint: Endpoint,
    engine: diagnosis::Proxy,
}

/// Returns the proxy for `to`, if there is one.
pub(crate) fn select(client: &Client, to: &Endpoint) -> Option<Proxy> {
    let url = format!("{}://{}/", to.scheme(), to.authority());
    let engine = diagnosis::Proxy::of(client, &url)?;
    let endpoint = Endpoint::of(engine.url()).ok()?;
    Some(Proxy { endpoint, engine })
}

impl Proxy {
    /// Opens a tunnel through the proxy.
    pub(crate) async fn tunnel(
        &self,
        stream: &mut TcpStream,
        to: &Endpoint,
    ) -> Result<(), Problem> {
        let target = to.authority();
        let refusal = match self.engine.open(stream, &target).await {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        let error = self.engine.explain(&target, &refusal);
        Err(Problem {
            message: error.message().to_owned(),
            remedy: flag_names::remedy(&error),
        })
    }
}
