//! How a guest is attached to a port, for each hypervisor, with the port's own paths and numbers in it.

use weir_proto::v1;
use weir_proto::v1::port_spec::Attachment;

/// The whole text for a port.
pub fn help(port: &v1::PortSpec) -> String {
    match &port.attachment {
        Some(Attachment::VhostUser(v)) => vhost_user(&port.name, v),
        Some(Attachment::Tap(t)) => tap(&port.name, t),
        Some(Attachment::Xdp(x)) => xdp(&port.name, x),
        Some(Attachment::Uplink(u)) => {
            format!("Port {} is the host's card {}: nothing is to be done there.\n", port.name, u.interface)
        }
        Some(Attachment::Pcap(_) | Attachment::Mem(_)) | None => {
            format!("Port {} has no other side to which a guest could be attached.\n", port.name)
        }
    }
}

/// A locally administered address that is the same whenever the help for this port is asked for.
fn mac_for(name: &str, given: &str) -> String {
    if !given.is_empty() {
        return given.to_owned();
    }
    // FNV-1a: any spread will do.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let [a, b, c, _] = hash.to_be_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

fn section(text: &mut String, title: &str, body: &str) {
    text.push_str(&format!("\n# {title}\n{}\n", body.trim_end()));
}

/// What the sections on a vhost-user port have in common.
struct Guest<'a> {
    name: &'a str,
    path: &'a str,
    mac: String,
    queues: u32,
    /// In the client role we connect, so the hypervisor makes the socket.
    we_connect: bool,
}

fn vhost_user(name: &str, v: &v1::VhostUser) -> String {
    let guest = Guest {
        name,
        path: &v.path,
        mac: mac_for(name, &v.mac),
        queues: v.queues.unwrap_or(1),
        we_connect: v.role == i32::from(v1::VhostRole::Client),
    };
    let (who, order) = if guest.we_connect {
        ("The hypervisor makes the socket, vswitchd connects", "Either may start first; guests survive our restart.")
    } else {
        ("vswitchd makes the socket, the hypervisor connects", "QEMU connects again by itself when vswitchd restarts.")
    };
    let mut text = format!("Port {name}: vhost-user at {}. {who}. {order}\n", v.path);
    section(&mut text, "QEMU: the guest's memory must be shared; its size is the guest's", &guest.qemu());
    section(&mut text, "libvirt: in <domain>, and in <devices>", &guest.libvirt());
    section(&mut text, "Cloud Hypervisor", &guest.cloud_hypervisor());
    section(&mut text, "Firecracker", &guest.firecracker());
    section(&mut text, "User Mode Linux", &guest.uml());
    if !guest.we_connect {
        section(
            &mut text,
            "Who may connect",
            &format!(
                "The socket belongs to vswitchd's user, mode {:04o}. For a hypervisor that runs as another user:\n  \
                 socket_mode = 0o660 and socket_group = \"kvm\" in the port's vhost_user table.",
                v.socket_mode.unwrap_or(0o600)
            ),
        );
    }
    text
}

impl Guest<'_> {
    fn qemu(&self) -> String {
        let Guest { name, path, mac, queues, .. } = self;
        let socket = if self.we_connect {
            format!("path={path},server=on,wait=off")
        } else {
            format!("path={path},reconnect=1")
        };
        let many = if *queues > 1 { format!(",mq=on,vectors={}", 2 * queues + 2) } else { String::new() };
        format!(
            "qemu-system-x86_64 -m 1G \\\n  \
             -object memory-backend-memfd,id=mem0,size=1G,share=on -machine q35,memory-backend=mem0 \\\n  \
             -chardev socket,id=chr-{name},{socket} \\\n  \
             -netdev vhost-user,id=net-{name},chardev=chr-{name},queues={queues} \\\n  \
             -device virtio-net-pci,netdev=net-{name},mac={mac}{many} ..."
        )
    }

    fn libvirt(&self) -> String {
        let Guest { path, mac, queues, .. } = self;
        let mode = if self.we_connect { "server" } else { "client" };
        let driver = if *queues > 1 { format!("\n  <driver queues='{queues}'/>") } else { String::new() };
        let reconnect =
            if self.we_connect { "/>" } else { ">\n    <reconnect enabled='yes' timeout='1'/>\n  </source>" };
        format!(
            "<memoryBacking>\n  <source type='memfd'/>\n  <access mode='shared'/>\n</memoryBacking>\n\n\
             <interface type='vhostuser'>\n  <mac address='{mac}'/>\n  \
             <source type='unix' path='{path}' mode='{mode}'{reconnect}\n  \
             <model type='virtio'/>{driver}\n</interface>"
        )
    }

    fn cloud_hypervisor(&self) -> String {
        let Guest { path, mac, queues, .. } = self;
        let role = if self.we_connect { ",vhost_mode=server" } else { "" };
        format!(
            "cloud-hypervisor --memory size=1G,shared=on \\\n  \
             --net vhost_user=true,socket={path},mac={mac},num_queues={}{role} ...",
            2 * queues
        )
    }

    fn firecracker(&self) -> String {
        let (name, tap) = (self.name, interface_name(self.name));
        format!(
            "Firecracker has no vhost-user network device. Give the guest a TAP of its own and join it by AF_XDP:\n  \
             ip tuntap add {tap} mode tap && ip link set {tap} up\n  \
             vswitchctl port add {name}-tap --switch SWITCH --xdp {tap} --mode generic\n  \
             vswitchctl port attach-help {name}-tap"
        )
    }

    fn uml(&self) -> String {
        if self.we_connect {
            return "User Mode Linux connects to a socket that is there: give the port the server role.".into();
        }
        format!("linux mem=256M virtio_uml.device={}:1 ...\n(the 1 is the virtio device type: network)", self.path)
    }
}

