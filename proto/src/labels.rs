//! Enums as the short labels that people write: `ACTION_ALLOW` is "allow".

use serde::Serializer;

use crate::v1;

macro_rules! labels {
    ($( $name:ident: $kind:ident, $prefix:literal; )+) => {
        $(
            /// The value's name without its type's name, in lower case with hyphens; "unspecified" for numbers that
            /// this version does not know.
            pub(crate) fn $name<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                let value = v1::$kind::try_from(*value).unwrap_or_default();
                serializer.serialize_str(&label(value.as_str_name(), $prefix))
            }
        )+
    };
}

labels! {
    action: Action, "ACTION_";
    flood: Flood, "FLOOD_";
    route_action: RouteAction, "ROUTE_ACTION_";
    vhost_role: VhostRole, "VHOST_ROLE_";
    vhost_profile: VhostProfile, "VHOST_PROFILE_";
    xdp_mode: XdpMode, "XDP_MODE_";
    lldp: Lldp, "LLDP_";
    mirror_direction: MirrorDirection, "MIRROR_DIRECTION_";
    multicast_router: MulticastRouter, "MULTICAST_ROUTER_";
}

fn label(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_serialise_as_their_labels() {
        assert_eq!(label(v1::Action::Reject.as_str_name(), "ACTION_"), "reject");
        assert_eq!(label(v1::XdpMode::ZeroCopy.as_str_name(), "XDP_MODE_"), "zero-copy");
    }
}
