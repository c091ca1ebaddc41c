//! What EVE shows of a message.

use super::asked::category;
use super::message::Message;
use crate::inspect::Direction;
use crate::json::Json;

/// Writes the members of a request, or of a response.
pub(super) fn write(message: &Message, way: Direction, json: &mut Json<'_>) {
    let function = message.function & 0x7f;
    json.number("transaction_id", message.id).number("protocol_id", message.protocol);
    json.number("unit_id", message.unit).number("function_raw", message.function);
    json.text("function_code", function_name(function)).text("access_type", access_name(function));
    json.text("category", category(function).name()).text("error_flags", &faults(message, way));
    if message.function & 0x80 != 0 {
        if let Some(&code) = message.data.first() {
            json.nested("exception", |json| {
                json.number("raw", code).text("code", exception_name(code));
            });
        }
        return;
    }
    match message.function {
        8 | 43 => coded(message, json),
        1..=4 | 23 if way == Direction::Reply => {
            json.nested("read", |json| bytes(json, message.data.get(1..).unwrap_or_default()));
        }
        1..=6 | 15 | 16 | 22 | 23 => places(message, way, json),
        _ if message.data.is_empty() => {}
        _ => bytes(json, &message.data),
    }
}

/// Functions with a code of their own before their data: diagnostics and the encapsulated interface.
fn coded(message: &Message, json: &mut Json<'_>) {
    let Some(raw) = message.subfunction() else { return };
    let (name, code, length) = match message.function {
        8 => ("diagnostic", diagnostic_name(raw), 2),
        _ => ("mei", interface_name(raw), 1),
    };
    json.nested(name, |json| {
        json.number("raw", raw).text("code", code);
        bytes(json, message.data.get(length..).unwrap_or_default());
    });
}

/// What is read, and what is written.
fn places(message: &Message, way: Direction, json: &mut Json<'_>) {
    if let Some(span) = message.reads() {
        json.nested("read", |json| {
            json.number("address", span.address).number("quantity", span.count);
        });
    }
    let Some(span) = message.writes() else { return };
    json.nested("write", |json| {
        json.number("address", span.address);
        match message.function {
            22 => {
                json.number("and_mask", message.word(2).unwrap_or(0)).number("or_mask", message.word(4).unwrap_or(0));
            }
            15 | 16 | 23 if way == Direction::Original => {
                json.number("quantity", span.count);
                bytes(json, message.data.get(if message.function == 23 { 9 } else { 5 }..).unwrap_or_default());
            }
            _ => {
                json.number("data", message.word(2).unwrap_or(0));
            }
        }
    });
}

/// Bytes as text: what is printable as it stands, the rest in hexadecimal.
fn bytes(json: &mut Json<'_>, data: &[u8]) {
    json.text("data", &data.escape_ascii().to_string());
}

/// What is wrong with a message, as names with bars between them.
fn faults(message: &Message, way: Direction) -> String {
    let mut found = Vec::new();
    for odd in message.oddities(way) {
        found.push(match odd {
            "modbus.invalid_protocol_id" => "PROTO_ID",
            "modbus.invalid_function_code" => "FUNC_CODE",
            "modbus.invalid_exception_code" => "EXC_CODE",
            _ => "DATA_VALUE",
        });
    }
    if found.is_empty() { "NONE".to_owned() } else { found.join(" | ") }
}

fn function_name(function: u8) -> &'static str {
    match function {
        1 => "RdCoils",
        2 => "RdDiscreteInputs",
        3 => "RdHoldRegs",
        4 => "RdInputRegs",
        5 => "WrSingleCoil",
        6 => "WrSingleReg",
        7 => "RdExcStatus",
        8 => "Diagnostic",
        9 => "Program484",
        10 => "Poll484",
        11 => "GetCommEventCtr",
        12 => "GetCommEventLog",
        13 => "ProgramController",
        14 => "PollController",
        15 => "WrMultCoils",
        16 => "WrMultRegs",
        17 => "ReportServerID",
        18 => "Program884",
        19 => "ResetCommLink",
        20 => "RdFileRec",
        21 => "WrFileRec",
        22 => "MaskWrReg",
        23 => "RdWrMultRegs",
        24 => "RdFIFOQueue",
        43 => "MEI",
        _ => "Unknown",
    }
}

fn access_name(function: u8) -> &'static str {
    match function {
        1 => "READ | COILS",
        2 => "READ | DISCRETES",
        3 => "READ | HOLDING",
        4 => "READ | INPUT",
        5 => "WRITE | COILS | WRITE_SINGLE",
        6 | 22 => "WRITE | HOLDING | WRITE_SINGLE",
        15 => "WRITE | COILS | WRITE_MULTIPLE",
        16 => "WRITE | HOLDING | WRITE_MULTIPLE",
        23 => "READ | WRITE | HOLDING | WRITE_MULTIPLE",
        _ => "NONE",
    }
}

/// Modbus Application Protocol 1.1b3, 7.
fn exception_name(code: u8) -> &'static str {
    match code {
        1 => "IllegalFunction",
        2 => "IllegalDataAddr",
        3 => "IllegalDataValue",
        4 => "ServerDeviceFail",
        5 => "Ack",
        6 => "ServerDeviceBusy",
        7 => "NegAck",
        8 => "MemParityErr",
        10 => "GatewayPathUnavailable",
        11 => "GatewayTargetFailToResp",
        _ => "Unknown",
    }
}

/// Modbus Application Protocol 1.1b3, 6.8.
fn diagnostic_name(code: u16) -> &'static str {
    match code {
        0 => "RetQueryData",
        1 => "RestartCommOpt",
        2 => "RetDiagReg",
        3 => "ChangeInputDelimiter",
        4 => "ForceListenOnlyMode",
        10 => "ClearCtrDiagReg",
        11 => "RetBusMsgCount",
        12 => "RetBusCommErrCount",
        13 => "RetBusExcErrCount",
        14 => "RetServerMsgCount",
        15 => "RetServerNoRespCount",
        16 => "RetServerNAKCount",
        17 => "RetServerBusyCount",
        18 => "RetBusCharOverrunCount",
        19 => "RetOverrunErrCount",
        20 => "ClearOverrunCounterFlag",
        21 => "GetClearPlusStats",
        _ => "Reserved",
    }
}

/// Modbus Application Protocol 1.1b3, 6.19.
fn interface_name(code: u16) -> &'static str {
    match code {
        13 => "CANOpenGenReqResp",
        14 => "RdDevId",
        _ => "Reserved",
    }
}
