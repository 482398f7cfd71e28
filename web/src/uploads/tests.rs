//! Forms that are forged, too large, slow or many: what they may take, and what becomes of them.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use std::io::Read as _;
use uuid::Uuid;

use super::*;

const LARGEST: u64 = 1_000;

fn uploads(name: &str) -> (Uploads, PathBuf) {
    let folder = std::env::temp_dir().join(format!("uploads-{name}-{}", std::process::id()));
    let means = Means {
        folder: folder.clone(),
        node: "n".to_owned(),
        largest: LARGEST,
        longest: Duration::from_secs(60),
        read: Box::new(|_| Box::pin(async { Err(NotTaken::Busy) })),
        carry: Box::new(|_| Box::pin(async {})),
    };
    (Uploads::new(means).unwrap(), folder)
}

fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(number))
}

fn part(name: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
    [head.as_bytes(), value, b"\r\n"].concat()
}

/// A form's parts, by name.
type Parts<'a> = &'a [(&'a str, &'a [u8])];

fn form(uploads: &Uploads, parts: Parts<'_>) -> Form {
    let mut body: Vec<u8> = parts.iter().flat_map(|(name, value)| part(name, value)).collect();
    body.extend(b"--b--\r\n");
    open(uploads, Body::from(body))
}

fn open(uploads: &Uploads, body: Body) -> Form {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "multipart/form-data; boundary=b".parse().unwrap());
    Form::of(&headers, body, uploads.longest_form()).unwrap()
}

async fn receive(uploads: &Uploads, mut form: Form) -> Result<Received, Refused> {
    let turn = uploads.begin(tenant(1)).unwrap();
    uploads.receive(&turn, &mut form, |csrf| csrf == "ours").await
}

#[tokio::test]
async fn a_form_brings_a_name_and_a_file_that_nobody_else_can_open() {
    let (uploads, folder) = uploads("good");
    let file: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    let form = form(&uploads, &[("csrf", b"ours"), ("name", "Grüße".as_bytes()), ("file", &file)]);
    let mut received = receive(&uploads, form).await.unwrap();
    assert_eq!(received.name, "Grüße");
    let mut read = vec![];
    received.file.read_to_end(&mut read).unwrap();
    assert_eq!(read, file);
    assert_eq!(received.sha256, store::objects::Content::of(&file).sha256);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir(folder).unwrap();
}

#[tokio::test]
async fn a_form_that_is_wrong_brings_nothing() {
    let (uploads, folder) = uploads("wrong");
    let large = vec![7; LARGEST as usize + 1];
    let file = |refused| Refused::File(NotTaken::Refused(refused));
    let long = vec![b'a'; LONGEST_TEXT + 1];
    let cases: [(Parts<'_>, Refused); 8] = [
        (&[("csrf", b"theirs"), ("file", b"x")], Refused::Foreign),
        (&[("file", b"x"), ("csrf", b"ours")], Refused::Foreign),
        (&[("csrf", &[0xff]), ("file", b"x")], Refused::Foreign),
        (&[("name", b"x")], Refused::Foreign),
        (&[("csrf", b"ours"), ("file", &large)], file("too_large")),
        (&[("csrf", b"ours"), ("file", b"")], file("empty")),
        (&[("csrf", b"ours"), ("name", b"x")], file("empty")),
        (&[("csrf", b"ours"), ("name", &long)], Refused::Broken(Broken::Malformed)),
    ];
    for (parts, refused) in cases {
        let came = receive(&uploads, form(&uploads, parts)).await;
        assert_eq!(came.err().as_ref(), Some(&refused), "{parts:?}");
    }
    let half = [part("csrf", b"ours"), part("file", b"x")].concat();
    let came = receive(&uploads, open(&uploads, Body::from(half))).await;
    assert_eq!(came.err(), Some(Refused::Broken(Broken::BreaksOff)));
    fs::remove_dir(folder).unwrap();
}

/// A form that begins well, and then sends a byte now and then, for ever.
struct Drip(Option<Vec<u8>>, tokio::time::Interval);

impl axum::body::HttpBody for Drip {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, io::Error>>> {
        if let Some(head) = self.0.take() {
            return std::task::Poll::Ready(Some(Ok(http_body::Frame::data(head.into()))));
        }
        let ticked = self.1.poll_tick(cx);
        ticked.map(|_| Some(Ok(http_body::Frame::data(Bytes::from_static(b"x")))))
    }
}

#[tokio::test(start_paused = true)]
async fn who_sends_too_slowly_is_not_waited_for() {
    let (uploads, folder) = uploads("slow");
    for (every, at_least) in
        [(Duration::from_secs(1), ARRIVES_WITHIN), (PAUSES_FOR * 2, PAUSES_FOR)]
    {
        let mut drip = tokio::time::interval(every);
        drip.reset();
        let mut head = [part("csrf", b"ours"), part("file", &[b'x'; 100])].concat();
        head.truncate(head.len() - 2);
        let began_at = Instant::now();
        let came = receive(&uploads, open(&uploads, Body::new(Drip(Some(head), drip)))).await;
        assert_eq!(came.err(), Some(Refused::Slow));
        let took = began_at.elapsed();
        assert!((at_least..at_least + Duration::from_secs(2)).contains(&took), "{took:?}");
    }
    fs::remove_dir(folder).unwrap();
}

#[tokio::test]
async fn one_company_cannot_take_all_turns() {
    let (uploads, folder) = uploads("turns");
    let first: Vec<Turn> = (0..OF_ONE).map(|_| uploads.begin(tenant(1)).unwrap()).collect();
    assert!(uploads.begin(tenant(1)).is_none());
    let others: Vec<Turn> =
        (0..AT_ONCE - OF_ONE).map(|n| uploads.begin(tenant(n as u128 / 2 + 2)).unwrap()).collect();
    assert!(uploads.begin(tenant(99)).is_none(), "there is no turn for anybody");
    drop(first);
    assert!(uploads.begin(tenant(99)).is_some());
    drop(others);
    fs::remove_dir(folder).unwrap();
}
