//! What control asks of the worker, between two bursts: changes are applied whole, questions run, and what services send
//! goes out.

use std::sync::atomic::Ordering;

use weir_ports::clock;
use weir_wire::{Instant, PortId};

use super::handle::Command;
use super::shaping::Shaping;
use super::{Applied, Carriage, Transaction, View, Worker, hear};

impl Worker {
    /// Does what waits in the inbox.
    pub(super) fn take_commands(&mut self, now: Instant) {
        // The bell first: a command that comes while we empty the inbox rings it again.
        self.bell.rung.swap(false, Ordering::AcqRel);
        if self.fast_paths.is_busy() {
            self.fast_paths.look(now, &mut self.fabric, &mut self.ports);
        }
        let mut verdicts = false;
        while let Ok(command) = self.inbox.try_recv() {
            let begin = clock::monotonic();
            match command {
                Command::Apply(transaction, reply) => {
                    let applied = self.apply(now, *transaction);
                    self.stats.changes += 1;
                    self.stats.change_ns = clock::monotonic().since(begin).as_nanos() as u64;
                    // Where nobody waits for it any more, the change stands and its leftovers are freed here.
                    drop(reply.send(applied));
                }
                Command::Ask(question) => {
                    let stats = self.stats();
                    let (fabric, ports) = (&mut self.fabric, &mut self.ports);
                    let fast_paths = &self.fast_paths;
                    question(&mut View { now, fabric, ports, stats, fast_paths });
                    // It may have given the tables something to do.
                    self.next_tick = self.next_tick.min(now);
                    // It may have ended flows.
                    self.fast_paths.shut_what_was_lost(now, &mut self.fabric);
                }
                Command::Send(frames) => self.send_for_services(now, frames),
                Command::Verdict => verdicts = true,
                Command::Stop => self.stopping = true,
            }
            let pause = clock::monotonic().since(begin).as_nanos() as u64;
            self.stats.longest_pause_ns = self.stats.longest_pause_ns.max(pause);
        }
        if verdicts {
            self.fabric.look_at_held(now, &mut self.pool, &mut self.egress);
            self.transmit(now, None);
            self.flush();
        }
    }

    fn apply(&mut self, now: Instant, transaction: Transaction) -> Applied {
        // Not one frame passes under the old policy once the new one stands.
        let revoked = self.fast_paths.shut_all(now);
        let mut removed = Vec::new();
        let added: Vec<PortId> = transaction.add_ports.iter().map(|&(id, _)| id).collect();
        for (id, port) in transaction.add_ports {
            removed.extend(self.ports.insert(id, port));
            if let Some(slot) = self.ports.slot(id) {
                hear(&self.epoll, id, slot);
            }
        }
        for step in transaction.steps {
            self.fabric.apply(now, step);
        }
        // The fabric takes a port for one with a link until it hears otherwise.
        for id in added {
            self.fabric.set_link(id, false);
        }
        for id in transaction.remove_ports {
            if let Some(mut slot) = self.ports.remove(id) {
                // The kernel drops a closed descriptor from epoll by itself, but this one is closed later.
                drop(self.epoll.remove(slot.port.event_fd()));
                if let Some(shaping) = &mut slot.shaping {
                    shaping.clear(&mut self.pool);
                }
                removed.push(slot.port);
            }
        }
        self.set_carriages(now, transaction.carriages);
        self.set_wires(transaction.wires);
        // What the steps have ended was of the policy before.
        self.tell();
        let epoch = transaction.policy.epoch();
        let old_policy = self.fabric.install(transaction.policy);
        self.stats.epoch = epoch.0;
        self.next_tick = now;
        // Ports that came are to be found at once.
        self.is_busy = false;
        self.fast_paths.ask_devices(now, &mut self.fabric, &mut self.ports);
        Applied { epoch, removed, old_policy, old_tables: self.fabric.retired_tables(), revoked }
    }

    /// Holds ports to their rates; those that are not named have none.
    fn set_carriages(&mut self, now: Instant, mut carriages: Vec<(PortId, Carriage)>) {
        self.rates.set(now, carriages.iter().flat_map(|(_, carriage)| &carriage.groups));
        for (id, slot) in self.ports.entries() {
            let at = carriages.iter().position(|(port, _)| *port == id);
            let wanted = at.map(|at| carriages.swap_remove(at).1).unwrap_or_default();
            match &mut slot.shaping {
                Some(shaping) => shaping.set(wanted, &self.rates, now),
                None if wanted.is_free() => {}
                None => slot.shaping = Some(Box::new(Shaping::new(id, wanted, &self.rates, now))),
            }
        }
        self.is_shaped = self.ports.entries().any(|(_, slot)| slot.shaping.is_some());
    }
}
