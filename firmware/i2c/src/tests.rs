//! A modelled bus: two open-drain lines, and a chip that was being read when its controller was reset. The model looks at the times
//! of each edge as well.

extern crate std;

use core::convert::Infallible;
use std::cell::RefCell;

use super::*;

/// What the chip has on the line, from one falling edge of the clock to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// It acknowledges its address.
    Acknowledge,
    /// A bit of its data, the highest first (0).
    Bit(u8),
    /// The controller acknowledges, or not.
    Acknowledged,
    /// It waits for a START.
    Idle,
    /// It is broken, and holds SDA whatever happens.
    Broken,
}

/// Times are in nanoseconds.
struct Wires {
    now: u64,
    slot: Slot,
    /// The byte that it sends, again and again.
    byte: u8,
    /// It holds the clock for so long after each falling edge.
    stretches: u64,
    clock_held_until: u64,
    /// What the controller lets go of.
    scl_out: bool,
    sda_out: bool,
    /// What the lines were, and since when.
    scl: (bool, u64),
    sda: bool,
    clocks: u32,
    stopped_at: Option<u64>,
}

impl Wires {
    fn new(slot: Slot, byte: u8) -> RefCell<Self> {
        let mut wires = Self {
            now: 1_000_000,
            slot,
            byte,
            stretches: 0,
            clock_held_until: 0,
            scl_out: true,
            sda_out: true,
            scl: (true, 0),
            sda: true,
            clocks: 0,
            stopped_at: None,
        };
        wires.sda = !wires.holds_data();
        RefCell::new(wires)
    }

    fn holds_data(&self) -> bool {
        match self.slot {
            Slot::Acknowledge | Slot::Broken => true,
            Slot::Bit(bit) => self.byte << bit & 0x80 == 0,
            Slot::Acknowledged | Slot::Idle => false,
        }
    }

    fn clock_is_high(&self) -> bool {
        self.scl_out && self.now >= self.clock_held_until
    }

    /// Lets what has changed have its effect.
    fn settle(&mut self) {
        let (was_high, since) = self.scl;
        let is_high = self.clock_is_high();
        if was_high != is_high {
            let (lasted, least, what) = (self.now - since, if was_high { 4_000 } else { 4_700 }, was_high);
            assert!(lasted >= least, "the clock was {what} for {lasted} ns only");
            self.scl = (is_high, self.now);
            if is_high { self.rise() } else { self.fall() }
        }
        let sda = self.sda_out && !self.holds_data();
        if sda != self.sda && was_high && is_high {
            assert!(sda, "a START");
            assert!(self.now - since >= 4_000, "a STOP too soon after the clock has risen");
            self.stopped_at = Some(self.now);
            if self.slot != Slot::Broken {
                self.slot = Slot::Idle;
            }
        }
        self.sda = sda;
    }

    fn rise(&mut self) {
        self.clocks += 1;
        // Who lets SDA be has not acknowledged: the chip ends.
        if self.slot == Slot::Acknowledged && self.sda_out {
            self.slot = Slot::Idle;
        }
    }

    fn fall(&mut self) {
        self.clock_held_until = self.now + self.stretches;
        self.slot = match self.slot {
            Slot::Acknowledge | Slot::Acknowledged => Slot::Bit(0),
            Slot::Bit(7) => Slot::Acknowledged,
            Slot::Bit(bit) => Slot::Bit(bit + 1),
            slot => slot,
        };
    }
}

struct Scl<'w>(&'w RefCell<Wires>);
struct Sda<'w>(&'w RefCell<Wires>);
struct Time<'w>(&'w RefCell<Wires>);

impl ErrorType for Scl<'_> {
    type Error = Infallible;
}

impl ErrorType for Sda<'_> {
    type Error = Infallible;
}

fn drive(wires: &RefCell<Wires>, with: impl FnOnce(&mut Wires)) -> Result<(), Infallible> {
    with(&mut wires.borrow_mut());
    wires.borrow_mut().settle();
    Ok(())
}

impl OutputPin for Scl<'_> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        drive(self.0, |wires| wires.scl_out = false)
    }
    fn set_high(&mut self) -> Result<(), Infallible> {
        drive(self.0, |wires| wires.scl_out = true)
    }
}

