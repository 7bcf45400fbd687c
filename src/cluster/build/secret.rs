//! The Secret of a role: its nkey seed, and the public key for who may read the Secret but needs no
//! seed. Created once; a seed is never applied again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::metadata;
use crate::api::CLUSTER_ID;
use crate::cluster::names::Role;
use crate::cluster::validate::ValidatedCluster;

/// The key of the seed in the Secret's data.
pub const SEED_KEY: &str = "seed";

/// The key of the public key in the Secret's data.
pub const PUBLIC_KEY: &str = "public";

/// The Secret of a role. The result holds the seed: it goes to the API server and nowhere else.
#[must_use]
pub fn build_secret(
    cluster: &ValidatedCluster,
    role: Role,
    cluster_id: &str,
    seed: &str,
    public: &str,
) -> Secret {
    let mut metadata = metadata(cluster, cluster.names.secret(role));
    metadata.annotations = Some([(CLUSTER_ID.to_owned(), cluster_id.to_owned())].into());
    let data: BTreeMap<String, ByteString> = [(SEED_KEY, seed), (PUBLIC_KEY, public)]
        .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())))
        .into();
    Secret {
        metadata,
        data: Some(data),
        immutable: Some(true),
        type_: Some("membership.unibus.dev/nkey".to_owned()),
        ..Secret::default()
    }
}
