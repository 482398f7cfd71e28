//! An object store that speaks S3: Amazon's, or one of the many that are its like.
//!
//! Requests are signed (AWS Signature Version 4) and their bodies sent with their SHA-256, so that
//! the store refuses what was damaged on the way. Each question has a time limit and is asked three
//! times at most; whoever wants more patience asks again later.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::content::{hex, unhex};
use super::folder::blocking;
use super::{
    Addressing, Content, Encryption, Failure, Hasher, LONGEST_LIST, Listed, ObjectKey, S3Setup,
};

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Each question is asked this often before it counts as failed.
const TRIES: u32 = 3;
/// A file that is larger goes in parts of this size; S3 knows none below 5 MiB.
const PART: usize = 8 * 1024 * 1024;
/// So many parts an object has at most, by S3's own rule.
const MOST_PARTS: i32 = 10_000;
/// The name under which an object carries its checksum; in a request it is `x-amz-meta-sha256`.
const CHECKSUM: &str = "sha256";
const MEDIA_TYPE: &str = "audio/wav";
/// The longest that S3 lets a link last.
const LONGEST_LINK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// What only asks whether we are let in looks here.
const ALL: &str = "tenant/";

/// A bucket, and how it is reached.
#[derive(Debug)]
pub(super) struct S3 {
    client: Client,
    bucket: String,
    encryption: Option<ServerSideEncryption>,
    answer_within: Duration,
}

