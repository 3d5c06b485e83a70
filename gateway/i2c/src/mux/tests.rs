use embedded_hal::i2c::NoAcknowledgeSource;

use super::*;

const ONE: BusAddress = BusAddress(0x70);
const OTHER: BusAddress = BusAddress(0x71);
const CHIP: u8 = 0x48;

/// A bus with multiplexers, behind whose channels chips answer with one byte.
#[derive(Default)]
struct Wires {
    muxes: BTreeMap<u8, u8>,
    /// By multiplexer and channel.
    chips: BTreeMap<(u8, u8), u8>,
    /// Fails so many transfers to chips.
    failing: u32,
    /// Behind this channel of a multiplexer a chip holds the wires down: while it is open nothing gets through, not even to a multiplexer, but for
    /// what the kernel's recovery frees, after so many transfers.
    held: Option<((u8, u8), u32)>,
    /// Writes to multiplexers.
    selections: u32,
    /// How long a transfer to a chip takes.
    takes: Duration,
}

#[derive(Clone, Default)]
struct Crossing(Arc<Mutex<Wires>>);

impl ErrorType for Crossing {
    type Error = BusError;
}

fn refused() -> BusError {
    BusError::new(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address), "no chip acknowledges the address")
}

impl I2c for Crossing {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        let takes = self.0.lock().unwrap().takes;
        let before: Vec<_> = self.0.lock().unwrap().muxes.values().copied().collect();
        if address == CHIP {
            std::thread::sleep(takes);
        }
        let mut wires = self.0.lock().unwrap();
        let is_open =
            |muxes: &BTreeMap<u8, u8>, mux, channel: u8| muxes.get(&mux).is_some_and(|open| open & 1 << channel != 0);
        if let Some(((mux, channel), transfers)) = wires.held
            && is_open(&wires.muxes, mux, channel)
        {
            wires.held = Some(((mux, channel), transfers.saturating_sub(1)));
            if transfers > 0 || address == CHIP {
                return Err(BusError::new(ErrorKind::Bus, "ETIMEDOUT: the data line stays low"));
            }
        }
        if let Some(channels) = wires.muxes.get_mut(&address) {
            let [Operation::Write([selected])] = operations else { panic!("one byte selects") };
            *channels = *selected;
            wires.selections += 1;
            return Ok(());
        }
        let now: Vec<_> = wires.muxes.values().copied().collect();
        assert_eq!(before, now, "somebody talked in between");
        if wires.failing > 0 {
            wires.failing -= 1;
            return Err(refused());
        }
        let answering: Vec<u8> = wires
            .chips
            .iter()
            .filter(|((mux, channel), _)| is_open(&wires.muxes, *mux, *channel))
            .map(|(_, value)| *value)
            .collect();
        assert!(answering.len() <= 1, "two chips answer at once");
        let [Operation::Read([byte])] = operations else { return Err(refused()) };
        *byte = *answering.first().ok_or_else(refused)?;
        Ok(())
    }
}

/// Two multiplexers, with a chip of the same address behind each of three channels.
fn crossing() -> (Crossing, Gate) {
    let wires = Wires {
        muxes: [(ONE.0, 0xff), (OTHER.0, 0xff)].into(),
        chips: [((ONE.0, 0), 10), ((ONE.0, 3), 13), ((OTHER.0, 3), 23)].into(),
        ..Wires::default()
    };
    (Crossing(Arc::new(Mutex::new(wires))), Gate::new([ONE, OTHER]))
}

fn chip(crossing: &Crossing, gate: &Gate, mux: BusAddress, channel: u8) -> Gated<Crossing> {
    Gated::new(crossing.clone(), gate.clone(), Some(MuxChannel { mux, channel }))
}

fn read(chip: &mut Gated<Crossing>) -> Result<u8, BusError> {
    let mut byte = [0];
    chip.transaction(CHIP, &mut [Operation::Read(&mut byte)]).map(|()| byte[0])
}

#[test]
fn chips_of_one_address_behind_different_channels_and_multiplexers_are_told_apart() {
    let (crossing, gate) = crossing();
    let mut chips =
        [(ONE, 0, 10), (ONE, 3, 13), (OTHER, 3, 23)].map(|(mux, ch, value)| (chip(&crossing, &gate, mux, ch), value));
    for _ in 0..3 {
        for (chip, value) in &mut chips {
            assert_eq!(read(chip), Ok(*value));
        }
    }
}

#[test]
fn a_channel_that_is_open_is_not_selected_again() {
    let (crossing, gate) = crossing();
    let mut chip = chip(&crossing, &gate, ONE, 3);
    for _ in 0..5 {
        assert_eq!(read(&mut chip), Ok(13));
    }
    // One opens, the other closes.
    assert_eq!(crossing.0.lock().unwrap().selections, 2);
}

#[test]
fn after_an_error_the_channel_is_selected_again() {
    let (crossing, gate) = crossing();
    let mut chip = chip(&crossing, &gate, ONE, 3);
    assert_eq!(read(&mut chip), Ok(13));
    crossing.0.lock().unwrap().failing = 1;
    assert!(read(&mut chip).is_err());
    // It lost its power meanwhile: all its channels are closed.
    crossing.0.lock().unwrap().muxes.insert(ONE.0, 0);
    assert_eq!(read(&mut chip), Ok(13));
}

