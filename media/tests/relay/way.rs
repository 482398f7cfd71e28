//! How packets come in and go out in a test: each test is played with both ways.

use std::ops::RangeInclusive;

use media::{Config, Failure, Io, Media};

/// How packets come in and go out in a test.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) io: Io,
    /// Both ways are tested at once, and so need ports of their own.
    pub(crate) lower_by: u16,
}

impl Way {
    pub(crate) const EPOLL: Self = Self { io: Io::Epoll, lower_by: 0 };
    pub(crate) const IO_URING: Self = Self { io: Io::IoUring, lower_by: 7_000 };

    pub(crate) fn ports(self, ports: &RangeInclusive<u16>) -> RangeInclusive<u16> {
        ports.start() - self.lower_by..=ports.end() - self.lower_by
    }

    /// Whether this machine has it; says so if not.
    pub(crate) fn is_there(self) -> bool {
        let ports = self.ports(&(20_800..=20_801));
        let config = Config { ports, threads: 1, io: self.io, ..Config::default() };
        match Media::start(&config, drop) {
            Ok(_) => true,
            Err(Failure::Thread(error)) if self.io == Io::IoUring => {
                eprintln!("SKIPPED: no io_uring here: {error}");
                false
            }
            Err(failure) => panic!("{failure:?}"),
        }
    }
}

/// Each of these tests with both ways.
macro_rules! with_both_ways {
    ($($name:ident)*) => {
        mod with_epoll {
            $(#[test]
            fn $name() {
                super::$name(crate::way::Way::EPOLL);
            })*
        }
        mod with_io_uring {
            $(#[test]
            fn $name() {
                if crate::way::Way::IO_URING.is_there() {
                    super::$name(crate::way::Way::IO_URING);
                }
            })*
        }
    };
}
pub(crate) use with_both_ways;
