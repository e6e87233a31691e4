//! The chunks that are being read, each encoded once.
//!
//! Readers at the head all stand at the same seq, so they ask for the same chunk: the first makes
//! it, the others wait for it. It is kept a while for those who are a little behind; whoever is far
//! behind makes its own.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, Semaphore};

use super::chunk::Chunk;
use super::gone;
use crate::http::problem::Problem;
use crate::http::reply;
use crate::service::Service;

/// Operations that are read at once; a batch is read whole.
const OPERATIONS_READ: usize = 1_000;
/// Most chunks that are kept, and their bytes.
const CHUNKS_MAX: usize = 128;
const CHUNKS_BYTES_MAX: usize = 4 << 20;

/// So many operations behind the last one, a reader counts as far behind.
const FAR_OPERATIONS: u64 = 4_000;
/// Reads of the store that go on at one time, for readers near the head and far behind. The others
/// wait: a crowd that comes back after a restart must neither fill the memory nor keep the machine
/// from its other work, and those at the head must not wait for those behind.
const READS_NEAR_MAX: usize = 2;
const READS_FAR_MAX: usize = 1;

/// The shared chunks.
#[derive(Debug)]
pub(in crate::http) struct Hub {
    /// The oldest first. A plain mutex: held for a look, never across a wait.
    slots: Mutex<VecDeque<Arc<Slot>>>,
    near: Semaphore,
    far: Semaphore,
}

impl Default for Hub {
    fn default() -> Self {
        let (near, far) = (Semaphore::new(READS_NEAR_MAX), Semaphore::new(READS_FAR_MAX));
        Self { slots: Mutex::default(), near, far }
    }
}

/// A chunk, from when somebody asks for it.
#[derive(Debug)]
struct Slot {
    after: u64,
    /// `None`: there was nothing after.
    chunk: OnceCell<Option<Arc<Chunk>>>,
}

impl Hub {
    /// The operations after seq `after`; `None` if there are none.
    ///
    /// # Errors
    /// [`Problem`] `gone` if they are no longer held, or that of the store.
    pub(super) async fn chunk(
        &self,
        service: &Service,
        after: u64,
    ) -> Result<Option<Arc<Chunk>>, Problem> {
        let slot = self.slot(after);
        // Whoever goes away while it makes a chunk leaves that to the next who waits.
        let chunk = slot.chunk.get_or_try_init(|| self.make(service, after)).await.cloned();
        if !matches!(chunk, Ok(Some(_))) {
            // What was not there may come.
            self.lock().retain(|it| !Arc::ptr_eq(it, &slot));
        }
        chunk
    }

    /// The first seq that is held.
    ///
    /// # Errors
    /// [`Problem`] of the store.
    pub(super) async fn first_held(&self, service: &Service) -> Result<u64, Problem> {
        let service = service.clone();
        let page = reply::blocking(move || Ok(service.feed(u64::MAX, 1)?)).await?;
        Ok(page.first_held)
    }

    fn slot(&self, after: u64) -> Arc<Slot> {
        let mut slots = self.lock();
        // The newest are asked for most.
        if let Some(slot) = slots.iter().rev().find(|slot| slot.after == after) {
            return slot.clone();
        }
        let slot = Arc::new(Slot { after, chunk: OnceCell::new() });
        slots.push_back(slot.clone());
        slot
    }

    async fn make(&self, service: &Service, after: u64) -> Result<Option<Arc<Chunk>>, Problem> {
        let is_far = service.counts().1.saturating_sub(after) > FAR_OPERATIONS;
        let turns = if is_far { &self.far } else { &self.near };
        // Never closed.
        let _turn = turns.acquire().await;
        let service = service.clone();
        let read = move || {
            let page = service.feed(after, OPERATIONS_READ)?;
            if page.first_held > after.saturating_add(1) {
                return Err(gone(after, page.first_held, page.as_of_seq));
            }
            Ok(Chunk::encode(after, page.operations, service.kinds()))
        };
        let mut chunks = reply::blocking(read).await?.into_iter().map(Arc::new);
        let first = chunks.next();
        self.keep(chunks);
        Ok(first)
    }

    /// Keeps the chunks that were made along, and no more than allowed.
    fn keep(&self, chunks: impl Iterator<Item = Arc<Chunk>>) {
        let mut slots = self.lock();
        for chunk in chunks {
            if slots.iter().all(|slot| slot.after != chunk.after) {
                let after = chunk.after;
                slots.push_back(Arc::new(Slot {
                    after,
                    chunk: OnceCell::new_with(Some(Some(chunk))),
                }));
            }
        }
        let weight = |slot: &Arc<Slot>| {
            slot.chunk.get().and_then(Option::as_ref).map_or(0, |chunk| chunk.weight_bytes())
        };
        let mut bytes: usize = slots.iter().map(weight).sum();
        while slots.len() > CHUNKS_MAX || bytes > CHUNKS_BYTES_MAX {
            let Some(oldest) = slots.pop_front() else { return };
            bytes -= weight(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
