//! Number of requests that a fault applies to.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of requests that a fault applies to. In JSON a number or `"forever"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Times {
    /// This many; then the fault is removed.
    Count(u32),
    /// Every request until the fault is removed.
    Forever,
}

impl Default for Times {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Forever => serializer.serialize_str("forever"),
        }
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not derived: the error of an untagged enum does not say what it expected.
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Times;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a number of requests or \"forever\"")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Times, E> {
                u32::try_from(count).map(Times::Count).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Times, E> {
                match word {
                    "forever" => Ok(Times::Forever),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_forever_are_read_and_anything_else_is_refused() {
        for (json, times) in [("3", Times::Count(3)), ("\"forever\"", Times::Forever)] {
            assert_eq!(
                serde_json::from_str::<Times>(json).unwrap(),
                times,
                "wrong value for {json}"
            );
        }
        for bad in ["\"always\"", "-1", "1.5", "null", "4294967296"] {
            assert!(
                serde_json::from_str::<Times>(bad).is_err(),
                "{bad} must be refused"
            );
        }
        let error = serde_json::from_str::<Times>("true")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a number of requests or \"forever\""),
            "the error must say what is expected, got: {error}"
        );
    }
}
