//! What the configuration says about the object store.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that an object store is opened by.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The store that speaks S3; without one, the folder is the store.
    pub s3: Option<S3Setup>,
    /// The folder.
    pub folder: PathBuf,
    /// Where things wait until the store has them.
    pub outbox: PathBuf,
    /// How many bytes may wait there.
    pub outbox_limit: u64,
    /// Signs links to what is in the folder.
    pub link_key: [u8; 32],
}

/// A store that speaks S3.
#[derive(Clone)]
pub struct S3Setup {
    /// Its address; absent: Amazon's for the region.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
    /// Our bucket in it.
    pub bucket: String,
    /// Who we are there.
    pub access_key: String,
    /// What proves it.
    pub secret_key: String,
    /// How the bucket is named in a request.
    pub addressing: Addressing,
    /// What the store is asked to encrypt with.
    pub encryption: Encryption,
    /// How long it may take for one answer.
    pub answer_within: Duration,
}

impl fmt::Debug for S3Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, region, bucket, addressing, encryption, .. } = self;
        f.debug_struct("S3Setup")
            .field("endpoint", endpoint)
            .field("region", region)
            .field("bucket", bucket)
            .field("addressing", addressing)
            .field("encryption", encryption)
            .finish_non_exhaustive()
    }
}

/// How the bucket is named in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// As the first part of the path: what most stores of one's own want.
    Path,
    /// As the first part of the host's name: what Amazon wants.
    Host,
}

/// What the store is asked to encrypt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// It is asked nothing.
    Unasked,
    /// A key of the store's (`AES256`).
    Aes256,
    /// A key of the operator's in the store's key service (`aws:kms`).
    Kms,
}
