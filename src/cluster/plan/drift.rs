//! Would applying a child change anything? A write that changes nothing is still a write.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::APPLIED_DIGEST;
use crate::cluster::build::digest;

/// A wanted child that carries the digest of itself.
pub(super) fn sealed<T: Serialize>(mut wanted: T, metadata: fn(&mut T) -> &mut ObjectMeta) -> T {
    let text = serde_json::to_string(&wanted).unwrap_or_default();
    let annotations = metadata(&mut wanted).annotations.get_or_insert_default();
    annotations.insert(APPLIED_DIGEST.to_owned(), digest(&text));
    wanted
}

/// Whether the live object has all that is wanted. The digest among the wanted annotations notices
/// what was taken out of the wanted object since.
pub(super) fn is_applied<T: Serialize>(live: &T, wanted: &T) -> bool {
    let (live, wanted) = (serde_json::to_value(live), serde_json::to_value(wanted));
    live.ok().zip(wanted.ok()).is_some_and(|(live, wanted)| contains(&live, &wanted, false))
}

/// Whether one value has all of another. The API server adds fields, others add list entries; it
/// also writes quantities in its own way.
fn contains(live: &Value, wanted: &Value, quantities: bool) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => contains_all(live, wanted),
        (Value::Array(live), Value::Array(wanted)) if wanted.iter().all(Value::is_object) => {
            wanted.iter().all(|one| live.iter().any(|other| contains(other, one, false)))
        }
        (Value::String(live), Value::String(wanted)) if quantities => same_quantity(live, wanted),
        (live, wanted) => live == wanted,
    }
}

fn contains_all(live: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    wanted.iter().all(|(key, wanted)| match (live.get(key), wanted) {
        (Some(Value::Object(live)), Value::Object(wanted)) if is_amounts(key) => wanted
            .iter()
            .all(|(key, wanted)| live.get(key).is_some_and(|live| contains(live, wanted, true))),
        (Some(live), wanted) => contains(live, wanted, false),
        (None, _) => false,
    })
}

fn is_amounts(key: &str) -> bool {
    matches!(key, "requests" | "limits")
}

/// Whether two texts are the same amount, as in `1024Mi` and `1Gi`.
pub(super) fn same_quantity(one: &str, other: &str) -> bool {
    one == other
        || amount(one).zip(amount(other)).is_some_and(|(a, b)| (a - b).abs() <= a.abs() * 1e-12)
}

fn amount(text: &str) -> Option<f64> {
    let plain = |text: &str| text.parse::<f64>().ok().filter(|amount| amount.is_finite());
    if let Some(amount) = plain(text) {
        return Some(amount);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    Some(plain(digits)? * factor(&text[digits.len()..])?)
}

fn factor(unit: &str) -> Option<f64> {
    let (binary, unit) = unit.strip_suffix('i').map_or((false, unit), |unit| (true, unit));
    let power = match unit {
        "n" => -3,
        "u" => -2,
        "m" => -1,
        "k" | "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return None,
    };
    Some(if binary { 1024_f64.powi(power) } else { 1000_f64.powi(power) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_and_others_add_is_no_drift() {
        let wanted = json!({
            "metadata": {"annotations": {"a": "1"}},
            "spec": {"ports": [{"port": 4222}], "args": ["x", "y"],
                     "resources": {"limits": {"memory": "1024Mi", "cpu": "1500m"}}},
        });
        let live = json!({
            "metadata": {"annotations": {"a": "1", "b": "2"}, "uid": "u"},
            "spec": {"ports": [{"port": 9}, {"port": 4222, "nodePort": 1}], "args": ["x", "y"],
                     "resources": {"limits": {"memory": "1Gi", "cpu": "1.5"}}, "more": true},
        });
        assert!(contains(&live, &wanted, false));
    }

    #[test]
    fn what_was_changed_or_taken_away_is_drift() {
        let wanted = json!({"spec": {"ports": [{"port": 4222}], "args": ["x"], "n": 1,
                                     "limits": {"memory": "1Gi"}, "labels": {"v": "1Gi"}}});
        let table = [
            json!({"spec": {"ports": [], "args": ["x"], "n": 1, "limits": {"memory": "1Gi"}, "labels": {"v": "1Gi"}}}),
            json!({"spec": {"ports": [{"port": 1}], "args": ["x"], "n": 1, "limits": {"memory": "1Gi"}, "labels": {"v": "1Gi"}}}),
            json!({"spec": {"ports": [{"port": 4222}], "args": ["x", "y"], "n": 1, "limits": {"memory": "1Gi"}, "labels": {"v": "1Gi"}}}),
            json!({"spec": {"ports": [{"port": 4222}], "args": ["x"], "n": 2, "limits": {"memory": "1Gi"}, "labels": {"v": "1Gi"}}}),
            json!({"spec": {"ports": [{"port": 4222}], "args": ["x"], "n": 1, "limits": {"memory": "2Gi"}, "labels": {"v": "1Gi"}}}),
            json!({"spec": {"ports": [{"port": 4222}], "args": ["x"], "n": 1, "limits": {"memory": "1Gi"}, "labels": {"v": "1024Mi"}}}),
            json!({"spec": {"ports": [{"port": 4222}], "args": ["x"], "limits": {"memory": "1Gi"}, "labels": {"v": "1Gi"}}}),
        ];
        for live in table {
            assert!(!contains(&live, &wanted, false), "{live}");
        }
    }

    #[test]
    fn amounts_are_compared_and_not_their_spelling() {
        for (one, other) in [("1024Mi", "1Gi"), ("1500m", "1.5"), ("1e3", "1k"), ("0.5", "500m")] {
            assert!(same_quantity(one, other), "{one} {other}");
        }
        for (one, other) in [("1Gi", "1G"), ("1", "2"), ("1Gi", "much"), ("500m", "500M")] {
            assert!(!same_quantity(one, other), "{one} {other}");
        }
    }
}
