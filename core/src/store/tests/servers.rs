//! The store's operations, and servers that refuse, fail or redirect.

use std::sync::Arc;
use std::time::Duration;

use layerfi_auth_test_support::{RedisServer, Reply, ServerKind};

use crate::shared_cache::SharedCacheSettings;
use crate::store::redis::RedisStore;
use crate::store::table::{self, entry, names, note, owner};
use crate::store::{Found, LookUp, Published, StoreError, StoreErrorKind, TokenStore as _};
use crate::trust::{Trust, TrustStore};

const LEASE: Duration = Duration::from_secs(3);
const KEEP: Duration = Duration::from_secs(60);

fn store_trusting(url: &str, ca_pem: &[u8]) -> Arc<RedisStore> {
    let settings = SharedCacheSettings {
        url: Some(url.into()),
        ..SharedCacheSettings::default()
    };
    let config = settings.resolve().unwrap().unwrap();
    let trust = if ca_pem.is_empty() {
        Trust::Bundled
    } else {
        Trust::CaOnly
    };
    let trust = TrustStore::new(trust, None, ca_pem).unwrap();
    RedisStore::new(config.server, Arc::new(trust))
}

fn store(url: &str) -> Arc<RedisStore> {
    store_trusting(url, b"")
}

async fn look(store: &RedisStore, part: &str) -> Result<LookUp, StoreError> {
    let names = names(part);
    store.look_up(&names, b"", &owner(1), LEASE).await
}

async fn found(store: &RedisStore, part: &str) -> Found {
    look(store, part).await.unwrap().found
}

#[tokio::test]
async fn b30_every_operation_of_the_store_on_real_servers() {
    for kind in ServerKind::ALL {
        let server = RedisServer::builder(kind).start();
        table::check(&*store(&server.url()), "tcp").await;
        let socket = format!("redis+unix://{}?db=3", server.socket().display());
        table::check(&*store(&socket), "unix").await;
        let keys = server.command(&[
            "EVAL",
            "redis.call('SELECT', 3); return #redis.call('KEYS', '*:{unix-*')",
            "0",
        ]);
        assert!(
            matches!(keys, Reply::Number(1..)),
            "{kind:?}: {keys:?} keys in database 3"
        );
    }
}
