//! What ethtool tells and sets, by its ioctl: driver, queues, what the device does to frames that arrive.

use std::io;

use super::Netdev;

/// ethtool's request numbers (linux/ethtool.h), which the libc crate does not have.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETH_FLAG_LRO: u32 = 1 << 15;

impl Netdev {
    /// The driver's name, as `ethtool -i` prints it.
    pub fn driver(&self) -> io::Result<String> {
        /// `struct ethtool_drvinfo`, of which only the second member is read.
        #[repr(C)]
        struct DrvInfo {
            command: u32,
            driver: [u8; 32],
            rest: [u8; 160],
        }
        let mut info = DrvInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
        self.ethtool(&mut info)?;
        let name = info.driver.split(|&b| b == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }

    /// Its receive queues, as `ethtool -l` counts them; 1 where the driver does not say.
    pub fn rx_queues(&self) -> u32 {
        /// `struct ethtool_channels`.
        #[repr(C)]
        #[derive(Default)]
        struct Channels {
            command: u32,
            max: [u32; 4],
            rx: u32,
            tx: u32,
            other: u32,
            combined: u32,
        }
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        match self.ethtool(&mut channels) {
            Ok(()) => channels.rx.saturating_add(channels.combined).max(1),
            Err(_) => 1,
        }
    }

    /// Leaves VLAN tags in the frames that arrive, as `ethtool -K NAME rxvlan off` does.
    pub fn keep_vlan_tags(&self) -> io::Result<()> {
        self.clear_flag(ETH_FLAG_RXVLAN)
    }

    /// Leaves frames that arrive as they were sent, as `ethtool -K NAME gro off lro off` does.
    pub fn keep_frames_apart(&self) -> io::Result<()> {
        if self.ethtool_value(ETHTOOL_GGRO, 0)? != 0 {
            self.ethtool_value(ETHTOOL_SGRO, 0)?;
        }
        self.clear_flag(ETH_FLAG_LRO)
    }

    fn clear_flag(&self, flag: u32) -> io::Result<()> {
        let flags = self.ethtool_value(ETHTOOL_GFLAGS, 0)?;
        if flags & flag != 0 {
            self.ethtool_value(ETHTOOL_SFLAGS, flags & !flag)?;
        }
        Ok(())
    }

    fn ethtool_value(&self, command: u32, data: u32) -> io::Result<u32> {
        /// `struct ethtool_value`.
        #[repr(C)]
        struct Value {
            command: u32,
            data: u32,
        }
        let mut value = Value { command, data };
        self.ethtool(&mut value)?;
        Ok(value.data)
    }

    /// `T` is a structure of linux/ethtool.h whose first member is its command.
    fn ethtool<T>(&self, data: &mut T) -> io::Result<()> {
        let mut request = self.request();
        request.ifr_ifru.ifru_data = std::ptr::from_mut(data).cast();
        self.ioctl(SIOCETHTOOL, &mut request)
    }
}
