//! What control asks of a worker, between two bursts: changes are applied whole, questions run, what services send goes
//! out, networks come and go.

use std::sync::atomic::Ordering;

use weir_ports::clock;
use weir_ports::event::Epoll;
use weir_wire::Instant;

use super::handle::{Absent, Adopted, Command, Task};
use super::network::Network;
use super::{NetworkId, View, Worker};

impl Worker {
    /// Does what waits in the inbox.
    pub(super) fn take_commands(&mut self, now: Instant) {
        // The bell first: a command that comes while we empty the inbox rings it again.
        self.fleet.bell(self.index).rung.swap(false, Ordering::AcqRel);
        self.networks.iter_mut().for_each(|network| network.catch_up(now));
        let mut verdicts = false;
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::For(id, task) => self.do_for(now, id, task),
                Command::Make(blank) => {
                    self.networks.push(Box::new(Network::new(*blank, &self.settings, &self.outlets)))
                }
                Command::Take(network) => self.take(network),
                // Nobody may wait for it any more.
                Command::Report(reply) => drop(reply.send(self.report())),
                Command::Verdict => verdicts = true,
                Command::Stop => self.stopping = true,
            }
        }
        if verdicts {
            self.networks.iter_mut().for_each(|network| network.look_at_held(now));
        }
    }

    /// Does what is asked of a network, here or where it is by now.
    fn do_for(&mut self, now: Instant, id: NetworkId, task: Task) {
        let Some(at) = self.networks.iter().position(|network| network.id == id) else {
            return self.pass_on(id, task);
        };
        match task {
            Task::Move(to, reply) => {
                let moved = self.hand_over(now, at, to);
                // Nobody may wait for it any more.
                let _ = reply.send(moved);
            }
            Task::Leave(into, reply) => {
                let network = self.give_up(now, at, into);
                if let Err(Adopted(network)) = reply.send(Adopted(network)) {
                    // Nobody has it: it stays what it was.
                    self.fleet.set_part_of(id, None);
                    self.take(network);
                }
            }
            task => {
                if let Some(network) = self.networks.get_mut(at) {
                    network.perform(now, &self.epoll, task);
                }
            }
        }
    }

    /// A network that was here is with another worker, or part of another network.
    fn pass_on(&self, id: NetworkId, task: Task) {
        let (part_of, home) = (self.fleet.part_of(id), self.fleet.home(id));
        let is_about_what_it_has = matches!(task, Task::Ask(_, Absent::Follow) | Task::Send(_));
        if part_of.is_some() && !is_about_what_it_has {
            return;
        }
        let (id, home) = part_of.map_or((id, home), |whole| (whole, self.fleet.home(whole)));
        // What is with nobody is answered by nobody: whoever waits is told when the task is dropped.
        if home != self.index {
            drop(self.fleet.send(home, Command::For(id, task)));
        }
    }

    /// Hands a network to another worker. Whether it is there.
    fn hand_over(&mut self, now: Instant, at: usize, to: usize) -> bool {
        if to == self.index {
            return true;
        }
        let mut network = self.networks.swap_remove(at);
        network.depart(now, &self.epoll);
        let id = network.id;
        match self.fleet.send(to, Command::Take(network)) {
            Ok(()) => {
                self.fleet.set_home(id, to);
                true
            }
            Err(refused) => {
                if let Command::Take(network) = *refused {
                    self.take(network);
                }
                false
            }
        }
    }

    /// Gives a network up, to become part of another one.
    fn give_up(&mut self, now: Instant, at: usize, into: NetworkId) -> Box<Network> {
        let mut network = self.networks.swap_remove(at);
        network.depart(now, &self.epoll);
        network.settle(now);
        self.fleet.set_part_of(network.id, Some(into));
        network
    }

    fn take(&mut self, mut network: Box<Network>) {
        network.arrive(clock::monotonic(), &self.epoll);
        self.networks.push(network);
    }

    /// Takes in what was on its way here when the worker was told to stop.
    pub(super) fn take_late_networks(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            if let Command::Take(network) = command {
                self.take(network);
            }
        }
    }
}

impl Network {
    /// Takes up what passed in the kernel, so that what is asked next is true.
    fn catch_up(&mut self, now: Instant) {
        if self.fast_paths.is_busy() {
            self.fast_paths.look(now, &mut self.fabric, &mut self.ports);
        }
    }

    /// Looks at what waits for verdicts.
    fn look_at_held(&mut self, now: Instant) {
        self.fabric.look_at_held(now, &mut self.pool, &mut self.egress);
        self.transmit(now, None);
        self.flush();
    }

    fn perform(&mut self, now: Instant, epoll: &Epoll, task: Task) {
        let begin = clock::monotonic();
        match task {
            Task::Apply(transaction, reply) => {
                let applied = self.apply(now, *transaction, epoll);
                self.stats.changes += 1;
                self.stats.change_ns = clock::monotonic().since(begin).as_nanos() as u64;
                // Where nobody waits for it any more, the change stands and its leftovers are freed here.
                drop(reply.send(applied));
            }
            Task::Ask(question, _) => {
                let (id, stats) = (self.id, self.stats());
                let (fabric, ports) = (&mut self.fabric, &mut self.ports);
                let fast_paths = &self.fast_paths;
                question(&mut View { now, network: id, fabric, ports, stats, fast_paths });
                // It may have given the tables something to do.
                self.next_tick = self.next_tick.min(now);
                // It may have ended flows.
                self.fast_paths.shut_what_was_lost(now, &mut self.fabric);
            }
            Task::Send(frames) => self.send_for_services(now, frames),
            // Where nobody waits for them any more, they are closed here.
            Task::Release(ports, reply) => drop(reply.send(self.release_ports(now, &ports, epoll))),
            // The worker's own.
            Task::Move(..) | Task::Leave(..) => {}
        }
        self.paused(clock::monotonic().since(begin));
    }
}
