//! One round of questions, each asked once and in short time, and the answers in the words of
//! [`cluster`](crate::cluster).

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join, join_all};

use super::super::migrate::mark;
use super::Links;
use crate::cluster::build::CONFIG_METADATA;
use crate::cluster::names::Bucket;
use crate::cluster::sample::{Content, MetaSample, PeerSample, ServerSample, StreamSample};
use crate::cluster::world::{ControlRecord, Lookup, ServerFacts, StreamFacts};
use crate::jetstream::api::{self, StreamInfo};
use crate::jetstream::bucket::stream_of;
use crate::jetstream::meta::{self, ServerView, StreamView};
use crate::membership::error::ErrorKind;
use crate::membership::kv::{Bucket as KvBucket, Control, Prefix};
use crate::membership::store::Deadline;

/// How long one question may take. A server that is away costs a whole one.
const QUESTION: Duration = Duration::from_millis(800);

/// What was answered in a round.
pub(super) struct Answer {
    pub(super) servers: BTreeMap<String, (ServerSample, ServerFacts)>,
    pub(super) key_refused: bool,
    pub(super) control: Lookup<ControlRecord>,
    pub(super) streams: BTreeMap<Bucket, Lookup<StreamFacts>>,
}

/// Asks everything once.
pub(super) async fn ask(links: &Links, servers: usize) -> Answer {
    let records = async {
        // First, so that a bucket which the record lists is looked up after it had been made.
        let control = control(links).await;
        let lookups = Bucket::ALL.map(|bucket| stream(links, bucket));
        (control, join_all(lookups).await)
    };
    let (survey, (control, streams)) =
        join(meta::survey(&links.system, servers, QUESTION), records).await;
    let key_refused = survey.is_err() && links.system.was_refused();
    let views = survey.unwrap_or_default();
    let alone = (servers == 1).then(|| views.keys().next().cloned()).flatten();
    let sampled = views.into_iter().map(|(name, view)| {
        let known = (sample(&name, &view), facts(&view));
        (name, known)
    });
    Answer {
        servers: sampled.collect(),
        key_refused,
        control,
        streams: Bucket::ALL
            .into_iter()
            .zip(streams.into_iter().map(|found| seen_alone(found, alone.as_deref())))
            .collect(),
    }
}

fn facts(view: &ServerView) -> ServerFacts {
    ServerFacts {
        version: view.version.clone(),
        config: view.metadata.get(CONFIG_METADATA).cloned(),
    }
}

fn sample(name: &str, view: &ServerView) -> ServerSample {
    let alone = view.meta.is_none().then_some(name);
    let streams = view.streams.iter();
    ServerSample {
        id: view.id.clone(),
        healthy: view.healthy,
        meta: view.meta.as_ref().map(|meta| MetaSample {
            leader: meta.leader.clone(),
            size: meta.size,
            peers: meta
                .peers
                .iter()
                .map(|(name, peer)| {
                    let peer = PeerSample { current: peer.current, offline: peer.offline };
                    (name.clone(), peer)
                })
                .collect(),
        }),
        streams: streams.map(|(name, view)| (name.clone(), copy(view, alone))).collect(),
    }
}

/// A server that stands alone leads what it holds, and says nothing of a leader.
fn copy(view: &StreamView, alone: Option<&str>) -> StreamSample {
    StreamSample {
        leader: view.leader.clone().or(alone.map(str::to_owned)),
        last_seq: view.last_seq,
        content: Content {
            messages: view.messages,
            bytes: view.bytes,
            first_seq: view.first_seq,
            num_deleted: view.num_deleted,
        },
    }
}

fn seen_alone(found: Lookup<StreamFacts>, alone: Option<&str>) -> Lookup<StreamFacts> {
    match found {
        Lookup::Present(facts) => Lookup::Present(StreamFacts {
            leader: facts.leader.or(alone.map(str::to_owned)),
            ..facts
        }),
        other @ (Lookup::Unknown | Lookup::Absent | Lookup::Unreadable { .. }) => other,
    }
}

/// The control record. That its bucket is not there is only the meta leader's to say.
async fn control(links: &Links) -> Lookup<ControlRecord> {
    let stream = stream_of(&KvBucket::Control.name(&links.prefix));
    match api::stream_info(&*links.operator, &stream, QUESTION).await {
        Ok(Some(_)) => {}
        Ok(None) => return Lookup::Absent,
        Err(_) => return Lookup::Unknown,
    }
    match links.control.read(Deadline::after(QUESTION)).await {
        Ok(None) => Lookup::Absent,
        Ok(Some(stored)) => in_cluster_words(&links.prefix, &stored.record),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            Lookup::Unreadable { why: error.to_string() }
        }
        Err(_) => Lookup::Unknown,
    }
}

