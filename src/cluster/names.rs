//! Every name, label and selector of the children, in one place.

use std::collections::BTreeMap;

/// The buckets of one cluster, each `<prefix>_<name>` in JetStream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// Schema version, cluster id and the buckets made so far. First, so that nothing exists that
    /// it could not speak for.
    Control,
    /// Rooms.
    Rooms,
    /// Members by room.
    Members,
    /// Rooms by member: an index.
    RoomsByMember,
    /// Sealed room keys.
    RoomKeys,
    /// Users.
    Users,
    /// Requests already answered, against replays.
    Requests,
}

impl Bucket {
    /// Every bucket, in the order of creation.
    pub const ALL: [Self; 7] = [
        Self::Control,
        Self::Rooms,
        Self::Members,
        Self::RoomsByMember,
        Self::RoomKeys,
        Self::Users,
        Self::Requests,
    ];

    /// The part of the name after the prefix.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Rooms => "rooms",
            Self::Members => "members",
            Self::RoomsByMember => "rooms_by_member",
            Self::RoomKeys => "room_keys",
            Self::Users => "users",
            Self::Requests => "requests",
        }
    }

    /// The bucket's name under a prefix.
    #[must_use]
    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}_{}", self.suffix())
    }

    /// Whether a sweeper purges old records, so that the stream must allow it.
    #[must_use]
    pub const fn swept(self) -> bool {
        match self {
            Self::Members | Self::RoomsByMember | Self::RoomKeys | Self::Requests => true,
            Self::Control | Self::Rooms | Self::Users => false,
        }
    }
}

/// Who connects to NATS. Each role has an nkey of its own, in a Secret of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The operator in the system account: meta group, health, step-down.
    System,
    /// The operator in the membership account: buckets and the control record.
    Operator,
    /// The membership service.
    Membershipd,
    /// The migration.
    Migration,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::System, Self::Operator, Self::Membershipd, Self::Migration];

    /// The role's name, as in its Secret and its inbox prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Operator => "operator",
            Self::Membershipd => "membershipd",
            Self::Migration => "migration",
        }
    }

    /// The only subjects that a client of this role may receive answers on.
    #[must_use]
    pub fn inbox_prefix(self) -> String {
        format!("_INBOX_{}", self.name())
    }
}

/// The names of one cluster's children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The resource's name.
    pub cluster: String,
    /// The resource's namespace.
    pub namespace: String,
}

impl Names {
    /// StatefulSet, ConfigMap, client Service and PodDisruptionBudget of the servers.
    #[must_use]
    pub fn nats(&self) -> String {
        format!("{}-nats", self.cluster)
    }

    /// The headless Service that gives each server a name of its own.
    #[must_use]
    pub fn headless(&self) -> String {
        format!("{}-nats-headless", self.cluster)
    }

    /// The Secret with the seed of a role.
    #[must_use]
    pub fn secret(&self, role: Role) -> String {
        format!("{}-nats-{}", self.cluster, role.name())
    }

    /// The Job of a try of the migration.
    #[must_use]
    pub fn migration_job(&self, number: u32) -> String {
        format!("{}{number}", self.migration_prefix())
    }

    /// The number of a migration's Job of this name.
    #[must_use]
    pub fn migration_number(&self, job: &str) -> Option<u32> {
        job.strip_prefix(&self.migration_prefix())?.parse().ok()
    }

    fn migration_prefix(&self) -> String {
        format!("{}-migrate-", self.cluster)
    }

    /// The Job of a try to take down the fence of a move that is given up.
    #[must_use]
    pub fn unfence_job(&self, number: u32) -> String {
        format!("{}{number}", self.unfence_prefix())
    }

    /// The number of such a Job of this name.
    #[must_use]
    pub fn unfence_number(&self, job: &str) -> Option<u32> {
        job.strip_prefix(&self.unfence_prefix())?.parse().ok()
    }

    fn unfence_prefix(&self) -> String {
        format!("{}-unfence-", self.cluster)
    }

