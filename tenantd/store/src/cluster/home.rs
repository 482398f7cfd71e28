//! Where the private cluster's files are, and as which user it runs.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};
use sha2::{Digest, Sha256};

use super::server::Failure;

/// Where root's clusters go whose data directory the server's user cannot reach.
const REACHABLE: &str = "/var/lib/tenantd";
/// `sun_path` holds 108 bytes, the last of which is zero.
const LONGEST_SOCKET: usize = 107;
/// The part of a socket's path below its folder.
pub(super) const SOCKET: &str = ".s.PGSQL.5432";

/// The cluster's folder and its user.
#[derive(Debug, Clone)]
pub(super) struct Home {
    /// Holds all the rest; only the server's user can enter.
    pub(super) folder: PathBuf,
    /// The user to run as, where it is not ours.
    pub(super) runs_as: Option<(u32, u32)>,
    socket_folder: PathBuf,
}

impl Home {
    /// Finds the home of the cluster of `data_dir`, or makes it.
    pub(super) fn of(data_dir: &Path) -> Result<Self, Failure> {
        let data_dir = make_data_dir(data_dir)?;
        let id = id_of(&data_dir);
        let [wanted, elsewhere] = candidates(&data_dir);
        let (folder, runs_as) = match Uid::effective().is_root() {
            true => folder_of_root(wanted, elsewhere)?,
            false => (folder_of_user(wanted)?, None),
        };
        let near = folder.join("socket");
        let socket_folder = match near.join(SOCKET).as_os_str().len() <= LONGEST_SOCKET {
            true => near,
            false => Path::new("/tmp").join(format!("tenantd-{id}")),
        };
        Ok(Self { folder, runs_as, socket_folder })
    }

    /// Where the server's files are.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Makes the socket's folder where it is missing, and sees that nobody else can enter it: in
    /// `/tmp` anybody may have made it first.
    pub(super) fn socket_folder(&self) -> Result<&Path, Failure> {
        let folder = self.socket_folder.as_path();
        let uid = self.runs_as.map_or(Uid::effective().as_raw(), |(uid, _)| uid);
        if !folder.exists() {
            make_private(folder)?;
            self.give(folder)?;
        }
        let found = fs::symlink_metadata(folder).map_err(at(folder))?;
        match found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0 {
            true => Ok(folder),
            false => Err(Failure::NotOurs { folder: folder.into(), owner: found.uid() }),
        }
    }

    /// An empty folder of the server's user, in the place of what a broken attempt left there.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf, Failure> {
        let folder = self.folder.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(at(&folder))?;
        }
        make_private(&folder)?;
        self.give(&folder)?;
        Ok(folder)
    }

    /// Gives a file that we wrote to the server's user.
    pub(super) fn give(&self, path: &Path) -> Result<(), Failure> {
        match self.runs_as {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)).map_err(at(path)),
            None => Ok(()),
        }
    }

    /// A command that runs as the server's user, in a folder it can enter, with nothing of our
    /// environment that could lead it to another cluster.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        if let Some((uid, gid)) = self.runs_as {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Where the cluster of a data directory can be.
pub(super) fn candidates(data_dir: &Path) -> [PathBuf; 2] {
    [data_dir.join("postgres"), Path::new(REACHABLE).join(id_of(data_dir))]
}

/// Whether the server's user can enter a folder.
#[derive(Debug, PartialEq, Eq)]
enum Reach {
    Yes,
    No,
}

fn make_data_dir(data_dir: &Path) -> Result<PathBuf, Failure> {
    if !data_dir.exists() {
        // The server's user must pass through, but need not see what else is there.
        DirBuilder::new().recursive(true).mode(0o711).create(data_dir).map_err(at(data_dir))?;
    }
    data_dir.canonicalize().map_err(at(data_dir))
}

/// As root: in the data directory if the server's user can get there, else where it can.
fn folder_of_root(
    wanted: PathBuf,
    elsewhere: PathBuf,
) -> Result<(PathBuf, Option<(u32, u32)>), Failure> {
    let (uid, gid) = server_user(&wanted, &elsewhere)?;
    let existing = [&wanted, &elsewhere].into_iter().find(|folder| folder.join("data").is_dir());
    if let Some(folder) = existing {
        return Ok((folder.clone(), Some((uid, gid))));
    }
    if make_own(&wanted, uid, gid)? == Reach::Yes {
        return Ok((wanted, Some((uid, gid))));
    }
    // It was only made to be tried, so it is empty; if not, it does no harm.
    let _ = fs::remove_dir(&wanted);
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(REACHABLE)
        .map_err(at(Path::new(REACHABLE)))?;
    match make_own(&elsewhere, uid, gid)? {
        Reach::Yes => Ok((elsewhere, Some((uid, gid)))),
        Reach::No => Err(Failure::OutOfReach { folder: elsewhere, uid }),
    }
}

/// As an ordinary user: in the data directory, which must be that user's.
fn folder_of_user(wanted: PathBuf) -> Result<PathBuf, Failure> {
    match fs::symlink_metadata(&wanted) {
        Ok(found) if found.uid() != Uid::effective().as_raw() => {
            Err(Failure::NotOurs { folder: wanted, owner: found.uid() })
        }
        Ok(_) => Ok(wanted),
        Err(_) => make_private(&wanted).map(|()| wanted),
    }
}

/// Who owns the files if there are any, else the user that the system made for Postgres.
fn server_user(wanted: &Path, elsewhere: &Path) -> Result<(u32, u32), Failure> {
    let owner = [wanted, elsewhere]
        .into_iter()
        .find_map(|folder| fs::metadata(folder.join("data")).ok())
        .map(|found| (found.uid(), found.gid()));
    match owner {
        Some((uid, gid)) if uid != 0 => Ok((uid, gid)),
        _ => match User::from_name("postgres") {
            Ok(Some(user)) => Ok((user.uid.as_raw(), user.gid.as_raw())),
            Ok(None) | Err(_) => Err(Failure::NoUser),
        },
    }
}

/// Makes a folder of that user and tries whether the user can enter it: only a process of that user
/// sees all that may stand in the way.
fn make_own(folder: &Path, uid: u32, gid: u32) -> Result<Reach, Failure> {
    if !folder.exists() {
        make_private(folder)?;
    }
    chown(folder, Some(uid), Some(gid)).map_err(at(folder))?;
    let tried = Command::new("/bin/true").current_dir(folder).uid(uid).gid(gid).status();
    match tried {
        Ok(_) => Ok(Reach::Yes),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Reach::No),
        Err(error) => Err(at(folder)(error)),
    }
}

fn make_private(folder: &Path) -> Result<(), Failure> {
    DirBuilder::new().mode(0o700).create(folder).map_err(at(folder))?;
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(at(folder))
}

fn id_of(data_dir: &Path) -> String {
    let hash = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Names the file that a failure is about.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Failure + '_ {
    move |source| Failure::File { path: path.into(), source }
}
