//! Those who run a tenant, on their way from a provisioning file into the database.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::NotApplied;
use super::carry::{Carrier, Inside, Way};
use super::current::Current;
use super::wanted::File;
use crate::accounts;
use crate::database::Database;
use crate::failure::Failure;
use crate::id::fresh;
use crate::query::Query;

const HASHES: &str = "SELECT email, password_hash FROM account WHERE email = ANY ($1)";
const PUT_ACCOUNT: &str = "
    INSERT INTO account (id, email, password_hash) VALUES ($1, $2, $3)
    ON CONFLICT (email) DO UPDATE SET password_hash = excluded.password_hash
        WHERE account.password_hash <> excluded.password_hash";
const ADD_MEMBERSHIP: &str = "
    INSERT INTO membership (tenant_id, id, account_id, role)
    SELECT $1, $2, id, 'admin' FROM account WHERE email = $3
    ON CONFLICT (tenant_id, account_id) DO NOTHING";
pub(super) const DROP_MEMBERSHIPS: &str =
    "DELETE FROM membership WHERE tenant_id = $1 AND id = ANY ($2)";

/// The queries of this file.
pub(super) const QUERIES: &[Query] = &[
    Query::provider("hashes", HASHES),
    Query::provider("put_account", PUT_ACCOUNT),
    Query::provider("add_membership", ADD_MEMBERSHIP),
    Query::provider("drop_memberships", DROP_MEMBERSHIPS),
];

/// What admins' passwords are kept as, by address: what is kept now if it is the same password, else
/// a new hash. Argon2 takes long, so this is done before the transaction begins, on all cores.
pub(super) async fn hash_passwords(
    database: &Database,
    file: &File,
) -> Result<BTreeMap<String, String>, NotApplied> {
    let admins = file.tenants.iter().flat_map(|tenant| &tenant.admins);
    let passwords: BTreeMap<&str, &str> =
        admins.map(|admin| (admin.email.as_str(), admin.password.as_str())).collect();
    if passwords.is_empty() {
        return Ok(BTreeMap::new());
    }
    let emails: Vec<&str> = passwords.keys().copied().collect();
    let query = sqlx::query_as(HASHES).bind(emails);
    let kept: Vec<(String, String)> = query.fetch_all(&database.provider).await?;
    let mut kept: BTreeMap<String, String> = kept.into_iter().collect();
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let (mut hashing, mut hashes) = (JoinSet::new(), BTreeMap::new());
    let mut waiting = passwords.into_iter();
    loop {
        while hashing.len() < at_once
            && let Some((email, password)) = waiting.next()
        {
            let (kept, email, password) =
                (kept.remove(email), email.to_owned(), password.to_owned());
            hashing.spawn_blocking(move || (email, hash_unless_kept(kept, &password)));
        }
        match hashing.join_next().await {
            Some(Ok((email, hash))) => hashes.insert(email, hash),
            Some(Err(_)) => return Err(Failure::Busy.into()),
            None => return Ok(hashes),
        };
    }
}

fn hash_unless_kept(kept: Option<String>, password: &str) -> String {
    kept.filter(|hash| accounts::is_right(hash, password))
        .unwrap_or_else(|| accounts::hash_now(password))
}

impl Carrier<'_> {
    pub(super) async fn carry_admins(
        &self,
        inside: Inside<'_>,
        way: &mut Way,
        now: &Current,
    ) -> Result<(), NotApplied> {
        for admin in &self.tenant.admins {
            let hash = self.hashes.get(&admin.email).cloned().unwrap_or_default();
            let email = &admin.email;
            match now.admins.get(email) {
                Some((_, kept)) if *kept == hash => continue,
                Some(_) => {
                    way.tell(&self.tenant.domain, format_args!("admin {email}: another password"))
                }
                None => way.tell(&self.tenant.domain, format_args!("admin {email} comes")),
            }
            let query = sqlx::query(PUT_ACCOUNT).bind(fresh()).bind(email).bind(hash);
            query.execute(&mut **inside).await?;
            let query = sqlx::query(ADD_MEMBERSHIP).bind(way.id.0).bind(fresh()).bind(email);
            query.execute(&mut **inside).await?;
        }
        Ok(())
    }
}
