//! Stories told to a whole fabric: a frame goes in, and after each the test says what came out and which counters
//! moved. The lab checks after every frame that the sum is exact and that every buffer came back.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

mod appliances;
mod bridging;
mod domains;
mod drops;
mod families;
mod first_hop;
mod guard;
mod joining;
mod kept;
mod lab;
mod limits;
mod links;
mod marking;
mod mirroring;
mod multicast;
mod openings;
mod policy_routing;
mod routing;
mod routing_limits;
mod routing_storm;
mod serving;
mod settled;
mod shortage;
mod storm;
mod suppression;
mod trace;
mod translation;
mod translation6;
mod vlans;
mod watch;
