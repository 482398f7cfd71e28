//! Brings the database up to date: the roles first, then every migration that is missing.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::database::{Role, Urls, options};
use crate::failure::Failure;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// What a superuser would have to run, given the logins of the four roles in this order: owner,
/// tenant, node, provider. `format` quotes, so that a login may be called anything.
const MISSING: &str = "
    WITH wanted (step, role, login) AS (VALUES
        (1, 'tenantd_owner', $1), (2, 'tenantd_tenant', $2),
        (3, 'tenantd_node', $3), (4, 'tenantd_provider', $4)),
    known AS (
        SELECT w.*, r.oid AS role_oid, l.oid AS login_oid
        FROM wanted w
        LEFT JOIN pg_roles r ON r.rolname = w.role LEFT JOIN pg_roles l ON l.rolname = w.login)
    SELECT statement FROM (
        SELECT step, format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOBYPASSRLS;', role) AS statement
        FROM known WHERE role_oid IS NULL
        UNION ALL
        SELECT 10 + step, format('GRANT %I TO %I;', role, login) FROM known
        WHERE role <> login
          AND (role_oid IS NULL OR NOT pg_has_role(login_oid, role_oid, 'MEMBER'))
        UNION ALL
        SELECT 20, 'GRANT CREATE, USAGE ON SCHEMA public TO tenantd_owner;' FROM known
        WHERE step = 1 AND (role_oid IS NULL
            OR NOT has_schema_privilege(role_oid, 'public', 'CREATE'))
    ) AS missing ORDER BY step, statement";

const BYPASSING: &str = "
    SELECT rolname::text FROM pg_roles
    WHERE rolname IN ('tenantd_owner', 'tenantd_tenant', 'tenantd_node', 'tenantd_provider')
      AND (rolsuper OR rolbypassrls)
    LIMIT 1";

const BECOME: &str = "SELECT set_config('role', $1, false)";

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The schema's version before; `None` if there was none.
    pub from: Option<i64>,
    /// The schema's version now.
    pub to: i64,
}

/// Makes the roles that are missing, if this login may, and runs the migrations that are missing.
/// Several nodes may do so at once: Postgres lets one of them in.
///
/// # Errors
/// If Postgres is away, a role cannot be made or may bypass row-level security, or a migration
/// fails; a failed one leaves nothing behind.
pub async fn run(urls: &Urls) -> Result<Migrated, Failure> {
    let address = options("the migrations' address", &urls.migrate)?;
    let mut connection = address.connect().await?;
    let migrated = run_on(&mut connection, urls).await;
    connection.close().await?;
    migrated
}

async fn run_on(connection: &mut PgConnection, urls: &Urls) -> Result<Migrated, Failure> {
    prepare_roles(connection, urls).await?;
    let bypassing: Option<String> =
        sqlx::query_scalar(BYPASSING).fetch_optional(&mut *connection).await?;
    if let Some(role) = bypassing {
        return Err(Failure::Bypass(role));
    }
    sqlx::query(BECOME).bind(Role::Owner.name()).execute(&mut *connection).await?;
    let from = version(connection).await?;
    MIGRATIONS.run(&mut *connection).await.map_err(|error| match error {
        MigrateError::Execute(error) => Failure::from(error),
        other => Failure::Migration(other),
    })?;
    let to = version(connection).await?.unwrap_or(0);
    Ok(Migrated { from, to })
}

/// The versions that this binary knows and the database lacks: none, once it is up to date.
///
/// # Errors
/// If Postgres is away.
pub async fn pending(urls: &Urls) -> Result<Vec<i64>, Failure> {
    let mut connection = options("the migrations' address", &urls.migrate)?.connect().await?;
    let done = version(&mut connection).await?.unwrap_or(0);
    connection.close().await?;
    let known = MIGRATIONS.iter().map(|migration| migration.version);
    Ok(known.filter(|version| *version > done).collect())
}

async fn prepare_roles(connection: &mut PgConnection, urls: &Urls) -> Result<(), Failure> {
    let mut query = sqlx::query_scalar(MISSING);
    for url in [&urls.migrate, &urls.web, &urls.node, &urls.provider] {
        query = query.bind(options("a database address", url)?.get_username().to_owned());
    }
    let missing: Vec<String> = query.fetch_all(&mut *connection).await?;
    for statement in &missing {
        // Written by Postgres itself, every name in it quoted.
        let made = sqlx::raw_sql(AssertSqlSafe(statement.as_str())).execute(&mut *connection).await;
        match made {
            Ok(_) => {}
            // Another node was faster.
            Err(sqlx::Error::Database(refusal)) if refusal.code().is_some_and(|c| c == "42710") => {
            }
            Err(sqlx::Error::Database(refusal)) if refusal.code().is_some_and(|c| c == "42501") => {
                return Err(Failure::Roles(missing.join(" ")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn version(connection: &mut PgConnection) -> Result<Option<i64>, Failure> {
    const HISTORY: &str = "SELECT to_regclass('public._sqlx_migrations') IS NOT NULL";
    const VERSION: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    let known: bool = sqlx::query_scalar(HISTORY).fetch_one(&mut *connection).await?;
    if !known {
        return Ok(None);
    }
    Ok(sqlx::query_scalar(VERSION).fetch_one(&mut *connection).await?)
}
