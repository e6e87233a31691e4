//! How long a connection may let others wait: for the next request, and for room for an answer.
//!
//! ```text
//!            first byte              whole head            end of the answer
//! idle ----------------> head comes ------------> answered -----------------> idle
//!   | idle_timeout            | header_timeout
//! ```
//!
//! NB: what came together with the request before is not seen as the begin of a head. Until one
//! more byte comes, such a connection counts as idle.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Bytes;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::options::HttpOptions;
use super::unread;

/// When a connection is no longer waited for. Clients that take an answer slowly are waited for as
/// long as they take something. All times are milliseconds after `began_at`.
#[derive(Debug)]
pub(super) struct Patience {
    began_at: Instant,
    idle_ms: u64,
    head_ms: u64,
    /// Since when the client does nothing, 0 for one that never did anything; [`NEVER`] while a
    /// head comes or is answered.
    idle_since: AtomicU64,
    /// When the head of the next request must be here; [`NEVER`] while one is answered.
    request_due: AtomicU64,
    /// When the client must have made room for what waits to be written; [`NEVER`] if nothing does.
    room_due: AtomicU64,
    /// Others need its place.
    is_unwanted: AtomicBool,
    /// Wakes the connection, to see that.
    waker: AtomicWaker,
}

const NEVER: u64 = u64::MAX;

impl Patience {
    pub fn new(options: &HttpOptions) -> Self {
        Self {
            began_at: Instant::now(),
            idle_ms: ms(options.idle_timeout),
            head_ms: ms(options.header_timeout),
            idle_since: AtomicU64::new(0),
            request_due: AtomicU64::new(ms(options.header_timeout)),
            room_due: AtomicU64::new(NEVER),
            is_unwanted: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    /// Since when the client neither sends nor takes anything; `None` if it does, or if its place
    /// was given away already.
    pub fn idle_since(&self) -> Option<Instant> {
        let since = self.idle_since.load(Ordering::Relaxed);
        let is_writing = self.room_due.load(Ordering::Relaxed) != NEVER;
        let is_idle = since != NEVER && !is_writing && !self.is_unwanted();
        is_idle.then(|| self.began_at + Duration::from_millis(since))
    }

    /// Gives its place away: the connection ends, after the request that may just have come.
    pub fn give_away(&self) {
        self.is_unwanted.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub fn is_unwanted(&self) -> bool {
        self.is_unwanted.load(Ordering::Acquire)
    }

    /// Whom [`give_away`](Self::give_away) wakes.
    pub fn wake_by(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// When the client must have done something; `None` while it need not do anything.
    fn deadline(&self) -> Option<Instant> {
        let room_due = self.room_due.load(Ordering::Relaxed);
        let due = self.request_due.load(Ordering::Relaxed).min(room_due);
        (due != NEVER).then(|| self.began_at + Duration::from_millis(due))
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|due_at| due_at <= now)
    }

    /// When to look again: never later than a time that begins now would end.
    pub fn next_look(&self, now: Instant) -> Instant {
        let at_most = now + Duration::from_millis(self.idle_ms.min(self.head_ms));
        self.deadline().map_or(at_most, |due_at| due_at.min(at_most))
    }

    /// A request came; its answer is over when what this gives is dropped.
    pub fn begin_request(self: &Arc<Self>) -> Busy {
        self.request_due.store(NEVER, Ordering::Relaxed);
        self.idle_since.store(NEVER, Ordering::Relaxed);
        Busy(self.clone())
    }

    fn end_request(&self) {
        let now = self.now();
        self.request_due.store(now + self.idle_ms, Ordering::Relaxed);
        self.idle_since.store(now.max(1), Ordering::Relaxed);
    }

    /// Bytes came. The first ones after an answer begin a head; that of the first request must be
    /// whole within the same time from the accept on.
    fn note_read(&self) {
        if self.idle_since.load(Ordering::Relaxed) == NEVER {
            return;
        }
        if self.idle_since.swap(NEVER, Ordering::Relaxed) > 0 {
            self.request_due.store(self.now() + self.head_ms, Ordering::Relaxed);
        }
    }

    /// Some of an answer was written, or there is no room for it.
    pub fn note_write(&self, is_stuck: bool) {
        let was_stuck = self.room_due.load(Ordering::Relaxed) != NEVER;
        match (is_stuck, was_stuck) {
            // It waits since then.
            (true, true) => {}
            (true, false) => self.room_due.store(self.now() + self.idle_ms, Ordering::Relaxed),
            (false, _) => self.room_due.store(NEVER, Ordering::Relaxed),
        }
        // An answer may leave long after it was made.
        if !is_stuck && self.idle_since.load(Ordering::Relaxed) != NEVER {
            self.end_request();
        }
    }

    fn now(&self) -> u64 {
        ms(self.began_at.elapsed())
    }
}

/// In milliseconds; bounded, so that adding a few to a moment cannot overflow.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER).min(NEVER >> 8)
}

/// Ends the request when it is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Patience>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// A stream that notes when its client sends or takes something, and words hyper's refusals anew.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    patience: Arc<Patience>,
    /// What was read before, and is read first.
    before: Bytes,
    /// All that was written is flushed, so that what comes next begins something: an answer, or a
    /// part of a stream.
    is_flushed: bool,
}

impl Watched {
    pub fn new(stream: TcpStream, patience: Arc<Patience>, before: Bytes) -> Self {
        Self { stream, patience, before, is_flushed: true }
    }

    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        self.patience.note_write(written.is_pending());
        self.is_flushed &= written.is_pending();
        written
    }

