//! The private Postgres cluster, live: made, taken over, restarted, stopped.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, PgConnection, Row};
use store::cluster::{Cluster, Condition};

#[tokio::test]
async fn each_role_logs_in_as_itself_and_none_is_mighty() {
    let folder = Folder::new("roles");
    let cluster = Cluster::start(folder.path()).unwrap();
    let urls = cluster.urls();
    for (url, role) in [
        (&urls.node, "tenantd_node"),
        (&urls.web, "tenantd_tenant"),
        (&urls.provider, "tenantd_provider"),
        (&urls.migrate, "tenantd_owner"),
    ] {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let row = sqlx::query(
            "SELECT current_user::text, rolsuper OR rolbypassrls, current_setting('fsync'),
                    current_setting('synchronous_commit')
             FROM pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(row.get::<String, _>(0), role);
        assert!(!row.get::<bool, _>(1), "{role} can do anything");
        assert_eq!((row.get(2), row.get(3)), ("on".to_owned(), "on".to_owned()));
        connection.close().await.unwrap();
    }
    let superuser = urls.node.replace("tenantd_node", "postgres");
    assert!(PgConnection::connect(&superuser).await.is_err());
    cluster.stop().unwrap();
}

#[test]
fn a_server_that_outlived_us_is_taken_over_and_stopped() {
    let folder = Folder::new("adopted");
    let first = Cluster::start(folder.path()).unwrap();
    let pid = first.pid();
    // What is left after `kill -9`: the server goes on, and nobody holds its handle.
    let urls = first.urls();
    std::mem::forget(first);
    assert_eq!(Cluster::of_another(folder.path()), Some(urls));

    let second = Cluster::start(folder.path()).unwrap();

    assert_eq!(second.pid(), pid);
    second.stop().unwrap();
    assert!(!runs(pid));
    assert_eq!(Cluster::of_another(folder.path()), None);
}

#[test]
fn a_server_that_dies_is_started_again() {
    let folder = Folder::new("died");
    let mut cluster = Cluster::start(folder.path()).unwrap();
    let pid = cluster.pid();
    assert_eq!(cluster.watch().unwrap(), Condition::Serving);

    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    while runs(pid) {
        std::thread::yield_now();
    }

    assert_eq!(cluster.watch().unwrap(), Condition::Restarted);
    assert_ne!(cluster.pid(), pid);
    cluster.stop().unwrap();
}

#[test]
fn a_deep_data_directory_is_no_obstacle_to_a_socket() {
    let folder = Folder::new("deep");
    let deep = folder.path().join("a-long-name, with a comma".repeat(5));

    let cluster = Cluster::start(&deep).unwrap();

    assert!(cluster.urls().node.contains("host=/tmp/tenantd-"));
    cluster.stop().unwrap();
}

#[test]
fn a_data_directory_that_only_its_owner_can_reach_is_no_obstacle() {
    let folder = Folder::new("closed");
    std::fs::create_dir(folder.path()).unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    let data_dir = folder.path().join("var");

    let cluster = Cluster::start(&data_dir).unwrap();

    let home = cluster.folder().to_owned();
    // An ordinary user runs Postgres itself; root has it run by another, who must get there.
    let is_root = nix::unistd::Uid::effective().is_root();
    assert_eq!(home.starts_with("/var/lib/tenantd"), is_root, "{}", home.display());
    cluster.stop().unwrap();
    let again = Cluster::start(&data_dir).unwrap();
    assert_eq!(again.folder(), home);
    again.stop().unwrap();
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_broken_attempt_to_make_a_cluster_is_made_good() {
    let folder = Folder::new("broken");
    Cluster::start(folder.path()).unwrap().stop().unwrap();
    let home = folder.path().join("postgres");
    std::fs::rename(home.join("data"), home.join("data.new")).unwrap();

    let cluster = Cluster::start(folder.path()).unwrap();

    assert!(home.join("data/PG_VERSION").exists());
    cluster.stop().unwrap();
}

/// Not a zombie, not gone.
fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// A data directory of one test's own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tenantd-cluster-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
