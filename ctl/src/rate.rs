//! Rates as people write and read them.

use weir_proto::v1;

use crate::failure::Failure;
use crate::table::count;

/// Bits a second as people write them: "64k", "500m", "1.5g".
pub fn bits(option: &str, text: Option<String>) -> Result<Option<u64>, Failure> {
    let Some(text) = text.filter(|text| text != "none") else { return Ok(None) };
    let wrong = || Failure::usage(format!("{option} {text}: write bits a second, as in 64000, 500m or 1.5g"));
    let unit = [('t', 1e12), ('g', 1e9), ('m', 1e6), ('k', 1e3)];
    let lower = text.to_ascii_lowercase();
    let (number, unit) =
        unit.iter().find_map(|&(letter, unit)| Some((lower.strip_suffix(letter)?, unit))).unwrap_or((&lower, 1.0));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bits = number * unit;
    if (1.0..=1e13).contains(&bits) { Ok(Some(bits.round() as u64)) } else { Err(wrong()) }
}

/// Both ways of a limit.
pub fn limits(rate: &v1::Rate) -> String {
    let part = |way: &str, bits: Option<u64>| bits.map(|bits| format!("{way} {}bit/s", count(bits)));
    [part("in", rate.in_bits), part("out", rate.out_bits)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a group is given of what there is.
pub fn share(share: &v1::Share) -> String {
    let part = |name: &str, bits: Option<u64>| bits.map(|bits| format!("{name} {}bit/s", count(bits)));
    let weight = Some(format!("weight {}", share.weight));
    let parts = [part("guarantee", share.guarantee_bits), part("peak", share.peak_bits), weight];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
