//! Open vSwitch with DPDK: how it is set up, and what it remembers of connections.

use std::fs;
use std::path::Path;

use super::{AF_XDP, ETHERNET, Kind, MTU, OvsProfile, SWITCH_CORE, Switch};
use crate::e2e::Failure;
use crate::e2e::edge;
use crate::e2e::scenario::{Kind as Measured, Ports, Scenario};

pub(super) const PROGRAM: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
/// Connections that it may remember, so that none passes it unseen; memory is taken as they come.
const CONNECTIONS: &str = "50000000";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

impl Switch {
    pub(super) fn start_ovs(&mut self, profile: OvsProfile, scenario: &Scenario) -> Result<(), Failure> {
        let folder = self.folder.display().to_string();
        let db = format!("unix:{folder}/db");
        self.tool("ovsdb-tool", &["create", &format!("{folder}/conf.db"), SCHEMA])?;
        self.spawn("ovsdb-server", &[format!("{folder}/conf.db"), format!("--remote=punix:{folder}/db")])?;
        self.wait_for(Path::new(&format!("{folder}/db")))?;
        let core = 1 << SWITCH_CORE;
        let settings = format!(
            "--no-wait init -- set o . other_config:dpdk-init=true \
             other_config:dpdk-extra=--no-pci\\ --in-memory\\ --single-file-segments\\ --file-prefix=weirbench \
             other_config:dpdk-socket-mem=512 other_config:dpdk-socket-limit=1024 other_config:dpdk-lcore-mask={core} \
             other_config:pmd-cpu-mask={core} other_config:n-handler-threads=1 other_config:n-revalidator-threads=1{}",
            if profile == OvsProfile::Sleepy { " other_config:pmd-maxsleep=100" } else { "" }
        );
        self.shell(&format!("ovs-vsctl --timeout=30 --db={db} {settings}"))?;
        self.spawn(
            PROGRAM,
            &[
                db.clone(),
                format!("--unixctl={folder}/ctl"),
                "-vconsole:off".to_owned(),
                format!("--log-file={folder}/ovs.log"),
            ],
        )?;
        for (bridge, port, kind) in self.ovs_ports(scenario) {
            let mtu = (scenario.link() - ETHERNET).max(MTU);
            self.shell(&format!(
                "ovs-vsctl --timeout=30 --db={db} --may-exist add-br {bridge} -- set bridge {bridge} datapath_type=netdev -- \
                 add-port {bridge} {port} -- set Interface {port} type={kind} mtu_request={mtu}"
            ))?;
        }
        if scenario.kind == Measured::NewFlows {
            self.ovs(&["dpctl/ct-set-maxconns", CONNECTIONS])?;
        }
        let flows = self.folder.join("flows");
        fs::write(&flows, ovs_flows(profile, scenario)).map_err(|e| e.to_string())?;
        let bridge = format!("unix:{folder}/br0.mgmt");
        self.tool("ovs-ofctl", &["-O", "OpenFlow15", "--names", "replace-flows", &bridge, &flows.display().to_string()])
            .map(drop)
    }

    /// Its ports: bridge, name, and of which kind.
    fn ovs_ports(&self, scenario: &Scenario) -> Vec<(&'static str, String, String)> {
        let rings = || "dpdkvhostuser".to_owned();
        let device = |side: usize| format!("dpdk options:dpdk-devargs=\"{}\"", AF_XDP[side]);
        if scenario.ports == Ports::VethGuest {
            let of =
                |(side, bridge)| [(bridge, format!("v{side}"), rings()), (bridge, format!("x{side}"), device(side))];
            return [(0, "br0"), (1, "br1")].into_iter().flat_map(of).collect();
        }
        let kind = |number: usize| if self.hosts.is_some() { device(number.min(1)) } else { rings() };
        (0..self.guests).map(|number| ("br0", format!("v{number}"), kind(number))).collect()
    }

    /// Lets a peer that tracks connections forget those it knows, so that its table is not full of them. Ours gives up the
    /// oldest where its own is full.
    ///
    /// # Errors
    /// What it said, where it does not.
    pub fn forget_connections(&self) -> Result<(), Failure> {
        if self.kind == Kind::Ovs(OvsProfile::Conntrack) {
            self.ovs(&["dpctl/flush-conntrack"])?;
        }
        Ok(())
    }

    /// Connections that a peer remembers, where it tells. Ours passes no packet without a flow.
    ///
    /// # Errors
    /// What it said, where that is no number.
    pub fn connections(&self) -> Result<Option<u64>, Failure> {
        if self.kind != Kind::Ovs(OvsProfile::Conntrack) {
            return Ok(None);
        }
        let said = self.ovs(&["dpctl/ct-get-nconns"])?;
        said.trim().parse().map(Some).map_err(|_| format!("the peer counts \"{}\" connections", said.trim()))
    }

    /// Asks Open vSwitch's daemon something.
    fn ovs(&self, command: &[&str]) -> Result<String, Failure> {
        let control = self.folder.join("ctl").display().to_string();
        self.tool("ovs-appctl", &[&["-t", &control], command].concat())
    }
}

fn ovs_flows(profile: OvsProfile, scenario: &Scenario) -> String {
    if let Some(edge) = scenario.edge {
        return edge::ovs_flows(edge);
    }
    if profile != OvsProfile::Conntrack {
        return "table=0,actions=NORMAL\n".to_owned();
    }
    let mut text = "table=0,priority=10,ip,actions=ct(table=1)\ntable=0,priority=1,actions=NORMAL\n\
                    table=1,priority=10,ct_state=+trk+est,actions=NORMAL\n\
                    table=1,priority=10,ct_state=+trk+new,in_port=v0,actions=goto_table:2\n\
                    table=1,priority=1,actions=drop\ntable=2,priority=1,ip,actions=ct(commit),NORMAL\n"
        .to_owned();
    for number in 0..scenario.rules.max(1) {
        text += &format!(
            "table=2,priority=50,udp,nw_src=172.{}.{}.0/24,tp_dst={},actions=drop\n",
            16 + number / 256 % 16,
            number % 256,
            1 + number * 7 % 4000
        );
    }
    text
}
