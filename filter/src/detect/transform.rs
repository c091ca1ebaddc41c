//! What is made of a buffer's bytes before they are looked at.

use weir_ids_rules::rule::Transform;

use super::check::Room;

/// Transforms in their order.
#[derive(Debug)]
pub struct Transforms {
    list: Box<[Transform]>,
}

impl Transforms {
    /// Makes them ready.
    pub fn compile(list: &[Transform]) -> Transforms {
        Transforms { list: list.into() }
    }

    /// Hands `look` what they make of `bytes`.
    pub fn apply(&self, bytes: &[u8], _room: &mut Room, look: impl FnOnce(&[u8])) {
        if self.list.is_empty() {
            look(bytes);
            return;
        }
        let mut text = bytes.to_vec();
        for transform in &self.list {
            match transform {
                Transform::DotPrefix => text.insert(0, b'.'),
                Transform::Lowercase => text.make_ascii_lowercase(),
                Transform::Uppercase => text.make_ascii_uppercase(),
                Transform::StripWhitespace => text.retain(|b| !b.is_ascii_whitespace()),
                _ => {}
            }
        }
        look(&text);
    }
}
