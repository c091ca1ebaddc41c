//! Event counters, timers and epoll: what a worker sleeps on.
//!
//! All descriptors are close-on-exec and non-blocking. epoll is level-triggered throughout: what was not looked at is
//! reported again, so nothing is lost when a turn ends early.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fd::{check, check_long, owned};

/// A counter in the kernel that one side signals and the other polls (eventfd(2)).
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A counter at zero.
    pub fn new() -> io::Result<EventFd> {
        // SAFETY: eventfd takes no pointers.
        owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(EventFd)
    }

    /// Takes over a counter that came from elsewhere, such as a guest's kick. It may turn out to be anything: calls on
    /// it then fail or do nothing, they do not block if it is non-blocking.
    pub fn from_owned(fd: OwnedFd) -> EventFd {
        EventFd(fd)
    }

    /// Makes the counter readable. A counter that is full stays readable, so there is nothing to report.
    #[inline]
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is readable for its length.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Sets the counter back to zero and returns what it held.
    #[inline]
    pub fn drain(&self) -> u64 {
        let mut value = [0u8; 8];
        // SAFETY: `value` is writable for its length.
        let n = unsafe { libc::read(self.0.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
        if n == 8 { u64::from_ne_bytes(value) } else { 0 }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A timer that becomes readable (timerfd_create(2), CLOCK_MONOTONIC).
#[derive(Debug)]
pub struct TimerFd(OwnedFd);

impl TimerFd {
    /// A timer that is not set.
    pub fn new() -> io::Result<TimerFd> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: timerfd_create takes no pointers.
        owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) }).map(TimerFd)
    }

    /// Becomes readable once, `delay` from now (at least a nanosecond).
    pub fn set(&self, delay: Duration) -> io::Result<()> {
        self.arm(timespec(delay.max(Duration::from_nanos(1))), timespec(Duration::ZERO))
    }

    /// Becomes readable every `interval` (at least a microsecond).
    pub fn set_interval(&self, interval: Duration) -> io::Result<()> {
        let interval = timespec(interval.max(Duration::from_micros(1)));
        self.arm(interval, interval)
    }

    /// Stops the timer.
    pub fn clear(&self) -> io::Result<()> {
        self.arm(timespec(Duration::ZERO), timespec(Duration::ZERO))
    }

    /// How often the timer ran out since the last call.
    pub fn drain(&self) -> u64 {
        let mut value = [0u8; 8];
        // SAFETY: `value` is writable for its length.
        let n = unsafe { libc::read(self.0.as_raw_fd(), value.as_mut_ptr().cast(), value.len()) };
        if n == 8 { u64::from_ne_bytes(value) } else { 0 }
    }

    fn arm(&self, first: libc::timespec, interval: libc::timespec) -> io::Result<()> {
        let spec = libc::itimerspec { it_interval: interval, it_value: first };
        // SAFETY: `spec` is valid for the call; the old value is not asked for.
        check(unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &spec, std::ptr::null_mut()) }).map(drop)
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A set of descriptors to wait on together, each with a token of the caller's (epoll(7)).
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// Events taken from the kernel in one call; more are reported by the next call.
const EVENTS_MAX: usize = 64;

/// Cleared when the kernel turns out not to have epoll_pwait2 (before Linux 5.11, or filtered by seccomp).
static PWAIT2: AtomicBool = AtomicBool::new(true);

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: epoll_create1 takes no pointers.
        owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Epoll)
    }

    /// Reports `token` when `fd` is readable, hung up or in error.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN as u32, token)
    }

    /// Keeps `fd` in the set but reports only errors and hang-ups of it (`false`), or input again (`true`).
    pub fn want_input(&self, fd: BorrowedFd<'_>, token: u64, wanted: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, if wanted { libc::EPOLLIN as u32 } else { 0 }, token)
    }

    /// Takes `fd` out of the set.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    /// Waits until something is readable or `timeout` is over (`None`: for ever), and puts the tokens into `out`,
    /// which is emptied first. A signal ends the wait early, with nothing in `out`.
    pub fn wait(&self, out: &mut Vec<u64>, timeout: Option<Duration>) -> io::Result<()> {
        out.clear();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        let n = match self.wait_raw(&mut events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            other => other?,
        };
        out.extend(events.iter().take(n).map(|event| event.u64));
        Ok(())
    }

    fn wait_raw(&self, events: &mut [libc::epoll_event], timeout: Option<Duration>) -> io::Result<usize> {
        if PWAIT2.load(Ordering::Relaxed) {
            let limit = timeout.map(timespec);
            let limit_ptr = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: `events` is writable for its length, `limit_ptr` is null or valid, no signal mask is given.
            let n = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    self.0.as_raw_fd(),
                    events.as_mut_ptr(),
                    events.len() as libc::c_int,
                    limit_ptr,
                    std::ptr::null::<libc::sigset_t>(),
                    0usize,
                )
            };
            match check_long(n as isize) {
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    PWAIT2.store(false, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        let limit = timeout.map_or(-1, milliseconds);
        // SAFETY: `events` is writable for its length.
        let n =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as libc::c_int, limit) };
        check(n).map(|n| n as usize)
    }

    fn control(&self, operation: libc::c_int, fd: BorrowedFd<'_>, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: both descriptors are open, `event` is valid for the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), &mut event) }).map(drop)
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn timespec(d: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(d.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: d.subsec_nanos().into(),
    }
}

/// Rounded up, so that a wait of less than a millisecond does not turn into a busy loop.
fn milliseconds(d: Duration) -> libc::c_int {
    libc::c_int::try_from(d.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signalled_counter_is_reported_until_drained() {
        let (epoll, event) = (Epoll::new().unwrap(), EventFd::new().unwrap());
        epoll.add(event.as_fd(), 7).unwrap();
        let mut out = vec![99];
        epoll.wait(&mut out, Some(Duration::ZERO)).unwrap();
        assert!(out.is_empty());
        event.signal();
        event.signal();
        for _ in 0..2 {
            epoll.wait(&mut out, None).unwrap();
            assert_eq!(out, [7]);
        }
        assert_eq!(event.drain(), 2);
        assert_eq!(event.drain(), 0);
        epoll.wait(&mut out, Some(Duration::ZERO)).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn a_timer_wakes_and_can_be_cleared() {
        let (epoll, timer) = (Epoll::new().unwrap(), TimerFd::new().unwrap());
        epoll.add(timer.as_fd(), 1).unwrap();
        let mut out = Vec::new();
        timer.set(Duration::ZERO).unwrap();
        epoll.wait(&mut out, None).unwrap();
        assert_eq!(out, [1]);
        assert_eq!(timer.drain(), 1);
        timer.set(Duration::from_secs(3600)).unwrap();
        timer.clear().unwrap();
        epoll.wait(&mut out, Some(Duration::from_micros(50))).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn epolls_nest_and_input_can_be_muted() {
        let (outer, inner, event) = (Epoll::new().unwrap(), Epoll::new().unwrap(), EventFd::new().unwrap());
        inner.add(event.as_fd(), 1).unwrap();
        outer.add(inner.as_fd(), 2).unwrap();
        event.signal();
        let mut out = Vec::new();
        outer.wait(&mut out, None).unwrap();
        assert_eq!(out, [2]);
        inner.want_input(event.as_fd(), 1, false).unwrap();
        outer.wait(&mut out, Some(Duration::ZERO)).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn short_waits_round_up_to_a_millisecond() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::MAX), libc::c_int::MAX);
    }
}
