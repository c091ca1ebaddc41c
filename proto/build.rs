//! Compiles the messages with protox, so that no `protoc` is needed, and keeps their descriptors for reflection.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 23] = [
    "types",
    "switches",
    "switching",
    "mirrors",
    "ports",
    "routers",
    "services",
    "appliances",
    "guard",
    "policies",
    "shadow",
    "quotas",
    "segments",
    "rule_sets",
    "flows",
    "stats",
    "inspection",
    "events",
    "config",
    "trace",
    "content",
    "virus",
    "workers",
];

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = FILES.iter().map(|name| format!("proto/weir/v1/{name}.proto")).collect();
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("weir_descriptor.bin"), compiler.encode_file_descriptor_set())?;
    let labelled = [
        ("SwitchSpec.default_action", "action"),
        ("SwitchSpec.unknown_unicast", "flood"),
        ("SwitchSpec.broadcast", "flood"),
        ("SwitchSpec.multicast", "flood"),
        ("RouterSpec.default_action", "action"),
        ("ApplianceSpec.default_action", "action"),
        ("RouterStatus.applied_default", "action"),
        ("RouteSpec.action", "route_action"),
        ("Rule.action", "action"),
        ("VhostUser.role", "vhost_role"),
        ("VhostUser.profile", "vhost_profile"),
        ("Xdp.mode", "xdp_mode"),
        ("PortSpec.lldp", "lldp"),
        ("MirrorSpec.direction", "mirror_direction"),
        ("PortSpec.multicast_router", "multicast_router"),
    ];
    let mut builder = tonic_prost_build::configure()
        .build_transport(false)
        .message_attribute(".", "#[derive(serde::Serialize)]")
        .type_attribute(
            "weir.v1.PortSpec.attachment",
            "#[derive(serde::Serialize)] #[serde(rename_all = \"snake_case\")]",
        );
    builder = builder.field_attribute("weir.v1.PortSpec.attachment", "#[serde(flatten)]");
    builder = builder
        .type_attribute("weir.v1.MirrorSpec.to", "#[derive(serde::Serialize)] #[serde(rename_all = \"snake_case\")]");
    builder = builder.field_attribute("weir.v1.MirrorSpec.to", "#[serde(flatten)]");
    for (field, label) in labelled {
        let attribute = format!("#[serde(serialize_with = \"crate::labels::{label}\")]");
        builder = builder.field_attribute(format!("weir.v1.{field}"), attribute);
    }
    builder.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
