//! Buffers that grow in few steps. What is moved to a larger place again and again, into memory that nobody has touched
//! yet, takes longer than copying the bytes did.

/// Buffers of so many bytes are expected to become long.
const LONG: usize = 4 << 10;
/// More than as much again as there is already is never set aside.
const AHEAD: usize = 128 << 10;

/// Appends bytes. A long buffer that is full gets room for three times as much as it has, within [`AHEAD`].
pub fn extend(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let held = buffer.len();
    if held >= LONG && buffer.capacity() - held < bytes.len() {
        buffer.reserve_exact(held.max(held.saturating_mul(3).min(AHEAD)).max(bytes.len()));
    }
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_buffers_are_moved_a_few_times_only_and_waste_little() {
        let (mut buffer, mut moves, mut room) = (Vec::new(), 0, 0);
        for piece in 0..1000_u32 {
            extend(&mut buffer, &[piece as u8; 1448]);
            if buffer.capacity() != room {
                (moves, room) = (moves + 1, buffer.capacity());
            }
            let held = buffer.len();
            assert!(room <= (2 * held).max(held + AHEAD) && room <= 4 * held, "{room} for {held}");
        }
        assert!(buffer.chunks(1448).zip(0..).all(|(piece, n): (_, u32)| piece.iter().all(|&byte| byte == n as u8)));
        assert!(moves <= 9, "{moves}");
        let mut short = Vec::new();
        (0..100).for_each(|_| extend(&mut short, b"ten bytes "));
        assert!(short.capacity() <= 2048);
        extend(&mut buffer, &vec![7; 8 << 20]);
        assert_eq!(buffer.len(), 1_448_000 + (8 << 20));
    }
}
