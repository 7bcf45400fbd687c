//! The file by which a client finds and trusts the API server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::identity::AdminToken;
use crate::{Error, Result};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kubeconfig<'a> {
    api_version: &'static str,
    kind: &'static str,
    clusters: [Named<ClusterEntry>; 1],
    users: [Named<UserEntry<'a>>; 1],
    contexts: [Named<ContextEntry<'a>>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
}

#[derive(Serialize)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    entry: T,
}

#[derive(Serialize)]
struct ClusterEntry {
    cluster: ClusterDetail,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterDetail {
    server: String,
    certificate_authority_data: String,
}

#[derive(Serialize)]
struct UserEntry<'a> {
    user: UserDetail<'a>,
}

#[derive(Serialize)]
struct UserDetail<'a> {
    token: &'a str,
}

#[derive(Serialize)]
struct ContextEntry<'a> {
    context: ContextDetail<'a>,
}

#[derive(Serialize)]
struct ContextDetail<'a> {
    cluster: &'a str,
    user: &'a str,
}

/// The text of a kubeconfig whose one context is called `name`.
pub(crate) fn render(
    name: &str,
    server: &str,
    authority: &[u8],
    token: &AdminToken,
) -> Result<String> {
    let detail = ClusterDetail {
        server: server.to_owned(),
        certificate_authority_data: STANDARD.encode(authority),
    };
    let config = Kubeconfig {
        api_version: "v1",
        kind: "Config",
        clusters: [Named { name: name.to_owned(), entry: ClusterEntry { cluster: detail } }],
        users: [Named {
            name: name.to_owned(),
            entry: UserEntry { user: UserDetail { token: token.reveal() } },
        }],
        contexts: [Named {
            name: name.to_owned(),
            entry: ContextEntry { context: ContextDetail { cluster: name, user: name } },
        }],
        current_context: name,
    };
    serde_saphyr::to_string(&config).map_err(Error::make("a kubeconfig"))
}
