//! How likely bytes are to stand in ordinary traffic: what is common makes a poor thing to search for first.
//!
//! Two, three or four bytes in a row are looked up in a sample of what web and mail traffic is mostly made of: headers,
//! markup, script, prose, filling. What does not stand there is judged by its bytes.

use std::sync::LazyLock;

use super::literal::frequency;
use super::matcher::{hash, key};

/// What traffic is made of. Letters count in either case.
const SAMPLE: &[&[u8]] = &[
    b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) \
AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0\r\nAccept: text/html,application/xhtml+xml,\
application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
Connection: keep-alive\r\nReferer: https://www.example.com/\r\nCookie: session_id=0123456789abcdef; _ga=GA1.2.1234567890; \
lang=en\r\nUpgrade-Insecure-Requests: 1\r\nCache-Control: max-age=0\r\nIf-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n",
    b"POST /api/v1/login.php?id=12345&user=name&action=view&page=2 HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded; \
charset=UTF-8\r\nContent-Length: 1024\r\nOrigin: http://www.example.org\r\nX-Requested-With: XMLHttpRequest\r\nSec-Fetch-Mode: cors\r\n\
User-Agent: curl/7.88.1\r\nUser-Agent: Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; .NET CLR 2.0.50727)\r\n",
    b"HTTP/1.1 200 OK\r\nDate: Tue, 02 Feb 2024 10:20:30 GMT\r\nServer: Apache/2.4.57 (Debian) OpenSSL/3.0\r\nServer: nginx/1.24.0\r\n\
Last-Modified: Wed, 03 Mar 2023 11:22:33 GMT\r\nETag: \"5e8c-5f0a\"\r\nAccept-Ranges: bytes\r\nContent-Length: 4096\r\nKeep-Alive: \
timeout=5, max=100\r\nContent-Type: text/html; charset=utf-8\r\nVary: Accept-Encoding\r\nSet-Cookie: sid=abc; path=/; HttpOnly; \
Expires=Thu, 04 Apr 2025 12:00:00 GMT\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nX-Powered-By: PHP/8.2\r\nPragma: \
no-cache\r\nStrict-Transport-Security: max-age=31536000\r\nHTTP/1.1 304 Not Modified\r\nHTTP/1.1 302 Found\r\nLocation: http://\r\n\
Content-Type: application/octet-stream\r\nContent-Type: image/png\r\nContent-Type: application/json\r\nContent-Disposition: \
attachment; filename=\"file.zip\"\r\nHTTP/1.1 404 Not Found\r\n\r\n",
    b"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, \
initial-scale=1\">\n<title>Example page</title>\n<link rel=\"stylesheet\" href=\"/css/style.min.css\" type=\"text/css\">\n<script \
type=\"text/javascript\" src=\"/js/jquery.min.js\"></script>\n</head>\n<body class=\"home page\">\n<div id=\"main\" class=\"container\">\
<p>Lorem ipsum dolor sit amet, consectetur adipiscing elit</p>\n<a href=\"https://www.example.net/about\" title=\"About us\">About</a>\
<img src=\"/images/logo.png\" alt=\"Logo\" width=\"100\" height=\"50\" /><br/>&nbsp;<span style=\"color: #ffffff; font-size: 12px\">text\
</span><ul><li>item</li></ul><table border=\"0\"><tr><td>cell</td></tr></table><form action=\"/search\" method=\"get\"><input \
type=\"text\" name=\"q\" value=\"\"></form></div>\n</body>\n</html>\n",
    b"function(a,b){return this.length;}var i=0;if(document.getElementById('name')!==null){window.location.href='http://';}else{for(var \
x in y){try{new Object();}catch(e){false;true;undefined}}}$(document).ready(function(){console.log(\"message\");});\
.class{margin:0;padding:0;background:#000;border:none;display:block;position:absolute;top:0;left:0}\
{\"id\": 1, \"name\": \"value\", \"type\": \"string\", \"data\": [], \"status\": \"ok\", \"error\": null, \"result\": true}",
    b" the of and to in that is was for with as his on be at by this had not are but from or have an they which one you were her all \
there would their we him been has when who will more no if out so said what up its about into than them can only other new some \
could time these two may then do first any my now such like our over man me even most made after also did many before must through ",
    b"220 mail.example.com ESMTP\r\nEHLO client.example.com\r\n250-SIZE 10240000\r\nMAIL FROM:<user@example.com>\r\nRCPT TO:<\
user@example.org>\r\nDATA\r\nFrom: \r\nTo: \r\nSubject: \r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\nMessage-ID: <\r\n\
Content-Type: multipart/mixed; boundary=\"----=_NextPart_000_0000\"\r\n--------\r\nReceived: from by with ESMTP id\r\n.\r\nQUIT\r\n",
    b"www.google.com mail.yahoo.co.uk api.amazonaws.net cdn.cloudfront.net static.facebook.com download.microsoft.com update.org .info \
/wp-content/uploads/2024/01/image.jpg /wp-admin/admin-ajax.php /images/ /js/ /css/ /api/ /index.php?id= .html .htm .aspx .jsp .cgi \
.exe .js .css .gif .jpeg .ico .svg .woff2 .zip .txt .xml .json .pdf =&id=&page=&name=&type=&action=&user=&pass=&data=&key=&token=&v=",
    b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x06google\x03com\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\
\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x00\x00\x1c\x00\x01\xc0\x0c\x00\x1c\x00\x01\x00\x00\x0f\x00\x01\x00\x00\x10\x00\x01",
    &[0; 12],
    &[0xff; 8],
    b"\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x01\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00\x16\x03\x01\x02\x00\x01\x00\x01\xfc\
\x03\x03\x17\x03\x03\xffSMB\xfeSMB\x00\x00\x10\x00\x00\x00\x04\x00\x00\x00\x08\x00 \x00a\x00b\x00c\x00d\x00e\x00 \x00t\x00i\x00n\x00o\x00",
];

