//! Names of settings in error texts.
//!
//! A remedy contains a setting as `{client_id}`. A program that used the builder
//! reads `client_id`, one that used `from_env` reads `LAYER_CLIENT_ID`, and a
//! binding can put in a name of its own, such as a flag.

use std::borrow::Cow;

/// Settings that `from_env` reads, with their environment variables.
const VARIABLES: [(&str, &str); 12] = [
    ("environment", "LAYER_ENVIRONMENT"),
    ("client_id", "LAYER_CLIENT_ID"),
    ("client_secret", "LAYER_CLIENT_SECRET"),
    ("client_secret_file", "LAYER_CLIENT_SECRET_FILE"),
    ("api_url", "LAYER_API_URL"),
    ("auth_url", "LAYER_AUTH_URL"),
    ("scope", "LAYER_SCOPE"),
    ("ca_file", "LAYER_CA_FILE"),
    ("trust", "LAYER_TRUST"),
    ("shared_cache", "LAYER_SHARED_CACHE"),
    ("shared_cache_key", "LAYER_SHARED_CACHE_KEY"),
    // As a user sets it.
    ("allow_http_loopback", "LAYER_ALLOW_HTTP_LOOPBACK=1"),
];

/// Set of the settings whose values come from environment variables, or would if
/// the variables were set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FromVariables(u16);

impl FromVariables {
    /// All settings that have a variable.
    pub(crate) const ALL: Self = Self((1 << VARIABLES.len()) - 1);

    /// The set without settings that the program has set itself.
    pub(crate) fn without(self, settings: &[&str]) -> Self {
        let bits = VARIABLES.iter().enumerate().map(|(at, (name, _))| {
            let is_removed = settings.contains(name);
            u16::from(is_removed) << at
        });
        Self(self.0 & !bits.sum::<u16>())
    }

    /// Environment variable from which the setting comes or would come.
    pub(crate) fn variable(self, setting: &str) -> Option<&'static str> {
        let at = VARIABLES.iter().position(|(name, _)| *name == setting)?;
        let (_, variable) = VARIABLES.get(at)?;
        (self.0 & (1 << at) != 0).then_some(*variable)
    }
}

/// Setting that an environment variable sets.
pub(crate) fn setting_of(variable: &str) -> Option<&'static str> {
    let found = VARIABLES
        .iter()
        .find(|(_, known)| known.split('=').next() == Some(variable));
    found.map(|(name, _)| *name)
}

/// Replaces each `{setting}` in a text by `name(setting)`. Other braces stay.
pub(crate) fn render<'a, N: Into<Cow<'a, str>>>(
    template: &'a str,
    name: impl Fn(&'a str) -> N,
) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        match after.split_once('}') {
            Some((setting, after)) if is_setting(setting) => {
                out.push_str(&name(setting).into());
                rest = after;
            }
            _ => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_setting(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_settings_or_their_variables() {
        let template = "set {client_id}, or {timeout} {x y} {";
        let from = FromVariables::ALL;
        let render = |from: FromVariables| {
            render(template, |setting| {
                from.variable(setting).unwrap_or(setting)
            })
        };
        assert_eq!(render(from), "set LAYER_CLIENT_ID, or timeout {x y} {");
        let plain = "set client_id, or timeout {x y} {";
        assert_eq!(render(from.without(&["client_id"])), plain);
        assert_eq!(render(FromVariables::default()), plain);
    }

    #[test]
    fn each_setting_is_removed_alone() {
        for (name, variable) in VARIABLES {
            let bare = variable.trim_end_matches("=1");
            assert_eq!(setting_of(bare), Some(name));
            let from = FromVariables::ALL.without(&[name]);
            for (other, variable) in VARIABLES {
                let expected = (other != name).then_some(variable);
                assert_eq!(from.variable(other), expected, "{other} without {name}");
            }
        }
    }
}
