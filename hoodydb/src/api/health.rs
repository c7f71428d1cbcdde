//! H.
use super::{Api, Body, Call, Failure, Work};
use http::Response;

pub(super) struct Figures {}
impl Figures {
    pub(super) fn new() -> Self {
        Self {}
    }
    pub(super) fn count(&self, _endpoint: &super::route::Endpoint) {}
}
pub(super) fn health(call: &Call) -> Result<Work, Failure> {
    Ok(Work::Health { verbose: call.params.flag("verbose")?.unwrap_or(false) })
}
impl Api {
    pub(super) fn health(&self, _call: &Call, _verbose: bool) -> Response<Body> {
        Failure::unavailable("planned").response()
    }
    pub(super) fn cache(&self) -> Response<Body> {
        Failure::unavailable("planned").response()
    }
}
