//! Bodies that are sent piece by piece: an answer in slices, and server-sent events as they happen.
//!
//! Made by [`super::answer`].

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::Server;
use super::crowd::{Member, Phase};
use crate::api;

/// The most that is handed to the connection at a time, so that what a client has not taken is known.
const SLICE: usize = 64 * 1024;

/// Events of a stream of changes. Its connection counts as one that works, however long nothing happens.
pub(super) struct Events {
    stream: api::Stream,
    member: Arc<Member>,
}

impl Events {
    /// The body that a stream is.
    pub(super) fn new(stream: api::Stream, member: &Arc<Member>) -> Self {
        member.enter(Phase::Working);
        Self { stream, member: Arc::clone(member) }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().stream.poll_next(cx).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.member.enter(Phase::Waiting);
    }
}

/// A body that tells when it has gone.
pub(super) struct Sent<B> {
    inner: B,
    bytes: u64,
    server: Arc<Server>,
    member: Arc<Member>,
}

impl<B> Sent<B> {
    /// Counts `bytes` as being sent until the body is dropped.
    pub(super) fn new(inner: B, bytes: usize, server: &Arc<Server>, member: &Arc<Member>) -> Self {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        server.crowd.sends(bytes);
        member.enter(Phase::Sending);
        Self { inner, bytes, server: Arc::clone(server), member: Arc::clone(member) }
    }
}

impl<B> Drop for Sent<B> {
    fn drop(&mut self) {
        self.server.crowd.sent(self.bytes);
        self.member.enter(Phase::Waiting);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Sent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that is there, in slices.
pub(super) struct Slices(pub(super) Bytes);

impl Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = &mut self.get_mut().0;
        if left.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(left.split_to(left.len().min(SLICE))))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }
}