    /// The labels of a migration's Job and its pods: no Service selects them.
    #[must_use]
    pub fn migration_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels();
        labels.insert("app.kubernetes.io/component".to_owned(), "migration".to_owned());
        labels.insert("app.kubernetes.io/name".to_owned(), "membershipd".to_owned());
        labels
    }

    /// The Deployment of the membership service over the buckets, its Service and its
    /// PodDisruptionBudget.
    #[must_use]
    pub fn membershipd(&self) -> String {
        format!("{}-membershipd", self.cluster)
    }

    /// The Deployment of the membership service over the SQLite file.
    #[must_use]
    pub fn membershipd_sqlite(&self) -> String {
        format!("{}-membershipd-sqlite", self.cluster)
    }

    /// Where callers inside the Kubernetes cluster reach the membership service.
    #[must_use]
    pub fn membershipd_url(&self) -> String {
        format!("http://{}.{}.svc:8080", self.membershipd(), self.namespace)
    }

    /// The labels that select every pod of the membership service, whatever it serves from.
    #[must_use]
    pub fn membershipd_selector(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert("app.kubernetes.io/component".to_owned(), MEMBERSHIPD.to_owned());
        labels
    }

    /// The labels of the membership service.
    #[must_use]
    pub fn membershipd_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels();
        labels.insert("app.kubernetes.io/name".to_owned(), MEMBERSHIPD.to_owned());
        labels.extend(self.membershipd_selector());
        labels
    }

    /// A server's pod, which is also its NATS server name.
    #[must_use]
    pub fn server(&self, ordinal: u8) -> String {
        format!("{}-nats-{ordinal}", self.cluster)
    }

    /// The claim of a server.
    #[must_use]
    pub fn claim(&self, ordinal: u8) -> String {
        format!("{CLAIM_TEMPLATE}-{}", self.server(ordinal))
    }

    /// Where the other servers reach a server. Without the cluster domain, which the operator
    /// cannot know; the pods' search list adds it.
    #[must_use]
    pub fn server_host(&self, ordinal: u8) -> String {
        format!("{}.{}.{}.svc", self.server(ordinal), self.headless(), self.namespace)
    }

    /// Where clients inside the Kubernetes cluster connect.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("nats://{}.{}.svc:4222", self.nats(), self.namespace)
    }

    /// The labels that select the server pods; never changed, as a StatefulSet's selector.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        [("app.kubernetes.io/component", "nats"), (CLUSTER_LABEL, &self.cluster)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// The labels of every child. Not `app.kubernetes.io/instance`: GitOps tools track by it and
    /// would take a child for one of theirs and prune it.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        for (key, value) in [
            ("app.kubernetes.io/name", "nats"),
            ("app.kubernetes.io/part-of", "membership"),
            ("app.kubernetes.io/managed-by", "membership-operator"),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }

    /// The server pods' selector as text, for the scale subresource.
    #[must_use]
    pub fn selector_text(&self) -> String {
        let pairs: Vec<String> =
            self.selector().iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(",")
    }
}

/// Label with the resource's name on every child.
pub const CLUSTER_LABEL: &str = "membership.unibus.dev/cluster";

/// Label on the membership service's pods: what they serve from.
pub const STORE_LABEL: &str = "membership.unibus.dev/store";

/// The membership service's component and name.
const MEMBERSHIPD: &str = "membershipd";

/// The StatefulSet's claim template.
pub const CLAIM_TEMPLATE: &str = "data";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all(cluster: &str) -> Vec<String> {
        let names = Names { cluster: cluster.to_owned(), namespace: "chat".to_owned() };
        let mut all = vec![names.nats(), names.headless()];
        all.extend(Role::ALL.map(|role| names.secret(role)));
        all.extend((0..5).map(|ordinal| names.server(ordinal)));
        all
    }

    #[test]
    fn clusters_of_one_namespace_never_share_a_name() {
        let clusters =
            ["a", "a-nats", "a-nats-system", "a-nats-0", "a-nats-headless", "a-0", "a-membershipd"];
        let names: Vec<String> = clusters.iter().flat_map(|cluster| all(cluster)).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        let of = |cluster: &str| Names { cluster: cluster.to_owned(), namespace: "n".to_owned() };
        let services = clusters.map(of).map(|of| [of.nats(), of.headless(), of.membershipd()]);
        let services = services.concat();
        assert_eq!(services.iter().collect::<BTreeSet<_>>().len(), services.len(), "{services:?}");
    }

    #[test]
    fn the_longest_name_leaves_room_for_the_revision_label() {
        let longest = all(&"a".repeat(40)).into_iter().map(|name| name.len()).max().unwrap();
        assert!(longest <= 63, "{longest}");
        // The StatefulSet controller labels pods with its name, a dash and ten characters.
        assert!("a".repeat(40).len() + "-nats-".len() + 10 <= 63);
        // Services are names in DNS.
        assert!("a".repeat(40).len() + "-membershipd".len() <= 63);
    }
}
