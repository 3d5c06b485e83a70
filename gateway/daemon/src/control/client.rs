//! Asks a gateway that runs.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::place::Address;
use super::words::{Answer, Question};

/// Eight measures of a node, each with its 12 s, and a reset node's way back.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest answer, bytes: some hundred ports.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Asks the gateway whose control socket is at `path`.
///
/// # Errors
/// There is none, it may not be asked, or what it answers is not understood; in words for an operator.
pub(crate) async fn ask(path: &Path, question: &Question) -> anyhow::Result<Answer> {
    let answer = timeout(PATIENCE, converse(path, question)).await;
    answer.with_context(|| format!("the gateway at {} does not answer", path.display()))?
}

async fn converse(path: &Path, question: &Question) -> anyhow::Result<Answer> {
    let connected = match Address::of(path) {
        Ok(address) => UnixStream::connect(address.path()).await,
        Err(error) => Err(error),
    };
    let stream = connected.map_err(|error| unreachable(path, &error))?;
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    // One that was turned away at the door may be closed already: what it was told is still to be read.
    let written = write.write_all(&line).await;
    let mut answer = Vec::new();
    let read = BufReader::new(read.take(ANSWER_BYTES_MAX)).read_until(b'\n', &mut answer).await;
    if answer.is_empty() {
        written.and(read.map(drop)).context("the gateway hung up")?;
        anyhow::bail!("the gateway hung up without an answer");
    }
    serde_json::from_slice(&answer)
        .context("the gateway's answer is not understood; are program and gateway of one version?")
}

fn unreachable(path: &Path, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => anyhow::anyhow!(
            "you may not command this gateway's nodes: {path} is for its own user and group; be in the group lamppost, or use sudo"
        ),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => anyhow::anyhow!(
            "no gateway listens at {path}; does it run (systemctl status lamppost), and is [control] socket or --socket right?"
        ),
        _ => anyhow::anyhow!("{path} can't be reached: {error}"),
    }
}
