//! Flows of names, which are followed from where something is found in them: nothing that is told may tell the difference.

use super::harness::*;
use crate::inspect::FlowInspect;

const RULES: &str = r#"
alert dns any any -> any any (dns.query; content:"evil"; sid:1;)
drop udp any any -> any 53 (content:"|01 00|"; offset:2; depth:2; content:"bad"; distance:0; sid:2;)
alert udp any 53 -> any any (content:"secret"; sid:3;)
drop dns any any -> any any (app-layer-event:dns.z_flag_set; sid:5;)
alert dns any any -> any any (dns.query; content:"first"; flowbits:set,seen; sid:6;)
drop dns any any -> any any (flowbits:isset,seen; dns.query; content:"second"; sid:7;)
alert udp any any -> any 53 (flow:established,to_server; content:"known"; sid:9;)
reject dns any any -> any any (dns.answers.rrname; content:"told"; sid:10;)
alert udp any any -> any 53 (dsize:>36; content:"www"; sid:11;)
"#;

const WORDS: [&[u8]; 12] =
    [b"www", b"example", b"org", b"mail", b"evil", b"bad", b"secret", b"first", b"second", b"low", b"known", b"told"];

/// Numbers from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn name(&mut self) -> Vec<u8> {
        let mut name = Vec::new();
        for _ in 0..1 + self.below(3) {
            // An ordinary word as a rule.
            let words = if self.below(7) == 0 { WORDS.len() as u64 } else { 4 };
            let word = WORDS[self.below(words) as usize];
            name.push(word.len() as u8);
            name.extend(word);
        }
        name.push(0);
        name
    }

    fn message(&mut self, answers: bool) -> Vec<u8> {
        let odd = if self.below(40) == 0 { 0x40 } else { 0 };
        let (flags, count) = if answers { ([0x81, 0x80 | odd], self.below(4) as u8) } else { ([1, odd], 0) };
        let mut message = vec![self.below(256) as u8, 7, flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0];
        message.extend(self.name());
        message.extend([0, 1, 0, 1]);
        for _ in 0..count {
            let name = if self.below(4) == 0 { self.name() } else { vec![0xc0, 12] };
            message.extend(name);
            message.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, 1]);
        }
        match self.below(30) {
            0 => message.truncate(self.below(message.len() as u64) as usize),
            1 => message.extend(b"behind"),
            2 => message = b"no message at all".to_vec(),
            _ => {}
        }
        message
    }
}

/// What becomes of the packets of a flow, and whether it had to be followed.
fn outcome(rules: &[&str], seed: u64, is_read: bool) -> (Vec<Told>, bool) {
    let programs: Vec<_> = rules.iter().map(|text| program(text)).collect();
    let mut chance = Chance(seed);
    let mut c = Conversation::new(&programs[0], 17, 53);
    c.memory.set_read(is_read);
    let mut told = Vec::new();
    let mut spoken = [false; 2];
    for turn in 0..1 + chance.below(6) {
        let answers = if turn == 0 { chance.below(9) == 0 } else { chance.below(2) == 0 };
        spoken[usize::from(answers)] = true;
        c.established = spoken == [true; 2];
        let message = chance.message(answers);
        told.push(c.datagram(if answers { SERVER } else { CLIENT }, &message));
        if chance.below(20) == 0
            && let Some(next) = programs.get(1)
        {
            assert!(c.replace(next));
        }
    }
    let followed = matches!(c.flow.as_deref(), Some(FlowInspect::Followed(_)));
    (told, followed)
}

#[test]
fn flows_of_names_that_say_nothing_are_not_followed_and_all_that_is_found_is_the_same() {
    let (mut brief, mut sids) = (0, std::collections::BTreeSet::new());
    let other = RULES.replace("evil", "mail");
    for seed in 0..3000 {
        let (told, followed) = outcome(&[RULES, &other], seed * 7919, false);
        let (wanted, always) = outcome(&[RULES, &other], seed * 7919, true);
        assert!(always, "who is told of names hears them all");
        assert_eq!(told, wanted, "seed {seed}");
        brief += usize::from(!followed);
        sids.extend(told.iter().flat_map(|told| &told.sids).copied());
    }
    assert!(brief > 300, "{brief}");
    assert_eq!(sids.into_iter().collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7, 9, 10, 11]);
}

#[test]
fn what_is_no_name_is_followed() {
    for (port, text) in [(53, &b"no message at all, but words"[..]), (9999, b"words")] {
        let mut c = Conversation::new(&program(RULES), 17, port);
        c.memory.set_read(false);
        c.established = false;
        c.datagram(CLIENT, text).passes();
        assert!(matches!(c.flow.as_deref(), Some(FlowInspect::Followed(_))), "{port}");
    }
}

#[test]
fn what_a_flow_speaks_is_known_though_it_is_not_followed() {
    let mut c = Conversation::new(&program(RULES), 17, 53);
    c.memory.set_read(false);
    c.established = false;
    c.datagram(CLIENT, &Chance(5).message(false)).passes();
    let flow = c.flow.as_deref().unwrap();
    assert!(matches!(flow, FlowInspect::Named(_)));
    assert_eq!(flow.speaks(), Some(weir_ids_rules::AppProtocol::Dns));
}
