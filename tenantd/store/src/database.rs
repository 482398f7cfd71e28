//! The ways into Postgres: one pool a role, so that each part reaches only what is its own.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pbx::id::TenantId;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres, Transaction};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::failure::Failure;

/// The provider's own tenant: it owns what all tenants share.
pub const HOUSE: TenantId = TenantId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001));

/// How long somebody waits for a connection: longer than a restart of Postgres is away.
const WAIT_FOR: Duration = Duration::from_secs(5);
/// How long a connection that nobody uses is believed to live.
const TRUST_FOR: Duration = Duration::from_secs(1);
/// Password checks that may wait for their turn; beyond it a sign-in is told to come back.
pub(crate) const SIGN_INS_WAITING: usize = 64;

const TAKE_ROLE: &str = "SELECT set_config('role', $1, false),
    set_config('statement_timeout', '30s', false),
    set_config('idle_in_transaction_session_timeout', '60s', false),
    set_config('plan_cache_mode', $2, false)";
const ENTER: &str = "SELECT set_config('tenantd.tenant', $1, true),
    set_config('tenantd.who', $2, true)";
const PROBE: &str = "SELECT 1";
/// As everybody begins who wants nothing else.
pub(crate) const BEGIN: &str = "BEGIN";

/// Where the database is. Each login is the role itself or a member of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Urls {
    /// For the switches, as `tenantd_node`.
    pub node: String,
    /// For tenants' pages and the API, as `tenantd_tenant`.
    pub web: String,
    /// For the provider's pages and provisioning, as `tenantd_provider`.
    pub provider: String,
    /// For migrations, as `tenantd_owner`.
    pub migrate: String,
}

impl Urls {
    /// One login for all, which must be a member of every role.
    pub fn one(url: &str) -> Self {
        let url = || url.to_owned();
        Self { node: url(), web: url(), provider: url(), migrate: url() }
    }
}

impl fmt::Debug for Urls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Urls").finish_non_exhaustive()
    }
}

/// Who asks: each role sees what the migrations let it see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Owns the tables, runs migrations.
    Owner,
    /// A tenant's pages.
    Tenant,
    /// The switches.
    Node,
    /// The provider's pages, and provisioning.
    Provider,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Tenant, Self::Node, Self::Provider];

    /// Its name in Postgres.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "tenantd_owner",
            Self::Tenant => "tenantd_tenant",
            Self::Node => "tenantd_node",
            Self::Provider => "tenantd_provider",
        }
    }

    /// How its queries are planned. The switches' write many rows of unknown number with the same
    /// few plans; Postgres would make a new one each time, because it knows the number then.
    const fn planning(self) -> &'static str {
        match self {
            Self::Node => "force_generic_plan",
            Self::Owner | Self::Tenant | Self::Provider => "auto",
        }
    }
}

/// The database, as all parts of a process share it.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) node: PgPool,
    pub(crate) web: PgPool,
    pub(crate) provider: PgPool,
    /// Argon2 takes tens of milliseconds and megabytes: this many at once.
    pub(crate) sign_ins: Arc<Semaphore>,
    /// Those who may wait for that.
    pub(crate) sign_ins_waiting: Arc<Semaphore>,
}

impl Database {
    /// Prepares the pools; nothing is connected before it is used, so an absent Postgres is no
    /// failure here. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// An address that is none.
    pub fn connect(urls: &Urls) -> Result<Self, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            node: pool("the switches' address", &urls.node, Role::Node, 8)?,
            web: pool("the portal's address", &urls.web, Role::Tenant, 8)?,
            provider: pool("the provider's address", &urls.provider, Role::Provider, 4)?,
            sign_ins: Arc::new(Semaphore::new(cores)),
            sign_ins_waiting: Arc::new(Semaphore::new(SIGN_INS_WAITING)),
        })
    }

    /// Whether Postgres answers.
    ///
    /// # Errors
    /// If it does not.
    pub async fn probe(&self) -> Result<(), Failure> {
        sqlx::query(PROBE).execute(&self.node).await?;
        Ok(())
    }

    /// Connections that are open and those of them that nobody uses, for the metrics.
    pub fn connections(&self) -> (u32, usize) {
        let pools = [&self.node, &self.web, &self.provider];
        (pools.iter().map(|pool| pool.size()).sum(), pools.iter().map(|pool| pool.num_idle()).sum())
    }

    /// Closes every connection once its query is done.
    pub async fn close(&self) {
        tokio::join!(self.node.close(), self.web.close(), self.provider.close());
    }

    /// A tenant's own transaction: it sees that tenant's rows and no others.
    pub(crate) async fn enter(
        &self,
        tenant: TenantId,
        who: &str,
    ) -> Result<Transaction<'static, Postgres>, Failure> {
        let mut transaction = begin(&self.web, BEGIN).await?;
        go_in(&mut transaction, tenant, who).await?;
        Ok(transaction)
    }
}

/// Begins a transaction, in a task of its own: whoever gives up waiting for Postgres must not end it
/// between our BEGIN and its answer. sqlx counts a transaction from the answer on; before that it would
/// give the connection back with one open that nobody knows of, and what the next one writes would
/// be in it, acknowledged, and then gone.
pub(crate) async fn begin(
    pool: &PgPool,
    statement: &'static str,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let pool = pool.clone();
    let begun = tokio::spawn(async move { pool.begin_with(statement).await }).await;
    begun.map_err(|ended| sqlx::Error::Io(io::Error::other(ended)))?
}

/// From here to the end of the transaction, `tenant`'s rows are seen, and `who` is written down.
pub(crate) async fn go_in(
    transaction: &mut Transaction<'static, Postgres>,
    tenant: TenantId,
    who: &str,
) -> Result<(), Failure> {
    let query = sqlx::query(ENTER).bind(tenant.0.to_string()).bind(storable(who));
    query.execute(&mut **transaction).await?;
    Ok(())
}

/// Postgres's text holds every character but NUL.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Reads an address, naming which one it is if it is wrong.
pub(crate) fn options(what: &'static str, url: &str) -> Result<PgConnectOptions, Failure> {
    let options = PgConnectOptions::from_str(url).map_err(|error| Failure::Address(what, error))?;
    Ok(options.application_name("tenantd"))
}

fn pool(what: &'static str, url: &str, role: Role, size: u32) -> Result<PgPool, Failure> {
    let take_role = PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(WAIT_FOR)
        // A connection in use is not asked first whether it lives: that would be half of the work.
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                match used.idle_for < TRUST_FOR {
                    true => Ok(true),
                    false => connection.ping().await.map(|()| true),
                }
            })
        })
        // What one large group of rows needed is not kept for the small ones after it.
        .after_release(|connection, _| {
            connection.shrink_buffers();
            Box::pin(async { Ok(true) })
        })
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let take = sqlx::query(TAKE_ROLE).bind(role.name()).bind(role.planning());
                take.execute(connection).await.map(drop)
            })
        });
    Ok(take_role.connect_lazy_with(options(what, url)?))
}
