//! One connection through a [`super::Proxy`]: two pumps that look at the line before each step.

use std::{cell::Cell, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Line, Meddler, Shared, resp};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// Chunks on their way on a slow line; what is more waits in the sender's kernel.
const ON_THE_WAY: usize = 1024;

/// How a pump came to its end.
enum End {
    /// Its side said goodbye.
    Closed,
    /// The line broke.
    Broken,
}

/// Serves one connection until either side closes it or the line breaks.
pub(super) async fn serve(client: TcpStream, shared: &Shared) {
    let mut lines = shared.line.subscribe();
    let mut resets = shared.resets.subscribe();
    resets.mark_unchanged();
    // A line that swallows has nobody at its other end.
    loop {
        match *lines.borrow_and_update() {
            Line::Open | Line::Deaf => break,
            Line::Cut => return reset(&client),
            Line::Blackhole | Line::Stalled => {}
        }
        let was_swallowing = *lines.borrow() == Line::Blackhole;
        tokio::select! {
            changed = lines.changed() => if changed.is_err() { return },
            _ = resets.changed() => return reset(&client),
        }
        if was_swallowing && *lines.borrow() != Line::Blackhole {
            return reset(&client);
        }
    }
    let Ok(server) = TcpStream::connect(shared.upstream()).await else { return reset(&client) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let end = tokio::select! {
        end = pump(from_client, &to_server, Way::Up, shared) => end,
        end = pump(from_server, &to_client, Way::Down, shared) => end,
        _ = resets.changed() => End::Broken,
    };
    if matches!(end, End::Broken) {
        reset(to_client.as_ref());
        reset(to_server.as_ref());
    }
}

fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To Redis.
    Up,
    /// Back.
    Down,
}

impl Way {
    fn is_swallowed(self, line: Line) -> bool {
        line == Line::Blackhole || line == Line::Deaf && self == Self::Down
    }
}

async fn pump(from: OwnedReadHalf, to: &OwnedWriteHalf, way: Way, shared: &Shared) -> End {
    let (sender, receiver) = mpsc::channel(ON_THE_WAY);
    let direction = Direction { way, shared, has_lost: Cell::new(false) };
    let (read, written) = (direction.read(from, sender), direction.write(to.as_ref(), receiver));
    tokio::pin!(read, written);
    tokio::select! {
        end = &mut read => match end {
            // What is on its way still arrives.
            End::Closed => written.await,
            End::Broken => End::Broken,
        },
        end = &mut written => end,
    }
}

/// One direction of a connection.
struct Direction<'a> {
    way: Way,
    shared: &'a Shared,
    /// Whether bytes were swallowed: then what comes later makes no sense to the other side.
    has_lost: Cell<bool>,
}

impl Direction<'_> {
    async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        on: mpsc::Sender<(Instant, Vec<u8>)>,
    ) -> End {
        let meddler = self.shared.meddler().filter(|_| self.way == Way::Up);
        let mut lines = self.shared.line.subscribe();
        let (mut chunk, mut pending) = (vec![0; CHUNK], Vec::new());
        loop {
            let line = *lines.borrow_and_update();
            if line == Line::Cut || self.has_lost.get() && !self.way.is_swallowed(line) {
                return End::Broken;
            }
            let length = tokio::select! {
                changed = lines.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return End::Broken,
                },
                read = from.read(&mut chunk), if line != Line::Stalled => match read {
                    Ok(0) => return End::Closed,
                    Ok(length) => length,
                    Err(_) => return End::Broken,
                },
            };
            if self.way.is_swallowed(line) {
                self.has_lost.set(true);
                continue;
            }
            let bytes = match &meddler {
                None => chunk[..length].to_vec(),
                Some(meddler) => {
                    pending.extend_from_slice(&chunk[..length]);
                    rewrite(&mut pending, &**meddler, self.shared)
                }
            };
            if on.send((Instant::now() + self.delay(), bytes)).await.is_err() {
                return End::Broken;
            }
        }
    }

    async fn write(&self, to: &TcpStream, mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>) -> End {
        let mut lines = self.shared.line.subscribe();
        while let Some((at, bytes)) = chunks.recv().await {
            sleep_until(at).await;
            // A slow line may have stalled or broken while this was on its way.
            let moves = lines.wait_for(|line| *line != Line::Stalled).await.map(|line| *line);
            match moves {
                Ok(Line::Cut) | Err(_) => return End::Broken,
                Ok(line) if self.way.is_swallowed(line) => self.has_lost.set(true),
                Ok(_) if write_all(to, &bytes).await.is_err() => return End::Broken,
                Ok(_) => {}
            }
        }
        End::Closed
    }

    /// Only the way to Redis is slow: an answer belongs to its command.
    fn delay(&self) -> Duration {
        if self.way == Way::Up { self.shared.delay() } else { Duration::ZERO }
    }
}

/// Takes the whole commands out of `pending` and spells them as the meddler leaves them.
fn rewrite(pending: &mut Vec<u8>, meddler: &dyn Meddler, shared: &Shared) -> Vec<u8> {
    let mut out = Vec::with_capacity(pending.len());
    let mut taken = 0;
    while let Some((mut command, length)) = resp::command(&pending[taken..]) {
        taken += length;
        shared.commands.fetch_add(1, Ordering::Relaxed);
        meddler.meddle(&mut command);
        resp::print(&command, &mut out);
    }
    pending.drain(..taken);
    out
}

async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
