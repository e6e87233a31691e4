//! Every bound of the words themselves, in one place. DESIGN, section 2, is the source of each.
//!
//! Bounds of the machinery (queue, batch, tail, bodies) are options of their rooms, not here.

/// Longest job id, in bytes of UTF-8.
pub const JOB_ID_BYTES_MAX: usize = 256;
/// Longest pipeline name, in bytes of UTF-8.
pub const PIPELINE_BYTES_MAX: usize = 64;
/// Longest status word, in bytes.
pub const STATUS_BYTES_MAX: usize = 32;
/// The first integer that counts as Unix milliseconds, 1973-03-03; less looks like seconds.
pub const AT_MS_MIN: u64 = 100_000_000_000;
/// 2200-01-01T00:00:00Z, the first moment that is refused.
pub const AT_MS_END: u64 = 7_258_118_400_000;
/// Longest `error` that is kept whole, in bytes; a longer one is cut and says so.
pub const ERROR_BYTES_MAX: usize = 8 * 1024;
/// Longest `error` that a transition keeps, in bytes.
pub const TRANSITION_ERROR_BYTES_MAX: usize = 256;
/// Longest `message` that is kept whole, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;
/// Most labels of one job.
pub const LABELS_MAX: usize = 16;
/// Longest label name, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// Longest label value, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// How many transitions a job keeps; the oldest goes first.
pub const TRANSITIONS_MAX: usize = 32;
/// Longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Most rejections that one answer lists; the rest is counted.
pub const ANSWER_ERRORS_MAX: usize = 100;
/// Most bytes of `error` texts in one answer kept under an idempotency key.
pub const KEPT_ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Largest page of a list.
pub const PAGE_JOBS_MAX: usize = 1_000;
/// Page of a list when the caller names none.
pub const PAGE_JOBS_DEFAULT: usize = 200;
/// Most job ids of one lookup.
pub const LOOKUP_JOBS_MAX: usize = 1_000;
/// Largest page of pipelines, and the page when the caller names none. Each costs three looks into
/// the index.
pub const PAGE_PIPELINES_MAX: usize = 1_000;
pub const PAGE_PIPELINES_DEFAULT: usize = 100;
/// Largest expected total of a pipeline, in jobs.
pub const EXPECTED_TOTAL_MAX: u64 = 1_000_000_000_000;
/// Largest page of the feed, in updates, and the page when the caller names none.
pub const PAGE_UPDATES_MAX: usize = 1_000;
pub const PAGE_UPDATES_DEFAULT: usize = 200;
/// Jobs that one call of a prune removes at most.
pub const PRUNE_JOBS_MAX: usize = 100_000;
pub const PRUNE_JOBS_DEFAULT: usize = 10_000;
/// Most jobs that a prune may be told to keep: more than a store holds.
pub const PRUNE_KEEP_MAX: usize = 1_000_000_000;
