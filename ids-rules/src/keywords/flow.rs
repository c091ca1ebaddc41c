//! What a rule asks of the packet's flow: `flow`, `flow.age` and the like, `stream_size`.

use super::{bounds, exclusive_bounds, required};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{Condition, Directed, FlowDirection, FlowState, StreamSide};

pub(super) fn flow(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    if draft.flow_given {
        return Err(Draft::conflict(option.name.range(), "'flow' is given twice"));
    }
    draft.flow_given = true;
    let mut state_given = false;
    let flow = &mut draft.rule.flow;
    for word in required(option)?.split(',').map(Piece::trim) {
        let direction = |d: FlowDirection, known: &mut Option<FlowDirection>| {
            let clash = known.is_some();
            *known = Some(d);
            if clash {
                Err(Draft::conflict(word.range(), "the flow goes one way, which is named once"))
            } else {
                Ok(())
            }
        };
        let mut state = |s: FlowState, known: &mut FlowState| {
            let clash = state_given;
            state_given = true;
            *known = s;
            if clash {
                Err(Draft::conflict(word.range(), "the flow has one state, which is named once"))
            } else {
                Ok(())
            }
        };
        match word.text.to_ascii_lowercase().as_str() {
            "to_server" | "from_client" => direction(FlowDirection::ToServer, &mut flow.direction)?,
            "to_client" | "from_server" => direction(FlowDirection::ToClient, &mut flow.direction)?,
            "established" => state(FlowState::Established, &mut flow.state)?,
            "not_established" => state(FlowState::NotEstablished, &mut flow.state)?,
            "stateless" => state(FlowState::Stateless, &mut flow.state)?,
            "only_stream" => flow.only_stream = true,
            "no_stream" => flow.no_stream = true,
            "only_frag" | "no_frag" => {
                let only = word.text == "only_frag";
                if flow.fragments.replace(only).is_some_and(|known| known != only) {
                    return Err(Draft::conflict(word.range(), "only_frag and no_frag exclude each other"));
                }
            }
            other => {
                let message = format!("'{other}' is not supported in 'flow'");
                return Err(Fault::new(Kind::UnsupportedValue, word.range(), message)
                    .subject(format!("flow:{other}"))
                    .remedy("to_server, to_client, from_server, from_client, established, not_established, stateless, only_stream, no_stream"));
            }
        }
    }
    if flow.only_stream && flow.no_stream {
        return Err(Draft::conflict(option.name.range(), "only_stream and no_stream exclude each other"));
    }
    Ok(())
}

fn directed(word: Piece<'_>) -> Result<Directed, Fault> {
    match word.text {
        "toserver" => Ok(Directed::ToServer),
        "toclient" => Ok(Directed::ToClient),
        "either" => Ok(Directed::Either),
        "both" => Ok(Directed::Both),
        _ => Err(Fault::new(Kind::Value, word.range(), "the direction is toserver, toclient, either or both")),
    }
}

/// `flow.age:>60`
pub(super) fn flow_age(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let bounds = exclusive_bounds(required(option)?, u32::MAX.into())?;
    draft.rule.conditions.push(Condition::FlowAge(bounds));
    Ok(())
}

/// `flow.pkts:DIRECTION,COMPARISON`
pub(super) fn flow_packets(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let (way, value) = directed_value(option)?;
    draft.rule.conditions.push(Condition::FlowPackets(way, exclusive_bounds(value, u32::MAX.into())?));
    Ok(())
}

/// `flow.bytes:DIRECTION,COMPARISON`
pub(super) fn flow_bytes(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let (way, value) = directed_value(option)?;
    draft.rule.conditions.push(Condition::FlowBytes(way, exclusive_bounds(value, i64::MAX as u64)?));
    Ok(())
}

fn directed_value<'t>(option: RuleOption<'t>) -> Result<(Directed, Piece<'t>), Fault> {
    let whole = required(option)?;
    let Some((way, value)) = whole.split_once(',') else {
        return Err(Fault::new(Kind::Value, whole.range(), format!("{} reads: DIRECTION,NUMBER", option.name.text)));
    };
    Ok((directed(way.trim())?, value.trim()))
}

/// `flow.pkts_toserver` and its like, which have the direction in their name.
pub(super) fn flow_counter(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = required(option)?;
    let way = if option.name.text.ends_with("toserver") { Directed::ToServer } else { Directed::ToClient };
    draft.rule.conditions.push(match option.name.text.starts_with("flow.pkts") {
        true => Condition::FlowPackets(way, exclusive_bounds(value, u32::MAX.into())?),
        false => Condition::FlowBytes(way, exclusive_bounds(value, i64::MAX as u64)?),
    });
    Ok(())
}

/// `flow.elephant:DIRECTION`
pub(super) fn flow_elephant(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let way = directed(required(option)?)?;
    draft.rule.conditions.push(Condition::FlowElephant(way));
    Ok(())
}

/// `stream_size:SIDE,COMPARISON,BYTES`
pub(super) fn stream_size(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let form = || Fault::new(Kind::Value, whole.range(), "stream_size reads: SIDE,OPERATOR,BYTES");
    let (side, rest) = whole.split_once(',').ok_or_else(form)?;
    let side = match side.trim().text {
        "server" => StreamSide::Server,
        "client" => StreamSide::Client,
        "both" => StreamSide::Both,
        "either" => StreamSide::Either,
        _ => return Err(Fault::new(Kind::Value, side.range(), "the side is server, client, both or either")),
    };
    let joined: String = rest.text.chars().filter(|c| *c != ',' && !c.is_whitespace()).collect();
    let comparison = bounds(Piece::new(&joined, rest.at), u32::MAX.into())?;
    draft.rule.conditions.push(Condition::StreamSize(side, comparison));
    Ok(())
}