#[test]
fn a_multiplexer_that_is_not_there_is_named() {
    let (crossing, gate) = crossing();
    crossing.0.lock().unwrap().muxes.remove(&ONE.0);
    crossing.0.lock().unwrap().failing = 1;
    let error = read(&mut chip(&crossing, &gate, ONE, 3)).unwrap_err();
    assert_eq!(format!("{error:?}"), "setting mux 0x70 to 0x08: no chip acknowledges the address");
}

#[test]
fn a_multiplexer_that_is_not_there_stops_no_chip_behind_the_others() {
    let (crossing, gate) = crossing();
    crossing.0.lock().unwrap().muxes.remove(&ONE.0);
    for _ in 0..3 {
        assert_eq!(read(&mut chip(&crossing, &gate, OTHER, 3)), Ok(23));
    }
    let error = read(&mut chip(&crossing, &gate, ONE, 3)).unwrap_err();
    assert!(format!("{error:?}").starts_with("setting mux 0x70 to 0x08: "), "{error:?}");
    assert_eq!(read(&mut chip(&crossing, &gate, OTHER, 3)), Ok(23));
}

#[test]
fn what_may_be_the_wrong_chip_s_is_not_read() {
    let (crossing, gate) = crossing();
    assert_eq!(read(&mut chip(&crossing, &gate, ONE, 3)), Ok(13));
    // It does not answer any more, and its channel may be open.
    let channels = crossing.0.lock().unwrap().muxes.remove(&ONE.0);
    let error = read(&mut chip(&crossing, &gate, OTHER, 3)).unwrap_err();
    let said = "setting mux 0x70 to 0x00: no chip acknowledges the address; a chip of the same address is behind it";
    assert_eq!(format!("{error:?}"), said);
    crossing.0.lock().unwrap().muxes.extend(channels.map(|channels| (ONE.0, channels)));
    assert_eq!(read(&mut chip(&crossing, &gate, OTHER, 3)), Ok(23));
}

#[test]
fn nobody_talks_between_the_selection_and_the_transfer() {
    let (crossing, gate) = crossing();
    crossing.0.lock().unwrap().takes = Duration::from_micros(200);
    std::thread::scope(|scope| {
        for (mux, channel, value) in [(ONE, 0, 10), (ONE, 3, 13), (OTHER, 3, 23)] {
            let mut chip = chip(&crossing, &gate, mux, channel);
            scope.spawn(move || {
                for _ in 0..100 {
                    assert_eq!(read(&mut chip), Ok(value));
                }
            });
        }
    });
}

#[test]
fn a_chip_that_holds_the_bus_makes_the_others_fail_and_not_hang() {
    let (crossing, gate) = crossing();
    let held = gate.muxes.lock().unwrap();
    let error = read(&mut chip(&crossing, &gate, ONE, 3)).unwrap_err();
    assert_eq!(format!("{error:?}"), "another chip's transfer holds the bus");
    drop(held);
    assert_eq!(read(&mut chip(&crossing, &gate, ONE, 3)), Ok(13));
}

#[test]
fn a_chip_that_holds_its_channel_s_wires_down_stops_no_other_channel_once_the_kernel_has_freed_them() {
    let (crossing, gate) = crossing();
    let (mut stuck, mut fine) = (chip(&crossing, &gate, ONE, 0), chip(&crossing, &gate, ONE, 3));
    let mut elsewhere = chip(&crossing, &gate, OTHER, 3);
    assert_eq!((read(&mut stuck), read(&mut fine), read(&mut elsewhere)), (Ok(10), Ok(13), Ok(23)));
    for _ in 0..3 {
        // Freed by the second transfer after the one that met it.
        crossing.0.lock().unwrap().held = Some(((ONE.0, 0), 3));
        let said = format!("{:?}", read(&mut stuck).unwrap_err());
        assert!(said.contains("ETIMEDOUT: the data line stays low"), "{said}");
        let said = format!("{:?}", read(&mut fine).unwrap_err());
        assert_eq!(said, "setting mux 0x70 to 0x08: ETIMEDOUT: the data line stays low");
        let said = format!("{:?}", read(&mut elsewhere).unwrap_err());
        assert!(
            said.starts_with("setting mux 0x70 to 0x00: ETIMEDOUT"),
            "it would answer with the wrong chip's data: {said}"
        );
        for _ in 0..5 {
            assert_eq!((read(&mut fine), read(&mut elsewhere)), (Ok(13), Ok(23)));
        }
    }
}

#[test]
fn a_chip_whose_every_transfer_times_out_leaves_the_others_their_turns() {
    let (crossing, gate) = crossing();
    crossing.0.lock().unwrap().held = Some(((ONE.0, 0), 0));
    crossing.0.lock().unwrap().takes = Duration::from_millis(20);
    let mut stuck = chip(&crossing, &gate, ONE, 0);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let trying = scope.spawn(|| {
            let mut failures = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(read(&mut stuck).is_err());
                failures += 1;
                // Its schedule's pause; the gate lets in whoever looks first.
                std::thread::sleep(Duration::from_millis(5));
            }
            failures
        });
        let mut fine = chip(&crossing, &gate, ONE, 3);
        for _ in 0..10 {
            assert_eq!(read(&mut fine), Ok(13));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(trying.join().unwrap() >= 1);
    });
}
