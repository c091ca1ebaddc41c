//! Flows of names, and of what is not known, which are inspected from where something is found in them: no alert may tell
//! the difference.

use super::*;

const RULES: &str = r#"
alert dns any any -> any any (dns.query; content:"evil"; sid:1;)
alert udp any any -> any 53 (content:"|01 00|"; offset:2; depth:2; content:"bad"; distance:0; sid:2;)
alert udp any 53 -> any any (content:"secret"; sid:3;)
alert ip 10.0.0.77 any -> any any (sid:4;)
alert dns any any -> any any (app-layer-event:dns.z_flag_set; sid:5;)
alert dns any any -> any any (dns.query; content:"first"; flowbits:set,seen; sid:6;)
alert dns any any -> any any (flowbits:isset,seen; dns.query; content:"second"; sid:7;)
alert dns any any -> any any (dns.query; dotprefix; content:".low"; endswith; sid:8;)
alert udp any any -> any 53 (flow:established,to_server; content:"known"; sid:9;)
alert dns any any -> any any (dns.answers.rrname; content:"told"; sid:10;)
alert udp any 53 -> any any (content:"|81 80|"; offset:2; depth:2; content:"twice"; threshold:type limit,track by_dst,count 1,seconds 30; sid:11;)
alert udp any any -> any 9999 (content:"evil"; sid:12;)
alert udp any 9999 -> any any (flow:established; content:"bad"; content:"www"; distance:0; sid:13;)
alert udp any any -> any 9999 (content:"first"; flowbits:set,heard; sid:14;)
alert udp any 9999 -> any any (flowbits:isset,heard; content:"second"; sid:15;)
"#;

const WORDS: [&[u8]; 13] = [
    b"www", b"example", b"org", b"mail", b"evil", b"bad", b"secret", b"first", b"second", b"low", b"known", b"told",
    b"twice",
];

/// Numbers from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// A word, an ordinary one as a rule.
    fn word(&mut self) -> &'static [u8] {
        let words = if self.below(6) == 0 { WORDS.len() as u64 } else { 4 };
        WORDS[self.below(words) as usize]
    }

    fn name(&mut self) -> Vec<u8> {
        let mut name = Vec::new();
        for _ in 0..1 + self.below(3) {
            let word = self.word();
            name.push(word.len() as u8);
            name.extend(word);
        }
        name.push(0);
        name
    }

    /// Words that are no message.
    fn words(&mut self) -> Vec<u8> {
        (0..self.below(4)).flat_map(|_| self.word()).copied().collect()
    }

    fn message(&mut self, answers: bool) -> Vec<u8> {
        let answers = answers != (self.below(60) == 0);
        let odd = if self.below(50) == 0 { 0x40 } else { 0 };
        let (flags, count) = if answers { ([0x81, 0x80 | odd], self.below(4) as u8) } else { ([1, odd], 0) };
        let mut message = vec![self.below(256) as u8, 7, flags[0], flags[1], 0, 1, 0, count, 0, 0, 0, 0];
        message.extend(self.name());
        message.extend([0, 1, 0, 1]);
        for _ in 0..count {
            let name = if self.below(4) == 0 { self.name() } else { vec![0xc0, 12] };
            message.extend(name);
            message.extend([0, 16, 0, 1, 0, 0, 0, 60]);
            let text = self.word();
            message.extend([0, text.len() as u8 + 1, text.len() as u8]);
            message.extend(text);
        }
        match self.below(40) {
            0 => message.truncate(self.below(message.len() as u64) as usize),
            1 => message.extend(b"behind"),
            _ => {}
        }
        message
    }
}

/// The lines of alerts on a storm from this seed, and how many flows have no inspection at its end.
fn storm(seed: u64, kinds: &str) -> (Vec<String>, usize) {
    let mut lab = Lab::ruled_with(RULES, &[("outputs.eve-log.types", kinds)]);
    let mut chance = Chance(seed);
    for _ in 0..4000 {
        let flow = chance.below(1500);
        let host = if flow < 9 { 77 } else { (flow % 7) as u8 + 1 };
        let port = if flow % 4 == 3 { 9999 } else { 53 };
        let (client, server) = (([10, 0, 0, host], 5000 + flow as u16), ([10, 0, 1, 1], port));
        let answers = chance.below(2) == 0;
        let message = if port == 53 { chance.message(answers) } else { chance.words() };
        let mut frame = vec![2; 12];
        frame.extend([8, 0]);
        frame.extend(if answers { udp(server, client, &message) } else { udp(client, server, &message) });
        lab.seconds += u64::from(chance.below(30) == 0);
        lab.capture.frame(Link::Ethernet, &frame, Instant::from_secs(lab.seconds), &mut lab.lines);
    }
    let flows = &lab.capture.core.flows;
    let brief = flows.slots().filter(|&slot| flows.get(slot).is_some_and(|flow| flow.brief.is_some())).count();
    lab.end();
    (lab.lines.lines().filter(|line| line.contains("\"event_type\":\"alert\"")).map(str::to_owned).collect(), brief)
}

#[test]
fn alerts_are_those_of_flows_that_are_inspected_from_their_start() {
    let mut told = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let (lines, brief) = storm(seed, "[alert]");
        let (wanted, inspected) = storm(seed, "[alert, dns]");
        assert_eq!(inspected, 0, "who is told of names hears them all");
        assert!(brief > 100, "seed {seed}: {brief}");
        for (line, wanted) in lines.iter().zip(&wanted) {
            assert_eq!(line, wanted, "seed {seed}");
        }
        assert_eq!(lines.len(), wanted.len(), "seed {seed}");
        let sid = |line: &String| line.split("\"signature_id\":").nth(1)?.split(',').next()?.parse::<u32>().ok();
        told.extend(lines.iter().filter_map(sid));
    }
    assert_eq!(told.into_iter().collect::<Vec<u32>>(), (1..=15).collect::<Vec<u32>>());
}
