//! A real S3 server for one test, which refuses wrong signatures, and a bad line in front of it.
//!
//! The server is `s3s` over a folder. The line carries bytes and knows no HTTP, but for the answer of
//! a server in trouble.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tokio::runtime::Runtime;

use crate::failure::{Failure, Outcome};
use crate::folder::Folder;

/// Who may use it.
pub const ACCESS_KEY: &str = "tenantd-test";
/// What proves it.
pub const SECRET_KEY: &str = "a secret of this test";
/// The bucket that is there.
pub const BUCKET: &str = "sounds";

/// What is wrong with the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Whoever connects is cut off.
    Away,
    /// Everything takes this much longer.
    Slow(Duration),
    /// All questions are answered with 500.
    Trouble,
    /// Answers break off after so many bytes.
    Truncated(usize),
    /// Questions break off after so many bytes.
    Choked(usize),
}

/// A server and its line. Dropping it ends both.
#[derive(Debug)]
pub struct S3 {
    /// Where it is asked.
    pub at: SocketAddr,
    root: PathBuf,
    line: Arc<Line>,
    _runtime: Runtime,
}

#[derive(Debug)]
struct Line {
    server: SocketAddr,
    fault: Mutex<Fault>,
    open: Mutex<Vec<TcpStream>>,
}

impl S3 {
    /// Starts one with an empty bucket, in a folder of the test's.
    ///
    /// # Errors
    /// If there is no port or folder for it.
    pub fn start(folder: &Folder) -> Outcome<Self> {
        let root = folder.path().join("s3");
        fs::create_dir_all(root.join(BUCKET))?;
        let files = FileSystem::new(&root).map_err(|error| Failure::new(format!("{error:?}")))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let server = listener.local_addr()?;
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let serving = auto::Builder::new(TokioExecutor::new());
                    // Whoever goes away in the middle is part of the tests.
                    let _ = serving.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let at = front.local_addr()?;
        let line =
            Arc::new(Line { server, fault: Mutex::new(Fault::None), open: Mutex::default() });
        let carrying = line.clone();
        thread::spawn(move || {
            for stream in front.incoming().flatten() {
                let line = carrying.clone();
                thread::spawn(move || line.carry(stream));
            }
        });
        Ok(Self { at, root, line, _runtime: runtime })
    }

    /// From now on this is wrong with the line. Connections that are open break off.
    pub fn suffer(&self, fault: Fault) {
        *self.line.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
        let mut open = self.line.open.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in open.drain(..) {
            // It may have ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The part of a configuration that leads to it.
    pub fn config(&self) -> String {
        format!(
            "[objects]\nendpoint = \"http://{}\"\nbucket = {BUCKET:?}\naccess_key = {ACCESS_KEY:?}\n\
             secret_key = {SECRET_KEY:?}\nanswer_within = \"2s\"\n",
            self.at
        )
    }

    /// The keys in the bucket, in order.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn keys(&self) -> Outcome<Vec<String>> {
        let (root, mut keys) = (self.root.join(BUCKET), Vec::new());
        walk(&root, &root, &mut keys)?;
        keys.sort();
        Ok(keys)
    }

    /// The file that holds an object.
    pub fn file(&self, key: &str) -> PathBuf {
        self.root.join(BUCKET).join(key)
    }
}

fn walk(root: &Path, folder: &Path, keys: &mut Vec<String>) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, keys)?;
        } else {
            let key = path.strip_prefix(root)?.display().to_string();
            // What the server notes for itself begins with a dot.
            if !key.split('/').any(|part| part.starts_with('.')) {
                keys.push(key);
            }
        }
    }
    Ok(())
}

impl Line {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(&self, mut client: TcpStream) {
        let (up, down, wait) = match self.fault() {
            Fault::None => (usize::MAX, usize::MAX, Duration::ZERO),
            Fault::Away => return,
            Fault::Slow(wait) => (usize::MAX, usize::MAX, wait),
            Fault::Trouble => return in_trouble(&mut client),
            Fault::Truncated(down) => (usize::MAX, down, Duration::ZERO),
            Fault::Choked(up) => (up, usize::MAX, Duration::ZERO),
        };
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let clones = (client.try_clone(), server.try_clone(), client.try_clone());
        let (Ok(client_too), Ok(server_too), Ok(kept)) = clones else { return };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        let upwards = thread::spawn(move || copy(client_too, server_too, up, Duration::ZERO));
        copy(server, client, down, wait);
        // It ends with its connection.
        let _ = upwards.join();
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, most: usize, wait: Duration) {
    let (mut left, mut piece) = (most, [0; 16 * 1024]);
    while let Ok(long) = from.read(&mut piece)
        && long > 0
    {
        thread::sleep(wait);
        let long = long.min(left);
        if to.write_all(piece.get(..long).unwrap_or_default()).is_err() {
            break;
        }
        left -= long;
        if left == 0 {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn in_trouble(client: &mut TcpStream) {
    let answer =
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut question = [0; 16 * 1024];
    // All that is wanted is that something was asked.
    let _ = client.read(&mut question);
    let _ = client.write_all(answer.as_bytes());
    let _ = client.shutdown(Shutdown::Write);
    while client.read(&mut question).is_ok_and(|long| long > 0) {}
}
