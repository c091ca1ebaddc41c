//! Waiting for something to become true, with a limit.

use std::time::{Duration, Instant};

use super::Failure;

/// Asks `found` until it answers, at most for `limit`; the failure says that `what` did not happen.
pub fn wait_for<T>(what: &str, limit: Duration, mut found: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        if let Some(answer) = found() {
            return Ok(answer);
        }
        if start.elapsed() >= limit {
            return Err(Failure::new(format!("{what} did not happen within {} s", limit.as_secs_f32())));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_ends_the_wait() {
        let mut asked = 0;
        let answer = wait_for("the third time", Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some("yes")
        });
        assert_eq!(answer.unwrap(), "yes");
    }

    #[test]
    fn the_limit_ends_it_too_and_says_what_was_missed() {
        let failure = wait_for("rain", Duration::ZERO, || None::<()>).unwrap_err();
        assert_eq!(failure.to_string(), "rain did not happen within 0 s");
    }
}