impl OutputPin for Sda<'_> {
    fn set_low(&mut self) -> Result<(), Infallible> {
        drive(self.0, |wires| wires.sda_out = false)
    }
    fn set_high(&mut self) -> Result<(), Infallible> {
        drive(self.0, |wires| wires.sda_out = true)
    }
}

impl InputPin for Scl<'_> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.borrow().clock_is_high())
    }
    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

impl InputPin for Sda<'_> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.borrow().sda)
    }
    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

impl DelayNs for Time<'_> {
    fn delay_ns(&mut self, ns: u32) {
        // Edges have their times, also those that the chip makes.
        for _ in 0..ns / 100 {
            let mut wires = self.0.borrow_mut();
            wires.now += 100;
            wires.settle();
        }
    }
}

fn freed(wires: &RefCell<Wires>) -> Result<u32, Stuck<Infallible>> {
    let found = free(&mut Scl(wires), &mut Sda(wires), &mut Time(wires));
    let wires = wires.borrow();
    assert!(wires.scl_out && wires.sda_out, "a line is held after {found:?}");
    assert!(wires.stopped_at.is_none_or(|at| wires.now - at >= 4_700), "no time between the STOP and what follows");
    found
}

#[test]
fn a_chip_in_the_middle_of_any_byte_is_freed_and_waits_for_a_start() {
    let mut most = 0;
    let middles = (0..8).map(Slot::Bit).chain([Slot::Acknowledge]);
    for (slot, byte) in middles.flat_map(|slot| (0..=u8::MAX).map(move |byte| (slot, byte))) {
        let wires = Wires::new(slot, byte);
        let held = !wires.borrow().sda;
        let clocks = freed(&wires).unwrap_or_else(|stuck| panic!("{slot:?} of {byte:#04x}: {stuck:?}"));
        let wires = wires.borrow();
        assert_eq!((clocks, clocks > 0), (wires.clocks, held), "{slot:?} of {byte:#04x}");
        assert!(wires.sda && wires.slot == if held { Slot::Idle } else { slot }, "{slot:?} of {byte:#04x}");
        most = most.max(clocks);
    }
    assert_eq!(most, CLOCKS_MAX, "of a chip that acknowledges its address, and then sends zeros");
}

#[test]
fn a_bus_that_is_free_is_left_alone() {
    let wires = Wires::new(Slot::Idle, 0);
    assert_eq!(freed(&wires), Ok(0));
    assert_eq!((wires.borrow().clocks, wires.borrow().stopped_at), (0, None));
}

#[test]
fn a_chip_that_holds_the_data_line_for_ever_gets_nine_clocks_and_no_more() {
    let wires = Wires::new(Slot::Broken, 0);
    let before = wires.borrow().now;
    assert_eq!(freed(&wires), Err(Stuck::Data));
    assert_eq!(wires.borrow().clocks, CLOCKS_MAX);
    assert!(wires.borrow().now - before <= 200_000, "it takes 0.2 ms at most");
}

#[test]
fn a_chip_that_stretches_the_clock_is_waited_for() {
    let wires = Wires::new(Slot::Bit(0), 0);
    wires.borrow_mut().stretches = 900_000;
    let before = wires.borrow().now;
    assert_eq!(freed(&wires), Ok(8));
    assert!(wires.borrow().now - before <= 11_000_000, "it takes 11 ms at most");
}

#[test]
fn a_clock_that_is_held_is_told_apart_and_given_up_in_time() {
    for stretches in [u64::MAX / 2, 1_100_000] {
        let wires = Wires::new(Slot::Bit(0), 0);
        wires.borrow_mut().stretches = stretches;
        assert_eq!(freed(&wires), Err(Stuck::Clock));
        // Held from the beginning.
        let wires = Wires::new(Slot::Bit(0), 0);
        {
            let mut wires = wires.borrow_mut();
            (wires.clock_held_until, wires.scl) = (wires.now + stretches, (false, 0));
        }
        let before = wires.borrow().now;
        assert_eq!(freed(&wires), Err(Stuck::Clock));
        assert!(wires.borrow().now - before <= 1_100_000);
        assert_eq!(wires.borrow().clocks, 0);
    }
}
