//! A connection's bytes, watched: a head that trickles in and an answer that nobody takes end it.
//!
//! Made by [`super::connection`], below TLS and HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::crowd::Member;

/// Time from the first byte of a request's head to its last.
const HEAD: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what it is sent.
const TAKE: Duration = Duration::from_secs(30);

/// A watched stream.
pub(super) struct Watched<S> {
    inner: S,
    member: Arc<Member>,
    /// When the head that has begun must be whole.
    head: Option<Pin<Box<Sleep>>>,
    /// When the client must have taken something.
    take: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// Watches a stream.
    pub(super) fn new(inner: S, member: Arc<Member>) -> Self {
        Self { inner, member, head: None, take: None }
    }
}

fn timer(after: Duration) -> Pin<Box<Sleep>> {
    Box::pin(sleep_until(Instant::now() + after))
}

fn is_over(timer: Option<&mut Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buf);
        if !this.member.is_waiting() {
            this.head = None;
            if polled.is_ready() {
                this.member.moved();
            }
            return polled;
        }
        if polled.is_ready() && buf.filled().len() > before {
            this.head.get_or_insert_with(|| timer(HEAD));
        }
        if polled.is_pending() && is_over(this.head.as_mut(), cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn taken<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.take = None;
            if !self.member.is_waiting() {
                self.member.moved();
            }
            return polled;
        }
        self.take.get_or_insert_with(|| timer(TAKE));
        if is_over(self.take.as_mut(), cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.taken(polled, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, parts);
        this.taken(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.get_mut().inner).poll_shutdown(cx));
        Poll::Ready(done)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::crowd::{Crowd, Phase};
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
    }

    #[test]
    fn a_head_that_trickles_in_ends_in_time() {
        runtime().block_on(async {
            let crowd = Crowd::new(1);
            let place = crowd.enter().unwrap();
            let (mut client, server) = duplex(64);
            let mut watched = Watched::new(server, Arc::clone(place.member()));
            let trickle = async move {
                while client.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            let started = Instant::now();
            let reading = async {
                loop {
                    if let Err(error) = watched.read_u8().await {
                        break error.kind();
                    }
                }
            };
            tokio::select! {
                kind = reading => assert_eq!(kind, io::ErrorKind::TimedOut),
                () = trickle => panic!("the stream took everything"),
            }
            assert_eq!(started.elapsed().as_secs(), HEAD.as_secs());
        });
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up() {
        runtime().block_on(async {
            let crowd = Crowd::new(1);
            let place = crowd.enter().unwrap();
            place.member().enter(Phase::Sending);
            let (_client, server) = duplex(64);
            let mut watched = Watched::new(server, Arc::clone(place.member()));
            assert_eq!(watched.write_all(&[0; 65]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }
}
