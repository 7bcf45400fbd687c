//! Who may connect, and what each may publish and hear. The sets are those of the product, bucket
//! by bucket; a test that needs more says so with [`Users::allow`].

use serde::Serialize;

use super::NatsError;

/// What a bucket's name is made of: `<prefix>_<table>`.
pub const TABLES: [&str; 7] =
    ["rooms", "members", "rooms_by_member", "room_keys", "users", "control", "requests"];

/// The tables whose rows a sweeper may purge.
const SWEPT: [&str; 4] = ["members", "rooms_by_member", "room_keys", "requests"];

/// Somebody who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operator in the system account: who leads, who is healthy, meta step-down.
    System,
    /// The operator in the membership account: makes and raises buckets. Also who `init` is.
    Operator,
    /// The service.
    Membershipd,
    /// The move from a SQLite file.
    Migration,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::System, Self::Operator, Self::Membershipd, Self::Migration];

    /// The role in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Operator => "operator",
            Self::Membershipd => "membershipd",
            Self::Migration => "migration",
        }
    }

    /// The prefix of the role's reply subjects, so that no role hears another's answers.
    #[must_use]
    pub fn inbox_prefix(self) -> String {
        format!("_INBOX_{}", self.name())
    }
}

/// What a user may publish and subscribe to; everything else is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Permissions {
    publish: Allowed,
    subscribe: Allowed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Allowed {
    allow: Vec<String>,
}

impl Permissions {
    /// May publish to these subjects and hear the role's own replies.
    #[must_use]
    pub fn publishing(role: Role, subjects: Vec<String>) -> Self {
        Self {
            publish: Allowed { allow: subjects },
            subscribe: Allowed { allow: vec![format!("{}.>", role.inbox_prefix())] },
        }
    }

    /// What the product lets a role do with the buckets of a prefix; `None` is everything.
    #[must_use]
    pub fn of(role: Role, prefix: &str) -> Option<Self> {
        let subjects = match role {
            Role::System => return None,
            Role::Operator => operator(prefix),
            Role::Membershipd => {
                let purges = SWEPT.map(|table| api("PURGE", prefix, table));
                TABLES
                    .iter()
                    .flat_map(|table| read_and_write(prefix, table))
                    .chain(purges)
                    .collect()
            }
            Role::Migration => TABLES
                .iter()
                .filter(|table| **table != "requests")
                .flat_map(|table| read_and_write(prefix, table))
                .collect(),
        };
        Some(Self::publishing(role, subjects))
    }
}

fn api(call: &str, prefix: &str, table: &str) -> String {
    format!("$JS.API.STREAM.{call}.KV_{prefix}_{table}")
}

fn records(prefix: &str, table: &str) -> String {
    format!("$KV.{prefix}_{table}.>")
}

fn read_and_write(prefix: &str, table: &str) -> [String; 3] {
    [records(prefix, table), api("INFO", prefix, table), api("MSG.GET", prefix, table)]
}

fn operator(prefix: &str) -> Vec<String> {
    const CALLS: [&str; 5] = ["INFO", "CREATE", "UPDATE", "MSG.GET", "LEADER.STEPDOWN"];
    TABLES
        .iter()
        .flat_map(|table| CALLS.map(|call| api(call, prefix, table)))
        .chain([records(prefix, "control")])
        .collect()
}

/// One user with its key pair.
#[derive(Clone)]
pub struct User {
    /// Who it is.
    pub role: Role,
    /// The public key, as the servers know it.
    pub public_key: String,
    /// The secret seed. Shown to nobody.
    pub seed: String,
    /// What it may do; `None` is everything in its account.
    pub permissions: Option<Permissions>,
}

/// The users of a cluster, one a role.
#[derive(Clone)]
pub struct Users {
    users: [User; 4],
}

impl Users {
    /// Fresh keys for every role, with the product's permissions on the buckets of a prefix.
    ///
    /// # Errors
    /// [`NatsError::Key`] when the system has no randomness to give.
    pub fn of_prefix(prefix: &str) -> Result<Self, NatsError> {
        let user = |role: Role| -> Result<User, NatsError> {
            let pair = nkeys::KeyPair::new_user();
            Ok(User {
                role,
                public_key: pair.public_key(),
                seed: pair.seed()?,
                permissions: Permissions::of(role, prefix),
            })
        };
        let [system, operator, membershipd, migration] = Role::ALL;
        Ok(Self { users: [user(system)?, user(operator)?, user(membershipd)?, user(migration)?] })
    }

    /// Fresh keys for every role, with the product's permissions on the buckets of several prefixes,
    /// so that stores that know nothing of each other can share servers.
    ///
    /// # Errors
    /// [`NatsError::Key`] when the system has no randomness to give.
    pub fn of_prefixes(prefixes: &[String]) -> Result<Self, NatsError> {
        let (first, others) =
            prefixes.split_first().map_or(("", &[][..]), |(f, o)| (f.as_str(), o));
        let mut users = Self::of_prefix(first)?;
        for role in Role::ALL {
            for prefix in others {
                let permissions = Permissions::of(role, prefix);
                let subjects = permissions.map(|granted| granted.publish.allow).unwrap_or_default();
                let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
                users = users.allow(role, &subjects);
            }
        }
        Ok(users)
    }

    /// Lets a role publish to more subjects.
    #[must_use]
    pub fn allow(mut self, role: Role, subjects: &[&str]) -> Self {
        for user in self.users.iter_mut().filter(|user| user.role == role) {
            if let Some(permissions) = &mut user.permissions {
                permissions.publish.allow.extend(subjects.iter().map(|&s| s.to_owned()));
            }
        }
        self
    }

    /// Lets a role do everything in its account, under any inbox.
    #[must_use]
    pub fn unrestricted(mut self, role: Role) -> Self {
        for user in self.users.iter_mut().filter(|user| user.role == role) {
            user.permissions = None;
        }
        self
    }

    /// The user of a role.
    #[must_use]
    pub fn get(&self, role: Role) -> &User {
        let [system, operator, membershipd, migration] = &self.users;
        match role {
            Role::System => system,
            Role::Operator => operator,
            Role::Membershipd => membershipd,
            Role::Migration => migration,
        }
    }

    /// All users.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_may_delete_a_stream_or_write_what_is_not_its_own() {
        for role in [Role::Operator, Role::Membershipd, Role::Migration] {
            let publish = Permissions::of(role, "U").unwrap().publish.allow;
            assert!(!publish.iter().any(|subject| subject.contains("DELETE")), "{role:?}");
            assert!(!publish.iter().any(|subject| subject.contains('*')), "{role:?}");
            let writes_users = publish.contains(&"$KV.U_users.>".to_owned());
            assert_eq!(writes_users, role != Role::Operator, "{role:?}");
            let purges = publish.iter().any(|subject| subject.contains("PURGE"));
            assert_eq!(purges, role == Role::Membershipd, "{role:?}");
        }
        let migration = Permissions::of(Role::Migration, "U").unwrap().publish.allow;
        assert!(!migration.iter().any(|subject| subject.contains("requests")));
    }
}
