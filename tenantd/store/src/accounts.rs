//! People who sign in: one account each, memberships in tenants, and the browsers they use.
//!
//! A password is kept as Argon2id (RFC 9106); a session as the hash of its token, so that a stolen
//! database opens no browser. An unknown address costs as much time as a wrong password.

use std::time::Duration;

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use pbx::id::TenantId;
use pbx::moment::Moment;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::database::{BEGIN, Database, HOUSE, begin, storable};
use crate::failure::Failure;
use crate::id::fresh;
use crate::query::Query;
use crate::stamps::stamp;

/// How long a browser stays signed in.
pub const SESSION_FOR: Duration = Duration::from_secs(12 * 60 * 60);
/// Browsers of one account at once; the oldest makes room.
const MOST_SESSIONS: i64 = 20;
/// Longer passwords are refused unread: hashing them would only help an attacker.
const LONGEST_PASSWORD: usize = 1_024;
/// What an unknown address is compared with, so that it takes as long.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2E$5W0bC4nF1m4cXHnm0m1cZyQkqTiIFQ8bFN3bZ9PnB2w";

const BY_EMAIL: &str = "SELECT id, password_hash FROM account WHERE email = $1";
const OPEN: &str = "
    INSERT INTO session (account_id, token_hash, opened_at, expires_at) VALUES ($1, $2, $3, $4)";
const MAKE_ROOM: &str = "
    DELETE FROM session WHERE expires_at < $2 OR account_id = $1 AND token_hash IN (
        SELECT token_hash FROM session WHERE account_id = $1
        ORDER BY opened_at DESC OFFSET $3)";
const WHO: &str = "
    SELECT a.id, a.email FROM session s JOIN account a ON a.id = s.account_id
    WHERE s.token_hash = $1 AND s.expires_at > $2";
const MEMBERSHIPS: &str = "
    SELECT tenant_id FROM membership WHERE account_id = $1 ORDER BY tenant_id LIMIT 1000";
const CLOSE: &str = "DELETE FROM session WHERE token_hash = $1";
const ADD: &str = "
    INSERT INTO account (id, email, password_hash) VALUES ($1, $2, $3)
    ON CONFLICT (email) DO UPDATE SET password_hash = excluded.password_hash
    RETURNING id";
const JOIN: &str = "
    INSERT INTO membership (tenant_id, id, account_id, role) VALUES ($1, $2, $3, $4)
    ON CONFLICT (tenant_id, account_id) DO NOTHING";

/// The queries of this file.
pub const QUERIES: &[Query] = &[
    Query::provider("by_email", BY_EMAIL),
    Query::provider("open", OPEN),
    Query::provider("make_room", MAKE_ROOM),
    Query::provider("who", WHO),
    Query::provider("memberships", MEMBERSHIPS),
    Query::provider("close", CLOSE),
    Query::provider("add", ADD),
    Query::provider("join", JOIN),
];

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Their address, lower case.
    pub email: String,
    /// The tenants they belong to; [`HOUSE`] for the provider.
    pub memberships: Vec<TenantId>,
}

impl Account {
    /// Whether they run the house.
    pub fn is_provider(&self) -> bool {
        self.memberships.contains(&HOUSE)
    }

    /// Whether they may see a tenant.
    pub fn may_enter(&self, tenant: TenantId) -> bool {
        tenant != HOUSE && (self.is_provider() || self.memberships.contains(&tenant))
    }
}

/// Signs a browser in: the token for its cookie, or `None` if address or password is wrong.
///
/// # Errors
/// If Postgres is away, or too many sign in at once.
pub async fn sign_in(
    database: &Database,
    now: Moment,
    email: &str,
    password: &str,
) -> Result<Option<String>, Failure> {
    let query = sqlx::query_as(BY_EMAIL).bind(storable(&email.trim().to_lowercase()));
    let found: Option<(Uuid, String)> = query.fetch_optional(&database.provider).await?;
    let (account, hash) = match found {
        Some((account, hash)) => (Some(account), hash),
        None => (None, NOBODY.to_owned()),
    };
    let right = check(database, hash, password.to_owned()).await?;
    let Some(account) = account.filter(|_| right) else { return Ok(None) };
    let token = hex(&rand::random::<[u8; 32]>());
    let mut transaction = begin(&database.provider, BEGIN).await?;
    let made = sqlx::query(OPEN)
        .bind(account)
        .bind(hashed(&token))
        .bind(stamp(now))
        .bind(stamp(now + SESSION_FOR));
    made.execute(&mut *transaction).await?;
    let room = sqlx::query(MAKE_ROOM).bind(account).bind(stamp(now)).bind(MOST_SESSIONS);
    room.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Some(token))
}

