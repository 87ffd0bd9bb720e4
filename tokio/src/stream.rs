//! A connection in the hands of a server of another library.
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::gate::AcceptGate;

#[derive(Debug)]
pub(crate) enum StreamKind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that an [`AsyncListener`](crate::AsyncListener) has accepted. It counts as open until it is dropped.
#[derive(Debug)]
pub struct AsyncStream {
    socket: StreamKind,
    gate: Arc<AcceptGate>,
    number: u64,
    has_spoken: bool,
}

impl AsyncStream {
    pub(crate) fn new(socket: StreamKind, gate: Arc<AcceptGate>, number: u64) -> AsyncStream {
        AsyncStream { socket, gate, number, has_spoken: false }
    }

    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin)> {
        Pin::new(match &mut self.socket {
            StreamKind::Tcp(stream) => stream,
            StreamKind::Unix(stream) => stream,
        })
    }
}

impl AsyncRead for AsyncStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(match &mut self.socket {
            StreamKind::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            StreamKind::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        })?;
        if !std::mem::replace(&mut self.has_spoken, true) {
            self.gate.spoke(self.number);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AsyncStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(context)
    }
}

impl Drop for AsyncStream {
    fn drop(&mut self) {
        self.gate.left(self.number);
    }
}
