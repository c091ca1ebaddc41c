//! Copies of what came out before.

/// Bytes copied at once.
const CHUNK: usize = 16;

/// Copies bytes from so far back. `false`: nothing stands there.
#[inline(always)]
pub fn copy(out: &mut [u8], made: usize, distance: usize, length: usize) -> bool {
    let Some(mut from) = made.checked_sub(distance) else { return false };
    if distance >= CHUNK {
        let (mut to, end) = (made, made + length);
        // More is copied than is wanted, into the room behind.
        while to < end {
            if to + CHUNK > out.len() {
                return false;
            }
            out.copy_within(from..from + CHUNK, to);
            (from, to) = (from + CHUNK, to + CHUNK);
        }
        return true;
    }
    repeat(out, made, distance, length)
}

/// The same where what is copied is a part of the copy.
#[inline(never)]
fn repeat(out: &mut [u8], made: usize, distance: usize, length: usize) -> bool {
    let Some((before, behind)) = out.split_at_mut_checked(made) else { return false };
    let pattern = before.get(made - distance..).unwrap_or_default();
    match pattern {
        &[only] => behind.iter_mut().take(length).for_each(|slot| *slot = only),
        _ => behind.iter_mut().take(length).zip(pattern.iter().cycle()).for_each(|(slot, &byte)| *slot = byte),
    }
    true
}
