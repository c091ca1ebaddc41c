//! `byte_test`, `byte_jump`, `byte_extract`, `byte_math`, `base64_decode`: numbers and text at a place of the buffer.

use super::{number, required, value_or_variable};
use crate::diagnostic::{Fault, Kind};
use crate::lexer::{Piece, RuleOption};
use crate::limits;
use crate::parser::Draft;
use crate::rule::{
    Asn1, Base64Decode, ByteExtract, ByteJump, ByteMath, ByteOperator, ByteOrder, ByteTest, Match, MathOperator,
    Number, Value,
};

const REACH: i64 = limits::REACH as i64;

/// What all of them say of the number they read.
#[derive(Default)]
struct Form {
    relative: bool,
    string: bool,
    base: Option<Number>,
    order: Option<ByteOrder>,
    bitmask: Option<u32>,
}

impl Form {
    /// Takes one word; `false` where it is none of these. A word given twice contradicts itself.
    fn take(&mut self, word: &str) -> Result<bool, ()> {
        fn once<T>(slot: &mut Option<T>, value: T) -> Result<bool, ()> {
            if slot.replace(value).is_some() { Err(()) } else { Ok(true) }
        }
        fn once_flag(slot: &mut bool) -> Result<bool, ()> {
            if std::mem::replace(slot, true) { Err(()) } else { Ok(true) }
        }
        match word {
            "relative" => once_flag(&mut self.relative),
            "string" => once_flag(&mut self.string),
            "hex" => once(&mut self.base, Number::Hex),
            "dec" => once(&mut self.base, Number::Decimal),
            "oct" => once(&mut self.base, Number::Octal),
            "big" => once(&mut self.order, ByteOrder::Big),
            "little" => once(&mut self.order, ByteOrder::Little),
            "dce" => once(&mut self.order, ByteOrder::Dce),
            _ => Ok(false),
        }
    }

    fn number(&self, at: Piece<'_>) -> Result<Number, Fault> {
        match (self.string, self.base) {
            (true, _) if self.order == Some(ByteOrder::Dce) => {
                Err(Draft::conflict(at.range(), "'dce' is an order of bytes: a number in letters has none"))
            }
            (true, base) => Ok(base.unwrap_or(Number::Decimal)),
            (false, None) => Ok(Number::Binary(self.order.unwrap_or_default())),
            (false, Some(_)) => Err(Fault::new(Kind::Value, at.range(), "hex, dec and oct need 'string'")),
        }
    }
}

fn words(value: Piece<'_>) -> Vec<Piece<'_>> {
    value.split(',').map(Piece::trim).collect()
}

fn short(option: RuleOption<'_>, form: &str) -> Fault {
    let at = option.value.map_or(option.name.range(), Piece::range);
    Fault::new(Kind::Value, at, format!("'{}' is not complete", option.name.text)).remedy(form)
}

fn twice(word: Piece<'_>) -> Fault {
    Draft::conflict(word.range(), format!("'{}' contradicts a word before it", word.text))
}

fn unknown(word: Piece<'_>, option: RuleOption<'_>) -> Fault {
    let message = format!("'{}' is not known to '{}'", word.text, option.name.text);
    Fault::new(Kind::Value, word.range(), message).subject(format!("{}:{}", option.name.text, word.text))
}

/// The rest of a word behind its key: `post_offset -4`, `bitmask 0xff`.
fn keyed<'t>(word: Piece<'t>, key: &str) -> Option<Piece<'t>> {
    let rest = word.strip_prefix(key)?;
    rest.text.starts_with(char::is_whitespace).then(|| rest.trim())
}

fn bitmask(word: Piece<'_>) -> Result<Option<u32>, Fault> {
    let Some(text) = keyed(word, "bitmask") else { return Ok(None) };
    let digits = text.text.strip_prefix("0x").or_else(|| text.text.strip_prefix("0X")).unwrap_or(text.text);
    match u32::from_str_radix(digits, 16) {
        Ok(mask) if mask != 0 => Ok(Some(mask)),
        Ok(_) | Err(_) => Err(Fault::new(Kind::Value, text.range(), "a bitmask is a hexadecimal number, not 0")),
    }
}

