//! Names of IKE's numbers in EVE (IANA, IPSEC and IKEv2 parameters).

fn listed(names: &[(u64, &'static str)], number: u64) -> Option<&'static str> {
    names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Exchanges of version 1.
pub fn exchange(number: u8) -> Option<&'static str> {
    let names = [
        (0, "None"),
        (1, "Base"),
        (2, "Identity Protection"),
        (3, "Authentication Only"),
        (4, "Aggressive"),
        (5, "Informational"),
        (6, "Transaction (Config Mode)"),
        (32, "Quick Mode"),
        (33, "New Group Mode"),
    ];
    listed(&names, number.into())
}

/// Payloads.
pub fn payload(number: u8, major: u8) -> String {
    let one = [
        (1, "SecurityAssociation"),
        (2, "Proposal"),
        (3, "Transform"),
        (4, "KeyExchange"),
        (5, "Identification"),
        (6, "Certificate"),
        (7, "CertificateRequest"),
        (8, "Hash"),
        (9, "Signature"),
        (10, "Nonce"),
        (11, "Notification"),
        (12, "Delete"),
        (13, "VendorID"),
        (15, "SaKekPayload"),
        (20, "NatDiscovery"),
        (21, "NatOriginalAddress"),
    ];
    let two = [
        (0, "NoNextPayload"),
        (33, "SecurityAssociation"),
        (34, "KeyExchange"),
        (35, "IdentInitiator"),
        (36, "IdentResponder"),
        (37, "Certificate"),
        (38, "CertificateRequest"),
        (39, "Authentication"),
        (40, "Nonce"),
        (41, "Notify"),
        (42, "Delete"),
        (43, "VendorID"),
        (44, "TrafficSelectorInitiator"),
        (45, "TrafficSelectorResponder"),
        (46, "EncryptedAndAuthenticated"),
        (47, "Configuration"),
        (48, "ExtensibleAuthentication"),
    ];
    let name = if major == 1 { listed(&one, number.into()) } else { listed(&two, number.into()) };
    name.map_or_else(|| format!("IkePayloadType({number})"), str::to_owned)
}

/// Attributes of a transform of version 1.
pub fn attribute(number: u16) -> Option<&'static str> {
    let names = [
        (1, "alg_enc"),
        (2, "alg_hash"),
        (3, "alg_auth"),
        (4, "alg_dh"),
        (5, "sa_group_type"),
        (6, "sa_group_prime"),
        (11, "sa_life_type"),
        (12, "sa_life_duration"),
        (13, "alg_prf"),
        (14, "sa_key_length"),
        (15, "sa_field_size"),
        (16, "sa_group_order"),
    ];
    listed(&names, number.into())
}

/// What an attribute's number says.
pub fn attribute_value(attribute: u16, number: u64) -> String {
    let encryption = [
        (1, "EncDesCbc"),
        (2, "EncIdeaCbc"),
        (3, "EncBlowfishCbc"),
        (4, "EncRc5R16B64Cbc"),
        (5, "EncTripleDesCbc"),
        (6, "EncCastCbc"),
        (7, "EncAesCbc"),
        (8, "EncCamelliaCbc"),
    ];
    let hash = [
        (1, "HashMd5"),
        (2, "HashSha"),
        (3, "HashTiger"),
        (4, "HashSha2_256"),
        (5, "HashSha2_384"),
        (6, "HashSha2_512"),
    ];
    let authentication = [
        (1, "AuthPreSharedKey"),
        (2, "AuthDssSignatures"),
        (3, "AuthRsaSignatures"),
        (4, "AuthEncryptionWithRsa"),
        (5, "AuthRevEncryptionWithRsa"),
    ];
    let group = [
        (1, "GroupDescDefault768BitModp"),
        (2, "GroupDescAlternate1024BitModpGroup"),
        (5, "GroupDesc1536BitModpGroup"),
        (14, "GroupDesc2048BitModpGroup"),
        (15, "GroupDesc3072BitModpGroup"),
        (16, "GroupDesc4096BitModpGroup"),
    ];
    let life = [(1, "LifeTypeSeconds"), (2, "LifeTypeKilobytes")];
    let name = match attribute {
        1 => listed(&encryption, number),
        2 => listed(&hash, number),
        3 => listed(&authentication, number),
        4 => listed(&group, number),
        11 => listed(&life, number),
        12 | 14 => return number.to_string(),
        _ => None,
    };
    name.unwrap_or("Unknown").to_owned()
}

/// Member in EVE of a kind of transform of version 2.
pub fn transform_kind(kind: u8) -> Option<&'static str> {
    let names = [(1, "alg_enc"), (2, "alg_prf"), (3, "alg_auth"), (4, "alg_dh"), (5, "alg_esn")];
    listed(&names, kind.into())
}

/// Algorithms of version 2.
pub fn algorithm(kind: u8, id: u16) -> String {
    let encryption = [
        (2, "ENCR_DES"),
        (3, "ENCR_3DES"),
        (11, "ENCR_NULL"),
        (12, "ENCR_AES_CBC"),
        (13, "ENCR_AES_CTR"),
        (14, "ENCR_AES_CCM_8"),
        (18, "ENCR_AES_GCM_8"),
        (19, "ENCR_AES_GCM_12"),
        (20, "ENCR_AES_GCM_16"),
        (28, "ENCR_CHACHA20_POLY1305"),
    ];
    let prf = [
        (0, "PRF_NULL"),
        (1, "PRF_HMAC_MD5"),
        (2, "PRF_HMAC_SHA1"),
        (4, "PRF_AES128_XCBC"),
        (5, "PRF_HMAC_SHA2_256"),
        (6, "PRF_HMAC_SHA2_384"),
        (7, "PRF_HMAC_SHA2_512"),
    ];
    let auth = [
        (0, "NONE"),
        (1, "AUTH_HMAC_MD5_96"),
        (2, "AUTH_HMAC_SHA1_96"),
        (5, "AUTH_AES_XCBC_96"),
        (12, "AUTH_HMAC_SHA2_256_128"),
        (13, "AUTH_HMAC_SHA2_384_192"),
        (14, "AUTH_HMAC_SHA2_512_256"),
    ];
    let group = [
        (0, "None"),
        (1, "Modp768"),
        (2, "Modp1024"),
        (5, "Modp1536"),
        (14, "Modp2048"),
        (15, "Modp3072"),
        (16, "Modp4096"),
        (19, "Ecp256"),
        (20, "Ecp384"),
        (21, "Ecp521"),
        (31, "Curve25519"),
    ];
    let numbers = [(0, "NoESN"), (1, "ESN")];
    let name = match kind {
        1 => listed(&encryption, id.into()),
        2 => listed(&prf, id.into()),
        3 => listed(&auth, id.into()),
        4 => listed(&group, id.into()),
        _ => listed(&numbers, id.into()),
    };
    name.map_or_else(|| format!("Unknown({id})"), str::to_owned)
}

/// Notifications of version 2.
pub fn notification(number: u16) -> String {
    let names = [
        (1, "UNSUPPORTED_CRITICAL_PAYLOAD"),
        (4, "INVALID_IKE_SPI"),
        (5, "INVALID_MAJOR_VERSION"),
        (7, "INVALID_SYNTAX"),
        (14, "NO_PROPOSAL_CHOSEN"),
        (17, "INVALID_KE_PAYLOAD"),
        (24, "AUTHENTICATION_FAILED"),
        (16384, "INITIAL_CONTACT"),
        (16388, "NAT_DETECTION_SOURCE_IP"),
        (16389, "NAT_DETECTION_DESTINATION_IP"),
        (16390, "COOKIE"),
        (16404, "MULTIPLE_AUTH_SUPPORTED"),
        (16430, "FRAGMENTATION_SUPPORTED"),
        (16431, "SIGNATURE_HASH_ALGORITHMS"),
    ];
    listed(&names, number.into()).map_or_else(|| format!("NotifyType({number})"), str::to_owned)
}
