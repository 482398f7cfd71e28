//! Forms that bring a file: cut into their parts while they arrive, so that none of it is kept which
//! nobody asked for.
//!
//! RFC 7578 (multipart/form-data), RFC 2046 §5.1.1 (boundaries).

use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

/// RFC 2046 §5.1.1.
const LONGEST_BOUNDARY: usize = 70;
/// The header of a part: two lines, with a file's name in one of them.
const LONGEST_HEAD: usize = 4 * 1024;
/// No form of ours has as many parts.
const MOST_PARTS: u32 = 16;

/// Why a form cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It is no form of this kind, or not as one must be.
    Malformed,
    /// It ends in the middle.
    BreaksOff,
    /// It goes on and on.
    TooLong,
}

/// What comes next of a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A part of this name begins.
    Part(String),
    /// So much of it, in order.
    Bytes(Vec<u8>),
    /// The form was whole.
    End,
}

/// A form that arrives.
pub(crate) struct Form {
    body: Body,
    cutter: Cutter,
    left: u64,
}

impl Form {
    /// The body of a request with this header, as far as `most` bytes.
    pub(crate) fn of(headers: &HeaderMap, body: Body, most: u64) -> Result<Self, Broken> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = kind.and_then(boundary).ok_or(Broken::Malformed)?;
        Ok(Self { body, cutter: Cutter::new(&boundary), left: most })
    }

    /// Waits for what comes next. After the end, or once it is broken, there is nothing more.
    pub(crate) async fn next(&mut self) -> Result<Piece, Broken> {
        loop {
            if let Some(piece) = self.cutter.cut()? {
                return Ok(piece);
            }
            let body = &mut self.body;
            let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
            let frame = frame.ok_or(Broken::BreaksOff)?.map_err(|_| Broken::BreaksOff)?;
            // What is no data are trailers, which say nothing here.
            let Ok(data) = frame.into_data() else { continue };
            self.left = self.left.checked_sub(data.len() as u64).ok_or(Broken::TooLong)?;
            self.cutter.ahead.extend_from_slice(&data);
        }
    }
}

/// The boundary that a Content-Type names.
fn boundary(kind: &str) -> Option<String> {
    let (kind, parameters) = kind.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    (1..=LONGEST_BOUNDARY).contains(&value.len()).then(|| value.to_owned())
}

/// Cuts bytes into pieces.
struct Cutter {
    delimiter: Vec<u8>,
    ahead: Vec<u8>,
    state: State,
    parts: u32,
}

enum State {
    /// What stands before the first part is for nobody.
    Before,
    /// A delimiter was seen: a part follows, or the end.
    Between,
    /// In a part's header.
    Head,
    /// In a part.
    Inside,
    /// Nothing more is looked at.
    Over,
}

impl Cutter {
    fn new(boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The first delimiter may stand at the very beginning.
        Self { delimiter, ahead: b"\r\n".to_vec(), state: State::Before, parts: 0 }
    }

    /// The next piece; `None`: that takes more bytes.
    fn cut(&mut self) -> Result<Option<Piece>, Broken> {
        loop {
            match self.state {
                State::Before => match find(&self.ahead, &self.delimiter) {
                    Some(at) => self.begin(at),
                    None => {
                        self.take_certain();
                        return Ok(None);
                    }
                },
                State::Between => match self.ahead.get(..2) {
                    None => return Ok(None),
                    Some(b"--") => self.state = State::Over,
                    Some(b"\r\n") => self.state = State::Head,
                    Some(_) => return Err(Broken::Malformed),
                },
                State::Head => return self.head(),
                State::Inside => match find(&self.ahead, &self.delimiter) {
                    Some(0) => self.begin(0),
                    Some(at) => return Ok(Some(Piece::Bytes(self.ahead.drain(..at).collect()))),
                    None => {
                        let bytes = self.take_certain();
                        return Ok((!bytes.is_empty()).then_some(Piece::Bytes(bytes)));
                    }
                },
                State::Over => return Ok(Some(Piece::End)),
            }
        }
    }

    /// A delimiter stands at this place.
    fn begin(&mut self, at: usize) {
        self.ahead.drain(..at + self.delimiter.len());
        self.state = State::Between;
    }

    /// Bytes that cannot be the beginning of a delimiter.
    fn take_certain(&mut self) -> Vec<u8> {
        let kept = self.ahead.len().min(self.delimiter.len() - 1);
        let certain = self.ahead.len() - kept;
        self.ahead.drain(..certain).collect()
    }

