//! Machines' protocols: EtherNet/IP, DNP3, Modbus, MQTT, RFB, QUIC of the first kind.

use crate::Row::{Has, Is, Rule};
use crate::Table;
use crate::story::{ANSWER, ASK, tcp, udp};

pub const TABLES: &[&Table] = &[&ENIP, &DNP3, &MODBUS, &MQTT, &RFB, &QUIC];

const ENIP: Table = Table {
    name: "enip",
    header: "alert enip any any -> any any",
    frames: enip,
    rows: &[
        Has("enip.product_name", "1756"),
        Has("enip.service_name", "comms"),
        Is("enip_command", "99", "1"),
        Is("enip.command", "list_identity", "nop"),
        Is("cip_service", "14", "15"),
        Is("enip.status", "0", "1"),
        Is("enip.protocol_version", "1", "2"),
        Is("enip.cip_attribute", "5", "6"),
        Is("enip.cip_instance", "1", "6"),
        Is("enip.cip_class", "2", "6"),
        Is("enip.cip_status", "4", "6"),
        Is("enip.cip_extendedstatus", "4660", "6"),
        Is("enip.revision", "1027", "6"),
        Is("enip.identity_status", "48", "6"),
        Is("enip.state", "3", "6"),
        Is("enip.serial", "5393806", "6"),
        Is("enip.product_code", "58", "6"),
        Is("enip.vendor_id", "1", "6"),
        Is("enip.device_type", "12", "6"),
        Is("enip.capabilities", "288", "6"),
    ],
};

fn enip() -> Vec<Vec<u8>> {
    let message = |command: u16, body: &[u8]| {
        [&command.to_le_bytes()[..], &(body.len() as u16).to_le_bytes(), &[0; 20], body].concat()
    };
    let unconnected = |cip: &[u8]| {
        let head = [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0xb2, 0];
        message(0x6f, &[&head[..], &(cip.len() as u16).to_le_bytes(), cip].concat())
    };
    let item =
        |kind: u16, item: &[u8]| [&[1, 0][..], &kind.to_le_bytes(), &(item.len() as u16).to_le_bytes(), item].concat();
    let numbers = [1, 0, 12, 0, 58, 0, 4, 3, 0x30, 0, 0x8e, 0x4d, 0x52, 0, 4];
    let identity = [&[1, 0][..], &[0; 16], &numbers, b"1756\x03"].concat();
    let service = [&[1, 0, 0x20, 1][..], b"comms\0\0\0\0\0\0\0\0\0\0\0"].concat();
    let inner = [&[0x0e, 3, 0x20, 1, 0x24, 1, 0x30, 5][..], &[0x01, 1, 0x20, 2]].concat();
    let packed = [&[0x0a, 2, 0x20, 2, 0x24, 1, 2, 0, 6, 0, 14, 0][..], &inner].concat();
    tcp(
        44818,
        &[
            (ASK, message(0x63, &[])),
            (ANSWER, message(0x63, &item(0x0c, &identity))),
            (ASK, message(4, &[])),
            (ANSWER, message(4, &item(0x100, &service))),
            (ASK, unconnected(&packed)),
            (ANSWER, unconnected(&[0x8e, 0, 4, 1, 0x34, 0x12])),
        ],
    )
}

const DNP3: Table = Table {
    name: "dnp3",
    header: "alert dnp3 any any -> any any",
    frames: dnp3,
    rows: &[
        Is("dnp3_func", "read", "write"),
        Is("dnp3.func", "1", "2"),
        Is("dnp3_ind", "device_restart", "need_time"),
        Is("dnp3.ind", "device_restart", "need_time"),
        Rule("dnp3_obj", "$:60,2", "$:60,1"),
        Rule("dnp3.obj", "$:60,2", "$:60,1"),
        Has("dnp3.data", "|3c 02 06|"),
        Has("dnp3_data", "|3c 02 06|"),
    ],
};

/// The checksum of link frames (IEEE 1815, 9.2.4.2).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0u16;
    for byte in bytes {
        sum ^= u16::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xa6bc } else { sum >> 1 };
        }
    }
    (!sum).to_le_bytes()
}

fn dnp3() -> Vec<Vec<u8>> {
    let frame = |control: u8, data: &[u8]| {
        let mut out = vec![0x05, 0x64, data.len() as u8 + 5, control, 3, 0, 2, 0];
        out.extend(checksum(&out));
        for block in data.chunks(16) {
            out.extend(block);
            out.extend(checksum(block));
        }
        out
    };
    tcp(
        20000,
        &[
            (ASK, frame(0xc4, &[0xc0, 0xc1, 1, 60, 2, 6, 60, 3, 6])),
            (ANSWER, frame(0x44, &[0xc0, 0xc1, 129, 0x80, 0x01, 1, 2, 0, 0, 0, 0x81])),
        ],
    )
}

