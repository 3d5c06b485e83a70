//! One direction of a bad line.

use std::collections::VecDeque;

/// SplitMix64 (Steele, Lea, Flood: OOPSLA 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub(crate) fn in_100(&mut self, chances: u64) -> bool {
        self.below(100) < chances
    }
}

/// Frames under way, each with the time of its arrival.
#[derive(Default)]
pub(crate) struct Line {
    under_way: VecDeque<(u64, Vec<u8>)>,
    /// Frames of any time, to be doubled later.
    remembered: Vec<Vec<u8>>,
    echoes: Vec<(u64, Vec<u8>)>,
    /// Chances in 100 of each mischief; 0 is a good line.
    pub(crate) mischief: u64,
    pub(crate) harmed: u64,
}

impl Line {
    pub(crate) fn send(&mut self, frame: &[u8], now: u64, dice: &mut Dice) {
        let mut arrives = now + 1 + dice.below(5);
        if let Some((last, _)) = self.under_way.back() {
            arrives = arrives.max(*last);
        }
        if !dice.in_100(self.mischief) {
            self.under_way.push_back((arrives, frame.to_vec()));
            self.remember(frame, dice);
            return;
        }
        self.harmed += 1;
        let mut bytes = frame.to_vec();
        match dice.below(6) {
            0 => bytes.clear(),
            1 => bytes.truncate(dice.below(bytes.len() as u64) as usize),
            2 => {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << dice.below(8);
            }
            3 => bytes.extend_from_slice(frame),
            4 => {
                let mut noise: Vec<u8> = (0..dice.below(40)).map(|_| dice.roll() as u8).collect();
                noise.append(&mut bytes);
                bytes = noise;
            }
            _ => {
                // An old frame comes once more, perhaps from before a reset.
                if !self.remembered.is_empty() {
                    let at = dice.below(self.remembered.len() as u64) as usize;
                    bytes.extend_from_slice(&self.remembered[at]);
                }
            }
        }
        self.under_way.push_back((arrives, bytes));
    }

    /// Old frames come once more, one after another over the next seconds.
    pub(crate) fn echo(&mut self, now: u64, dice: &mut Dice) {
        for _ in 0..dice.below(6) {
            if !self.remembered.is_empty() {
                let at = dice.below(self.remembered.len() as u64) as usize;
                self.echoes.push((now + dice.below(3_000), self.remembered[at].clone()));
            }
        }
    }

    /// No frame of before comes once more.
    pub(crate) fn forget(&mut self) {
        self.remembered.clear();
        self.echoes.clear();
    }

    fn remember(&mut self, frame: &[u8], dice: &mut Dice) {
        if self.remembered.len() < 16 {
            self.remembered.push(frame.to_vec());
        } else {
            let at = dice.below(16) as usize;
            self.remembered[at] = frame.to_vec();
        }
    }

    /// What has arrived by `now`.
    pub(crate) fn receive(&mut self, now: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.under_way.front().is_some_and(|(at, _)| *at <= now) {
            bytes.extend(self.under_way.pop_front().unwrap().1);
        }
        for (_, frame) in self.echoes.extract_if(.., |(at, _)| *at <= now) {
            bytes.extend(frame);
        }
        bytes
    }
}
