//! The folder thread and how the writer talks to it: one generation at a time.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use redb::Database;

use super::age::AgeClock;
use super::codec::Mark;
use super::disk::Trouble;
use super::fold::fold;
use super::ids::Merges;
use super::site::Site;
use super::snapshot::{Snapshot, or_damaged};
use super::tail::{Generation, Tail};
use crate::store::StoreError;

/// The writer's hold on the folder thread. Dropping it ends the thread after its fold.
#[derive(Debug)]
pub struct Folder {
    work: Option<Sender<Arc<Generation>>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What the thread works with.
#[derive(Debug)]
pub struct FoldWork {
    pub tables: Arc<Database>,
    /// Fences the tables off after a failure, whatever kind it is of.
    pub trouble: Trouble,
    pub tail: Arc<Tail>,
    pub site: Arc<Site>,
    pub age: Arc<AgeClock>,
}

impl FoldWork {
    /// Folds a generation and lets readers see the tables as they are then.
    fn fold(&self, generation: &Generation, merges: &mut Merges) -> Result<Mark, StoreError> {
        let before = self.tail.snapshot()?;
        let ids = (before.runs(), merges);
        let (mark, runs) = fold(&self.tables, generation, &self.site.options, &self.age, ids)?;
        drop(before);
        self.tail.drop_folded(Snapshot::after_fold(&self.tables, runs)?);
        Ok(mark)
    }
}

/// A cheap look at the folder, for the statistics.
#[derive(Clone, Debug)]
pub struct FolderStatus(Arc<Shared>);

impl FolderStatus {
    pub fn state(&self) -> FoldState {
        self.0.lock().clone()
    }
}

#[derive(Debug)]
struct Shared {
    /// A plain mutex: held for a few assignments, by the folder at the end of a fold, and by the
    /// writer when it looks.
    state: Mutex<FoldState>,
    is_done: Condvar,
}

/// What the folder did so far.
#[derive(Clone, Debug, Default)]
pub struct FoldState {
    pub is_busy: bool,
    /// The first failure; the thread has ended with it.
    pub failure: Option<StoreError>,
    pub mark: Mark,
    pub folds: u64,
    pub fold_ms_last: f64,
    pub fold_ms_max: f64,
    /// How often the writer waited here, and for how long in all.
    pub waits: u64,
    pub wait_ms: f64,
}

impl Folder {
    /// Starts the thread. `mark` is what the tables have.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(work: FoldWork, mark: Mark) -> std::io::Result<Self> {
        let state = FoldState { mark, ..FoldState::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), is_done: Condvar::new() });
        let mut folder = Self { work: None, thread: None, shared };
        folder.spawn(work)?;
        Ok(folder)
    }

    fn spawn(&mut self, work: FoldWork) -> std::io::Result<()> {
        let (sender, generations) = channel();
        let theirs = self.shared.clone();
        let run = move || run(&generations, &work, &theirs);
        let thread = std::thread::Builder::new().name("jobslate-folder".to_owned()).spawn(run)?;
        (self.work, self.thread) = (Some(sender), Some(thread));
        Ok(())
    }

    /// Ends the thread, after its fold; its files are no longer used.
    pub fn end(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was noted by its guard.
            let _ = thread.join();
        }
    }

    /// Starts anew after [`end`](Self::end), with tables that were opened again and have `mark`.
    ///
    /// # Errors
    /// If the system gives no thread; the failure stays.
    pub fn restart(&mut self, work: FoldWork, mark: Mark) -> std::io::Result<()> {
        // The tables have it, whether a thread can be had or not.
        self.shared.lock().mark = mark;
        self.spawn(work)?;
        let mut state = self.shared.lock();
        (state.failure, state.is_busy) = (None, false);
        Ok(())
    }

    /// True from [`begin`](Self::begin) until the fold is done and its generation dropped.
    pub fn is_busy(&self) -> bool {
        self.shared.lock().is_busy
    }

    /// Hands a generation over.
    ///
    /// # Panics
    /// If one is folding: the caller asks [`is_busy`](Self::is_busy) first.
    pub fn begin(&self, generation: Arc<Generation>) {
        let mut state = self.shared.lock();
        assert!(!state.is_busy, "one generation folds at a time");
        state.is_busy = true;
        drop(state);
        // A folder that has ended has left its failure behind, or is found by its busy flag.
        let sent = self.work.as_ref().map(|work| work.send(generation));
        if !matches!(sent, Some(Ok(()))) {
            let mut state = self.shared.lock();
            state.is_busy = false;
            let gone = || StoreError::Failed("the folder thread has ended".to_owned());
            state.failure.get_or_insert_with(gone);
        }
    }

    pub fn status(&self) -> FolderStatus {
        FolderStatus(self.shared.clone())
    }

    /// The last batch that the tables have.
    ///
    /// # Errors
    /// The failure that ended the thread.
    pub fn folded_through(&self) -> Result<u64, StoreError> {
        let state = self.shared.lock();
        state.failure.clone().map_or(Ok(state.mark.batch_no), Err)
    }

    /// Waits until nothing is folding.
    ///
    /// # Errors
    /// The failure that ended the thread.
    pub fn wait(&self) -> Result<(), StoreError> {
        let begin = Instant::now();
        let state = self.shared.lock();
        let was_busy = state.is_busy;
        let is_busy = |state: &mut FoldState| state.is_busy;
        let waited = self.shared.is_done.wait_while(state, is_busy);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if was_busy {
            state.waits += 1;
            state.wait_ms += begin.elapsed().as_secs_f64() * 1000.0;
        }
        state.failure.clone().map_or(Ok(()), Err)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, FoldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(generations: &Receiver<Arc<Generation>>, work: &FoldWork, shared: &Shared) {
    // Ends the waiting of the writer, whatever ends the thread.
    let _guard = EndGuard { shared };
    let mut merges = Merges::new(work.site.options.merge_ids_min);
    for generation in generations {
        let begin = Instant::now();
        let folded = or_damaged("tables", &[], || work.fold(&generation, &mut merges));
        // It is the tables that failed, not an update.
        let folded = folded.map_err(|error| match error {
            full @ StoreError::Full(_) => full,
            error => StoreError::Failed(error.to_string()),
        });
        if let Err(error) = &folded {
            work.trouble.note(error.clone());
        }
        let fold_ms = begin.elapsed().as_secs_f64() * 1000.0;
        let is_failed = folded.is_err();
        let mut state = shared.lock();
        match folded {
            Ok(mark) => {
                state.mark = mark;
                state.folds += 1;
                state.fold_ms_last = fold_ms;
                state.fold_ms_max = state.fold_ms_max.max(fold_ms);
            }
            Err(error) => state.failure = Some(error),
        }
        state.is_busy = false;
        drop(state);
        shared.is_done.notify_all();
        (work.site.hooks.wake)();
        if is_failed {
            return;
        }
    }
}

struct EndGuard<'a> {
    shared: &'a Shared,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if std::mem::take(&mut state.is_busy) {
            state.failure = Some(StoreError::Failed("the folder thread panicked".to_owned()));
        }
        drop(state);
        self.shared.is_done.notify_all();
    }
}
