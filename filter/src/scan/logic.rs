//! The condition of a logical signature: `(0&1)|2`, `(0|1|2)>1`, `3=2`, over how often each part was found.
//!
//! Limits: [`NODES`] operators and [`DEPTH`] nested parentheses.

const NODES: usize = 256;
const DEPTH: usize = 16;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Logic {
    /// This part, found as often as the count asks.
    Part(usize, Count),
    /// All of them.
    And(Vec<Logic>),
    /// One of them; with a count: their finds together.
    Or(Vec<Logic>, Count),
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// At all.
    Some,
    /// So often.
    Equal(u32),
    /// More often.
    More(u32),
    /// Less often.
    Less(u32),
}

impl Count {
    fn takes(self, count: u32) -> bool {
        match self {
            Count::Some => count > 0,
            Count::Equal(wanted) => count == wanted,
            Count::More(than) => count > than,
            Count::Less(than) => count < than,
        }
    }
}

impl Logic {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is not understood.
    pub fn parse(text: &str, parts: usize) -> Result<Logic, &'static str> {
        let mut reader = Reader { rest: text.as_bytes(), nodes: 0, parts };
        let logic = reader.either(0)?;
        if reader.rest.is_empty() { Ok(logic) } else { Err("an ill-formed condition") }
    }

    /// Once true, it stays true however much more is found.
    pub fn is_lasting(&self) -> bool {
        match self {
            Logic::Part(_, count) => matches!(count, Count::Some | Count::More(_)),
            Logic::And(list) => list.iter().all(Logic::is_lasting),
            Logic::Or(list, count) => {
                matches!(count, Count::Some | Count::More(_)) && list.iter().all(Logic::is_lasting)
            }
        }
    }

    /// Whether it is true of these counts, by part.
    pub fn is_true(&self, count: &dyn Fn(usize) -> u32) -> bool {
        match self {
            Logic::Part(part, wanted) => wanted.takes(count(*part)),
            Logic::And(list) => list.iter().all(|one| one.is_true(count)),
            Logic::Or(list, Count::Some) => list.iter().any(|one| one.is_true(count)),
            Logic::Or(list, wanted) => wanted.takes(list.iter().map(|one| one.sum(count)).fold(0, u32::saturating_add)),
        }
    }

    fn sum(&self, count: &dyn Fn(usize) -> u32) -> u32 {
        match self {
            Logic::Part(part, _) => count(*part),
            Logic::And(list) | Logic::Or(list, _) => list.iter().map(|one| one.sum(count)).fold(0, u32::saturating_add),
        }
    }
}

struct Reader<'t> {
    rest: &'t [u8],
    nodes: usize,
    parts: usize,
}

impl Reader<'_> {
    fn next_is(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, after)) if first == byte => {
                self.rest = after;
                true
            }
            _ => false,
        }
    }

    fn either(&mut self, depth: usize) -> Result<Logic, &'static str> {
        let mut list = vec![self.both(depth)?];
        while self.next_is(b'|') {
            list.push(self.both(depth)?);
        }
        Ok(if list.len() == 1 { list.swap_remove(0) } else { Logic::Or(list, Count::Some) })
    }

    fn both(&mut self, depth: usize) -> Result<Logic, &'static str> {
        let mut list = vec![self.one(depth)?];
        while self.next_is(b'&') {
            list.push(self.one(depth)?);
        }
        Ok(if list.len() == 1 { list.swap_remove(0) } else { Logic::And(list) })
    }

    fn one(&mut self, depth: usize) -> Result<Logic, &'static str> {
        self.nodes += 1;
        if self.nodes > NODES || depth > DEPTH {
            return Err("a condition too large");
        }
        if self.next_is(b'(') {
            let inner = self.either(depth + 1)?;
            if !self.next_is(b')') {
                return Err("an ill-formed condition");
            }
            return Ok(match (self.count()?, inner) {
                (Count::Some, inner) => inner,
                (count, Logic::Or(list, Count::Some)) => Logic::Or(list, count),
                (count, Logic::Part(part, Count::Some)) => Logic::Part(part, count),
                _ => return Err("a count of a group that is no choice"),
            });
        }
        let part = self.number().ok_or("an ill-formed condition")? as usize;
        if part >= self.parts {
            Err("a condition on a part that is not there")
        } else {
            Ok(Logic::Part(part, self.count()?))
        }
    }

    fn count(&mut self) -> Result<Count, &'static str> {
        let count: fn(u32) -> Count = match self.rest.first() {
            Some(b'=') => Count::Equal,
            Some(b'>') => Count::More,
            Some(b'<') => Count::Less,
            _ => return Ok(Count::Some),
        };
        self.rest = self.rest.get(1..).unwrap_or_default();
        let number = self.number().ok_or("an ill-formed condition")?;
        if self.rest.first() == Some(&b',') { Err("counts of different parts") } else { Ok(count(number)) }
    }

    fn number(&mut self) -> Option<u32> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, after) = self.rest.split_at_checked(digits)?;
        self.rest = after;
        std::str::from_utf8(number).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_and_answered() {
        for (text, counts, answer) in [
            ("0", [1, 0, 0], true),
            ("0&1", [1, 0, 0], false),
            ("0&1", [1, 2, 0], true),
            ("(0&1)|2", [0, 0, 1], true),
            ("0&(1|2)", [1, 0, 0], false),
            ("0=2", [2, 0, 0], true),
            ("0=2", [3, 0, 0], false),
            ("0>1", [2, 0, 0], true),
            ("(0|1|2)>2", [1, 1, 1], true),
            ("(0|1|2)>2", [1, 1, 0], false),
            ("0&1=0", [1, 0, 0], true),
        ] {
            let logic = Logic::parse(text, 3).unwrap();
            assert_eq!(logic.is_true(&|part| counts[part]), answer, "{text} {counts:?}");
        }
        assert!(Logic::parse("(0|1)>1&2", 3).unwrap().is_lasting());
        assert!(!Logic::parse("0&1=0", 3).unwrap().is_lasting());
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["", "(", "0&", "0)", "5", "0>1,2", "a", "(0&1)>2"] {
            assert!(Logic::parse(text, 3).is_err(), "{text}");
        }
        assert!(Logic::parse(&"(".repeat(100_000), 3).is_err());
    }
}
