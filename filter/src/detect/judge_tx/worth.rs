//! Transactions that are there as a whole: whether any rule is worth judging on one.

use super::{Scratch, TxTable, TxView, VALUES, Value, fresh_value};

/// Whether a rule of the table is worth judging on a transaction that is complete and has nothing odd.
pub fn may_take(table: &TxTable, view: &TxView<'_>, scratch: &mut Scratch) -> bool {
    let Scratch { work, room, .. } = scratch;
    work.holds = None;
    let mut found = !table.always.is_empty();
    for lane in &table.lanes {
        for nth in 0..VALUES {
            match fresh_value(view, lane.buffer, nth, work) {
                Value::Missing => break,
                Value::Nothing => {}
                Value::Bytes(bytes) => {
                    room.work += 1 + bytes.len() as u64 / 64;
                    lane.transforms.apply(bytes, room, |text| found |= lane.lane.finds(text));
                }
            }
        }
    }
    found
}
