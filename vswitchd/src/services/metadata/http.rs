//! Requests and answers of HTTP/1.1 (RFC 9110, RFC 9112), as much of it as metadata takes: requests without a body.

use httparse::{EMPTY_HEADER, Error, Status};

use super::super::tcp::{After, Manner, Split};

/// Bytes of a request.
pub const REQUEST_MAX: usize = 4096;
/// Its header fields.
const FIELDS_MAX: usize = 64;
/// What ends a request.
const END: &[u8] = b"\r\n\r\n";

/// How guests ask. The connections of a stack are those of one port.
pub const MANNER: Manner =
    Manner { port: 80, connections: 8, connections_of_host: 8, question_max: REQUEST_MAX, split };

/// A request that grows too long is taken as far as it came, so that its sender is told.
fn split(read: &[u8]) -> Split {
    match read.windows(END.len()).position(|window| window == END) {
        Some(at) => Split::Whole { from: 0, to: at + END.len() },
        None if read.len() >= REQUEST_MAX => Split::Whole { from: 0, to: read.len() },
        None => Split::More,
    }
}

/// What is to be done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Told.
    Get,
    /// Told without its content.
    Head,
    /// Made: a token.
    Put,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The token that came along.
    pub token: Option<String>,
    /// How long a token is to hold.
    pub ttl: Option<String>,
    /// Somebody has passed it on.
    pub is_forwarded: bool,
    /// The connection is not to be kept.
    pub closes: bool,
}

/// What an answer is, by its number (RFC 9110, 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It follows.
    Ok = 200,
    /// The request makes no sense.
    BadRequest = 400,
    /// The token is missing, made up or too old.
    Unauthorized = 401,
    /// It was passed on.
    Forbidden = 403,
    /// There is no such thing.
    NotFound = 404,
    /// Not so.
    MethodNotAllowed = 405,
    /// The request is too long.
    TooLong = 431,
    /// What is to be told cannot be read.
    Unreadable = 500,
}

impl Code {
    fn reason(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::BadRequest => "Bad Request",
            Code::Unauthorized => "Unauthorized",
            Code::Forbidden => "Forbidden",
            Code::NotFound => "Not Found",
            Code::MethodNotAllowed => "Method Not Allowed",
            Code::TooLong => "Request Header Fields Too Large",
            Code::Unreadable => "Internal Server Error",
        }
    }
}

/// Reads a request.
///
/// # Errors
/// What its sender is told instead.
pub fn read(bytes: &[u8]) -> Result<Request, Code> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) if bytes.len() >= REQUEST_MAX => return Err(Code::TooLong),
        Err(Error::TooManyHeaders) => return Err(Code::TooLong),
        Ok(Status::Partial) | Err(_) => return Err(Code::BadRequest),
    }
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("PUT") => Method::Put,
        Some(_) | None => return Err(Code::MethodNotAllowed),
    };
    let target = parsed.path.unwrap_or_default();
    // The absolute form names the host first, which says nothing here.
    let target = target.strip_prefix("http://").map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    let path = target.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(Code::BadRequest);
    }
    let text = |name: &str| {
        let field = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(field.value).trim().to_owned())
    };
    let has = |name: &str| parsed.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name));
    let mut lengths = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("content-length"));
    if has("transfer-encoding") || lengths.any(|field| field.value.trim_ascii() != b"0") {
        return Err(Code::BadRequest);
    }
    let connection = text("connection").unwrap_or_default().to_ascii_lowercase();
    let says = |word: &str| connection.split(',').any(|said| said.trim() == word);
    Ok(Request {
        method,
        path: path.to_owned(),
        token: text("x-aws-ec2-metadata-token"),
        ttl: text("x-aws-ec2-metadata-token-ttl-seconds"),
        is_forwarded: has("x-forwarded-for"),
        closes: says("close") || parsed.version == Some(0) && !says("keep-alive"),
    })
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it is.
    pub code: Code,
    /// Its content.
    pub content: Vec<u8>,
    /// How long the token in it holds, in seconds.
    pub token_ttl_s: Option<u64>,
}

impl Answer {
    /// The bytes of the answer to `request`, or to what was none, and what becomes of the connection.
    pub fn write(&self, request: Option<&Request>) -> (Vec<u8>, After) {
        let after = if request.is_none_or(|request| request.closes) { After::Close } else { After::Listen };
        let (code, reason, length) = (self.code as u16, self.code.reason(), self.content.len());
        let kind = if self.content.starts_with(b"\x1f\x8b") { "application/octet-stream" } else { "text/plain" };
        let mut head = format!("HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
        if let Some(ttl_s) = self.token_ttl_s {
            head += &format!("X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {ttl_s}\r\n");
        }
        if self.code == Code::MethodNotAllowed {
            head += "Allow: GET, HEAD, PUT\r\n";
        }
        head += match after {
            After::Listen => "Connection: keep-alive\r\n\r\n",
            After::Close => "Connection: close\r\n\r\n",
        };
        let mut bytes = head.into_bytes();
        if request.is_none_or(|request| request.method != Method::Head) {
            bytes.extend(&self.content);
        }
        (bytes, after)
    }
}