/// Whose browser it is.
///
/// # Errors
/// If Postgres is away.
pub async fn who(
    database: &Database,
    now: Moment,
    token: &str,
) -> Result<Option<Account>, Failure> {
    let query = sqlx::query_as(WHO).bind(hashed(token)).bind(stamp(now));
    let found: Option<(Uuid, String)> = query.fetch_optional(&database.provider).await?;
    let Some((id, email)) = found else { return Ok(None) };
    let query = sqlx::query_scalar(MEMBERSHIPS).bind(id);
    let tenants: Vec<Uuid> = query.fetch_all(&database.provider).await?;
    Ok(Some(Account { email, memberships: tenants.into_iter().map(TenantId).collect() }))
}

/// Signs a browser out.
///
/// # Errors
/// If Postgres is away.
pub async fn sign_out(database: &Database, token: &str) -> Result<(), Failure> {
    sqlx::query(CLOSE).bind(hashed(token)).execute(&database.provider).await?;
    Ok(())
}

/// Makes somebody a provider, or gives them a new password.
///
/// # Errors
/// If Postgres is away.
pub async fn add_provider(database: &Database, email: &str, password: &str) -> Result<(), Failure> {
    let hash = hash(database, password.to_owned()).await?;
    let mut transaction = begin(&database.provider, BEGIN).await?;
    let query = sqlx::query_scalar(ADD).bind(fresh()).bind(storable(&email.trim().to_lowercase()));
    let account: Uuid = query.bind(hash).fetch_one(&mut *transaction).await?;
    let join = sqlx::query(JOIN).bind(HOUSE.0).bind(fresh()).bind(account).bind("provider");
    join.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// A password as it is kept.
///
/// # Errors
/// If too many are being hashed at once.
pub async fn hash(database: &Database, password: String) -> Result<String, Failure> {
    let _turn = turn(database).await?;
    let hashing = tokio::task::spawn_blocking(move || hash_now(&password));
    hashing.await.map_err(|_| Failure::Busy)
}

/// A password as it is kept, made on this thread.
pub fn hash_now(password: &str) -> String {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).expect("16 bytes are a salt");
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.expect("the default parameters are valid").to_string()
}

/// Whether a password is the one that was hashed.
pub fn is_right(hash: &str, password: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    password.len() <= LONGEST_PASSWORD
        && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

async fn check(database: &Database, hash: String, password: String) -> Result<bool, Failure> {
    let _turn = turn(database).await?;
    let checking = tokio::task::spawn_blocking(move || is_right(&hash, &password));
    checking.await.map_err(|_| Failure::Busy)
}

/// Argon2 takes much: as many at once as there are cores, and not too many in the queue.
async fn turn(database: &Database) -> Result<tokio::sync::OwnedSemaphorePermit, Failure> {
    let queue = std::sync::Arc::clone(&database.sign_ins_waiting);
    let _place = queue.try_acquire_owned().map_err(|_| Failure::Busy)?;
    let turns = std::sync::Arc::clone(&database.sign_ins);
    turns.acquire_owned().await.map_err(|_| Failure::Busy)
}

fn hashed(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_right_only_if_it_is_the_same() {
        let kept = hash_now("correct horse");
        assert!(is_right(&kept, "correct horse"));
        assert!(!is_right(&kept, "correct hors"));
        assert!(!is_right("nonsense", "correct horse"));
        assert!(PasswordHash::new(NOBODY).is_ok(), "an unknown address must cost a hash, too");
    }
}
