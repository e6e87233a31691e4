//! Lock and bell that are either std's or shuttle's, as the test says that makes them; and bells
//! that are broken, for the controls.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError};
use std::time::Duration;

/// What is made from here on, on this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Std,
    /// Under shuttle's scheduler; usable only inside one of its checks.
    Tried,
    /// As `Tried`, but nobody hears the bell.
    Mute,
    /// As `Tried`, but the lock is released before the waiting begins: a bell that rings between
    /// the two is lost.
    Late,
}

thread_local! {
    static KIND: Cell<Kind> = const { Cell::new(Kind::Std) };
}

/// Runs a check of shuttle, which runs all its threads on this one, with locks of `kind`.
pub fn with<T>(kind: Kind, check: impl FnOnce() -> T) -> T {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            KIND.set(Kind::Std);
        }
    }
    let _back = Back;
    KIND.set(kind);
    check()
}

#[derive(Debug)]
pub enum Mutex<T> {
    Std(std::sync::Mutex<T>),
    Tried(shuttle::sync::Mutex<T>),
}

pub enum MutexGuard<'a, T> {
    Std(std::sync::MutexGuard<'a, T>),
    /// With its lock, for `Late`.
    Tried(shuttle::sync::MutexGuard<'a, T>, &'a shuttle::sync::Mutex<T>),
}

#[derive(Debug)]
pub enum Condvar {
    Std(std::sync::Condvar),
    Tried(shuttle::sync::Condvar, Kind),
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        match KIND.get() {
            Kind::Std => Self::Std(std::sync::Mutex::new(value)),
            _ => Self::Tried(shuttle::sync::Mutex::new(value)),
        }
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        Ok(match self {
            Self::Std(lock) => MutexGuard::Std(lock.lock().unwrap_or_else(PoisonError::into_inner)),
            Self::Tried(lock) => {
                MutexGuard::Tried(lock.lock().unwrap_or_else(PoisonError::into_inner), lock)
            }
        })
    }
}

impl Condvar {
    pub fn new() -> Self {
        match KIND.get() {
            Kind::Std => Self::Std(std::sync::Condvar::new()),
            kind => Self::Tried(shuttle::sync::Condvar::new(), kind),
        }
    }

    pub fn notify_one(&self) {
        match self {
            Self::Std(bell) => bell.notify_one(),
            Self::Tried(_, Kind::Mute) => {}
            Self::Tried(bell, _) => bell.notify_one(),
        }
    }

    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        Ok(match (self, guard) {
            (Self::Std(bell), MutexGuard::Std(guard)) => {
                MutexGuard::Std(bell.wait(guard).unwrap_or_else(PoisonError::into_inner))
            }
            (Self::Tried(bell, kind), MutexGuard::Tried(mut guard, lock)) => {
                if *kind == Kind::Late {
                    drop(guard);
                    guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
                }
                MutexGuard::Tried(bell.wait(guard).unwrap_or_else(PoisonError::into_inner), lock)
            }
            _ => panic!("a lock of one kind and a bell of another"),
        })
    }

    /// Under shuttle, where no time passes, as [`wait`](Self::wait).
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        match (self, guard) {
            (Self::Std(bell), MutexGuard::Std(guard)) => {
                let waited = bell.wait_timeout(guard, timeout);
                let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
                Ok((MutexGuard::Std(guard), ()))
            }
            (_, guard) => Ok((self.wait(guard).unwrap_or_else(PoisonError::into_inner), ())),
        }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Std(guard) => guard,
            Self::Tried(guard, _) => guard,
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Std(guard) => guard,
            Self::Tried(guard, _) => guard,
        }
    }
}
