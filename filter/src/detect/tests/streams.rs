//! Rules on streams.

use super::harness::*;

#[test]
fn a_match_may_be_cut_anywhere_and_is_told_once() {
    let program = program("alert tcp any any -> any any (content:\"attack\"; content:\"now\"; distance:0; sid:1;)");
    let text = b"some attack is coming now, and more";
    for cut in 0..text.len() {
        let mut flow = Conversation::new(&program, 6, 80);
        let mut told = flow.say(CLIENT, &text[..cut]);
        told.extend(flow.say(CLIENT, &text[cut..]));
        told.extend(flow.say(CLIENT, b"and on"));
        assert_eq!(told, [1], "{cut}");
    }
}

#[test]
fn the_same_rule_fires_again_for_other_bytes() {
    let program = program("alert tcp any any -> any any (content:\"abc\"; sid:1;)");
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, b"abc"), [1]);
    assert_eq!(flow.say(CLIENT, b"abd"), []);
    assert_eq!(flow.say(CLIENT, b"abc"), [1]);
}

#[test]
fn places_count_from_the_streams_start_and_from_each_turn() {
    let program = program("alert tcp any any -> any any (content:\"abc\"; depth:3; sid:1;)");
    let mut flow = Conversation::new(&program, 6, 80);
    assert_eq!(flow.say(CLIENT, b"xabc"), []);
    assert_eq!(flow.say(SERVER, b"ok"), []);
    assert_eq!(flow.say(CLIENT, b"ab"), []);
    assert_eq!(flow.say(CLIENT, b"cd"), [1]);
}
