//! What a client says of itself when it connects (MS-RDPBCGR, 2.2.1.3).

use crate::app::read::Reader;
use crate::json::Json;

/// Channels of a client.
const CHANNELS: usize = 31;

/// What a client is.
#[derive(Debug, Default)]
pub(super) struct Client {
    version: u32,
    width: u16,
    height: u16,
    /// Of the three fields that tell colours: the first, its successor, the bits that are wanted.
    depths: [u16; 3],
    /// How the client is connected, by its own account.
    connection: u8,
    screen: Screen,
    layout: u32,
    build: u32,
    name: String,
    keyboard: [u32; 3],
    product: Option<u16>,
    serial: Option<u32>,
    capabilities: Option<u16>,
    id: String,
    pub(super) channels: Vec<Vec<u8>>,
}

impl Client {
    /// Reads the blocks of a connect request: they stand behind the key "Duca" and a length.
    pub(super) fn read(bytes: &[u8]) -> Client {
        let mut client = Client::default();
        let Some(at) = memchr::memmem::find(bytes, b"Duca") else { return client };
        let mut reader = Reader::new(bytes.get(at + 4..).unwrap_or_default());
        if reader.u8().is_some_and(|first| first & 0x80 != 0) {
            reader.u8();
        }
        while let (Some(kind), Some(length)) = (reader.le16(), reader.le16()) {
            let block = reader.take_up_to(usize::from(length).saturating_sub(4));
            match kind {
                0xc001 => {
                    client.core(block);
                }
                0xc003 => client.network(block),
                _ if length < 4 => break,
                _ => {}
            }
        }
        client
    }

    /// The client's core data (2.2.1.3.2); what stands at its end may be missing.
    pub(super) fn core(&mut self, block: &[u8]) -> Option<()> {
        let mut reader = Reader::new(block);
        self.version = reader.le32()?;
        (self.width, self.height) = (reader.le16()?, reader.le16()?);
        self.depths = [reader.le16()?, 0, 0];
        reader.le16()?;
        (self.layout, self.build) = (reader.le32()?, reader.le32()?);
        self.name = wide(reader.take(32)?);
        self.keyboard = [reader.le32()?, reader.le32()?, reader.le32()?];
        reader.take(64)?;
        let [_, successor, wanted] = &mut self.depths;
        *successor = reader.le16()?;
        self.product = Some(reader.le16()?);
        self.serial = Some(reader.le32()?);
        *wanted = reader.le16()?;
        reader.le16()?;
        self.capabilities = Some(reader.le16()?);
        self.id = wide(reader.take(64)?);
        self.connection = reader.u8()?;
        // Padding, and the protocol that the server has chosen.
        reader.take(5)?;
        self.screen.read(&mut reader)
    }

    /// Bits of a colour, by the newest field that tells.
    fn bits(&self) -> Option<u16> {
        let named = |depth| {
            Some(match depth {
                0xca00 => 4,
                0xca01 => 8,
                0xca02 => 15,
                0xca03 => 16,
                0xca04 => 24,
                _ => return None,
            })
        };
        let [first, successor, wanted] = self.depths;
        let wanted = Some(wanted).filter(|bits| matches!(bits, 4 | 8 | 15 | 16 | 24));
        let first = named(first).filter(|bits| *bits <= 8);
        wanted.or_else(|| named(successor)).or(first)
    }

    fn network(&mut self, block: &[u8]) {
        let mut reader = Reader::new(block);
        let count = reader.le32().unwrap_or(0) as usize;
        for _ in 0..count.min(CHANNELS) {
            let Some(channel) = reader.take(12) else { return };
            let name = channel.get(..8).unwrap_or_default().split(|&byte| byte == 0).next();
            self.channels.push(name.unwrap_or_default().to_vec());
        }
    }

    /// Writes the members of the object `client`.
    pub(super) fn log(&self, json: &mut Json<'_>) {
        json.text("version", version_name(self.version));
        json.number("desktop_width", self.width).number("desktop_height", self.height);
        if let Some(bits) = self.bits() {
            json.number("color_depth", bits);
        }
        json.text("keyboard_layout", &layout_name(self.layout)).text("build", build_name(self.build));
        if !self.name.is_empty() {
            json.text("client_name", &self.name);
        }
        let [kind, subtype, functions] = self.keyboard;
        let keyboards = ["xt", "ico", "at", "enhanced", "1050", "9140", "jp"];
        if let Some(name) = (kind as usize).checked_sub(1).and_then(|at| keyboards.get(at)) {
            json.text("keyboard_type", name);
        }
        for (name, number) in [("keyboard_subtype", subtype), ("function_keys", functions)] {
            if number != 0 {
                json.number(name, number);
            }
        }
        if let Some(product) = self.product {
            json.number("product_id", product);
        }
        if let Some(serial) = self.serial.filter(|&serial| serial != 0) {
            json.number("serial_number", serial);
        }
        if let Some(bits) = self.capabilities.filter(|&bits| bits != 0) {
            json.array("capabilities", |list| {
                for (bit, name) in CAPABILITIES {
                    if bits & bit != 0 {
                        list.item_bytes(name.as_bytes());
                    }
                }
            });
        }
        if !self.id.is_empty() {
            json.text("id", &self.id);
        }
        let kinds = ["modem", "low_broadband", "satellite", "high_broadband", "wan", "lan", "autodetect"];
        if let Some(kind) = usize::from(self.connection).checked_sub(1).and_then(|at| kinds.get(at)) {
            json.text("connection_hint", kind);
        }
        self.screen.log(json);
    }
}

