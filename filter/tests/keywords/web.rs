//! HTTP/1, HTTP/2 and what is made of their buffers.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::Row::{Has, Is, Rule};
use crate::story::{ANSWER, ASK, tcp};
use crate::{Row, Table};

pub const TABLES: &[&Table] = &[&HTTP, &SNORT, &BOTH_WAYS, &HTTP2, &WEB_SOCKET];

const HTTP: Table = Table { name: "http", header: "alert http any any -> any any", frames: http, rows: HTTP_ROWS };

fn http() -> Vec<Vec<u8>> {
    let asked = b"POST /dir/page.php?id=%31&x=abcdefgh HTTP/1.1\r\nHost: www.Example.com:8080\r\nUser-Agent: Agent  1.0\r\n\
        Accept: text/a\r\nAccept-Language: de\r\nAccept-Encoding: gzip\r\nConnection: keep-alive\r\nReferer: http://ref/\r\n\
        Cookie: aGVsbG8=\r\nContent-Type: application/x-form\r\nContent-Length: 9\r\n\r\nbody=data";
    let answer = b"HTTP/1.1 404 Not Here\r\nServer: srv\r\nLocation: /else\r\nContent-Type: text/html\r\nContent-Length: 22\r\n\r\n\
        <html>YWJjZGVm</html>x";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(b"squeezed").unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(b"deflated").unwrap();
    let put = |body: Vec<u8>| {
        let head = format!("PUT /b HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), &body].concat()
    };
    let done = || b"HTTP/1.1 204 ok\r\n\r\n".to_vec();
    let (first, second) = (put(gzip.finish().unwrap()), put(zlib.finish().unwrap()));
    tcp(
        80,
        &[
            (ASK, asked.to_vec()),
            (ANSWER, answer.to_vec()),
            (ASK, first),
            (ANSWER, done()),
            (ASK, second),
            (ANSWER, done()),
        ],
    )
}

const HTTP_ROWS: &[Row] = &[
    Has("http.uri", "/dir/page.php?id=1"),
    Has("http.uri.raw", "id=%31"),
    Rule("http_uri", "content:\"/dir/page\"; $", "content:\"Agent\"; $"),
    Rule("http_raw_uri", "content:\"id=%31\"; $", "content:\"id=1\"; $"),
    Rule("uricontent", "$:\"page.php\"", "$:\"Agent\""),
    Rule("urilen", "$:29", "$:5"),
    Has("http.method", "POST"),
    Rule("http_method", "content:\"POST\"; $", "content:\"GET\"; $"),
    Has("http.user_agent", "Agent  1.0"),
    Rule("http_user_agent", "content:\"Agent\"; $", "content:\"POST\"; $"),
    Has("http.host", "www.example.com"),
    Rule("http_host", "content:\"www.example.com\"; $", "content:\"other\"; $"),
    Has("http.host.raw", "www.Example.com:8080"),
    Rule("http_raw_host", "content:\"Example.com:8080\"; $", "content:\"other\"; $"),
    Has("http.header", "Accept: text/a|0d 0a|"),
    Rule("http_header", "content:\"Accept: text/a\"; $", "content:\"POST\"; $"),
    Rule("http.header.raw", "flow:to_server; $; content:\"Accept: text/a\"", "flow:to_server; $; content:\"POST\""),
    Rule("http_raw_header", "flow:to_server; content:\"Accept: text/a\"; $", "flow:to_server; content:\"POST\"; $"),
    Has("http.header_names", "|0d 0a|Host|0d 0a|User-Agent|0d 0a|"),
    Has("http_header_names", "|0d 0a|Host|0d 0a|"),
    Has("http.cookie", "aGVsbG8="),
    Rule("http_cookie", "content:\"aGVs\"; $", "content:\"POST\"; $"),
    Has("http.referer", "http://ref/"),
    Has("http_referer", "http://ref/"),
    Has("http.accept", "text/a"),
    Has("http_accept", "text/a"),
    Has("http.accept_lang", "de"),
    Has("http_accept_lang", "de"),
    Has("http.accept_enc", "gzip"),
    Has("http_accept_enc", "gzip"),
    Has("http.connection", "keep-alive"),
    Has("http_connection", "keep-alive"),
    Has("http.content_type", "application/x-form"),
    Has("http_content_type", "text/html"),
    Has("http.content_len", "9"),
    Has("http_content_len", "22"),
    Has("http.protocol", "HTTP/1.1"),
    Has("http_protocol", "HTTP/1.1"),
    Has("http.start", "POST /dir"),
    Has("http_start", "POST /dir"),
    Has("http.request_line", "POST /dir/page.php?id=%31"),
    Has("http_request_line", "POST /dir"),
    Has("http.response_line", "HTTP/1.1 404 Not Here"),
    Has("http_response_line", "HTTP/1.1 404"),
    Has("http.request_body", "body=data"),
    Rule("http_client_body", "content:\"body=data\"; $", "content:\"POST\"; $"),
    Has("http.response_body", "<html>"),
    Rule("http_server_body", "content:\"<html>\"; $", "content:\"404\"; $"),
    Has("http.stat_code", "404"),
    Rule("http_stat_code", "content:\"404\"; $", "content:\"500\"; $"),
    Has("http.stat_msg", "Not Here"),
    Rule("http_stat_msg", "content:\"Not Here\"; $", "content:\"OK\"; $"),
    Has("http.location", "/else"),
    Has("http.server", "srv"),
    Has("http.request_header", "User-Agent: Agent"),
    Has("http.response_header", "Server: srv"),
    // Files.
    Has("file.data", "<html>"),
    Has("file_data", "<html>"),
    Has("file.name", "page.php"),
    Rule("filename", "$:\"page.php\"", "$:\"other\""),
    Rule("fileext", "$:\"php\"", "$:\"exe\""),
    Has("file.magic", "HTML"),
    Rule("filemagic", "$:\"HTML\"", "$:\"executable\""),
    Is("filesize", "22", ">5000"),
    Is("file.size", "22", ">5000"),
    Is("filemd5", "md5.list", "none.list"),
    Is("filesha1", "sha1.list", "none.list"),
    Is("filesha256", "sha256.list", "none.list"),
    Rule("filestore", "http.uri; content:\"/dir\"; $", "http.uri; content:\"none\"; $"),
    // What is made of buffers.
    Rule("to_md5", "http.method; $; bsize:16", "http.method; $; bsize:4"),
    Rule("to_sha1", "http.method; $; bsize:20", "http.method; $; bsize:4"),
    Rule("to_sha256", "http.method; $; bsize:32", "http.method; $; bsize:4"),
    Rule("compress_whitespace", "http.user_agent; $; content:\"t 1.0\"", "http.user_agent; $; content:\"none\""),
    Rule("strip_whitespace", "http.user_agent; $; content:\"Agent1.0\"", "http.user_agent; $; content:\"none\""),
    Rule("to_lowercase", "http.method; $; content:\"post\"", "http.method; $; content:\"none\""),
    Rule("to_uppercase", "http.user_agent; $; content:\"AGENT\"", "http.user_agent; $; content:\"NONE\""),
    Rule("dotprefix", "http.host; $; content:\".www.example\"", "http.host; $; content:\".example.org\""),
    Rule("header_lowercase", "http.header; $; content:\"user-agent:\"", "http.header; $; content:\"User-Agent:\""),
    Rule("url_decode", "http.uri.raw; $; content:\"id=1\"", "http.uri.raw; $; content:\"id=%31\""),
    Rule("domain", "http.host; $; content:\"example.com\"; startswith", "http.host; $; content:\"www\""),
    Rule("tld", "http.host; $; content:\"com\"; bsize:3", "http.host; $; content:\"example\""),
    Rule("xor", "http.method; $:\"20202020\"; content:\"post\"", "http.method; $:\"21212121\"; content:\"post\""),
    Rule(
        "pcrexform",
        "http.uri; $:\"id=([0-9])\"; content:\"1\"; bsize:1",
        "http.uri; $:\"id=([0-9])\"; content:\"id\"",
    ),
    Rule("from_base64", "http.cookie; $; content:\"hello\"", "http.cookie; $; content:\"aGVs\""),
    Rule("gunzip", "http.request_body; $; content:\"squeezed\"", "http.request_body; $; content:\"deflated\""),
    Rule("zlib_deflate", "http.request_body; $; content:\"deflated\"", "http.request_body; $; content:\"squeezed\""),
    Rule("subslice", "http.method; $:1,2; content:\"OS\"; bsize:2", "http.method; $:1,2; content:\"P\""),
    Rule("absent", "http.referer; $:or_else; content:\"http://ref/\"", "http.uri; content:\"/dir\"; http.referer; $"),
    Rule("bsize", "http.method; content:\"POST\"; $:4", "http.method; content:\"POST\"; $:5"),
    // Sets.
    Rule(
        "dataset",
        "http.method; $:isset,methods,type string,load methods.list",
        "http.host; $:isset,methods,type string,load methods.list",
    ),
    Rule(
        "datarep",
        "http.method; $:rep,>,10,load methods.rep,type string",
        "http.method; $:rep,>,90,load methods.rep,type string",
    ),
    Rule("app-layer-event", "$:http.missing_host_header", "$:http.compression_bomb"),
    Rule("app-layer-state", "$:>request_line", "$:<request_started"),
];

/// The dialect of Snort 3, which names sticky buffers otherwise.
const SNORT: Table = Table { name: "snort", header: "alert tcp any any -> any any", frames: http, rows: SNORT_ROWS };

const SNORT_ROWS: &[Row] = &[
    Rule("service", "$:http; http_uri; content:\"/dir\"", "$:http; http_uri; content:\"none\""),
    Rule("app-layer-protocol", "content:\"POST\"; $:http", "content:\"POST\"; $:dns"),
    Rule("rem", "$:\"a remark\"; content:\"POST\"", "$:\"a remark\"; content:\"none\""),
    Rule(
        "bufferlen",
        "service:http; http_method; content:\"POST\"; $:4",
        "service:http; http_method; content:\"POST\"; $:>9",
    ),
    Rule("raw_data", "service:http; $; content:\"POST\"", "service:http; $; content:\"none\""),
    Rule("http_raw_body", "service:http; $; content:\"body=data\"", "service:http; $; content:\"POST\""),
    Rule("http_raw_request", "service:http; $; content:\"POST /dir\"", "service:http; $; content:\"none\""),
    Rule("http_raw_status", "service:http; $; content:\"404 Not\"", "service:http; $; content:\"none\""),
    Rule("http_version", "service:http; $; content:\"HTTP/1.1\"", "service:http; $; content:\"none\""),
    Rule("http_raw_cookie", "service:http; $; content:\"aGVs\"", "service:http; $; content:\"none\""),
];

/// Rules on both directions of a transaction.
const BOTH_WAYS: Table = Table {
    name: "both ways",
    header: "alert http any any => any any",
    frames: http,
    rows: &[
        Rule(
            "to_server",
            "$; http.content_type; content:\"x-form\"; to_client; http.stat_code; content:\"404\"",
            "$; http.content_type; content:\"html\"; to_client; http.stat_code; content:\"404\"",
        ),
        Rule(
            "to_client",
            "$; http.content_type; content:\"html\"; to_server; http.method; content:\"POST\"",
            "$; http.content_type; content:\"x-form\"; to_server; http.method; content:\"POST\"",
        ),
        Rule(
            "bidir.toserver",
            "$; http.content_type; content:\"x-form\"; to_client; http.stat_code; content:\"404\"",
            "$; http.content_type; content:\"html\"; to_client; http.stat_code; content:\"404\"",
        ),
        Rule(
            "bidir.toclient",
            "$; http.content_type; content:\"html\"; to_server; http.method; content:\"POST\"",
            "$; http.content_type; content:\"x-form\"; to_server; http.method; content:\"POST\"",
        ),
    ],
};

const HTTP2: Table = Table {
    name: "http2",
    header: "alert http2 any any -> any any",
    frames: http2,
    rows: &[
        Has("http2.header_name", "x-name"),
        Is("http2.frametype", "SETTINGS", "PUSH_PROMISE"),
        Is("http2.errorcode", "CANCEL", "COMPRESSION_ERROR"),
        Is("http2.priority", "200", "3"),
        Is("http2.window", "77", "3"),
        Is("http2.size_update", "64", "3"),
        Is("http2.settings", "SETTINGS_MAX_CONCURRENT_STREAMS >50", "SETTINGS_MAX_CONCURRENT_STREAMS >500"),
    ],
};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0x40, name.len() as u8][..], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