    /// Writes what takes the place of `bytes`, if they are a refusal of hyper's. It is short, and
    /// the connection ends with it, so what does not fit at once is not written.
    fn poll_refuse(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Option<Poll<io::Result<usize>>> {
        let answer = self.is_flushed.then(|| unread::answer(bytes)).flatten()?;
        let written = Pin::new(&mut self.stream).poll_write(cx, &answer);
        let written = written.map_ok(|_as_much_as_fits| bytes.len());
        Some(self.note(written))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let length = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before.split_to(length));
            self.patience.note_read();
            return Poll::Ready(Ok(()));
        }
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > filled {
            self.patience.note_read();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(refused) = self.poll_refuse(cx, bytes) {
            return refused;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(refused) = pieces.first().and_then(|first| self.poll_refuse(cx, first)) {
            return refused;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_flushed = true;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn patience() -> Arc<Patience> {
        let (header_timeout, idle_timeout) = (3 * SECOND, 10 * SECOND);
        let options = HttpOptions { header_timeout, idle_timeout, ..HttpOptions::default() };
        Arc::new(Patience::new(&options))
    }

    /// Seconds from now to the deadline.
    fn left(patience: &Patience) -> Option<u64> {
        patience.deadline().map(|due_at| (due_at - Instant::now()).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_a_request_and_from_its_answer_on_for_the_next() {
        let patience = patience();
        assert_eq!(left(&patience), Some(3));
        tokio::time::advance(2 * SECOND).await;
        let busy = patience.begin_request();
        assert_eq!(left(&patience), None);
        tokio::time::advance(100 * SECOND).await;
        drop(busy);
        assert_eq!(left(&patience), Some(10));
        tokio::time::advance(9 * SECOND).await;
        assert!(!patience.is_over(Instant::now()));
        tokio::time::advance(SECOND).await;
        assert!(patience.is_over(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_an_answer_slowly_is_waited_for_and_who_takes_nothing_is_not() {
        let patience = patience();
        // A long answer is made at once, and leaves piece by piece.
        drop(patience.begin_request());
        for _ in 0..5 {
            patience.note_write(true);
            tokio::time::advance(8 * SECOND).await;
            assert!(!patience.is_over(Instant::now()));
            patience.note_write(false);
        }
        assert_eq!(left(&patience), Some(10));
        // A stream goes on for ever; nothing to write is no reason to end it.
        let _busy = patience.begin_request();
        tokio::time::advance(100 * SECOND).await;
        assert_eq!(left(&patience), None);
        patience.note_write(true);
        tokio::time::advance(6 * SECOND).await;
        patience.note_write(true);
        assert_eq!(left(&patience), Some(4));
        tokio::time::advance(4 * SECOND).await;
        assert!(patience.is_over(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn every_head_must_be_whole_in_its_own_time_however_it_drips() {
        let patience = patience();
        // The first: from the accept on.
        tokio::time::advance(SECOND).await;
        patience.note_read();
        assert_eq!((left(&patience), patience.idle_since()), (Some(2), None));
        drop(patience.begin_request());
        assert!(patience.idle_since().is_some());
        tokio::time::advance(8 * SECOND).await;
        assert_eq!(left(&patience), Some(2));
        // A further one: from its first byte on; neither more bytes nor a late answer give more.
        patience.note_read();
        for left_s in [3, 2, 1] {
            assert_eq!((left(&patience), patience.idle_since()), (Some(left_s), None));
            tokio::time::advance(SECOND).await;
            patience.note_read();
            patience.note_write(false);
        }
        assert!(patience.is_over(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_neither_sends_nor_takes_is_idle() {
        let patience = patience();
        assert_eq!(patience.idle_since(), Some(Instant::now()));
        tokio::time::advance(SECOND).await;
        let busy = patience.begin_request();
        assert_eq!(patience.idle_since(), None);
        drop(busy);
        let ended_at = Instant::now();
        assert_eq!(patience.idle_since(), Some(ended_at));
        patience.note_write(true);
        assert_eq!(patience.idle_since(), None);
        patience.note_write(false);
        assert!(patience.idle_since().is_some());
        patience.give_away();
        assert_eq!((patience.idle_since(), patience.is_unwanted()), (None, true));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_at_often_enough() {
        let patience = patience();
        assert_eq!(patience.next_look(Instant::now()), Instant::now() + 3 * SECOND);
        let _busy = patience.begin_request();
        assert_eq!(patience.next_look(Instant::now()), Instant::now() + 3 * SECOND);
    }
}