impl S3 {
    pub(super) fn new(setup: &S3Setup) -> Result<Self, Failure> {
        let plain = setup.endpoint.as_deref().is_some_and(|at| at.starts_with("http://"));
        let encrypted = setup.endpoint.as_deref().is_none_or(|at| at.starts_with("https://"));
        if !plain && !encrypted {
            let endpoint = setup.endpoint.as_deref().unwrap_or_default();
            let reason = format!("{endpoint:?} begins with neither https:// nor http://");
            return Err(Failure::Setup(reason));
        }
        let credentials =
            Credentials::new(&setup.access_key, &setup.secret_key, None, None, "configuration");
        let patience = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN.min(setup.answer_within))
            .read_timeout(setup.answer_within)
            .operation_attempt_timeout(setup.answer_within)
            .operation_timeout(setup.answer_within * TRIES)
            .build();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http_client(encrypted))
            .region(Region::new(setup.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(setup.addressing == Addressing::Path)
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .timeout_config(patience)
            // We bring our own SHA-256: other sums are new to S3, and not every store knows them.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &setup.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Self {
            client: Client::from_conf(config.build()),
            bucket: setup.bucket.clone(),
            encryption: match setup.encryption {
                Encryption::Unasked => None,
                Encryption::Aes256 => Some(ServerSideEncryption::Aes256),
                Encryption::Kms => Some(ServerSideEncryption::AwsKms),
            },
            answer_within: setup.answer_within,
        })
    }

    pub(super) async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        content: Content,
    ) -> Result<(), Failure> {
        let question = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key.to_string())
            .content_type(MEDIA_TYPE)
            .metadata(CHECKSUM, content.hex())
            .checksum_sha256(STANDARD.encode(content.sha256))
            .set_server_side_encryption(self.encryption.clone())
            .body(ByteStream::from(bytes));
        question.send().await.map(drop).map_err(|error| failure(key, error))
    }

    pub(super) async fn put_file(
        &self,
        key: &ObjectKey,
        file: &Path,
        content: Content,
    ) -> Result<(), Failure> {
        let path = file.to_owned();
        let mut file = blocking(move || File::open(&path).map_err(Failure::file(&path))).await?;
        if content.bytes <= PART as u64 {
            let (_, bytes) = next_part(file).await?;
            return match Content::of(&bytes) == content {
                true => self.put(key, bytes, content).await,
                false => Err(Failure::Changed(key.to_string())),
            };
        }
        self.give_up_earlier(key).await;
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key.to_string())
            .content_type(MEDIA_TYPE)
            .metadata(CHECKSUM, content.hex())
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_server_side_encryption(self.encryption.clone());
        let begun = begun.send().await.map_err(|error| failure(key, error))?;
        let Some(upload) = begun.upload_id else {
            return Err(Failure::Away("it begins an upload and does not name it".to_owned()));
        };
        let put = async {
            let (mut hasher, mut parts) = (Hasher::default(), Vec::new());
            for number in 1..=MOST_PARTS {
                let (rest, bytes) = next_part(file).await?;
                file = rest;
                if bytes.is_empty() {
                    break;
                }
                hasher.take(&bytes);
                parts.push(self.put_part(key, &upload, number, bytes).await?);
            }
            match hasher.content() == content {
                true => self.finish(key, &upload, parts).await,
                false => Err(Failure::Changed(key.to_string())),
            }
        };
        let outcome = put.await;
        if outcome.is_err() {
            self.give_up(&key.to_string(), &upload).await;
        }
        outcome
    }

    async fn put_part(
        &self,
        key: &ObjectKey,
        upload: &str,
        number: i32,
        bytes: Bytes,
    ) -> Result<CompletedPart, Failure> {
        let checksum = STANDARD.encode(Content::of(&bytes).sha256);
        let question = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key.to_string())
            .upload_id(upload)
            .part_number(number)
            .checksum_sha256(&checksum)
            .body(ByteStream::from(bytes));
        let done = question.send().await.map_err(|error| failure(key, error))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(done.e_tag);
        // Who was told a part's checksum wants to hear it again; who did not take it, does not.
        Ok(part.set_checksum_sha256(done.checksum_sha256).build())
    }

    async fn finish(
        &self,
        key: &ObjectKey,
        upload: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let question = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key.to_string())
            .upload_id(upload)
            .multipart_upload(parts);
        question.send().await.map(drop).map_err(|error| failure(key, error))
    }

    /// Parts that an earlier, killed process left would be paid for forever. That this fails is no
    /// reason not to upload.
    async fn give_up_earlier(&self, key: &ObjectKey) {
        let question =
            self.client.list_multipart_uploads().bucket(&self.bucket).prefix(key.to_string());
        let Ok(found) = question.send().await else { return };
        for upload in found.uploads() {
            if let (Some(at), Some(id)) = (upload.key(), upload.upload_id()) {
                self.give_up(at, id).await;
            }
        }
    }

    async fn give_up(&self, key: &str, upload: &str) {
        let question = self.client.abort_multipart_upload().bucket(&self.bucket).key(key);
        // What stays is found by the next try, or by the bucket's own rule.
        let _ = question.upload_id(upload).send().await;
    }

    pub(super) async fn get(&self, key: &ObjectKey, content: Content) -> Result<Bytes, Failure> {
        self.read(key, content, None, content.bytes).await
    }

    pub(super) async fn get_range(
        &self,
        key: &ObjectKey,
        content: Content,
        range: Range<u64>,
    ) -> Result<Bytes, Failure> {
        let header = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        self.read(key, content, Some(header), range.end.saturating_sub(range.start)).await
    }

    /// The SDK asks again for a head that did not come, and we for a body that broke off.
    async fn read(
        &self,
        key: &ObjectKey,
        content: Content,
        range: Option<String>,
        long: u64,
    ) -> Result<Bytes, Failure> {
        let mut last = None;
        for _ in 0..TRIES {
            let question = self.client.get_object().bucket(&self.bucket).key(key.to_string());
            let answer = question.set_range(range.clone()).send().await;
            let answer = answer.map_err(|error| failure(key, error))?;
            if !is_promised(&answer, content, long) {
                return Err(Failure::Changed(key.to_string()));
            }
            match timeout(self.answer_within, body(answer.body, long)).await {
                Ok(Ok(bytes)) => return Ok(bytes),
                Ok(Err(reason)) => last = Some(reason),
                Err(_) => last = Some("it takes too long".to_owned()),
            }
        }
        Err(Failure::Away(last.unwrap_or_default()))
    }

    pub(super) async fn head(&self, key: &ObjectKey) -> Result<Option<Content>, Failure> {
        let question = self.client.head_object().bucket(&self.bucket).key(key.to_string());
        let found = match question.send().await.map_err(|error| failure(key, error)) {
            Ok(found) => found,
            Err(Failure::Missing(_)) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let sum = found.metadata().and_then(|m| m.get(CHECKSUM)).and_then(|text| unhex(text));
        let bytes = found.content_length().and_then(|long| u64::try_from(long).ok());
        match sum.zip(bytes) {
            Some((sha256, bytes)) => Ok(Some(Content { bytes, sha256 })),
            None => Err(Failure::Changed(key.to_string())),
        }
    }

    pub(super) async fn delete(&self, key: &ObjectKey) -> Result<(), Failure> {
        let question = self.client.delete_object().bucket(&self.bucket).key(key.to_string());
        match question.send().await.map_err(|error| failure(key, error)) {
            Ok(_) | Err(Failure::Missing(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Failure> {
        let (mut found, mut more) = (Vec::new(), None);
        loop {
            let question = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
            let page = question.set_continuation_token(more).send().await;
            let page = page.map_err(of_bucket)?;
            found.extend(page.contents().iter().filter_map(|object| {
                let bytes = u64::try_from(object.size()?).ok()?;
                Some(Listed { key: object.key()?.to_owned(), bytes })
            }));
            more = page.next_continuation_token().map(str::to_owned);
            if more.is_none() || found.len() >= LONGEST_LIST {
                found.truncate(LONGEST_LIST);
                return Ok(found);
            }
        }
    }

    pub(super) async fn presign(
        &self,
        key: &ObjectKey,
        valid_for: Duration,
    ) -> Result<String, Failure> {
        let terms = PresigningConfig::expires_in(valid_for.min(LONGEST_LINK))
            .map_err(|error| Failure::Setup(error.to_string()))?;
        let question = self.client.get_object().bucket(&self.bucket).key(key.to_string());
        let signed = question.presigned(terms).await.map_err(|error| failure(key, error))?;
        Ok(signed.uri().to_owned())
    }

    pub(super) async fn probe(&self) -> Result<(), Failure> {
        let question = self.client.list_objects_v2().bucket(&self.bucket).prefix(ALL).max_keys(1);
        question.send().await.map(drop).map_err(of_bucket)
    }
}

/// `ring`, as everywhere here, and the system's own list of who may vouch.
fn http_client(encrypted: bool) -> SharedHttpClient {
    let builder = aws_smithy_http_client::Builder::new();
    match encrypted {
        true => builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https(),
        false => builder.build_http(),
    }
}

/// The next part of a file; empty at its end.
async fn next_part(mut file: File) -> Result<(File, Bytes), Failure> {
    blocking(move || {
        let mut part = Vec::new();
        let read = (&mut file).take(PART as u64).read_to_end(&mut part);
        match read {
            Ok(_) => Ok((file, part.into())),
            Err(error) => Err(Failure::File("the outbox".to_owned(), error)),
        }
    })
    .await
}

/// Whether this is the object that our row speaks of, and as much of it as was asked for.
fn is_promised(answer: &GetObjectOutput, content: Content, long: u64) -> bool {
    let told = answer.metadata().and_then(|metadata| metadata.get(CHECKSUM));
    let sum = told.is_none_or(|sum| *sum == hex(&content.sha256));
    let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
    let whole = answer.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
    sum && size.is_none_or(|size| size == long) && whole.is_none_or(|w: u64| w == content.bytes)
}

/// All of a body that is `long` bytes; one that goes on is not believed.
async fn body(mut body: ByteStream, long: u64) -> Result<Bytes, String> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(long).unwrap_or(0));
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| told(&error))?);
        if bytes.len() as u64 > long {
            return Err("it sends more than there is".to_owned());
        }
    }
    match bytes.len() as u64 == long {
        true => Ok(bytes.freeze()),
        false => Err("it breaks off".to_owned()),
    }
}

