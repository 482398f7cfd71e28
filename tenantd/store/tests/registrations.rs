//! What becomes of registrations in Postgres, live: written, ended, replayed, taken over.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use pbx::flow::{Link, Path};
use pbx::id::{BindingId, NodeId, RecordId, TenantId, UserId};
use pbx::moment::Moment;
use pbx::record::{Binding, Memory, Record, Wait};
use sqlx::{Connection, PgConnection, Row};
use store::cluster::Cluster;
use store::node::{Skipped, Writer, bindings, leases, upkeep};
use store::{Database, Urls};
use uuid::Uuid;

const TENANT: TenantId = TenantId(Uuid::from_u128(0xa));
const OTHER: TenantId = TenantId(Uuid::from_u128(0xb));
const USER: UserId = UserId(Uuid::from_u128(0xe));
const NODE: &str = "n1";

#[tokio::test]
async fn what_ended_stays_ended_whatever_a_journal_brings_again() {
    let store = Store::new("ended").await;
    let (came, left) = (bound(1, 10), unbound(1, 20));
    assert_eq!(store.write(&[came.clone(), bound(2, 11)]).await, []);
    assert_eq!(store.phones(30).await, [1, 2]);
    assert_eq!(store.write(std::slice::from_ref(&left)).await, []);
    assert_eq!(store.phones(30).await, [2]);
    // The whole journal again, in one group and one by one, and an end at the same moment.
    store.write(&[came.clone(), left.clone()]).await;
    store.write(std::slice::from_ref(&came)).await;
    store.write(&[Record { at: left.at, ..came }]).await;
    assert_eq!(store.phones(30).await, [2]);
    // What ended leaves nothing of the phone.
    let said =
        store.ask("SELECT contact || source || user_agent FROM binding WHERE id = $1", 1).await;
    assert_eq!(said, [""]);
    store.end().await;
}

#[tokio::test]
async fn an_end_that_comes_before_its_beginning_counts() {
    let store = Store::new("early").await;
    store.write(&[unbound(1, 20)]).await;
    store.write(&[bound(1, 10), bound(2, 10)]).await;
    assert_eq!(store.phones(30).await, [2]);
    // And in one group.
    store.write(&[bound(3, 10), unbound(3, 20)]).await;
    assert_eq!(store.phones(30).await, [2]);
    store.end().await;
}

#[tokio::test]
async fn the_newer_of_two_counts_and_what_came_back_is_there() {
    let store = Store::new("newer").await;
    store.write(&[bound(1, 20)]).await;
    store.write(&[unbound(1, 10)]).await;
    assert_eq!(store.phones(30).await, [1], "an older end");
    store.write(&[unbound(1, 30)]).await;
    store.write(&[bound(1, 40)]).await;
    assert_eq!(store.phones(45).await, [1], "a newer beginning");
    store.write(&[bound(1, 35)]).await;
    let said = store.ask("SELECT cseq::text FROM binding WHERE id = $1", 1).await;
    assert_eq!(said, ["40"]);
    store.end().await;
}

#[tokio::test]
async fn who_lost_a_tenant_writes_nothing_of_it_and_all_else() {
    let store = Store::new("lost").await;
    let epochs = store.epochs.clone();
    let theirs = Record { tenant: OTHER, ..bound(7, 10) };
    let stranger = Record { tenant: TenantId(Uuid::from_u128(0xf)), ..bound(8, 10) };
    // Somebody else takes the other one.
    leases::take(&store.database, NODE, &[OTHER]).await.unwrap();
    let records = [theirs.clone(), bound(1, 10), stranger.clone(), unbound(9, 9)];
    let writer = Writer { node: NODE, epochs: &epochs };
    let written = store::node::write(&store.database, writer, &records).await.unwrap();
    let mut skipped = written.skipped;
    skipped.sort_by_key(|(record, _)| *record);
    assert_eq!(
        skipped,
        [(theirs.id, Skipped::Superseded), (stranger.id, Skipped::NotOurs)],
        "{skipped:?}"
    );
    assert_eq!(store.phones(30).await, [1]);
    store.end().await;
}

#[tokio::test]
async fn a_take_over_waits_for_what_is_being_written() {
    let store = Store::new("waits").await;
    let mut writing = PgConnection::connect(&store.urls.node).await.unwrap();
    let mut transaction = writing.begin().await.unwrap();
    sqlx::query("SELECT * FROM epochs_for($1, $2)")
        .bind(NODE)
        .bind(vec![TENANT.0])
        .execute(&mut *transaction)
        .await
        .unwrap();
    let database = store.database.clone();
    let taking = tokio::spawn(async move { leases::take(&database, NODE, &[TENANT]).await });
    // It stands in the line: that is seen, not waited for.
    let waiting = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND $1 = $1";
    while store.ask(waiting, 1).await != ["1"] {
        tokio::task::yield_now().await;
    }
    assert!(!taking.is_finished());
    transaction.commit().await.unwrap();
    assert_eq!(taking.await.unwrap().unwrap().len(), 1);
    writing.close().await.unwrap();
    store.end().await;
}

