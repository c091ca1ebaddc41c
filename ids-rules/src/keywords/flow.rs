//! What a rule asks of the packet's flow: `flow`, `flowbits`.

use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::parser::Draft;
use crate::rule::{FlowBit, FlowDirection, FlowState};

pub(super) fn flow(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    if draft.flow_given {
        return Err(Draft::conflict(option.name.range(), "'flow' is given twice"));
    }
    draft.flow_given = true;
    let mut state_given = false;
    let flow = &mut draft.rule.flow;
    for word in option.required()?.split(',').map(Piece::trim) {
        let direction = |d: FlowDirection, known: &mut Option<FlowDirection>| {
            let clash = known.is_some_and(|k| k != d);
            *known = Some(d);
            if clash { Err(Draft::conflict(word.range(), "the flow cannot go both ways")) } else { Ok(()) }
        };
        let mut state = |s: FlowState, known: &mut FlowState| {
            let clash = state_given && *known != s;
            state_given = true;
            *known = s;
            if clash { Err(Draft::conflict(word.range(), "this contradicts the state named before")) } else { Ok(()) }
        };
        match word.text {
            "to_server" | "from_client" => direction(FlowDirection::ToServer, &mut flow.direction)?,
            "to_client" | "from_server" => direction(FlowDirection::ToClient, &mut flow.direction)?,
            "established" => state(FlowState::Established, &mut flow.state)?,
            "not_established" => state(FlowState::NotEstablished, &mut flow.state)?,
            "stateless" => state(FlowState::Any, &mut flow.state)?,
            "only_stream" => flow.only_stream = true,
            "no_stream" => flow.no_stream = true,
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

pub(super) fn flowbits(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let value = option.required()?;
    if value.text == "noalert" {
        draft.rule.noalert = true;
        return Ok(());
    }
    let Some((command, names)) = value.split_once(',') else {
        return Err(Fault::new(Kind::Value, value.range(), "'flowbits' needs the name of a bit"));
    };
    let names = names.trim();
    let name = || -> Result<String, Fault> {
        let bad = names.text.is_empty() || names.text.contains(|c: char| c.is_whitespace() || c == ',' || c == '|');
        if bad {
            Err(Fault::new(Kind::Value, names.range(), "this is not the name of one bit"))
        } else {
            Ok(names.text.to_owned())
        }
    };
    let any_of = || -> Result<Vec<String>, Fault> {
        let list: Vec<String> = names.split('|').map(|n| n.trim().text.to_owned()).collect();
        let bad = list.iter().any(|n| n.is_empty() || n.contains(|c: char| c.is_whitespace() || c == ','));
        if bad { Err(Fault::new(Kind::Value, names.range(), "this is not a list of bits")) } else { Ok(list) }
    };
    let bit = match command.trim().text {
        "set" => FlowBit::Set(name()?),
        "unset" => FlowBit::Unset(name()?),
        "toggle" => FlowBit::Toggle(name()?),
        "isset" => FlowBit::IsSet(any_of()?),
        "isnotset" => FlowBit::IsNotSet(any_of()?),
        other => {
            let message = format!("'{other}' is not supported in 'flowbits'");
            return Err(Fault::new(Kind::UnsupportedValue, command.range(), message)
                .subject(format!("flowbits:{other}"))
                .remedy("set, unset, toggle, isset, isnotset, noalert"));
        }
    };
    draft.rule.flowbits.push(bit);
    Ok(())
}