/// How many bytes may hold a number of this form.
fn check_length(bytes: Value, number: Number, at: Piece<'_>, zero: bool) -> Result<(), Fault> {
    let most = match number {
        Number::Binary(_) => 8,
        Number::Hex => 14,
        Number::Decimal => 20,
        Number::Octal => 23,
    };
    match bytes {
        Value::Number(n) if n > most || n < i64::from(!zero) => {
            Err(Fault::new(Kind::Value, at.range(), format!("a number of this form has 1 to {most} bytes")))
        }
        Value::Number(_) | Value::Variable(_) => Ok(()),
    }
}

pub(super) fn byte_test(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let words = words(whole);
    let &[bytes_at, operator, value, offset, ref rest @ ..] = words.as_slice() else {
        return Err(short(option, "byte_test:BYTES,OPERATOR,VALUE,OFFSET[,relative]..."));
    };
    let (negated, operator) = match operator.strip_prefix("!") {
        Some(operator) => (true, operator.trim()),
        None => (false, operator),
    };
    let operator = match operator.text {
        "<" => ByteOperator::Less,
        ">" => ByteOperator::Greater,
        "=" | "" => ByteOperator::Equal,
        "<=" => ByteOperator::LessOrEqual,
        ">=" => ByteOperator::GreaterOrEqual,
        "&" => ByteOperator::And,
        "^" => ByteOperator::Xor,
        _ => return Err(Fault::new(Kind::Value, operator.range(), "the operator is one of < > = <= >= & ^")),
    };
    let mut form = Form::default();
    for &word in rest {
        if let Some(mask) = bitmask(word)? {
            form.bitmask = Some(mask);
        } else if !form.take(word.text).map_err(|()| twice(word))? {
            return Err(unknown(word, option));
        }
    }
    let bytes = value_or_variable(draft, bytes_at, 0, 23)?;
    let test = ByteTest {
        bytes,
        negated,
        operator,
        value: value_or_variable(draft, value, 0, i64::MAX)?,
        offset: value_or_variable(draft, offset, -REACH, REACH)?,
        relative: form.relative,
        number: form.number(whole)?,
        bitmask: form.bitmask,
    };
    // As text, 0 bytes are as many as there are digits.
    check_length(bytes, test.number, bytes_at, form.string)?;
    check_mask(bytes, test.number, test.bitmask, whole)?;
    check_dce(draft, test.number, whole)?;
    draft.add_relative(Match::ByteTest(test), whole)
}

/// A mask needs room in the number it masks.
fn check_mask(bytes: Value, number: Number, mask: Option<u32>, at: Piece<'_>) -> Result<(), Fault> {
    match (bytes, number, mask) {
        (Value::Number(n), Number::Binary(_), Some(mask)) if n < 4 && mask >> (8 * n.clamp(0, 3)) != 0 => {
            Err(Fault::new(Kind::Value, at.range(), format!("the bitmask has more than {n} bytes")))
        }
        _ => Ok(()),
    }
}

/// The order of DCE/RPC is known in DCE/RPC only.
fn check_dce(draft: &mut Draft, number: Number, at: Piece<'_>) -> Result<(), Fault> {
    if number != Number::Binary(ByteOrder::Dce) {
        return Ok(());
    }
    let option = RuleOption { name: at, value: None };
    super::app::needs_protocol(draft, &[crate::AppProtocol::Dcerpc, crate::AppProtocol::Smb], option)
}

