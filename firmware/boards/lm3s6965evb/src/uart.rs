//! The UARTs, which are PL011s (LM3S6965 data sheet, chapter "UARTs"): 8N1, FIFOs on; 115,200 baud, if nothing else is said.
//!
//! What UART0 receives goes through an interrupt into a ring, so that no byte is lost while the main loop measures. Sending
//! never waits: the main loop hands over as many bytes as the FIFO has room for.

use core::cell::RefCell;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use critical_section::Mutex;
use heapless::spsc::{Consumer, Producer, Queue};

use crate::mmio::Register;
use crate::power::SYSTEM_CLOCK_HZ;

const BAUD: u32 = 115_200;
/// Room for 88 ms of bytes without a pause.
const RING_BYTES: usize = 1024;

/// UART0's interrupt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uart0Interrupt;

impl Uart0Interrupt {
    /// Its place in the vector table (data sheet, table "Interrupts").
    pub(crate) const NUMBER: u16 = 5;
}

// SAFETY: the number is this interrupt's and no other's.
unsafe impl InterruptNumber for Uart0Interrupt {
    fn number(self) -> u16 {
        Self::NUMBER
    }
}

const UART0: usize = 0x4000_c000;
const UART1: usize = 0x4000_d000;

const DATA: usize = 0x00;
const FLAGS: usize = 0x18;
const BAUD_INTEGER: usize = 0x24;
const BAUD_FRACTION: usize = 0x28;
const LINE: usize = 0x2c;
const CONTROL: usize = 0x30;
const INTERRUPT_MASK: usize = 0x38;
const INTERRUPT_CLEAR: usize = 0x44;

const RECEIVE_EMPTY: u32 = 1 << 4;
const TRANSMIT_FULL: u32 = 1 << 5;
const RECEIVED: u32 = 1 << 4;
const RECEIVE_TIMEOUT: u32 = 1 << 6;
const OVERRUN: u32 = 1 << 11;

static RECEIVER: Mutex<RefCell<Option<Producer<'static, u8>>>> = Mutex::new(RefCell::new(None));
static LOST_BYTES: AtomicU32 = AtomicU32::new(0);

/// The link's UART.
pub struct Uart {
    received: Consumer<'static, u8>,
}

impl Uart {
    /// Starts UART0 for the link. Once: a second time panics, since the ring that its interrupt fills is one.
    pub fn start() -> Self {
        Self::start_at(BAUD)
    }

    /// Starts UART0 for something else than the link, with `baud` of 1,200 to 230,400. Once, likewise.
    pub fn start_at(baud: u32) -> Self {
        let ring = cortex_m::singleton!(RING: Queue<u8, RING_BYTES> = Queue::new()).expect("started once");
        let (producer, received) = ring.split();
        critical_section::with(|cs| RECEIVER.replace(cs, Some(producer)));
        configure(UART0, baud);
        register(UART0, INTERRUPT_MASK).write(RECEIVED | RECEIVE_TIMEOUT);
        // SAFETY: the handler's state is set up, and no critical section is open.
        unsafe { NVIC::unmask(Uart0Interrupt) };
        Self { received }
    }

    /// Takes what has come in, as many bytes as `bytes` has room for; returns how many that was.
    pub fn receive(&mut self, bytes: &mut [u8]) -> usize {
        let taken = bytes.iter_mut().map_while(|place| self.received.dequeue().map(|byte| *place = byte));
        taken.count()
    }

    /// Sends from the front of `bytes` what the FIFO has room for; returns how many bytes that was.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let fits = |_: &&u8| register(UART0, FLAGS).read() & TRANSMIT_FULL == 0;
        bytes.iter().take_while(fits).map(|byte| register(UART0, DATA).write(u32::from(*byte))).count()
    }
}

/// Bytes that came in and were lost, since the start: to the ring being full, or to the FIFO.
pub fn lost_bytes() -> u32 {
    LOST_BYTES.load(Ordering::Relaxed)
}

/// UART0's interrupt: moves all that has come in to the ring.
pub(crate) fn on_interrupt() {
    register(UART0, INTERRUPT_CLEAR).write(RECEIVED | RECEIVE_TIMEOUT);
    critical_section::with(|cs| {
        let mut receiver = RECEIVER.borrow_ref_mut(cs);
        while register(UART0, FLAGS).read() & RECEIVE_EMPTY == 0 {
            let data = register(UART0, DATA).read();
            let kept = receiver.as_mut().is_some_and(|ring| ring.enqueue(data as u8).is_ok());
            let lost = u32::from(!kept) + u32::from(data & OVERRUN != 0);
            // No other writer: a load and a store are enough, and all that a Cortex-M3 needs.
            LOST_BYTES.store(LOST_BYTES.load(Ordering::Relaxed).saturating_add(lost), Ordering::Relaxed);
        }
    });
}

/// UART1, for last words: polled, needs nothing that may have broken.
pub struct Console;

impl Console {
    /// Starts UART1. Harmless if it was started before.
    pub fn start() -> Self {
        configure(UART1, BAUD);
        Self
    }

    /// Writes a line.
    pub fn say(&mut self, line: core::fmt::Arguments<'_>) {
        use core::fmt::Write;
        writeln!(self, "{line}").expect("writing to this console can't fail");
    }
}

impl core::fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            while register(UART1, FLAGS).read() & TRANSMIT_FULL != 0 {}
            register(UART1, DATA).write(u32::from(byte));
        }
        Ok(())
    }
}

fn configure(uart: usize, baud: u32) {
    const EIGHT_BITS_AND_FIFOS: u32 = 0b11 << 5 | 1 << 4;
    const ENABLE_BOTH_WAYS: u32 = 1 << 9 | 1 << 8 | 1;
    // Sixteen samples a bit, the divisor in 1/64, rounded.
    let divisor = (SYSTEM_CLOCK_HZ * 8 / baud.max(1)).div_ceil(2);
    register(uart, CONTROL).write(0);
    register(uart, BAUD_INTEGER).write(divisor / 64);
    register(uart, BAUD_FRACTION).write(divisor % 64);
    register(uart, LINE).write(EIGHT_BITS_AND_FIFOS);
    register(uart, CONTROL).write(ENABLE_BOTH_WAYS);
}

fn register(uart: usize, offset: usize) -> Register {
    // SAFETY: all callers in this file name one of the two UARTs and one of a PL011's registers.
    unsafe { Register::at(uart + offset) }
}
