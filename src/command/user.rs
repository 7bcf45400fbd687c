//! `membershipd user`: whoever runs this has the host, and needs nobody's leave.

use std::io::Write;

use super::choice::of_process;
use super::cli::{On, UserCommand, role};
use super::error::CommandResult;
use super::show::{self, UserList};
use crate::membership::MembershipStore;
use crate::membership::error::{ErrorKind, StoreResult};
use crate::membership::records::{User, UserRole, Versioned};
use crate::membership::store::{NewUser, PageLimit, PageRequest};

/// Does what is to be done with users.
///
/// # Errors
/// Those of the store.
pub async fn run(command: &UserCommand, out: &mut dyn Write) -> CommandResult<()> {
    match command {
        UserCommand::Add { admin, service, key, handle, on } => {
            let new = NewUser { key: *key, handle: handle.clone(), role: role(*admin, *service) };
            one(on, out, async |store, on| add(store, new.clone(), on).await).await
        }
        UserCommand::List { on } => list(on, out).await,
        UserCommand::Show { key, on } => {
            one(on, out, async |store, on| store.user(key, on.store.deadline()).await).await
        }
        UserCommand::Revoke { key, on } => {
            one(on, out, async |store, on| store.revoke_user(key, on.store.deadline()).await).await
        }
    }
}

/// Asks for one user and shows it.
async fn one(
    on: &On,
    out: &mut dyn Write,
    ask: impl AsyncFn(&dyn MembershipStore, &On) -> StoreResult<Versioned<User>>,
) -> CommandResult<()> {
    let store = on.store.choose(&of_process)?.open(on.store.deadline()).await?;
    let user = ask(&*store, on).await?.record;
    Ok(show::user(out, user, on.output)?)
}

/// The gate for the first admin opens once. Where it has closed, the host may let in more admins.
async fn add(store: &dyn MembershipStore, new: NewUser, on: &On) -> StoreResult<Versioned<User>> {
    let first = new.role == UserRole::Admin && !store.has_admin(on.store.deadline()).await?;
    if first {
        let NewUser { key, handle, .. } = new.clone();
        match store.add_first_admin(key, handle, on.store.deadline()).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            answer => return answer,
        }
    }
    store.add_user(new, on.store.deadline()).await
}

async fn list(on: &On, out: &mut dyn Write) -> CommandResult<()> {
    let store = on.store.choose(&of_process)?.open(on.store.deadline()).await?;
    let mut list = UserList::new(out, on.output);
    let mut request = PageRequest { after: None, limit: PageLimit::MAX };
    loop {
        let page = store.users(request.clone(), on.store.deadline()).await?;
        list.add(page.items)?;
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    Ok(list.end()?)
}
