//! USB: a serial port of the class CDC-ACM (USB CDC PSTN 1.2), which Linux shows as /dev/ttyACM0 and by the board's name in
//! /dev/serial/by-id. The baud rate that is set there means nothing.

use core::task::Poll;

use embassy_executor::Spawner;
use embassy_futures::poll_once;
use embassy_rp::bind_interrupts;
use embassy_rp::peripherals::USB;
use embassy_rp::usb::{Driver, InterruptHandler};
use embassy_usb::class::cdc_acm::{CdcAcmClass, Receiver, Sender, State};
use embassy_usb::{Builder, Config, UsbDevice};
use heapless::String;

use super::Pins;

bind_interrupts!(struct Interrupts {
    USBCTRL_IRQ => InterruptHandler<USB>;
});

/// Raspberry Pi's vendor number, and the product number that it gives to any serial port made with its own tools.
const VENDOR: u16 = 0x2e8a;
const PRODUCT: u16 = 0x000a;
const PACKET_BYTES: u16 = 64;
/// One byte less than a packet holds: a full one would have to be followed by an empty one, or the host waits for more.
const SEND_BYTES: usize = 63;

type Serial = CdcAcmClass<'static, Driver<'static, USB>>;

/// The serial port.
pub(crate) struct Line {
    sender: Sender<'static, Driver<'static, USB>>,
    receiver: Receiver<'static, Driver<'static, USB>>,
}

impl Line {
    /// Starts it. Called once.
    pub(crate) fn start(pins: Pins, device: &str, spawner: Spawner) -> Self {
        let name = cortex_m::singleton!(NAME: String<32> = String::new()).expect("made only here");
        name.push_str(device).expect("a name has at most 32 bytes");
        let mut config = Config::new(VENDOR, PRODUCT);
        config.manufacturer = Some("Lamppost");
        config.product = Some("Lamppost node");
        config.serial_number = Some(name);

        let descriptor = cortex_m::singleton!(DESCRIPTOR: [u8; 256] = [0; 256]).expect("made only here");
        let control = cortex_m::singleton!(CONTROL: [u8; 64] = [0; 64]).expect("made only here");
        let state = cortex_m::singleton!(STATE: State<'static> = State::new()).expect("made only here");
        let driver = Driver::new(pins.usb, Interrupts);
        let mut builder = Builder::new(driver, config, descriptor, &mut [], &mut [], control);
        let serial: Serial = CdcAcmClass::new(&mut builder, state, PACKET_BYTES);
        spawner.spawn(run(builder.build()).expect("started only here"));
        let (sender, receiver) = serial.split();
        Self { sender, receiver }
    }

    /// Takes from the front of `bytes` what a packet has room for, and says how many that is; none while the last packet
    /// waits for the host.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> usize {
        let packet = bytes.get(..SEND_BYTES).unwrap_or(bytes);
        match poll_once(self.sender.write_packet(packet)) {
            Poll::Ready(Ok(())) => packet.len(),
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        }
    }

    /// Waits for bytes, and for a host that has them to give. `bytes` has room for a packet.
    pub(crate) async fn receive(&mut self, bytes: &mut [u8]) -> usize {
        self.receiver.wait_connection().await;
        self.receiver.read_packet(bytes).await.unwrap_or(0)
    }
}

#[embassy_executor::task]
async fn run(mut device: UsbDevice<'static, Driver<'static, USB>>) {
    device.run().await;
}