/// Up to 15 characters that an interface may be called.
fn interface_name(port: &str) -> String {
    port.chars().take(15).collect()
}

fn tap(name: &str, t: &v1::Tap) -> String {
    let tap = &t.name;
    let place = if t.netns.is_empty() { String::new() } else { format!(" in network namespace {}", t.netns) };
    let mut text = format!(
        "Port {name}: TAP interface {tap}{place}. vswitchd holds the device's file, so the kernel's end of it is what \
         can be used:\n"
    );
    let inside = if t.netns.is_empty() { String::new() } else { format!("ip netns exec {} ", t.netns) };
    section(
        &mut text,
        "A namespace or container: use the interface as it is",
        &format!("{inside}ip address add 192.0.2.10/24 dev {tap}\n{inside}ip link set {tap} up"),
    );
    section(
        &mut text,
        "A hypervisor that wants a TAP of its own (Firecracker, Cloud Hypervisor, QEMU -netdev tap)",
        &format!(
            "A TAP device has one file and one user of it, and this one's is vswitchd. Make another for the hypervisor \
             and join it by AF_XDP:\n  \
             ip tuntap add {tap}v mode tap && ip link set {tap}v up\n  \
             vswitchctl port add {name}-vm --switch SWITCH --xdp {tap}v --mode generic\n  \
             vswitchctl port attach-help {name}-vm",
            tap = tap.chars().take(14).collect::<String>()
        ),
    );
    text
}

fn xdp(name: &str, x: &v1::Xdp) -> String {
    let (interface, mac) = (&x.interface, mac_for(name, ""));
    let place = if x.netns.is_empty() { String::new() } else { format!(" in network namespace {}", x.netns) };
    let mut text = format!(
        "Port {name}: interface {interface}{place} by AF_XDP. What is on the other end of the interface is attached.\n"
    );
    section(&mut text, "A network: the interface is a card's", "Nothing more is to be done.");
    section(
        &mut text,
        "A namespace: the interface is one end of a veth pair, made before the port",
        &format!("ip link add {interface} type veth peer name eth0 netns NAMESPACE\nip link set {interface} up"),
    );
    section(
        &mut text,
        "A guest: the interface is the TAP of its hypervisor, made before the port",
        &format!(
            "ip tuntap add {interface} mode tap && ip link set {interface} up\n\
             Firecracker, in its configuration:\n  \
             \"network-interfaces\": [{{ \"iface_id\": \"eth0\", \"guest_mac\": \"{mac}\", \"host_dev_name\": \"{interface}\" }}]\n\
             Cloud Hypervisor:\n  --net tap={interface},mac={mac}\n\
             QEMU:\n  -netdev tap,id=net-{name},ifname={interface},script=no,downscript=no \\\n  \
             -device virtio-net-pci,netdev=net-{name},mac={mac}"
        ),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(role: v1::VhostRole, queues: u32) -> v1::PortSpec {
        let vhost_user = v1::VhostUser {
            path: "/run/weir/vm1.sock".into(),
            role: role.into(),
            queues: Some(queues),
            ..Default::default()
        };
        v1::PortSpec { name: "vm1".into(), attachment: Some(Attachment::VhostUser(vhost_user)), ..Default::default() }
    }

    #[test]
    fn a_server_port_is_connected_to_and_again() {
        let text = help(&port(v1::VhostRole::Server, 1));
        for line in [
            "memory-backend-memfd,id=mem0,size=1G,share=on",
            "-chardev socket,id=chr-vm1,path=/run/weir/vm1.sock,reconnect=1 ",
            "mode='client'>",
            "<reconnect enabled='yes' timeout='1'/>",
            "virtio_uml.device=/run/weir/vm1.sock:1",
            "socket=/run/weir/vm1.sock,mac=52:54:00:",
            "num_queues=2 ",
            "Firecracker has no vhost-user",
        ] {
            assert!(text.contains(line), "{text}\nlacks {line}");
        }
    }

    #[test]
    fn a_client_port_leaves_the_socket_to_the_hypervisor() {
        let text = help(&port(v1::VhostRole::Client, 4));
        for line in
            ["path=/run/weir/vm1.sock,server=on,wait=off", "mode='server'/>", "vhost_mode=server", "mq=on,vectors=10"]
        {
            assert!(text.contains(line), "{text}\nlacks {line}");
        }
        assert!(!text.contains("reconnect"), "{text}");
    }

    #[test]
    fn addresses_are_stable_and_local() {
        assert_eq!(mac_for("vm1", ""), mac_for("vm1", ""));
        assert_ne!(mac_for("vm1", ""), mac_for("vm2", ""));
        assert_eq!(mac_for("vm1", "02:00:00:00:00:01"), "02:00:00:00:00:01");
    }
}
