//! What the processor calls by itself: the clock's tick, UART0's interrupt, and a panic. Linked into each program of this board.

use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use cortex_m_rt::exception;

use crate::clock;
use crate::uart::{self, Console, Uart0Interrupt};

#[exception]
fn SysTick() {
    clock::on_tick();
}

#[exception]
unsafe fn DefaultHandler(interrupt: i16) {
    match u16::try_from(interrupt) {
        Ok(Uart0Interrupt::NUMBER) => uart::on_interrupt(),
        _ => panic!("no handler for exception {interrupt}"),
    }
}

/// Says what happened and starts anew: nobody is there to press the button.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    Console::start().say(format_args!("{info}"));
    SCB::sys_reset()
}