const MODBUS: Table = Table {
    name: "modbus",
    header: "alert modbus any any -> any any",
    frames: || {
        let message = |body: &[u8]| [&[0, 1, 0, 0][..], &(body.len() as u16).to_be_bytes(), body].concat();
        tcp(502, &[(ASK, message(&[1, 3, 0, 100, 0, 2])), (ANSWER, message(&[1, 3, 4, 0, 1, 0, 2]))])
    },
    rows: &[Rule("modbus", "$:function 3", "$:function 4")],
};

const MQTT: Table = Table {
    name: "mqtt",
    header: "alert mqtt any any -> any any",
    frames: mqtt,
    rows: &[
        Has("mqtt.connect.clientid", "client"),
        Has("mqtt.connect.username", "user"),
        Has("mqtt.connect.password", "pass"),
        Has("mqtt.connect.willtopic", "wtop"),
        Has("mqtt.connect.willmessage", "wmsg"),
        Has("mqtt.connect.protocol_string", "MQTT"),
        Has("mqtt.publish.topic", "topicX"),
        Has("mqtt.publish.message", "hello"),
        Has("mqtt.subscribe.topic", "topicY"),
        Has("mqtt.unsubscribe.topic", "topicZ"),
        Is("mqtt.protocol_version", "5", "3"),
        Is("mqtt.type", "CONNECT", "PINGREQ"),
        Is("mqtt.flags", "retain", "dup"),
        Is("mqtt.qos", "1", "2"),
        Is("mqtt.reason_code", "0", "9"),
        Is("mqtt.connack.session_present", "yes", "no"),
        Is("mqtt.connect.flags", "username,password", "!username"),
    ],
};

fn mqtt() -> Vec<Vec<u8>> {
    let message = |first: u8, body: &[u8]| [&[first, body.len() as u8][..], body].concat();
    let text = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    let connect = [
        text("MQTT"),
        vec![5, 0xc6, 0, 60, 0],
        text("client"),
        vec![0],
        text("wtop"),
        text("wmsg"),
        text("user"),
        text("pass"),
    ];
    tcp(
        1883,
        &[
            (ASK, message(0x10, &connect.concat())),
            (ANSWER, message(0x20, &[1, 0, 0])),
            (ASK, message(0x82, &[&[0, 1, 0][..], &text("topicY"), &[1]].concat())),
            (ANSWER, message(0x90, &[0, 1, 0, 1])),
            (ASK, message(0xa2, &[&[0, 2, 0][..], &text("topicZ")].concat())),
            (ANSWER, message(0xb0, &[0, 2, 0, 0])),
            (ASK, message(0x31, &[&text("topicW")[..], &[0], b"kept"].concat())),
            (ANSWER, message(0x33, &[&text("topicX")[..], &[0, 3, 0], b"hello"].concat())),
            (ASK, message(0x40, &[0, 3, 0, 0])),
        ],
    )
}

const RFB: Table = Table {
    name: "rfb",
    header: "alert rfb any any -> any any",
    frames: || {
        let screen = b"\x04\0\x03\0\x20\x18\0\x01\0\xff\0\xff\0\xff\x10\x08\0\0\0\0\0\0\0\x04host";
        tcp(
            5900,
            &[
                (ANSWER, b"RFB 003.008\n".to_vec()),
                (ASK, b"RFB 003.008\n".to_vec()),
                (ANSWER, b"\x02\x01\x02".to_vec()),
                (ASK, b"\x02".to_vec()),
                (ANSWER, b"0123456789abcdef".to_vec()),
                (ASK, b"fedcba9876543210".to_vec()),
                (ANSWER, b"\0\0\0\0".to_vec()),
                (ASK, b"\x01".to_vec()),
                (ANSWER, screen.to_vec()),
            ],
        )
    },
    rows: &[Has("rfb.name", "host"), Is("rfb.sectype", "2", "1"), Is("rfb.secresult", "ok", "fail")],
};

const QUIC: Table = Table {
    name: "quic",
    header: "alert quic any any -> any any",
    frames: || {
        let values = b"agent\0\0\0name.example";
        let entry = |tag: &[u8; 4], end: u32| [&tag[..], &end.to_le_bytes()].concat();
        let entries = [entry(b"UAID", 5), entry(b"PAD\0", 8), entry(b"SNI\0", values.len() as u32)].concat();
        let message = [&b"CHLO"[..], &[3, 0, 0, 0], &entries, values].concat();
        let frame = [&[0xa0, 1][..], &(message.len() as u16).to_le_bytes(), &message].concat();
        udp(443, &[(ASK, [&[0xc3][..], b"Q046", &[0x50], b"identify", &[0, 0, 0, 1], &[0xa5; 12], &frame].concat())])
    },
    rows: &[
        Has("quic.version", "Q046"),
        Has("quic.sni", "name.example"),
        Has("quic.ua", "agent"),
        Has("quic.cyu.string", "46,UAID-PAD-SNI"),
        Rule("quic.cyu.hash", "$; bsize:32", "$; content:\"00000000000000000000000000000000\""),
    ],
};
