//! `fresh=true`, which every read takes: wait for all that was accepted before, then read.

use super::gate::Gate;
use super::problem::Problem;
use super::query::Params;
use crate::service::Service;

/// The service, after a flush if `params` ask for one. No other parameter may be left.
pub(super) async fn readable(gate: &Gate, mut params: Params) -> Result<&Service, Problem> {
    let service = gate.readable()?;
    let is_fresh = params.flag("fresh")?;
    params.end()?;
    if is_fresh {
        service.flush().await.map_err(|error| Problem { outcome: None, ..Problem::from(error) })?;
    }
    Ok(service)
}
