//! Publishes Events. kube's recorder takes all Events of one reason for one that goes on, and keeps the
//! words of the first: of three servers that restart it would name one. Here only the same words are
//! the same Event, and so there is a recorder for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};

/// For so long a recorder counts up an Event that comes again. After that, it is told anew.
const SERIES: Duration = Duration::from_secs(6 * 60);

/// The recorders of the last few minutes, by their Events' words.
pub(super) struct Events {
    client: Client,
    reporter: Reporter,
    recorders: Mutex<HashMap<Option<String>, (Recorder, Instant)>>,
}

impl Events {
    pub(super) fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter, recorders: Mutex::default() }
    }

    /// Writes an Event about an object, or counts up the one that says the same.
    pub(super) async fn publish(&self, event: &Event, about: &ObjectReference) -> kube::Result<()> {
        let recorder = self.recorder(event.note.clone(), Instant::now());
        recorder.publish(event, about).await
    }

    fn recorder(&self, note: Option<String>, now: Instant) -> Recorder {
        let mut recorders = self.recorders.lock().unwrap_or_else(PoisonError::into_inner);
        recorders.retain(|_, (_, used)| now.duration_since(*used) < SERIES);
        let new = || (Recorder::new(self.client.clone(), self.reporter.clone()), now);
        let (recorder, used) = recorders.entry(note).or_insert_with(new);
        *used = now;
        recorder.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use http::{Request, Response};
    use kube::client::Body;
    use kube::runtime::events::EventType;
    use serde_json::Value;
    use tower::service_fn;

    use super::*;

    /// What an API server has of the Events that are made or changed, by their names.
    type Stored = Arc<Mutex<BTreeMap<String, Value>>>;

    fn server(stored: Stored) -> Client {
        let answer = move |request: Request<Body>| {
            let stored = Arc::clone(&stored);
            async move {
                let bytes = request.into_body().collect_bytes().await?;
                let event: Value = serde_json::from_slice(&bytes).unwrap();
                let name = event["metadata"]["name"].as_str().unwrap().to_owned();
                stored.lock().unwrap().insert(name, event);
                Ok::<_, kube::Error>(Response::new(Body::from(bytes.to_vec())))
            }
        };
        Client::new(service_fn(answer), "chat")
    }

    fn about(name: &str) -> ObjectReference {
        ObjectReference {
            name: Some(name.to_owned()),
            namespace: Some("chat".to_owned()),
            ..ObjectReference::default()
        }
    }

    /// Publishes each, and gives name, words and count of what is stored then.
    async fn stored(told: &[(&str, &str)]) -> Vec<(String, String, u64)> {
        let stored = Stored::default();
        let events = Events::new(server(Arc::clone(&stored)), "test".into());
        for (name, note) in told {
            let event = Event {
                type_: EventType::Normal,
                reason: "RestartingServer".to_owned(),
                note: Some((*note).to_owned()),
                action: "Restart".to_owned(),
                secondary: None,
            };
            events.publish(&event, &about(name)).await.unwrap();
        }
        let stored = stored.lock().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut found: Vec<_> = stored
            .values()
            .map(|event| {
                let count = event["series"]["count"].as_u64().unwrap_or(1);
                (text(&event["regarding"]["name"]), text(&event["note"]), count)
            })
            .collect();
        found.sort();
        found
    }

    #[tokio::test]
    async fn other_words_are_an_event_of_their_own_and_the_same_ones_are_counted() {
        let told = [("demo", "two"), ("demo", "one"), ("demo", "two"), ("other", "two")];
        let expected = [("demo", "one", 1), ("demo", "two", 2), ("other", "two", 1)];
        let expected =
            expected.map(|(name, note, count)| (name.to_owned(), note.to_owned(), count));
        assert_eq!(stored(&told).await, expected);
    }

    #[tokio::test]
    async fn only_recorders_that_may_still_count_are_kept() {
        let events = Events::new(server(Stored::default()), "test".into());
        let (began, kept) = (Instant::now(), || events.recorders.lock().unwrap().len());
        for (second, note, expected) in [(0, "one", 1), (200, "two", 2), (400, "two", 1)] {
            events.recorder(Some(note.to_owned()), began + Duration::from_secs(second));
            assert_eq!(kept(), expected, "after {second} s");
        }
    }
}
