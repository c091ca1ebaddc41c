//! Room for the bindings of address translation, made by whoever asks for a change.
//!
//! It is 80 MiB. Where it comes from reserved pages, clearing them takes tens of milliseconds, which packets do not wait for.

use weir_fabric::Step;
use weir_fabric::nat::NatConfig;
use weir_fabric::nat::bindings::Room;
use weir_ports::huge_pages;

use super::NetworkId;
use super::handle::{Adopted, Gone, Handle, Transaction};

impl Transaction {
    /// A router translates after it.
    fn translates(&self) -> bool {
        let sets = |step: &Step| matches!(step, Step::SetRouter(_, config) if config.nat != NatConfig::default());
        let brings = |Adopted(network): &Adopted| network.fabric.has_room_for_bindings();
        self.steps.iter().any(sets) || self.adopt.iter().any(brings)
    }
}

impl Handle {
    /// Makes the room for the bindings of the first router that translates in a network.
    pub(super) async fn make_room(&self, network: NetworkId, transaction: &mut Transaction) -> Result<(), Gone> {
        if transaction.room.is_some() || !transaction.translates() {
            return Ok(());
        }
        if self.ask_network(network, |view| view.fabric.has_room_for_bindings()).await? {
            return Ok(());
        }
        let made = tokio::task::spawn_blocking(|| huge_pages::touched(Room::take)).await;
        transaction.room = Some(made.map_err(|_| Gone)?);
        Ok(())
    }
}