/// How large the client's screen is (2.2.1.3.2: those that are in their bounds count).
#[derive(Debug, Default)]
struct Screen {
    /// In millimetres.
    size: Option<(u32, u32)>,
    /// In degrees.
    orientation: Option<u16>,
    /// Of the desktop and of the device, in percent.
    scales: Option<(u32, u32)>,
}

impl Screen {
    fn read(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let size = (reader.le32()?, reader.le32()?);
        let fits = |side: u32| (10..=10_000).contains(&side);
        self.size = Some(size).filter(|(width, height)| fits(*width) && fits(*height));
        self.orientation = Some(reader.le16()?).filter(|degrees| matches!(degrees, 0 | 90 | 180 | 270));
        let scales = (reader.le32()?, reader.le32()?);
        let (desktop, device) = scales;
        let fits = (100..=500).contains(&desktop) && matches!(device, 100 | 140 | 180);
        self.scales = Some(scales).filter(|_| fits);
        Some(())
    }

    fn log(&self, json: &mut Json<'_>) {
        if let Some((width, height)) = self.size {
            json.number("physical_width", width).number("physical_height", height);
        }
        if let Some(degrees) = self.orientation {
            json.number("desktop_orientation", degrees);
        }
        if let Some((desktop, device)) = self.scales {
            json.number("scale_factor", desktop).number("device_scale_factor", device);
        }
    }
}

/// Early capabilities of a client.
const CAPABILITIES: &[(u16, &str)] = &[
    (0x0001, "support_errinfo_pdf"),
    (0x0002, "want_32bpp_session"),
    (0x0004, "support_statusinfo_pdu"),
    (0x0008, "strong_asymmetric_keys"),
    (0x0020, "valid_connection_type"),
    (0x0040, "support_monitor_layout_pdu"),
    (0x0080, "support_netchar_autodetect"),
    (0x0100, "support_dynvc_gfx_protocol"),
    (0x0200, "support_dynamic_time_zone"),
    (0x0400, "support_heartbeat_pdu"),
];

fn version_name(version: u32) -> &'static str {
    match version {
        0x0008_0001 => "v4",
        0x0008_0004 => "v5",
        0x0008_0005 => "v10.0",
        0x0008_0006 => "v10.1",
        0x0008_0007 => "v10.2",
        0x0008_0008 => "v10.3",
        0x0008_0009 => "v10.4",
        0x0008_000a => "v10.5",
        0x0008_000b => "v10.6",
        0x0008_000c => "v10.7",
        _ => "unknown",
    }
}

fn build_name(build: u32) -> &'static str {
    match build {
        528 => "Windows NT 3.1",
        807 => "Windows NT 3.5",
        1057 => "Windows NT 3.51",
        1381 => "Windows NT 4.0",
        2195 => "Windows 2000",
        2600 => "Windows XP",
        3790 => "Windows Server 2003",
        6000 => "Windows Vista RTM",
        6001 => "Windows Vista SP1",
        6002 => "Windows Vista SP2",
        7600 => "Windows 7 RTM",
        7601 => "Windows 7 SP1",
        9200 => "Windows 8",
        9600 => "Windows 8.1",
        10240 => "Windows 10 TH1",
        10586 => "Windows 10 TH2",
        14393 => "Windows 10 RS1",
        15063 => "Windows 10 RS2",
        16299 => "Windows 10 RS3",
        17134 => "Windows 10 RS4",
        17763 => "Windows 10 RS5",
        _ => "unknown",
    }
}

fn layout_name(layout: u32) -> String {
    let name = match layout {
        0x0407 => "de-DE",
        0x0409 => "en-US",
        0x040a => "es-ES",
        0x040c => "fr-FR",
        0x0410 => "it-IT",
        0x0411 => "ja-JP",
        0x0413 => "nl-NL",
        0x0416 => "pt-BR",
        0x0419 => "ru-RU",
        0x0804 => "zh-CN",
        0x0809 => "en-GB",
        _ => "unknown",
    };
    name.to_owned()
}

/// Text of two bytes a character, up to the first zero.
fn wide(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk().map(|&pair| u16::from_le_bytes(pair)));
    let units: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
    String::from_utf16_lossy(&units)
}