fn http2() -> Vec<Vec<u8>> {
    // The table shrinks to 64 bytes, then GET, https, /.
    let block = [&[0x3f, 0x21, 0x82, 0x87, 0x84][..], &literal(":authority", "h"), &literal("x-name", "v")].concat();
    let asked = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(1, 0x24, 1, &[&[0, 0, 0, 0, 200][..], &block].concat()),
        frame(8, 0, 1, &[0, 0, 0, 77]),
        frame(3, 0, 1, &[0, 0, 0, 8]),
    ];
    tcp(80, &[(ASK, asked.concat()), (ANSWER, [frame(4, 0, 0, &[]), frame(1, 5, 1, &[0x88])].concat())])
}

const WEB_SOCKET: Table = Table {
    name: "websocket",
    header: "alert websocket any any -> any any",
    frames: web_socket,
    rows: &[
        Has("websocket.payload", "hello"),
        Is("websocket.opcode", "text", "binary"),
        Is("websocket.flags", "fin", "comp"),
        Is("websocket.mask", "16909060", "7"),
    ],
};

fn web_socket() -> Vec<Vec<u8>> {
    let asked = b"GET /s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let key = [1, 2, 3, 4];
    let masked: Vec<u8> = b"hello".iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    let message = [&[0x81, 0x85][..], &key, &masked].concat();
    tcp(80, &[(ASK, asked.to_vec()), (ANSWER, answer.to_vec()), (ASK, message)])
}