#[tokio::test]
async fn an_extension_takes_its_phones_with_it_and_brings_none_back() {
    let store = Store::new("extension").await;
    store.write(&[bound(1, 10)]).await;
    let mut provider = PgConnection::connect(&store.urls.provider).await.unwrap();
    let mut transaction = provider.begin().await.unwrap();
    enter(&mut transaction, TENANT).await;
    sqlx::query("DELETE FROM extension").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    provider.close().await.unwrap();
    assert_eq!(store.ask("SELECT id::text FROM binding WHERE id = $1", 1).await, [""; 0]);
    let again = bound(1, 10);
    assert_eq!(store.write(std::slice::from_ref(&again)).await, [(again.id, Skipped::UserGone)]);
    store.end().await;
}

#[tokio::test]
async fn what_is_past_goes_and_what_ended_stays_for_a_week() {
    let store = Store::new("tidy").await;
    store.write(&[bound(1, 10), bound(2, 10)]).await;
    store.write(&[unbound(2, 20)]).await;
    let rows = "SELECT id::text FROM binding WHERE id = $1";
    let day = 24 * 3_600;
    upkeep::tidy(&store.database, at(day)).await.unwrap();
    assert_eq!(store.ask(rows, 1).await, [""; 0], "its horizon is past");
    assert_eq!(store.ask(rows, 2).await.len(), 1);
    upkeep::tidy(&store.database, at(8 * day)).await.unwrap();
    assert_eq!(store.ask(rows, 2).await, [""; 0]);
    store.end().await;
}

/// A private Postgres with two companies, of which the first has an extension.
struct Store {
    folder: PathBuf,
    cluster: Cluster,
    urls: Urls,
    database: Database,
    epochs: BTreeMap<TenantId, i64>,
}

impl Store {
    async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir()
            .join(format!("tenantd-registrations-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let cluster = Cluster::start(&folder).unwrap();
        let urls = cluster.urls();
        store::migrate::run(&urls).await.unwrap();
        let mut provider = PgConnection::connect(&urls.provider).await.unwrap();
        for (tenant, route) in [(TENANT, 1_i64), (OTHER, 2)] {
            let mut transaction = provider.begin().await.unwrap();
            enter(&mut transaction, tenant).await;
            sqlx::query("INSERT INTO tenant (id, route, name) VALUES ($1, $2, 'x')")
                .bind(tenant.0)
                .bind(route)
                .execute(&mut *transaction)
                .await
                .unwrap();
            sqlx::query(
                "INSERT INTO extension (tenant_id, id, number, password_sealed, password_key)
                 VALUES ($1, $2, '101', '', 0)",
            )
            .bind(tenant.0)
            .bind(USER.0)
            .execute(&mut *transaction)
            .await
            .unwrap();
            transaction.commit().await.unwrap();
        }
        provider.close().await.unwrap();
        let database = Database::connect(&urls).unwrap();
        let taken = leases::take(&database, NODE, &[TENANT, OTHER]).await.unwrap();
        let epochs = taken.iter().map(|lease| (lease.tenant, lease.epoch)).collect();
        Self { folder, cluster, urls, database, epochs }
    }

    async fn write(&self, records: &[Record]) -> Vec<(RecordId, Skipped)> {
        let writer = Writer { node: NODE, epochs: &self.epochs };
        store::node::write(&self.database, writer, records).await.unwrap().skipped
    }

    /// The phones that a start at this second would find.
    async fn phones(&self, second: u64) -> Vec<u128> {
        let found = bindings::bindings_of(&self.database, &[TENANT], at(second)).await.unwrap();
        found.values().flatten().map(|binding| binding.id.0.as_u128()).collect()
    }

    async fn ask(&self, sql: &'static str, binding: u128) -> Vec<String> {
        let mut connection = PgConnection::connect(&self.urls.node).await.unwrap();
        let query = sqlx::query(sql).bind(Uuid::from_u128(binding));
        let rows = query.fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn end(self) {
        self.database.close().await;
        self.cluster.stop().unwrap();
        std::fs::remove_dir_all(self.folder).unwrap();
    }
}

async fn enter(connection: &mut PgConnection, tenant: TenantId) {
    sqlx::query("SELECT set_config('tenantd.tenant', $1, true)")
        .bind(tenant.0.to_string())
        .execute(connection)
        .await
        .unwrap();
}

fn at(second: u64) -> Moment {
    Moment::from_secs(1_700_000_000 + second)
}

fn record(id: u128, second: u64, what: Memory) -> Record {
    let id = RecordId(Uuid::from_u128(id << 16 | u128::from(second)));
    Record { id, tenant: TENANT, at: at(second), what, wait: Wait::No }
}

fn unbound(id: u128, second: u64) -> Record {
    record(id, second, Memory::Unbound(BindingId(Uuid::from_u128(id))))
}

fn bound(id: u128, second: u64) -> Record {
    let address = "198.51.100.7:5060".parse().unwrap();
    let binding = Binding {
        id: BindingId(Uuid::from_u128(id)),
        user: USER,
        contact: format!("sip:101@198.51.100.{id}"),
        instance: None,
        reg_id: None,
        call_id: "call".to_owned(),
        cseq: u32::try_from(second).unwrap(),
        q: 1_000,
        path: Path { node: NodeId(1), link: Link::Udp, local: address, peer: address },
        route: vec!["<sip:edge.test;lr>".to_owned()],
        user_agent: "a phone".to_owned(),
        expires_at: at(600),
        horizon: at(1_500),
        alg: None,
    };
    record(id, second, Memory::Bound(Box::new(binding)))
}
