//! A look at the fake, as the hands look at the real world.

use std::collections::BTreeMap;

use membership_operator::cluster::world::{Found, Resource, SecretSeen, World};

use super::nats::Probe;
use super::{Fake, Seen};

impl Fake {
    pub fn see(&self, probe: &Probe) -> Seen {
        let cluster = self.cluster();
        let secrets: BTreeMap<_, Found<SecretSeen>> = self
            .secrets
            .iter()
            .map(|(role, (secret, owner))| {
                let old = *owner != self.uid;
                (*role, if old { Found::Old } else { Found::Ours(secret.clone()) })
            })
            .collect();
        macro_rules! found {
            ($field:ident) => {
                self.$field.clone().map_or(Found::Absent, |object| {
                    let metadata = object.metadata.clone();
                    Found::of(object, &metadata, &cluster)
                })
            };
        }
        let nats = probe.snapshot(self);
        let world = World {
            resource: Resource {
                has_finalizer: self.finalizer,
                accept_loss: self.accept_loss.clone(),
                retry_migration: self.migration.retry.clone(),
                status: self.status.clone(),
            },
            secrets,
            config_map: found!(config_map),
            headless: found!(headless),
            client: found!(client),
            disruption_budget: found!(budget),
            stateful_set: found!(stateful_set),
            claims: self.claims.values().cloned().collect(),
            pods: self.pods.values().map(|server| server.pod.clone()).collect(),
            migration: self.see_migration(&cluster),
            membershipd: self.see_serving(&cluster),
            key_refused: !self.knows_key() && !self.running().is_empty(),
            silence: probe.silence(self.now),
            nats,
        };
        Seen { cluster, world }
    }
}
