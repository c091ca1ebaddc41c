//! Options: from a file and from the command line, and what they mean for rules and parsers.

use std::collections::BTreeMap;
use std::fs;

use weir_filter::app;
use weir_filter::capture::{Options, size};
use weir_filter::detect::ProgramSettings;
use weir_ids_rules::{AppProtocol, Variables, classification};

use crate::arguments::Arguments;
use crate::run::Failure;

/// Reads the options of `--conf` and `--set`.
///
/// # Errors
/// Where the file cannot be read or is no JSON object.
pub fn read(arguments: &Arguments) -> Result<Options, Failure> {
    let mut options = BTreeMap::new();
    if let Some(path) = &arguments.conf {
        let text = fs::read_to_string(path).map_err(|e| Failure::file(path, &e))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| Failure::usage(format!("{}: {e}", path.display())))?;
        let folder = path.parent().map(|p| p.display().to_string()).filter(|p| !p.is_empty());
        let folder = folder.unwrap_or_else(|| ".".to_owned());
        let named = json.get("options").or(Some(&json)).and_then(serde_json::Value::as_object);
        for (name, value) in named.into_iter().flatten() {
            let text = match value {
                serde_json::Value::String(text) => text.replace("${TEST_DIR}", &folder),
                serde_json::Value::Number(_) | serde_json::Value::Bool(_) => value.to_string(),
                serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => continue,
            };
            options.insert(name.clone(), text);
        }
    }
    options.extend(arguments.set.iter().cloned());
    Ok(Options(options))
}

/// The rule language's variables. Unless they are set, home is the private networks and the rest is outside.
pub fn variables(options: &Options) -> Variables {
    let mut variables = Variables::default();
    variables.addresses.insert("EXTERNAL_NET".to_owned(), "!$HOME_NET".to_owned());
    for (name, value) in &options.0 {
        if let Some(name) = name.strip_prefix("vars.address-groups.") {
            variables.addresses.insert(name.to_owned(), value.clone());
        } else if let Some(name) = name.strip_prefix("vars.port-groups.") {
            variables.ports.insert(name.to_owned(), value.clone());
        }
    }
    // Without the file the customary classes hold.
    let classes = options.get("classification-file").and_then(|path| fs::read_to_string(path).ok());
    if let Some(text) = classes {
        variables.classes = std::sync::Arc::new(classification::parse(&text).0);
    }
    variables
}

/// How rules are put in order.
pub fn program(options: &Options) -> ProgramSettings {
    let mut settings = ProgramSettings::default();
    if let Some(text) = options.get("action-order") {
        let known = ["pass", "drop", "reject", "alert"];
        let named = text.split(',').filter_map(|word| known.iter().find(|name| **name == word.trim()).copied());
        let mut order: Vec<&'static str> = named.collect();
        order.extend(known.iter().filter(|name| !order.contains(name)).copied().collect::<Vec<_>>());
        if let Ok(order) = order.try_into() {
            settings.action_order = order;
        }
    }
    settings
}

/// Bytes of a file that `filestore` keeps: 10 MiB unless options say otherwise.
pub fn store_depth(options: &Options) -> usize {
    let depth = options.size("outputs.file-store.stream-depth", 10 << 20);
    usize::try_from(depth).unwrap_or(usize::MAX).max(1)
}

/// The most transactions of a flow that options may ask for.
const TRANSACTIONS_MAX: usize = 1 << 16;

/// What the application parsers are to do.
pub fn app(options: &Options, ips: bool) -> app::Settings {
    let http = "app-layer.protocols.http.libhtp.default-config";
    let defaults = app::Settings::default();
    let of = |name: &str, default: u64| options.get(&format!("{http}.{name}")).and_then(size).unwrap_or(default);
    let off = |protocol: &AppProtocol| {
        let name = protocol.name();
        let key = format!("app-layer.protocols.{name}.enabled");
        matches!(options.get(&key), Some("no" | "false" | "off"))
    };
    let (mut more_ports, mut disabled_over, mut transactions_by) = (Vec::new(), Vec::new(), Vec::new());
    for protocol in AppProtocol::ALL {
        let of = format!("app-layer.protocols.{}", protocol.name());
        let within = if *protocol == AppProtocol::Http1 { http } else { of.as_str() };
        let number = options.get(&format!("{within}.max-tx")).and_then(|text| text.trim().parse().ok());
        transactions_by.extend(number.map(|number: usize| (*protocol, number.clamp(1, TRANSACTIONS_MAX))));
        for (over, number) in [("", 0), (".tcp", 6), (".udp", 17)] {
            let ends = ["dp", "sp"].map(|end| options.ports(&format!("{of}{over}.detection-ports.{end}")));
            more_ports.extend(ends.into_iter().flatten().flatten().map(|port| (*protocol, port)));
            if number > 0 && !options.flag(&format!("{of}{over}.enabled"), true) {
                disabled_over.push((*protocol, number));
            }
        }
    }
    let mut named = options.0.clone();
    named.insert("mode".to_owned(), if ips { "ips" } else { "ids" }.to_owned());
    app::Settings {
        http: app::http1::Options::from_named(&named),
        http_servers: app::http1::Servers::from_named(&named),
        request_body_limit: of("request-body-limit", defaults.request_body_limit),
        response_body_limit: of("response-body-limit", defaults.response_body_limit),
        decompression_layers: of("response-body-decompress-layer-limit", u64::from(defaults.decompression_layers))
            .min(255) as u8,
        disabled: AppProtocol::ALL.iter().copied().filter(off).collect(),
        disabled_over,
        more_ports,
        transactions_by,
        named,
        ..defaults
    }
}
