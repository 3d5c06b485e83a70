//! What is logged, for tests: on the thread of the test, until it is dropped.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines so far: level, message, fields.
pub(crate) struct LogLines {
    sink: Sink,
    _until_dropped: DefaultGuard,
}

impl LogLines {
    pub(crate) fn new() -> Self {
        let sink = Sink::default();
        let writer = sink.clone();
        let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false);
        let lines = lines.without_time().with_target(false).finish();
        Self { sink, _until_dropped: tracing::subscriber::set_default(lines) }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.sink.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim_start().to_owned()).collect()
    }
}
