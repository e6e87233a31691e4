//! The feed page by page, for those who ask again and again; with a wait, if nothing is there yet.

use axum::body::Bytes;
use axum::response::Response;
use tokio::time::Instant;

use super::Asked;
use super::filter::Filter;
use crate::http::HttpOptions;
use crate::http::format::Format;
use crate::http::gate::Gate;
use crate::http::problem::Problem;
use crate::service::Service;

/// One page from `after` on.
pub(super) async fn answer(
    gate: &Gate,
    service: &Service,
    after: u64,
    asked: Asked,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + asked.wait;
    let (mut durable, mut drain) = (service.durable(), gate.drain());
    // From the first wait on.
    let mut watching = None;
    let mut page = Page { json: Vec::new(), count: 0, next_after: after };
    loop {
        // Before the look, so that what comes meanwhile is seen as a change.
        let as_of_seq = *durable.borrow_and_update();
        let is_at_head = page.read(gate, service, &asked.filter, asked.limit).await?;
        if page.count > 0 || !is_at_head || Instant::now() >= deadline || *drain.borrow() {
            return Ok(Format::Json.response(page.body(as_of_seq)));
        }
        if watching.is_none() {
            watching = Some(gate.begin_watch()?);
        }
        tokio::select! {
            _ = durable.changed() => (),
            _ = drain.changed() => (),
            () = tokio::time::sleep_until(deadline) => (),
        }
    }
}

/// A page that is being filled.
struct Page {
    /// The updates, with commas between.
    json: Vec<u8>,
    count: usize,
    next_after: u64,
}

impl Page {
    /// Reads on; true if it came to the end of the feed. Examines a bounded number of updates.
    async fn read(
        &mut self,
        gate: &Gate,
        service: &Service,
        filter: &Filter,
        limit: usize,
    ) -> Result<bool, Problem> {
        let mut examined = 0;
        let HttpOptions { page_scan_max, page_bytes_max, .. } = *gate.options();
        while examined < page_scan_max {
            let Some(chunk) = gate.hub().chunk(service, self.next_after).await? else {
                return Ok(true);
            };
            examined += chunk.len();
            for update in chunk.updates(filter) {
                if self.count >= limit || self.json.len() >= page_bytes_max {
                    return Ok(false);
                }
                if self.count > 0 {
                    self.json.push(b',');
                }
                self.json.extend_from_slice(update.json);
                self.count += 1;
                self.next_after = update.seq;
            }
            self.next_after = chunk.last_seq;
        }
        Ok(false)
    }

    fn body(self, as_of_seq: u64) -> Bytes {
        let Self { json, next_after, .. } = self;
        let as_of_seq = as_of_seq.max(next_after);
        let end = format!(r#"],"next_after":{next_after},"as_of_seq":{as_of_seq}}}"#);
        Bytes::from([br#"{"updates":["#, json.as_slice(), end.as_bytes()].concat())
    }
}
