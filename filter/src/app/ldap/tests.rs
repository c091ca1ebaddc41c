use super::*;
use crate::app::exercise::{Script, all_cuts, run, storm};
use Direction::{Original, Reply};

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[tag, content.len() as u8][..], &content].concat()
}

fn message(id: u8, operation: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&[2, 1, id], operation])
}

fn search(id: u8) -> Vec<u8> {
    let list = tlv(0x30, &[&tlv(4, &[b"*"]), &tlv(4, &[b"+"])]);
    let numbers = [10, 1, 2, 10, 1, 0, 2, 1, 5, 2, 1, 0, 1, 1, 0];
    message(id, &tlv(0x63, &[&tlv(4, &[b"dc=x"]), &numbers, &tlv(0x87, &[b"objectClass"]), &list]))
}

fn entry(id: u8) -> Vec<u8> {
    let attribute = tlv(0x30, &[&tlv(4, &[b"cn"]), &tlv(0x31, &[&tlv(4, &[b"me"])])]);
    message(id, &tlv(0x64, &[&tlv(4, &[b"cn=me,dc=x"]), &tlv(0x30, &[&attribute])]))
}

fn done(id: u8, tag: u8, code: u8) -> Vec<u8> {
    message(id, &tlv(tag, &[&[10, 1, code], &tlv(4, &[b""]), &tlv(4, &[b"text"])]))
}

#[test]
fn a_request_and_its_responses_are_one_transaction() {
    let (search, entry, done, unbind) = (search(2), entry(2), done(2, 0x65, 4), message(3, &[0x42, 0]));
    let script: Script<'_> = &[(Original, &search), (Reply, &entry), (Reply, &done), (Original, &unbind)];
    let shown = all_cuts(start, &Settings::default(), script);
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(lines[0].contains(r#""request":{"message_id":2,"operation":"search_request","search_request":{"base_object":"dc=x","scope":2,"deref_alias":0,"size_limit":5,"time_limit":0,"types_only":false,"filter":{"type":"present","value":"objectClass"},"attributes":["*","+"]}}"#), "{shown}");
    assert!(lines[0].contains(r#""responses":[{"operation":"search_result_entry","search_result_entry":{"base_object":"cn=me,dc=x","attributes":[{"type":"cn","values":["me"]}]}},{"operation":"search_result_done","search_result_done":{"result_code":"size_limit_exceeded","matched_dn":"","message":"text"}}]"#), "{shown}");
    let talk = run(start, &Settings::default(), script, 0);
    assert_eq!(talk.value(0, Buffer::LdapRequestAttributeType, Original, 1).as_deref(), Some(&b"+"[..]));
    assert_eq!(talk.value(0, Buffer::LdapResponsesDn, Reply, 0).as_deref(), Some(&b"cn=me,dc=x"[..]));
    assert_eq!(talk.value(0, Buffer::LdapResponsesAttributeType, Reply, 0).as_deref(), Some(&b"cn"[..]));
    assert_eq!(talk.value(0, Buffer::LdapResponsesMessage, Reply, 0).as_deref(), Some(&b"text"[..]));
    assert_eq!(talk.number(0, Field::LdapResponsesResultCode, Reply, 0), Some(4));
    assert_eq!(talk.number(0, Field::LdapResponsesCount, Reply, 0), Some(2));
    assert_eq!(talk.number(0, Field::LdapRequestOperation, Original, 0), Some(3));
    storm(start, &Settings::default(), script, 3000);
}

#[test]
fn tls_follows_a_granted_request() {
    let ask = message(1, &tlv(0x77, &[&tlv(0x80, &[START_TLS])]));
    let grant = done(1, 0x78, 0);
    let talk = run(start, &Settings::default(), &[(Original, &ask), (Reply, &grant)], 0);
    assert_eq!(talk.over, Some(Fed::Upgrade { used: grant.len(), to: Some(AppProtocol::Tls) }));
}

#[test]
fn answers_without_request_and_broken_messages_are_told() {
    let stray = done(9, 0x65, 0);
    let script: Script<'_> = &[(Reply, &stray), (Original, b"\x30\x03\x02\x01\x01")];
    let talk = run(start, &Settings::default(), script, 0);
    let shown = talk.shown();
    assert!(shown.contains("ldap.request_not_found") && shown.contains("ldap.invalid_data"), "{shown}");
    assert_eq!(talk.over, Some(Fed::Failed));
}

#[test]
fn too_many_requests_end_the_oldest() {
    let settings = Settings { transactions: 3, ..Settings::default() };
    let requests: Vec<Vec<u8>> = (1..9).map(search).collect();
    let script: Vec<(Direction, &[u8])> = requests.iter().map(|bytes| (Original, &bytes[..])).collect();
    let talk = run(start, &settings, &script, 0);
    assert!(talk.shown().contains("ldap.too_many_transactions"));
    assert!(talk.parser.transactions().len() <= 6);
}

#[test]
fn probes_tell_who_speaks() {
    let tuple = crate::app::exercise::tuple(6);
    assert_eq!(probe(Original, &search(1), &tuple), Probe::Yes);
    assert_eq!(probe(Original, &entry(1), &tuple), Probe::Reversed);
    assert_eq!(probe(Original, b"\x30", &tuple), Probe::More);
    assert_eq!(probe(Original, b"GET /", &tuple), Probe::No);
}
