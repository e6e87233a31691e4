//! The bound on connections.
//!
//! Up to `connections_max` are served. For the next one, the one that is idle longest is closed. If
//! none is idle, the next [`TURNED_AWAY_MAX`] are answered `503 too_many_connections` and closed,
//! so that their clients know what to do, and so that a monitor still learns about the health;
//! what comes above those is closed at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gate::Gate;
use super::patience::Patience;
use crate::api::ConnectionsBody;

/// Connections above the bound that are still told so.
pub const TURNED_AWAY_MAX: usize = 64;

/// Connections since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Connections {
    now: AtomicUsize,
    peak: AtomicUsize,
    /// Told that there are too many, or closed at once.
    turned_away: AtomicU64,
    /// Closed while they were idle, to make room.
    idle_closed: AtomicU64,
    /// Locked when a connection comes or goes, never for a request.
    open: Mutex<Open>,
}

/// The connections that are served.
#[derive(Debug, Default)]
struct Open {
    numbers: u64,
    by_number: HashMap<u64, Arc<Patience>>,
    /// How many of them have given their place away, and are not gone yet.
    closing: usize,
}

impl Open {
    /// How many are there to stay.
    fn staying(&self) -> usize {
        self.by_number.len().saturating_sub(self.closing)
    }

    fn add(&mut self, patience: &Arc<Patience>) -> u64 {
        self.numbers += 1;
        self.by_number.insert(self.numbers, patience.clone());
        self.numbers
    }

    /// Closes the connection that is idle longest; false if none is idle. Looks at each.
    fn close_longest_idle(&mut self) -> bool {
        let idle = self.by_number.values().filter_map(|it| Some((it.idle_since()?, it)));
        let Some((_, longest)) = idle.min_by_key(|(since, _)| *since) else { return false };
        longest.give_away();
        self.closing += 1;
        true
    }
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn is_any_idle(&self) -> bool {
        self.open().by_number.values().any(|it| it.idle_since().is_some())
    }

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
            idle_closed: self.idle_closed.load(Ordering::Relaxed),
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
    /// Its number among those that are served; `None` above the bound.
    number: Option<u64>,
    patience: Arc<Patience>,
    made_room: bool,
}

impl Place {
    pub fn take(gate: Gate) -> Result<Self, Refused> {
        let (connections, bound) = (gate.connections(), gate.options().connections_max);
        let patience = Arc::new(Patience::new(gate.options()));
        let now = connections.now.fetch_add(1, Ordering::Relaxed) + 1;
        let mut open = connections.open();
        let is_full = open.staying() >= bound;
        let made_room = is_full && open.close_longest_idle();
        let is_served = !is_full || made_room;
        let is_refused = !is_served && now > bound.saturating_add(TURNED_AWAY_MAX);
        let number = is_served.then(|| open.add(&patience));
        drop(open);
        if made_room {
            connections.idle_closed.fetch_add(1, Ordering::Relaxed);
        }
        if !is_served {
            connections.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        if !is_refused {
            connections.peak.fetch_max(now, Ordering::Relaxed);
        }
        gate.watch_connections(now);
        // Made before the refusal, so that its drop gives the place back.
        let place = Self { gate, number, patience, made_room };
        if is_refused { Err(Refused) } else { Ok(place) }
    }

    pub fn patience(&self) -> &Arc<Patience> {
        &self.patience
    }

    /// True if another connection was closed for this one, which may still take a moment.
    pub fn made_room(&self) -> bool {
        self.made_room
    }

    /// True if requests are only told that there are too many connections.
    pub fn is_above_bound(&self) -> bool {
        self.number.is_none()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = self.gate.connections();
        if let Some(number) = self.number {
            let mut open = connections.open();
            open.by_number.remove(&number);
            open.closing -= usize::from(self.patience.is_unwanted());
        }
        connections.now.fetch_sub(1, Ordering::Relaxed);
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
        let _busy = served.each_ref().map(|place| place.patience.begin_request());
        assert!(served.iter().all(|place| !place.is_above_bound()));
        let told: Vec<_> = (0..TURNED_AWAY_MAX)
            .map(|_| {
                let place = take().unwrap();
                let busy = place.patience.begin_request();
                (place, busy)
            })
            .collect();
        assert!(told.iter().all(|(place, _)| place.is_above_bound()));
        assert_eq!(take().unwrap_err(), Refused);
        let numbers = gate.connections().numbers(2);
        assert_eq!((numbers.now, numbers.turned_away), (66, 65));
        drop((served, told));
        assert_eq!(gate.connections().now(), 0);
        assert!(!take().unwrap().is_above_bound());
        assert_eq!(gate.connections().numbers(2).peak, 66);
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_idle_longest_makes_room() {
        let gate = Gate::new(HttpOptions { connections_max: 3, ..HttpOptions::default() });
        let take = async || {
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
            Place::take(gate.clone()).unwrap()
        };
        let (first, second, third) = (take().await, take().await, take().await);
        // The first has come back to life, so it is the second that did nothing for longest.
        drop(first.patience.begin_request());
        let _busy = third.patience.begin_request();
        let fourth = take().await;
        let given_away = |it: &Place| it.patience.is_unwanted();
        assert_eq!([&first, &second, &third].map(given_away), [false, true, false]);
        assert!(fourth.made_room() && !fourth.is_above_bound());
        // As long as the second is not gone, its place is given away once.
        let numbers = gate.connections().numbers(3);
        assert_eq!((numbers.now, numbers.idle_closed, numbers.turned_away), (4, 1, 0));
        drop(second);
        assert!(take().await.made_room() && given_away(&first) && !given_away(&fourth));
        let numbers = gate.connections().numbers(3);
        assert_eq!((numbers.now, numbers.idle_closed), (3, 2));
    }
}