pub(super) fn byte_jump(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let words = words(whole);
    let &[bytes_at, offset, ref rest @ ..] = words.as_slice() else {
        return Err(short(option, "byte_jump:BYTES,OFFSET[,relative]..."));
    };
    let bytes = value_or_variable(draft, bytes_at, 0, 23)?;
    let mut jump = ByteJump {
        bytes,
        offset: value_or_variable(draft, offset, -REACH, REACH)?,
        relative: false,
        number: Number::Binary(ByteOrder::Big),
        bitmask: None,
        multiplier: 1,
        align: false,
        from_beginning: false,
        from_end: false,
        post_offset: Value::Number(0),
    };
    let mut form = Form::default();
    for &word in rest {
        if let Some(mask) = bitmask(word)? {
            form.bitmask = Some(mask);
        } else if let Some(text) = keyed(word, "multiplier") {
            jump.multiplier = number(text, 1, REACH)? as u32;
        } else if let Some(text) = keyed(word, "post_offset") {
            jump.post_offset = value_or_variable(draft, text, -REACH, REACH)?;
        } else {
            match word.text {
                "align" => jump.align = true,
                "from_beginning" => jump.from_beginning = true,
                "from_end" => jump.from_end = true,
                _ if form.take(word.text).map_err(|()| twice(word))? => {}
                _ => return Err(unknown(word, option)),
            }
        }
    }
    if jump.from_beginning && jump.from_end {
        return Err(Draft::conflict(whole.range(), "'from_beginning' and 'from_end' exclude each other"));
    }
    jump.relative = form.relative;
    jump.number = form.number(whole)?;
    jump.bitmask = form.bitmask;
    check_length(bytes, jump.number, bytes_at, true)?;
    check_mask(bytes, jump.number, jump.bitmask, whole)?;
    check_dce(draft, jump.number, whole)?;
    draft.add_relative(Match::ByteJump(jump), whole)
}

pub(super) fn byte_extract(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let words = words(whole);
    let &[bytes_at, offset, name, ref rest @ ..] = words.as_slice() else {
        return Err(short(option, "byte_extract:BYTES,OFFSET,NAME[,relative]..."));
    };
    let (mut form, mut multiplier, mut align) = (Form::default(), 1, None);
    for &word in rest {
        if let Some(text) = keyed(word, "multiplier") {
            multiplier = number(text, 1, REACH)? as u32;
        } else if let Some(text) = keyed(word, "align") {
            align = match number(text, 2, 4)? {
                n @ (2 | 4) => Some(n as u8),
                _ => return Err(Fault::new(Kind::Value, text.range(), "'align' takes 2 or 4")),
            };
        } else if word.text == "slice" || !form.take(word.text).map_err(|()| twice(word))? {
            return Err(unknown(word, option));
        }
    }
    let bytes = number(bytes_at, 1, 23)?;
    let offset = number(offset, -REACH, REACH)? as i32;
    let number = form.number(whole)?;
    check_length(Value::Number(bytes), number, bytes_at, false)?;
    check_dce(draft, number, whole)?;
    let variable = draft.new_variable(name)?;
    let extract =
        ByteExtract { bytes: bytes as u8, offset, relative: form.relative, number, variable, multiplier, align };
    draft.add_relative(Match::ByteExtract(extract), whole)
}

/// `byte_math:bytes N, offset N, oper O, rvalue V, result NAME[, relative]...`, in any order.
pub(super) fn byte_math(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let (mut bytes, mut offset, mut operator, mut value, mut result) = (None, None, None, None, None);
    let mut form = Form::default();
    let clash = |word: Piece<'_>, known: bool| if known { Err(twice(word)) } else { Ok(()) };
    for word in words(whole) {
        let (key, rest) = word.text.split_once(char::is_whitespace).unwrap_or((word.text, ""));
        let rest = Piece::new(rest, word.at + word.text.len() - rest.len()).trim();
        match key {
            "bytes" => {
                clash(word, bytes.is_some())?;
                bytes = Some((value_or_variable(draft, rest, 1, 23)?, rest));
            }
            "offset" => {
                clash(word, offset.is_some())?;
                offset = Some(number(rest, -REACH, REACH)? as i32);
            }
            "oper" => {
                clash(word, operator.is_some())?;
                operator = Some(math_operator(rest)?);
            }
            "rvalue" => {
                clash(word, value.is_some())?;
                value = Some(value_or_variable(draft, rest, 0, u32::MAX.into())?);
            }
            "result" => {
                clash(word, result.is_some())?;
                result = Some(rest);
            }
            "endian" if form.take(rest.text).map_err(|()| twice(word))? && form.base.is_none() => {}
            "dce" => form.order = Some(ByteOrder::Dce),
            "string" if !rest.text.is_empty() => {
                form.string = true;
                if !form.take(rest.text).map_err(|()| twice(word))? {
                    return Err(unknown(word, option));
                }
            }
            "bitmask" => form.bitmask = bitmask(word)?,
            _ if rest.text.is_empty() && form.take(key).map_err(|()| twice(word))? => {}
            _ => return Err(unknown(word, option)),
        }
    }
    let (Some((bytes, bytes_at)), Some(offset), Some(operator), Some(value), Some(result)) =
        (bytes, offset, operator, value, result)
    else {
        return Err(short(option, "byte_math:bytes N, offset N, oper +|-|*|/|<<|>>, rvalue N, result NAME"));
    };
    if value == Value::Number(0) && operator == MathOperator::Divide {
        return Err(Fault::new(Kind::Value, whole.range(), "nothing can be divided by 0"));
    }
    let number = form.number(whole)?;
    if matches!(operator, MathOperator::ShiftLeft | MathOperator::ShiftRight) {
        check_length(bytes, number, bytes_at, false)?;
    }
    check_length(bytes, number, bytes_at, false)?;
    check_dce(draft, number, whole)?;
    let variable = draft.new_variable(result)?;
    let relative = form.relative;
    let math = ByteMath { bytes, offset, relative, number, bitmask: form.bitmask, operator, value, variable };
    draft.add_relative(Match::ByteMath(math), whole)
}

