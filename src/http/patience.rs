//! How long a connection may let others wait: for the next request, and for room for an answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::options::HttpOptions;

/// When a connection is no longer waited for. Clients that take an answer slowly are waited for as
/// long as they take something. All times are milliseconds after `began_at`.
#[derive(Debug)]
pub(super) struct Patience {
    began_at: Instant,
    idle_ms: u64,
    /// When the head of the next request must be here; [`NEVER`] while one is answered.
    request_due: AtomicU64,
    /// When the client must have made room for what waits to be written; [`NEVER`] if nothing does.
    room_due: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Patience {
    pub fn new(options: &HttpOptions) -> Self {
        Self {
            began_at: Instant::now(),
            idle_ms: ms(options.idle_timeout),
            request_due: AtomicU64::new(ms(options.header_timeout)),
            room_due: AtomicU64::new(NEVER),
        }
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

    /// When to look again: never later than an idle time that begins now would end.
    pub fn next_look(&self, now: Instant) -> Instant {
        let at_most = now + Duration::from_millis(self.idle_ms);
        self.deadline().map_or(at_most, |due_at| due_at.min(at_most))
    }

    /// A request came; its answer is over when what this gives is dropped.
    pub fn begin_request(self: &Arc<Self>) -> Busy {
        self.request_due.store(NEVER, Ordering::Relaxed);
        Busy(self.clone())
    }

    fn end_request(&self) {
        self.request_due.store(self.idle_from_now(), Ordering::Relaxed);
    }

    fn note_write(&self, is_stuck: bool) {
        let was_stuck = self.room_due.load(Ordering::Relaxed) != NEVER;
        match (is_stuck, was_stuck) {
            // It waits since then.
            (true, true) => {}
            (true, false) => self.room_due.store(self.idle_from_now(), Ordering::Relaxed),
            (false, _) => self.room_due.store(NEVER, Ordering::Relaxed),
        }
        // An answer may leave long after it was made.
        if !is_stuck && self.request_due.load(Ordering::Relaxed) != NEVER {
            self.end_request();
        }
    }

    fn idle_from_now(&self) -> u64 {
        ms(self.began_at.elapsed()) + self.idle_ms
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

/// A stream that notes when its client takes something.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    patience: Arc<Patience>,
}

impl Watched {
    pub fn new(stream: TcpStream, patience: Arc<Patience>) -> Self {
        Self { stream, patience }
    }

    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        self.patience.note_write(written.is_pending());
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
    async fn it_is_looked_at_often_enough() {
        let patience = patience();
        assert_eq!(patience.next_look(Instant::now()), Instant::now() + 3 * SECOND);
        let _busy = patience.begin_request();
        assert_eq!(patience.next_look(Instant::now()), Instant::now() + 10 * SECOND);
    }
}
