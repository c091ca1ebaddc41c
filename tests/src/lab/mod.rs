//! A small laboratory on this machine: namespaces, guests, the daemon, and real traffic between them.
//!
//! ```no_run
//! use weir_tests::lab::{Daemon, Namespace, ping};
//! # fn main() -> Result<(), weir_tests::lab::Failure> {
//! let (web, db) = (Namespace::new("web")?, Namespace::new("db")?);
//! let daemon = Daemon::start(&format!(
//!     "[[switch]]\nname = 'lan'\n\
//!      [[port]]\nname = 'web'\nswitch = 'lan'\ntap = {{ name = 'eth0', netns = '{}' }}\n\
//!      [[port]]\nname = 'db'\nswitch = 'lan'\ntap = {{ name = 'eth0', netns = '{}' }}\n",
//!     web.name(),
//!     db.name()
//! ))?;
//! web.address("eth0", "10.0.0.1/24")?;
//! db.address("eth0", "10.0.0.2/24")?;
//! assert_eq!(ping(&web, "10.0.0.2", 3)?.lost(), 0);
//! # Ok(())
//! # }
//! ```

mod apache;
mod bandwidth;
mod cable;
mod clamd;
mod cleanup;
mod daemon;
mod dhcp;
mod failure;
mod front;
mod ftp;
mod guest;
mod http;
mod lan;
mod names;
mod namespace;
mod ping;
mod raw;
mod trace_route;
mod transfer;
mod wait;

pub use apache::{Apache, Fetched, fetch, skip_without};
pub use bandwidth::{Bandwidth, bandwidth};
pub use cable::Cable;
pub use clamd::Clamd;
pub use cleanup::{Scratch, end_everything, sweep};
pub use daemon::{Daemon, binaries};
pub use dhcp::{DhcpClient, Lease, missing_dhcp_client};
pub use failure::Failure;
pub use ftp::FtpServer;
pub use guest::{Guest, GuestKind, Side};
pub use http::{Conversation, Exchange, HttpServer, Said, converse, http_get, http_pieces};
pub use lan::{Attach, Host, Lan, Wanted, switch_with_rules, tap, vhost_user, xdp};
pub use names::{Fact, NameServer, Told, ask_name};
pub use namespace::{Namespace, root_here, skip_unless_root};
pub use ping::{Pings, ping};
pub use raw::RawHost;
pub use trace_route::trace_route;
pub use transfer::{Transfer, transfer};
pub use wait::wait_for;
