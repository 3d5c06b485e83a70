//! What the sensor says, and what it can be told.

use core::fmt;

use lamppost_units::MicrogramsPerCubicMetre;

/// Each frame begins so: "BM".
pub(crate) const START: [u8; 2] = [0x42, 0x4d];
/// Start and length.
pub(crate) const HEADER_BYTES: usize = 4;
/// What a reading's length says: 13 words and the checksum.
pub(crate) const READING_LENGTH: u16 = 28;
/// What an answer's length says: a word and the checksum.
pub(crate) const ANSWER_LENGTH: u16 = 4;
/// The longest frame.
pub(crate) const FRAME_BYTES_MAX: usize = HEADER_BYTES + READING_LENGTH as usize;

/// A frame whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// What was measured.
    Reading(Reading),
    /// What a command is answered with.
    Answer {
        /// The command's second byte, as it was sent.
        command: u8,
        /// Its argument, as it was sent.
        argument: u8,
    },
}

/// Mass concentrations, of particles up to so many micrometres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masses {
    /// Up to 1 µm.
    pub pm1: MicrogramsPerCubicMetre,
    /// Up to 2.5 µm.
    pub pm2_5: MicrogramsPerCubicMetre,
    /// Up to 10 µm.
    pub pm10: MicrogramsPerCubicMetre,
}

/// Particles in 0.1 l of air, of more than so many micrometres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Above 0.3 µm.
    pub above_0_3: u16,
    /// Above 0.5 µm.
    pub above_0_5: u16,
    /// Above 1 µm.
    pub above_1: u16,
    /// Above 2.5 µm.
    pub above_2_5: u16,
    /// Above 5 µm.
    pub above_5: u16,
    /// Above 10 µm.
    pub above_10: u16,
}

/// What was measured: steps of 1 µg/m³ (specified up to 500 µg/m³; the words hold 0 to 65,535).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// With the maker's "CF = 1", for particles in a factory.
    pub standard: Masses,
    /// In the atmosphere: what is to be used out of doors.
    pub atmospheric: Masses,
    /// How many particles.
    pub counts: Counts,
    /// The sensor's version.
    pub version: u8,
    /// What is wrong with the sensor; 0 is nothing.
    pub error: u8,
}

impl Reading {
    /// The 28 bytes behind the header; the checksum has been compared.
    pub(crate) const fn parse(body: &[u8; READING_LENGTH as usize]) -> Self {
        let [
            s1,
            s1l,
            s2,
            s2l,
            s3,
            s3l,
            a1,
            a1l,
            a2,
            a2l,
            a3,
            a3l,
            c1,
            c1l,
            c2,
            c2l,
            c3,
            c3l,
            c4,
            c4l,
            c5,
            c5l,
            c6,
            c6l,
            version,
            error,
            _,
            _,
        ] = *body;
        Self {
            standard: Masses::parse([[s1, s1l], [s2, s2l], [s3, s3l]]),
            atmospheric: Masses::parse([[a1, a1l], [a2, a2l], [a3, a3l]]),
            counts: Counts {
                above_0_3: u16::from_be_bytes([c1, c1l]),
                above_0_5: u16::from_be_bytes([c2, c2l]),
                above_1: u16::from_be_bytes([c3, c3l]),
                above_2_5: u16::from_be_bytes([c4, c4l]),
                above_5: u16::from_be_bytes([c5, c5l]),
                above_10: u16::from_be_bytes([c6, c6l]),
            },
            version,
            error,
        }
    }
}

impl Masses {
    const fn parse(words: [[u8; 2]; 3]) -> Self {
        let [pm1, pm2_5, pm10] = words;
        Self { pm1: mass(pm1), pm2_5: mass(pm2_5), pm10: mass(pm10) }
    }
}

const fn mass(word: [u8; 2]) -> MicrogramsPerCubicMetre {
    MicrogramsPerCubicMetre::from_milli(u16::from_be_bytes(word) as i32 * 1_000)
}

/// What the sensor can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Send readings each 0.2 to 2.3 s (so it starts).
    Active,
    /// Send readings when asked.
    Passive,
    /// Send a reading.
    Read,
    /// Stop the fan, and send nothing.
    Sleep,
    /// Go on. The readings of the first 30 s are not to be used.
    WakeUp,
}

impl Command {
    /// The bytes to send.
    #[must_use]
    pub const fn bytes(self) -> [u8; 7] {
        let (command, argument) = match self {
            Self::Active => (0xe1, 1),
            Self::Passive => (0xe1, 0),
            Self::Read => (0xe2, 0),
            Self::Sleep => (0xe4, 0),
            Self::WakeUp => (0xe4, 1),
        };
        let [b, m] = START;
        let [high, low] = checksum(&[b, m, command, 0, argument]).to_be_bytes();
        [b, m, command, 0, argument, high, low]
    }
}

/// The sum of all bytes.
pub(crate) const fn checksum(mut bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    while let [first, rest @ ..] = bytes {
        sum = sum.wrapping_add(*first as u16);
        bytes = rest;
    }
    sum
}

/// Why a frame is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The length behind "BM" is neither 28 nor 4.
    Length {
        /// What it is.
        found: u16,
    },
    /// The checksum is wrong.
    Checksum {
        /// What came.
        found: u16,
        /// What the bytes before it have.
        computed: u16,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found } => write!(f, "a PMS5003 frame of {found} bytes: there are such of 28 and 4"),
            Self::Checksum { found, computed } => {
                write!(f, "a PMS5003 frame with checksum 0x{found:04x}, not 0x{computed:04x}")
            }
        }
    }
}

impl core::error::Error for FrameError {}