fn math_operator(text: Piece<'_>) -> Result<MathOperator, Fault> {
    Ok(match text.text {
        "+" => MathOperator::Add,
        "-" => MathOperator::Subtract,
        "*" => MathOperator::Multiply,
        "/" => MathOperator::Divide,
        "<<" => MathOperator::ShiftLeft,
        ">>" => MathOperator::ShiftRight,
        _ => return Err(Fault::new(Kind::Value, text.range(), "the operator is one of + - * / << >>")),
    })
}

/// `base64_decode[:bytes N][,offset N][,relative]`.
pub(super) fn base64_decode(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let place = option.value.unwrap_or(option.name);
    let mut decode = Base64Decode { bytes: None, offset: 0, relative: false, matches: Vec::new() };
    for word in option.value.iter().flat_map(|value| value.split(',')).map(Piece::trim) {
        if let Some(text) = keyed(word, "bytes") {
            decode.bytes = Some(number(text, 1, REACH)? as u32);
        } else if let Some(text) = keyed(word, "offset") {
            decode.offset = number(text, 0, REACH)? as u32;
        } else if word.text == "relative" {
            decode.relative = true;
        } else if !word.text.is_empty() {
            return Err(unknown(word, option));
        }
    }
    draft.add_relative(Match::Base64(decode), place)
}

/// `asn1:[bitstring_overflow][, double_overflow][, oversize_length N][, absolute_offset N|relative_offset N]`
pub(super) fn asn1(draft: &mut Draft, option: RuleOption<'_>) -> Result<(), Fault> {
    let whole = required(option)?;
    let mut asn1 = Asn1::default();
    let mut placed = false;
    let mut words = whole.text.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
    let bad = || {
        Fault::new(Kind::Value, whole.range(), "this is not what 'asn1' reads")
            .remedy("bitstring_overflow, double_overflow, oversize_length N, absolute_offset N, relative_offset N")
    };
    while let Some(word) = words.next() {
        let mut next = |min: i64| {
            let digits = words.next().ok_or_else(bad)?;
            number(Piece::new(digits, whole.at), min, REACH).map_err(|_| bad())
        };
        match word {
            "bitstring_overflow" => asn1.bits = true,
            "double_overflow" => asn1.double = true,
            "oversize_length" => asn1.oversize = Some(next(0)? as u32),
            "absolute_offset" | "relative_offset" if !placed => {
                placed = true;
                asn1.relative = word == "relative_offset";
                asn1.offset = next(if asn1.relative { -REACH } else { 0 })? as i32;
            }
            _ => return Err(bad()),
        }
    }
    if !asn1.bits && !asn1.double && asn1.oversize.is_none() {
        return Err(bad());
    }
    draft.add_match(Match::Asn1(asn1), whole)
}
