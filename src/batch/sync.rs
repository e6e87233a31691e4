//! The lock of the queue and the bell of the writer: those of std. In a test that asks for it,
//! those of a scheduler that tries the orders in which threads may run.

#[cfg(not(test))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(test)]
pub(super) mod tried;
#[cfg(test)]
pub(super) use tried::{Condvar, Mutex, MutexGuard};
