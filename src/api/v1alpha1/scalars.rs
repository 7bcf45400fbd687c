//! Strings with a meaning: sizes, resource amounts and durations, each with a short schema that
//! refuses nonsense, where the upstream types bring a page of prose and no pattern.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// The API server refuses these by pattern first, so meeting one means a resource that was stored
/// under an older or a changed CRD.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not {wanted}")]
pub struct InvalidScalar {
    /// What was written.
    pub text: String,
    /// What is accepted, with an example.
    pub wanted: &'static str,
}

/// A size in bytes with a unit, such as `10Gi` or `500M`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteSize(pub String);

impl ByteSize {
    /// Nine digits of tebibytes are beyond any volume and still fit a 128-bit product.
    const PATTERN: &'static str = r"^[1-9][0-9]{0,8}(Ki|Mi|Gi|Ti|k|M|G|T)$";

    /// The size as a number of bytes.
    ///
    /// # Errors
    /// When the text has no unit, no digits, or more bytes than 64 bits hold.
    pub fn bytes(&self) -> Result<u64, InvalidScalar> {
        let split = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, unit) = self.0.split_at(split);
        factor(unit)
            .zip(digits.parse::<u64>().ok())
            .and_then(|(factor, number)| number.checked_mul(factor))
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| InvalidScalar {
                text: self.0.clone(),
                wanted: "a size above zero with a unit, such as 10Gi",
            })
    }
}

fn factor(unit: &str) -> Option<u64> {
    match unit {
        "k" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        "T" => Some(1_000_000_000_000),
        "Ki" => Some(1 << 10),
        "Mi" => Some(1 << 20),
        "Gi" => Some(1 << 30),
        "Ti" => Some(1 << 40),
        _ => None,
    }
}

impl From<&str> for ByteSize {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": Self::PATTERN, "maxLength": 16})
    }
}

/// A span of time such as `5s`, `1m30s` or `500ms`: up to four numbers with the units h, m, s, ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurationText(pub String);

impl DurationText {
    /// The form of the Gateway API (GEP-2257).
    const PATTERN: &'static str = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$";

    /// The span as a duration above zero.
    ///
    /// # Errors
    /// When the text has another form or says zero.
    pub fn duration(&self) -> Result<Duration, InvalidScalar> {
        parse_duration(&self.0).filter(|span| !span.is_zero()).ok_or_else(|| InvalidScalar {
            text: self.0.clone(),
            wanted: "a duration above zero, such as 5s or 1m30s",
        })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let number = digits.parse::<u64>().ok()?;
        sum = sum.checked_add(match unit {
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        })?;
        rest = after;
    }
    Some(sum)
}

impl From<&str> for DurationText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": Self::PATTERN, "maxLength": 32})
    }
}

/// An amount of CPU or memory as Kubernetes writes it: `2`, `500m`, `1Gi`. A bare whole number may
/// stand without quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceQuantity(pub String);

impl ResourceQuantity {
    const PATTERN: &'static str = r"^[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";

    /// The whole units of the amount, rounded down; `None` when the text is no amount.
    #[must_use]
    pub fn whole(&self) -> Option<u64> {
        let split = self.0.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(self.0.len());
        let (number, unit) = self.0.split_at(split);
        let (digits, decimals) = number.split_once('.').unwrap_or((number, ""));
        let thousandths = format!("{digits}{decimals:0<3}").parse::<u128>().ok()?;
        let thousandths = match unit {
            "m" => thousandths / 1000,
            "" => thousandths,
            unit => thousandths.checked_mul(u128::from(factor(unit)?))?,
        };
        u64::try_from(thousandths / 1000).ok()
    }
}

impl<'de> Deserialize<'de> for ResourceQuantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntOrString;
        impl serde::de::Visitor<'_> for IntOrString {
            type Value = ResourceQuantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount such as 2 or 500m")
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(ResourceQuantity(number.to_string()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(ResourceQuantity(number.to_string()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(ResourceQuantity(text.to_owned()))
            }
        }
        deserializer.deserialize_any(IntOrString)
    }
}

impl JsonSchema for ResourceQuantity {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ResourceQuantity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": Self::PATTERN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_become_bytes() {
        for (text, bytes) in [("1Ki", 1 << 10), ("10Gi", 10 << 30), ("500M", 500_000_000)] {
            assert_eq!(ByteSize::from(text).bytes(), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_without_sense_are_refused() {
        for text in ["", "0Gi", "1", "-1Gi", "10gi", "10Gi ", "1e30", "Infinity", "999999999Ti"] {
            assert!(ByteSize::from(text).bytes().is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_add_up_their_parts() {
        for (text, millis) in
            [("5s", 5_000), ("1m30s", 90_000), ("2h", 7_200_000), ("1s5ms", 1_005)]
        {
            let wanted = Duration::from_millis(millis);
            assert_eq!(DurationText::from(text).duration(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn durations_without_sense_are_refused() {
        for text in ["", "5", "0s", "-5s", "5 m", "NaNs", "5d", "s", "99999999999999999999h"] {
            assert!(DurationText::from(text).duration().is_err(), "{text:?}");
        }
    }

    #[test]
    fn resource_amounts_round_down_to_whole_units() {
        let table =
            [("512Mi", 512 << 20), ("1.5Gi", 3 << 29), ("1500m", 1), ("2", 2), ("0.5k", 500)];
        for (text, whole) in table {
            assert_eq!(ResourceQuantity(text.to_owned()).whole(), Some(whole), "{text}");
        }
        assert_eq!(ResourceQuantity("much".to_owned()).whole(), None);
    }

    #[test]
    fn a_resource_amount_may_be_a_bare_number() {
        let read = |json| serde_json::from_str::<ResourceQuantity>(json).unwrap();
        assert_eq!(read("2"), ResourceQuantity("2".to_owned()));
        assert_eq!(read("\"500m\""), ResourceQuantity("500m".to_owned()));
    }
}