    fn head(&mut self) -> Result<Option<Piece>, Broken> {
        let Some(at) = find(&self.ahead, b"\r\n\r\n") else {
            let fits = self.ahead.len() <= LONGEST_HEAD;
            return if fits { Ok(None) } else { Err(Broken::Malformed) };
        };
        if at > LONGEST_HEAD || self.parts == MOST_PARTS {
            return Err(Broken::Malformed);
        }
        let head: Vec<u8> = self.ahead.drain(..at + 4).collect();
        let name = std::str::from_utf8(&head).ok().and_then(name).ok_or(Broken::Malformed)?;
        self.parts += 1;
        self.state = State::Inside;
        Ok(Some(Piece::Part(name)))
    }
}

/// A part's name (RFC 7578 §4.2).
fn name(head: &str) -> Option<String> {
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    disposition.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("name").then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    // Almost no byte is the first one of what is looked for.
    while let Some(at) = bytes.get(from..)?.iter().position(|byte| Some(byte) == wanted.first()) {
        let at = from + at;
        match bytes.get(at..at + wanted.len()) {
            Some(found) if found == wanted => return Some(at),
            Some(_) => from = at + 1,
            None => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "nobody's\r\n--x y\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\nabc\
        \r\n--x y\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a;b.wav\"\r\n\
        Content-Type: audio/wav\r\n\r\n\r\n--x\r\n--x yes\r\n--x y\r\n\
        Content-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--x y--\r\nafter";

    /// All parts, if the form comes in pieces of this length.
    fn parts(form: &[u8], long: usize) -> Result<Vec<(String, Vec<u8>)>, Broken> {
        let (mut cutter, mut parts) = (Cutter::new("x y"), Vec::<(String, Vec<u8>)>::new());
        for piece in form.chunks(long) {
            cutter.ahead.extend_from_slice(piece);
            while let Some(piece) = cutter.cut()? {
                match piece {
                    Piece::Part(name) => parts.push((name, vec![])),
                    Piece::Bytes(bytes) => parts.last_mut().unwrap().1.extend(bytes),
                    Piece::End => return Ok(parts),
                }
            }
            assert!(cutter.ahead.len() <= LONGEST_HEAD + long, "{}", cutter.ahead.len());
        }
        Err(Broken::BreaksOff)
    }

    #[test]
    fn a_form_is_the_same_however_it_is_cut_on_its_way() {
        let form = FORM.replace("\r\n--x yes", "\r\n--x-yes");
        let whole = parts(form.as_bytes(), form.len()).unwrap();
        let named: Vec<&str> = whole.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(named, ["csrf", "file", "empty"]);
        assert_eq!(whole[0].1, b"abc");
        assert_eq!(whole[1].1, b"\r\n--x\r\n--x-yes");
        assert_eq!(whole[2].1, b"");
        for long in 1..form.len() {
            assert_eq!(parts(form.as_bytes(), long).as_ref(), Ok(&whole), "{long}");
        }
    }

    #[test]
    fn half_a_form_is_none() {
        let form = FORM.replace("\r\n--x yes", "\r\n--x-yes");
        let end = form.len() - "\r\nafter".len();
        for half in 1..end {
            assert_eq!(parts(&form.as_bytes()[..half], 7), Err(Broken::BreaksOff), "{half}");
        }
        assert!(parts(&form.as_bytes()[..end], 7).is_ok());
    }

    #[test]
    fn what_goes_on_for_ever_is_not_kept() {
        let endless = format!("--x y\r\nContent-Disposition: {}", "a".repeat(20_000));
        assert_eq!(parts(endless.as_bytes(), 100), Err(Broken::Malformed));
        let part = "--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n";
        assert_eq!(parts(part.repeat(20).as_bytes(), 100), Err(Broken::Malformed));
        // What stands before a form is thrown away as it comes.
        assert_eq!(parts(&[b'x'; 100_000], 100), Err(Broken::BreaksOff));
        assert_eq!(parts(FORM.as_bytes(), 9), Err(Broken::Malformed), "a longer boundary");
    }

    #[test]
    fn only_forms_of_this_kind_have_a_boundary() {
        assert_eq!(boundary("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(boundary("Multipart/Form-Data; x=1; Boundary=\"a b\"").as_deref(), Some("a b"));
        for kind in
            ["text/plain; boundary=a", "multipart/form-data", "multipart/form-data; boundary="]
        {
            assert_eq!(boundary(kind), None, "{kind}");
        }
        let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
        assert_eq!(boundary(&long), None);
    }

    #[tokio::test]
    async fn a_form_ends_where_it_is_longer_than_it_may_be() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "multipart/form-data; boundary=b".parse().unwrap());
        let text = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nxyz\r\n--b--";
        for (most, end) in [(10, Err(Broken::TooLong)), (1_000, Ok(Piece::Part("a".to_owned())))] {
            let mut form = Form::of(&headers, Body::from(text), most).unwrap();
            assert_eq!(form.next().await, end);
        }
        assert!(Form::of(&HeaderMap::new(), Body::empty(), 9).is_err());
    }
}
