//! Protocols of text: SMTP with its mails, FTP, SIP.

use crate::Row::{Has, Is, Rule};
use crate::Table;
use crate::story::{ANSWER, ASK, Said, tcp, udp_between};

pub const TABLES: &[&Table] = &[&SMTP, &FTP, &BOUNCE, &SIP];

fn said(lines: &[(bool, &str)]) -> Said {
    lines.iter().map(|(asks, text)| (if *asks { ASK } else { ANSWER }, text.as_bytes().to_vec())).collect()
}

const SMTP: Table = Table {
    name: "smtp",
    header: "alert smtp any any -> any any",
    frames: || {
        tcp(
            25,
            &said(&[
                (false, "220 here\r\n"),
                (true, "EHLO client.example\r\n"),
                (false, "250 ok\r\n"),
                (true, "MAIL FROM:<a@x.example>\r\n"),
                (false, "250 ok\r\n"),
                (true, "RCPT TO:<b@y.example>\r\n"),
                (false, "250 ok\r\n"),
                (true, "DATA\r\n"),
                (false, "354 go\r\n"),
                (
                    true,
                    "From: A <a@x>\r\nTo: B <b@y>\r\nCc: C <c@z>\r\nSubject: the matter\r\nDate: Mon, 1 Jan 2024\r\n\
                Message-Id: <one@x>\r\nX-Mailer: pen\r\nReceived: from here\r\nContent-Type: text/plain\r\n\r\n\
                see http://link.example/a now\r\n.\r\n",
                ),
                (false, "250 taken\r\n"),
                (true, "QUIT\r\n"),
                (false, "221 bye\r\n"),
            ]),
        )
    },
    rows: &[
        Has("smtp.helo", "client.example"),
        Has("smtp.mail_from", "a@x.example"),
        Has("smtp.rcpt_to", "b@y.example"),
        Has("email.from", "A <a@x>"),
        Has("email.subject", "the matter"),
        Has("email.to", "B <b@y>"),
        Has("email.cc", "C <c@z>"),
        Has("email.date", "1 Jan 2024"),
        Has("email.message_id", "<one@x>"),
        Has("email.x_mailer", "pen"),
        Has("email.url", "link.example/a"),
        Has("email.received", "from here"),
        Rule("email.body_md5", "$; bsize:32", "$; content:\"zq\""),
    ],
};

const FTP: Table = Table {
    name: "ftp",
    header: "alert ftp any any -> any any",
    frames: || {
        tcp(
            21,
            &said(&[
                (false, "220 (hello)\r\n"),
                (true, "USER me\r\n"),
                (false, "331 Password?\r\n"),
                (true, "PORT 10,0,0,1,1,2\r\n"),
                (false, "200 ok\r\n"),
            ]),
        )
    },
    rows: &[
        Has("ftp.command", "USER"),
        Has("ftp.command_data", "me"),
        Has("ftp.reply", "Password?"),
        Has("ftp.completion_code", "331"),
        Is("ftp.dynamic_port", "258", "9"),
        Is("ftp.mode", "active", "passive"),
        Rule("ftp.reply_received", "$:yes", "ftp.command; content:\"none\"; $:yes"),
    ],
};

const BOUNCE: Table = Table {
    name: "ftp data",
    header: "alert tcp any any -> any any",
    frames: || {
        let mut frames = tcp(
            21,
            &said(&[
                (false, "220 (hello)\r\n"),
                (true, "PORT 10,0,0,9,1,2\r\n"),
                (false, "200 ok\r\n"),
                (true, "PASV\r\n"),
                (false, "227 go (10,0,0,2,39,15)\r\n"),
                (true, "RETR a.txt\r\n"),
                (false, "150 coming\r\n"),
            ]),
        );
        // Without its end the control connection stands while the other comes.
        frames.truncate(frames.len() - 3);
        frames.extend(tcp(9999, &said(&[(false, "the bytes of a file")])));
        frames
    },
    rows: &[Rule("ftpbounce", "$", "$; content:\"none\""), Rule("ftpdata_command", "$:retr", "$:stor")],
};

const SIP: Table = Table {
    name: "sip",
    header: "alert sip any any -> any any",
    frames: || {
        let sdp = "v=0\r\no=me 1 2 IN IP4 1.1.1.1\r\ns=call\r\ni=about\r\nu=http://u\r\ne=e@x\r\np=+1 2\r\nc=IN IP4 1.1.1.1\r\n\
            b=AS:64\r\nt=1 2\r\nr=3 4\r\nz=5 6\r\nk=prompt\r\na=sendrecv\r\nm=audio 3 RTP/AVP 0\r\ni=medium\r\nc=IN IP4 2.2.2.2\r\n\
            k=clear:x\r\na=x\r\n";
        let invite = format!(
            "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP a\r\nFrom: <sip:a@x>\r\nTo: <sip:b@x>\r\nUser-Agent: phone\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        );
        let ringing = "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP a\r\nContent-Length: 0\r\n\r\n";
        udp_between((5060, 5060), &said(&[(true, &invite), (false, ringing)]))
    },
    rows: &[
        Has("sip.method", "INVITE"),
        Has("sip.uri", "sip:b@x"),
        Has("sip.protocol", "SIP/2.0"),
        Has("sip.stat_code", "180"),
        Has("sip.stat_msg", "Ringing"),
        Has("sip.request_line", "INVITE sip:b@x SIP/2.0"),
        Has("sip.response_line", "SIP/2.0 180 Ringing"),
        Has("sip.from", "<sip:a@x>"),
        Has("sip.to", "<sip:b@x>"),
        Has("sip.via", "SIP/2.0/UDP a"),
        Has("sip.user_agent", "phone"),
        Has("sip.content_type", "application/sdp"),
        Has("sip.content_length", "0"),
        Has("sdp.origin", "me 1 2 IN IP4"),
        Has("sdp.session_name", "call"),
        Has("sdp.session_info", "about"),
        Has("sdp.uri", "http://u"),
        Has("sdp.email", "e@x"),
        Has("sdp.phone_number", "+1 2"),
        Has("sdp.connection_data", "IN IP4 1.1.1.1"),
        Has("sdp.bandwidth", "AS:64"),
        Has("sdp.time", "1 2"),
        Has("sdp.repeat_time", "3 4"),
        Has("sdp.timezone", "5 6"),
        Has("sdp.encryption_key", "prompt"),
        Has("sdp.attribute", "sendrecv"),
        Has("sdp.media.media", "audio 3"),
        Has("sdp.media.media_info", "medium"),
        Has("sdp.media.connection_data", "IN IP4 2.2.2.2"),
        Has("sdp.media.encryption_key", "clear:x"),
        Rule(
            "sip_header",
            "service:sip; sip.method; content:\"INVITE\"; $; content:\"INVITE\"",
            "service:sip; $; content:\"none\"",
        ),
    ],
};
