//! The socket itself: bound, guarded, and served within bounds.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lamppost_event::Clock;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::place::Address;
use super::words::{Answer, Question, Why};
use super::{QUESTION_BYTES_MAX, talk};
use crate::gateway::LinkSeen;

/// Connections at once.
const CONNECTIONS_MAX: usize = 8;
/// How long a connection may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long an answer may take to be taken.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// After an error of the listener, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// Who may: the gateway's own user and group.
const MODE: u32 = 0o660;

/// The nodes that can be commanded.
#[derive(Clone)]
pub(crate) struct Nodes {
    pub(crate) links: Vec<LinkSeen>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The control socket of a running gateway. Dropped, it is gone.
pub(crate) struct Control {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Control {
    /// Listens at `path`. What a gateway that was killed has left there is replaced.
    ///
    /// # Errors
    /// Another program listens there, or the socket can't be made.
    pub(crate) fn start(path: &Path, nodes: Nodes) -> io::Result<Self> {
        let listener = bind(path)?;
        Ok(Self { path: path.to_owned(), task: tokio::spawn(serve(listener, nodes)) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        // Who finds it there finds that nobody listens.
        std::fs::remove_file(&self.path).ok();
    }
}

/// Bound under another name first: at its own it is never open to more than it should be.
fn bind(path: &Path) -> io::Result<UnixListener> {
    // It takes the place of a socket that was left there, and of nothing else.
    if std::fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
    }
    if std::os::unix::net::UnixStream::connect(Address::of(path)?.path()).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway listens there"));
    }
    let mut made = path.to_owned().into_os_string();
    made.push(".new");
    let made = PathBuf::from(made);
    match std::fs::remove_file(&made) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(Address::of(&made)?.path())?;
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(MODE))?;
    #[expect(clippy::disallowed_methods, reason = "a socket need not survive a crash")]
    std::fs::rename(&made, path)?;
    Ok(listener)
}

async fn serve(listener: UnixListener, nodes: Nodes) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // They end with the listener.
    let mut served = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control socket can't be served now");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = served.join_next() => continue,
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let nodes = nodes.clone();
                served.spawn(async move {
                    // Who hangs up is not told anything.
                    converse(stream, &nodes).await.ok();
                    drop(place);
                });
            }
            Err(_) => turn_away(&stream),
        }
    }
}

/// Without waiting: a few bytes always fit a new socket's buffer.
fn turn_away(stream: &UnixStream) {
    let message = "as many connections as are served at once are open; try again".to_owned();
    if let Ok(line) = line(&Answer::Failed { why: Why::TooMany, message, device: None, measures: Vec::new() }) {
        stream.try_write(&line).ok();
    }
}

async fn converse(stream: UnixStream, nodes: &Nodes) -> io::Result<()> {
    let uid = stream.peer_cred().map(|who| who.uid()).ok();
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut asked = Vec::new();
        let mut bounded = (&mut read).take(QUESTION_BYTES_MAX);
        timeout(SILENCE_MAX, bounded.read_until(b'\n', &mut asked)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if asked.is_empty() {
            return Ok(());
        }
        let is_whole = asked.ends_with(b"\n");
        let answer = match serde_json::from_slice::<Question>(&asked) {
            _ if !is_whole => {
                bad(format!("a question ends with a line feed and has at most {QUESTION_BYTES_MAX} bytes"))
            }
            Err(error) => bad(format!("not a question: {error}")),
            Ok(Question::Nodes) => talk::answer(Question::Nodes, &nodes.links, &*nodes.clock).await,
            Ok(command) => {
                let told = command.clone();
                let answer = talk::answer(command, &nodes.links, &*nodes.clock).await;
                tracing::info!(uid, command = ?told, outcome = ?answer, "an operator's command");
                answer
            }
        };
        let written = timeout(WRITE_MAX, write.write_all(&line(&answer)?)).await;
        written.map_err(|_| io::ErrorKind::TimedOut)??;
        if !is_whole {
            // What follows is the rest of it.
            return Ok(());
        }
    }
}

fn bad(message: String) -> Answer {
    Answer::Failed { why: Why::BadRequest, message, device: None, measures: Vec::new() }
}

fn line(answer: &Answer) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(line)
}