fn failure<E>(key: &ObjectKey, error: SdkError<E>) -> Failure
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            match (status, code) {
                (404, "NoSuchBucket") => Failure::Refused("there is no such bucket".to_owned()),
                (404, _) => Failure::Missing(key.to_string()),
                (408 | 429 | 500.., _)
                | (_, "SlowDown" | "RequestTimeout" | "RequestTimeTooSkewed") => {
                    Failure::Away(format!("it answers {status} {code}"))
                }
                (_, _) => Failure::Refused(format!("it answers {status} {code}")),
            }
        }
        SdkError::ConstructionFailure(_) => Failure::Setup(told(&error)),
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => {
            Failure::Away(told(&error))
        }
        // The enum is open; what it may come to hold says nothing against trying again.
        _ => Failure::Away(told(&error)),
    }
}

/// The same where no object is asked for: what is missing then is the bucket.
fn of_bucket<E>(error: SdkError<E>) -> Failure
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let nothing = ObjectKey::new(crate::database::HOUSE, super::Kind::Sound, uuid::Uuid::nil());
    match failure(&nothing, error) {
        Failure::Missing(_) => Failure::Refused("there is no such bucket".to_owned()),
        other => other,
    }
}

/// An error with what it came from: the outermost alone says next to nothing.
fn told(error: &dyn Error) -> String {
    let mut words = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        words.push(error.to_string());
        source = error.source();
    }
    words.dedup();
    words.join(": ")
}
