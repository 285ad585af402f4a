//! Settings of the shared cache: see `store/`.

mod server;
#[cfg(feature = "redis")]
mod url;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::secret::Secret;

#[cfg(feature = "redis")]
pub(crate) use self::server::StoreNode;
pub(crate) use self::server::StoreServer;

/// Settings as they are given.
#[derive(Clone, Default)]
pub(crate) struct SharedCacheSettings {
    /// A secret, because it may contain a password.
    pub(crate) url: Option<Secret>,
    pub(crate) key: Option<Secret>,
    pub(crate) prefix: Option<String>,
    pub(crate) business_tokens: Option<bool>,
}

/// Validated settings.
#[derive(Clone)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "without a store"))]
pub(crate) struct SharedCacheConfig {
    pub(crate) server: StoreServer,
    pub(crate) key: Option<Secret>,
    pub(crate) prefix: Arc<str>,
    pub(crate) business_tokens: bool,
}

impl SharedCacheSettings {
    /// Checks the settings, without I/O. `None` without a URL; then the others have no
    /// effect.
    pub(crate) fn resolve(self) -> Result<Option<SharedCacheConfig>> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        #[cfg(not(feature = "redis"))]
        {
            let _ = url;
            Err(Error::config(
                "shared_cache",
                "this build of layerfi-auth has no support for Redis and Valkey",
                "build it with the Cargo feature redis (for C: make lib SHARED_CACHE=1), or do \
                 not set {shared_cache}",
            ))
        }
        #[cfg(feature = "redis")]
        {
            let server = url::parse(url)?;
            if self.key.as_ref().is_some_and(Secret::is_empty) {
                return Err(Error::config(
                    "shared_cache_key",
                    "shared_cache_key is empty",
                    "set {shared_cache_key} to a random text of 32 characters or more, or do not \
                     set it",
                ));
            }
            Ok(Some(SharedCacheConfig {
                server,
                key: self.key,
                prefix: check_prefix(self.prefix.as_deref().unwrap_or("layerfi"))?,
                business_tokens: self.business_tokens.unwrap_or(true),
            }))
        }
    }
}

/// Longest prefix, in bytes.
#[cfg(feature = "redis")]
const MAX_PREFIX: usize = 64;

/// Checks the prefix of all names. No braces: they decide which node of a cluster has a
/// key.
#[cfg(feature = "redis")]
fn check_prefix(prefix: &str) -> Result<Arc<str>> {
    let bad = |what: String| {
        Err(Error::config(
            "shared_cache_prefix",
            what,
            "set {shared_cache_prefix} to 1 to 64 letters, digits or the characters - _ . :",
        ))
    };
    if prefix.is_empty() || prefix.len() > MAX_PREFIX {
        let length = prefix.len();
        return bad(format!(
            "shared_cache_prefix must have 1 to {MAX_PREFIX} characters, got {length}"
        ));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    match prefix.chars().find(|c| !is_allowed(*c)) {
        Some(other) => bad(format!(
            "shared_cache_prefix has the character {other:?}, which is not allowed"
        )),
        None => Ok(prefix.into()),
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;

    fn settings(url: &str) -> SharedCacheSettings {
        SharedCacheSettings {
            url: Some(url.into()),
            ..SharedCacheSettings::default()
        }
    }

    #[test]
    fn b30_other_settings_have_no_effect_without_a_url() {
        let without = SharedCacheSettings {
            url: None,
            key: Some("".into()),
            prefix: Some("{}".to_owned()),
            business_tokens: Some(false),
        };
        assert!(without.resolve().unwrap().is_none());
    }

    #[test]
    fn b30_defaults_of_the_shared_cache() {
        let config = settings("redis://cache").resolve().unwrap().unwrap();
        assert_eq!((&*config.prefix, config.business_tokens), ("layerfi", true));
        assert!(config.key.is_none());
    }

    #[test]
    fn b30_prefix_is_1_to_64_plain_characters() {
        let longest = "a".repeat(64);
        let too_long = "a".repeat(65);
        for (prefix, accepted) in [
            ("layerfi", true),
            ("A-z_0.9:", true),
            (&longest, true),
            (&too_long, false),
            ("", false),
            ("a{b}", false),
            ("a b", false),
            ("\u{e4}", false),
            ("a\n", false),
        ] {
            let mut settings = settings("redis://cache");
            settings.prefix = Some(prefix.to_owned());
            match settings.resolve() {
                Ok(_) => assert!(accepted, "{prefix:?} was accepted"),
                Err(error) => {
                    assert!(!accepted, "{prefix:?}: {error}");
                    assert_eq!(error.field(), Some("shared_cache_prefix"));
                    assert!(error.to_string().len() < 250, "{error}");
                }
            }
        }
    }

    #[test]
    fn b30_empty_key_is_refused() {
        let mut settings = settings("redis://cache");
        settings.key = Some("".into());
        let error = settings.resolve().err().unwrap();
        assert_eq!(error.field(), Some("shared_cache_key"));
    }
}
