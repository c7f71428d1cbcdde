//! Reading a request's body: not too large, not too slowly, and all bodies together within the memory that is set aside.
//!
//! Called by [`super::answer`].

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::api::Failure;

/// What the memory of bodies is counted in.
pub(super) const UNIT: usize = 4096;

/// What every connection may receive without asking for memory.
const FREE: usize = 16 * 1024;

/// How long there may be nothing of a body.
const SILENCE: Duration = Duration::from_secs(10);

/// Time before a body's rate is looked at.
const START: Duration = Duration::from_secs(10);

/// The least bytes a second, over the whole body.
const LEAST_PER_S: u64 = 1024;

/// How long to wait for memory that other bodies have.
const MEMORY: Duration = Duration::from_secs(5);

/// Of a body that is refused, this much is still taken, so that its sender gets to read the answer.
const DISCARDED: usize = 64 << 20;

/// A body, with its share of the memory.
#[derive(Debug)]
pub(super) struct Received {
    /// All of it.
    pub(super) bytes: Bytes,
    held: Vec<OwnedSemaphorePermit>,
}

impl Received {
    /// The bytes, and what must be kept for as long as they are.
    pub(super) fn into_parts(self) -> (Bytes, Vec<OwnedSemaphorePermit>) {
        (self.bytes, self.held)
    }
}

/// Receives a body. `declared` is its Content-Length; `expects` is whether the client waits to be told to send it.
///
/// # Errors
/// 413 if it is larger than `most`, 503 if it comes too slowly or there is no memory for it, 400 if the connection breaks.
pub(super) async fn receive(
    mut body: Body,
    declared: Option<u64>,
    expects: bool,
    most: usize,
    memory: &std::sync::Arc<Semaphore>,
) -> Result<Received, Failure> {
    let declared = declared.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if declared.is_some_and(|bytes| bytes > most) {
        if !expects {
            discard(&mut body).await;
        }
        return Err(too_large(most));
    }
    let started = Instant::now();
    let (mut bytes, mut held) = (BytesMut::new(), Vec::new());
    let mut counted = FREE;
    loop {
        let by = (Instant::now() + SILENCE).min(slowest(started, bytes.len()));
        let frame = match timeout_at(by, body.frame()).await {
            Err(_) => return Err(slow()),
            Ok(None) => break,
            Ok(Some(frame)) => frame.map_err(|_| Failure::parameters("the body ended early"))?,
        };
        let Ok(data) = frame.into_data() else { continue };
        let total = bytes.len() + data.len();
        if total > most {
            discard(&mut body).await;
            return Err(too_large(most));
        }
        if bytes.is_empty() && declared == Some(data.len()) && total <= FREE {
            return Ok(Received { bytes: data, held });
        }
        if total > counted {
            let units = (total - counted).div_ceil(UNIT).max(FREE / UNIT);
            let asked = memory.clone().acquire_many_owned(u32::try_from(units).unwrap_or(u32::MAX));
            let permit = timeout(MEMORY, asked).await.ok().and_then(Result::ok);
            held.push(permit.ok_or_else(|| Failure::unavailable("too many large requests at a time"))?);
            counted += units * UNIT;
        }
        bytes.reserve(declared.map_or(0, |bytes| bytes.min(total * 2)).saturating_sub(bytes.len()));
        bytes.extend_from_slice(&data);
    }
    Ok(Received { bytes: bytes.freeze(), held })
}

/// When so many bytes must have come at the slowest.
fn slowest(started: Instant, bytes: usize) -> Instant {
    started + START + Duration::from_secs(u64::try_from(bytes).unwrap_or(u64::MAX) / LEAST_PER_S)
}

async fn discard(body: &mut Body) {
    let (mut left, by) = (DISCARDED, Instant::now() + START);
    while left > 0 {
        match timeout_at(by, body.frame()).await {
            Ok(Some(Ok(frame))) => left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
            _ => return,
        }
    }
}

fn too_large(most: usize) -> Failure {
    Failure::too_large(format!("the body is larger than {most} bytes"))
}

fn slow() -> Failure {
    Failure { text: "the body came too slowly".to_owned(), ..Failure::timeout() }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use tokio::sync::mpsc;

    use super::*;

    /// Pieces that come through a channel.
    struct Frames(mpsc::Receiver<Bytes>);

    impl hyper::body::Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.get_mut().0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(work)
    }

    /// Receives `count` frames of `size` bytes, one each `every`; more memory than `units` is not to be had.
    fn received(count: usize, size: usize, every: Duration, most: usize, units: usize) -> Result<usize, String> {
        run(async move {
            let (sender, frames) = mpsc::channel(16);
            let sending = async move {
                for _ in 0..count {
                    tokio::time::sleep(every).await;
                    if sender.send(Bytes::from(vec![b'x'; size])).await.is_err() {
                        break;
                    }
                }
            };
            let memory = Arc::new(Semaphore::new(units));
            let receiving = receive(Body::new(Frames(frames)), None, false, most, &memory);
            let (received, ()) = tokio::join!(receiving, sending);
            received.map(|received| received.bytes.len()).map_err(|failure| failure.text)
        })
    }

    #[test]
    fn bodies_are_limited() {
        let now = Duration::ZERO;
        assert_eq!(received(0, 0, now, 10, 0), Ok(0));
        assert_eq!(received(5, 2, now, 10, 0), Ok(10));
        assert_eq!(received(6, 2, now, 10, 0), Err("the body is larger than 10 bytes".to_owned()));
        let memory = Arc::new(Semaphore::new(0));
        let declared = receive(Body::empty(), Some(11), true, 10, &memory);
        assert_eq!(run(declared).unwrap_err().code, "PAYLOAD_TOO_LARGE");
    }

    #[test]
    fn slow_bodies_are_refused() {
        let slow = Err("the body came too slowly".to_owned());
        assert_eq!(received(1, 10, SILENCE * 2, 100, 0), slow);
        assert_eq!(received(100, 10, Duration::from_secs(1), 10_000, 0), slow);
        assert_eq!(received(100, 2048, Duration::from_secs(1), 1 << 20, 1000), Ok(204_800));
    }

    #[test]
    fn all_bodies_share_the_memory() {
        let much = FREE * 4;
        assert_eq!(received(4, FREE, Duration::ZERO, much, much / UNIT), Ok(much));
        let refusal = received(4, FREE, Duration::ZERO, much, 1).unwrap_err();
        assert_eq!(refusal, "too many large requests at a time");
    }
}
