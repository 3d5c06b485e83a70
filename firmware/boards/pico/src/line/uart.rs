//! UART0: 115,200 baud, 8N1, both ways through rings that its interrupt serves.

use core::task::Poll;

use embassy_executor::Spawner;
use embassy_futures::poll_once;
use embassy_rp::bind_interrupts;
use embassy_rp::peripherals::UART0;
use embassy_rp::uart::{BufferedInterruptHandler, BufferedUart, Config};
use embedded_io_async::{Read, Write};

use super::Pins;

bind_interrupts!(struct Interrupts {
    UART0_IRQ => BufferedInterruptHandler<UART0>;
});

/// Room for a whole frame of the link.
const SEND_BYTES: usize = 1_024;
/// Room for 88 ms of bytes without a pause.
const RECEIVE_BYTES: usize = 1_024;

/// The UART.
pub(crate) struct Line {
    uart: BufferedUart,
}

impl Line {
    /// Starts it. Called once.
    pub(crate) fn start(pins: Pins, _device: &str, _spawner: Spawner) -> Self {
        let to_send = cortex_m::singleton!(TO_SEND: [u8; SEND_BYTES] = [0; SEND_BYTES]).expect("made only here");
        let received =
            cortex_m::singleton!(RECEIVED: [u8; RECEIVE_BYTES] = [0; RECEIVE_BYTES]).expect("made only here");
        // Its own settings are those of the link: 115,200 baud, 8N1.
        let config = Config::default();
        Self { uart: BufferedUart::new(pins.uart, pins.tx, pins.rx, Interrupts, to_send, received, config) }
    }

    /// Takes from the front of `bytes` what there is room for, and says how many that is.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        // The ring hands its room out in up to two pieces.
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            match poll_once(self.uart.write(rest)) {
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        sent
    }

    /// Waits for bytes; 0 where the line is disturbed (the link's checksums find what is missing).
    pub(crate) async fn receive(&mut self, bytes: &mut [u8]) -> usize {
        self.uart.read(bytes).await.unwrap_or(0)
    }
}