/// Words that pages are made of.
const WORDS: &[u8] = b" about account accept access action active added address after again against agent agree all allow also always and another answer any \
application apply area article ask author available back base because been before begin below best better between big black block body \
book both box brand browser build building business button buy call campaign cancel can card care cart case category center change check \
child choose city class clear click client close code collection color comment commercial common community company complete computer \
condition connect connection contact contain content continue control copy copyright cost could country course cover create credit \
culture current custom customer daily data database date day deal default delete delivery department description design desktop detail \
develop development device different digital direct director directory discount display document does domain done down download edit \
education effect either element email employee enable end energy engine english enough enter entry environment error event every example \
experience explore export external facility family features feedback field file filter final find first follow footer force foreign form \
forward found free friend from full function future gallery game general get give global good government great group growth guide half \
hand happen have header health help here high history holder home hotel hour house how however human icon idea identity image important \
improve include including increase individual industry inside install interest internal international internet into investment issue item \
javascript job join journal just keep key kind know label language large last latest law layer layout lead learn leave legal less let \
level library license life light like limit line link list listing little live load local locale location login logo logout long look \
loss low made magazine main make management manager many market marketing master material matter media medical meet member menu message \
method middle million mind minute mobile model module moment money month more most move multiple music must name national native nature \
navigation need network never news newsletter next night normal nothing notice now null number object off offer office official often \
once online only open operation option order organization original other our out output outside overview owner package page parent part \
partner party password past path payment people performance period permission person phone photo picture place plan platform play please \
plugin point policy popular popup position possible post power present president press previous price primary print privacy private \
problem process product production professional profile program project property provide provider proxy public publish purchase purpose \
quality query question quick quote range rate rather read ready really reason receive recent record redirect reference register related \
release remember remote remove reply report request require research reserved reset resource response rest result return review right \
rights role room root route rules running safe sale same sample save schedule school science screen script scroll search season second \
section secure security see select self send senior series server service session set settings several share shipping shop short should \
show side sign signup similar simple since single site size slide small social society software sold solution some something source space \
special specific staff standard star start state statement static statistics status step still stop storage store story street strong \
structure student study style subject submit subscribe success such summary support sure switch system table tag take target task team \
technical technology template term terms test text than thank theme then there these thing think third this those though thought thread \
through thumb ticket time title today together token tool top topic total touch tour track trade traffic training transfer transition \
travel true trust turn type under understand union unique united university unknown until update upload upon url use user username using \
utility valid value variable various vendor version very video view visit visitor wait wall want war warning was watch water way weather \
web website week welcome well went were west what when where whether which while white whole whose why wide widget width will window wish \
with within without woman wonder word work world would wrapper write wrong year yellow yes yet you young your zone ";

/// How often windows of two, three and four bytes stand in the sample, by the hash of their key: where that is another's
/// too, more.
static COUNTS: LazyLock<Vec<u8>> =
    LazyLock::new(|| counts(SAMPLE.iter().flat_map(|text| (2..=4).flat_map(|width| text.windows(width)))));

/// The same of windows of four bytes in the words.
static IN_WORDS: LazyLock<Vec<u8>> = LazyLock::new(|| counts(WORDS.windows(4)));

fn counts<'w>(windows: impl Iterator<Item = &'w [u8]>) -> Vec<u8> {
    let mut counts = vec![0u8; 1 << BITS];
    for window in windows {
        if let Some(count) = counts.get_mut(place(window)) {
            *count = count.saturating_add(1);
        }
    }
    counts
}

/// Bits of the hashes.
const BITS: u32 = 16;

fn place(window: &[u8]) -> usize {
    (hash(key(window)) >> (32 - BITS)) as usize
}

fn seen(window: &[u8], counts: &[u8]) -> u32 {
    counts.get(place(window)).copied().unwrap_or(0).into()
}

/// How common a window of two to four bytes is. What stands in the sample is more common than what does not.
pub fn of(window: &[u8]) -> u32 {
    common(window, seen(window, &COUNTS))
}

/// The same of a window of four bytes, in prose too: for long patterns, which have others to choose from.
pub fn in_prose(window: &[u8]) -> u32 {
    common(window, seen(window, &COUNTS) + seen(window, &IN_WORDS))
}

fn common(window: &[u8], seen: u32) -> u32 {
    let bytes: u32 = window.iter().map(|&byte| u32::from(frequency(byte.to_ascii_lowercase()))).sum();
    bytes + if seen > 0 { 1024 + 64 * seen.min(64) } else { 0 }
}

/// Whether a window stands in the sample.
pub fn is_ordinary(window: &[u8]) -> bool {
    seen(window, &COUNTS) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_traffic_is_full_of_is_common_and_what_it_lacks_is_not() {
        for (common, rare) in [
            (&b"http"[..], &b"x9zq"[..]),
            (b"GeT", b"q%7"),
            (b"\0\0", b"\x91\xd3"),
            (b"\r\n", b"~|"),
            (b"ontE", b"\0\xd1ab"),
        ] {
            assert!(of(common) > of(rare), "{common:?} {rare:?}");
        }
    }

    #[test]
    fn words_are_common_in_prose() {
        for word in ["regi", "ccou", "Priv", " ser"] {
            let window = word.as_bytes();
            assert!(in_prose(window) > of(window) && in_prose(window) > in_prose(b"q%7z"), "{word}");
        }
    }
}
