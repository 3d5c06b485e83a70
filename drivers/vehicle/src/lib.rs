//! Counts vehicles in what a three-axis magnetometer in or beside a lane measures: a vehicle's iron bends the Earth's field,
//! by tens of microteslas under it and by a few beside it. No I/O, no clock, no heap, no floats: samples and the time go in,
//! passages and summaries come out.
//!
//! ```text
//! sample ──► deviation from the baseline ──► above `enter` for long enough ──► below `leave` for long enough ──► Passage
//!                     ▲                                                                                             │
//!                     └── baseline: follows slowly, and only while no vehicle is there                 Summary ◄────┘
//! ```
//!
//! `examples/count_vehicles.rs` is for Linux, `firmware/boards/lm3s6965evb/src/bin/traffic.rs` for a board.
//!
//! ```
//! use lamppost_units::Microtesla;
//! use lamppost_vehicle::{Detector, Field, Millis, Sample, Settings};
//! let mut detector = Detector::new(Settings::default())?;
//! let quiet = Field::new(Microtesla::from_nanotesla(20_000), Microtesla::from_nanotesla(0), Microtesla::from_nanotesla(44_000));
//! let event = detector.observe(Millis(0), Sample::Field(quiet));
//! assert_eq!((event, detector.count()), (None, 0));
//! # Ok::<(), lamppost_vehicle::SettingsError>(())
//! ```
//!
//! # What one sensor knows, and what it does not
//! - That something of iron was there, from when to when, and how strong: [`Passage`]. Hence count and occupancy.
//! - Not how long it is: it knows time, and length is time times speed. [`Lengths`] compares a passage with the median of those
//!   before it, which holds where most vehicles are cars and neighbours drive alike: short, medium or long, no metres.
//!   (Taking the median for a car's is how median velocities are had of single loop detectors: Coifman, Dhoorjaty, Lee, "Estimating
//!   median velocity instead of mean velocity at single loop detectors", Transportation Research Part C 11, 2003.)
//!   Metres take a second sensor, at a known distance along the lane: [`Pair`]. Published errors of that: 10 to 20 % of the speed
//!   where the times of detection are compared (Sensors 18(7):2225, 2018, citing others), up to 22 % of the length (Markevicius
//!   et al., Sensors 17(8):1778, 2017).
//! - Not one vehicle from two that are nearer to each other than `gap_ms_min` of their travel: they count as one.
//! - Not one long vehicle from two, where its middle has no iron in reach for longer than `gap_ms_min`: it counts as two. Slow lorries do.
//! - Not which lane: a lorry in the next lane can be stronger than a motorcycle in this one. `enter` decides, and has to be set on site.
//!
//! # A vehicle that stays
//! A passage that has lasted `presence_ms_max` ends as [`End::Parked`], is counted once, and what the sensor then sees becomes the baseline,
//! over which others are counted. When the field returns to the baseline from before, the vehicle has left; that is no passage. Both baselines follow the
//! temperature together; if they came apart all the same, the departure counts as one vehicle too many, and `presence_ms_max` later all is right again. The same
//! holds for a vehicle that stood over the sensor when it was started.
//!
//! # Sources
//! The state machine with two thresholds, a baseline that is held while a vehicle is there, and counts of consecutive samples above and below goes back to
//! the adaptive threshold detection of S. Y. Cheung and P. Varaiya, "Traffic Surveillance by Wireless Sensor Networks: Final Report", California
//! PATH UCB-ITS-PRR-2007-4, 2007, and Cheung et al., "Traffic Measurement and Vehicle Classification with a Single Magnetic Sensor", TRB 2005. It is
//! written anew, not taken over: they compare the vertical axis, this the length of the deviation's vector, which has fewer zeros in the middle of a
//! vehicle. The tests' signatures are computed (magnetic dipoles), and drawn through figures of a car
//! that was measured (`tests/published.rs` names who measured it).

#![no_std]
#![forbid(unsafe_code)]

mod baseline;
mod detector;
mod field;
mod length;
mod pace;
mod passage;
mod settings;
mod speed;
mod summary;

pub use detector::{Detector, Phase};
pub use field::{Field, Millis, Sample};
pub use length::{LengthClass, Lengths};
pub use pace::{LOOK_AGAIN_MS, LOOK_INTERVAL_MS, Look, Pace};
pub use passage::{End, Event, Passage};
pub use settings::{Settings, SettingsError};
pub use speed::{MillimetersPerSecond, Pair, PairError, Speed};
pub use summary::{Permille, Summaries, Summary};
