//! The bound on connections.
//!
//! Up to `connections_max` are served. The next [`TURNED_AWAY_MAX`] are answered `503
//! too_many_connections` and closed, so that their clients know what to do, and so that a monitor
//! still learns about the health; what comes above those is closed at once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::gate::Gate;
use crate::api::ConnectionsBody;

/// Connections above the bound that are still told so.
const TURNED_AWAY_MAX: usize = 64;

/// Connections since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Connections {
    now: AtomicUsize,
    peak: AtomicUsize,
    /// Told that there are too many, or closed at once.
    turned_away: AtomicU64,
}

impl Connections {
    /// Connections that are open now.
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    pub fn numbers(&self, connections_max: usize) -> ConnectionsBody {
        ConnectionsBody {
            now: self.now() as u64,
            peak: self.peak.load(Ordering::Relaxed) as u64,
            max: connections_max as u64,
            turned_away: self.turned_away.load(Ordering::Relaxed),
        }
    }
}

/// Far too many connections; this one is closed without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// One of the places for connections, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Gate,
    is_above_bound: bool,
}

impl Place {
    pub fn take(gate: Gate) -> Result<Self, Refused> {
        let (connections, bound) = (gate.connections(), gate.options().connections_max);
        let now = connections.now.fetch_add(1, Ordering::Relaxed) + 1;
        let is_above_bound = now > bound;
        if is_above_bound {
            connections.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        let is_refused = now > bound.saturating_add(TURNED_AWAY_MAX);
        if !is_refused {
            connections.peak.fetch_max(now, Ordering::Relaxed);
        }
        gate.watch_connections(now);
        // Made before the refusal, so that its drop gives the place back.
        let place = Self { gate, is_above_bound };
        if is_refused { Err(Refused) } else { Ok(place) }
    }

    /// True if requests are only told that there are too many connections.
    pub fn is_above_bound(&self) -> bool {
        self.is_above_bound
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gate.connections().now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpOptions;

    #[test]
    fn places_are_bounded_and_given_back() {
        let gate = Gate::new(HttpOptions { connections_max: 2, ..HttpOptions::default() });
        let take = || Place::take(gate.clone());
        let served = [take().unwrap(), take().unwrap()];
        assert!(served.iter().all(|place| !place.is_above_bound));
        let told: Vec<_> = (0..TURNED_AWAY_MAX).map(|_| take().unwrap()).collect();
        assert!(told.iter().all(|place| place.is_above_bound));
        assert_eq!(take().unwrap_err(), Refused);
        let numbers = gate.connections().numbers(2);
        assert_eq!((numbers.now, numbers.turned_away), (66, 65));
        drop((served, told));
        assert_eq!(gate.connections().now(), 0);
        assert!(!take().unwrap().is_above_bound);
        assert_eq!(gate.connections().numbers(2).peak, 66);
    }
}