/// A name that this program does not know is a newer program's.
fn in_cluster_words(prefix: &Prefix, record: &Control) -> Lookup<ControlRecord> {
    let read = || -> Result<ControlRecord, String> {
        let known = |name: &String| {
            let known = Bucket::ALL.into_iter().find(|one| kv_bucket(*one).name(prefix) == *name);
            known.ok_or_else(|| format!("it names an unknown bucket {name}"))
        };
        let born = record.born.iter().map(|(name, when)| Ok((known(name)?, when.clone())));
        Ok(ControlRecord {
            cluster_id: record.cluster_id.clone(),
            made: record.buckets.iter().map(known).collect::<Result<_, _>>()?,
            losses_accepted: record.losses_accepted.iter().map(known).collect::<Result<_, _>>()?,
            born: born.collect::<Result<_, String>>()?,
            migration: record.migration.as_ref().map(mark).transpose()?,
            served: record.served_since.is_some(),
        })
    };
    read().map_or_else(|why| Lookup::Unreadable { why }, Lookup::Present)
}

async fn stream(links: &Links, bucket: Bucket) -> Lookup<StreamFacts> {
    let stream = stream_of(&kv_bucket(bucket).name(&links.prefix));
    match api::stream_info(&*links.operator, &stream, QUESTION).await {
        Ok(Some(info)) => Lookup::Present(stream_facts(info)),
        Ok(None) => Lookup::Absent,
        Err(_) => Lookup::Unknown,
    }
}

fn stream_facts(info: StreamInfo) -> StreamFacts {
    let replicas = info.config["num_replicas"].as_u64().unwrap_or(1);
    StreamFacts {
        replicas: u8::try_from(replicas).unwrap_or(u8::MAX),
        leader: info.cluster.and_then(|cluster| cluster.leader),
        messages: info.state.messages,
        created: info.created,
    }
}

/// The bucket in the words of the membership.
pub(in crate::controller) const fn kv_bucket(bucket: Bucket) -> KvBucket {
    match bucket {
        Bucket::Control => KvBucket::Control,
        Bucket::Rooms => KvBucket::Rooms,
        Bucket::Members => KvBucket::Members,
        Bucket::RoomsByMember => KvBucket::RoomsByMember,
        Bucket::RoomKeys => KvBucket::RoomKeys,
        Bucket::Users => KvBucket::Users,
        Bucket::Requests => KvBucket::Requests,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_one_name_in_both_rooms() {
        let prefix: Prefix = "U".parse().unwrap();
        for bucket in Bucket::ALL {
            let kv = kv_bucket(bucket);
            assert_eq!((bucket.suffix(), bucket.swept()), (kv.suffix(), kv.swept()));
            assert_eq!(bucket.name("U"), kv.name(&prefix));
        }
    }

    #[test]
    fn a_stream_is_read_with_its_leader_its_size_and_when_it_was_made() {
        let info = serde_json::from_value(serde_json::json!({
            "config": {"num_replicas": 3},
            "created": "then",
            "state": {"messages": 7, "bytes": 700, "first_seq": 1, "last_seq": 9},
            "cluster": {"leader": "n0"},
        }));
        let facts = StreamFacts {
            replicas: 3,
            leader: Some("n0".to_owned()),
            messages: 7,
            created: "then".to_owned(),
        };
        assert_eq!(stream_facts(info.unwrap()), facts);
    }

    #[test]
    fn a_copy_is_read_with_all_that_it_holds_and_a_server_that_stands_alone_leads_it() {
        let view = |leader: Option<&str>| StreamView {
            leader: leader.map(str::to_owned),
            messages: 7,
            bytes: 700,
            first_seq: 1,
            last_seq: 9,
            num_deleted: 2,
        };
        let content = Content { messages: 7, bytes: 700, first_seq: 1, num_deleted: 2 };
        for (told, alone, leader) in
            [(Some("n1"), None, Some("n1")), (None, Some("n0"), Some("n0")), (None, None, None)]
        {
            let leader = leader.map(str::to_owned);
            assert_eq!(copy(&view(told), alone), StreamSample { leader, last_seq: 9, content });
        }
    }

    #[test]
    fn a_record_that_names_an_unknown_bucket_is_not_taken_for_read() {
        let prefix: Prefix = "U".parse().unwrap();
        let mut record = Control {
            cluster_id: "c".to_owned(),
            buckets: vec!["U_control".to_owned(), "U_rooms".to_owned()],
            losses_accepted: vec!["U_users".to_owned()],
            first_admin: None,
            served_since: None,
            born: [("U_rooms".to_owned(), "then".to_owned())].into(),
            migration: None,
        };
        let read = in_cluster_words(&prefix, &record);
        let read = read.present().unwrap();
        assert_eq!(read.made, [Bucket::Control, Bucket::Rooms].into());
        assert_eq!(read.losses_accepted, [Bucket::Users].into());
        assert_eq!(read.born, [(Bucket::Rooms, "then".to_owned())].into());
        record.buckets.push("U_bots".to_owned());
        let read = in_cluster_words(&prefix, &record);
        assert!(matches!(read, Lookup::Unreadable { .. }), "{read:?}");
    }
}
