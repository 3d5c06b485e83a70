extern crate std;

use std::string::ToString;
use std::vec::Vec;

use embedded_io::ErrorKind;
use lamppost_both_ways::both_ways;

use super::*;
use crate::parser::tests::PUBLISHED;

/// A line that brings pieces, one a read at most, and then ends.
#[derive(Default)]
struct Line {
    pieces: Vec<Vec<u8>>,
    write_fails: bool,
    sent: Vec<u8>,
}

impl Line {
    fn of(pieces: &[&[u8]]) -> Self {
        Self { pieces: pieces.iter().map(|piece| piece.to_vec()).collect(), ..Self::default() }
    }

    /// An empty piece is a failure.
    fn take(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        let Some(piece) = self.pieces.first_mut() else { return Ok(0) };
        if piece.is_empty() {
            self.pieces.remove(0);
            return Err(ErrorKind::TimedOut);
        }
        let count = piece.len().min(into.len());
        into[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if piece.is_empty() {
            self.pieces.remove(0);
        }
        Ok(count)
    }
}

impl embedded_io::ErrorType for Line {
    type Error = ErrorKind;
}

impl embedded_io::Read for Line {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        self.take(into)
    }
}

impl embedded_io_async::Read for Line {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        self.take(into)
    }
}

impl embedded_io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.sent.extend_from_slice(bytes);
        if self.write_fails { Err(ErrorKind::BrokenPipe) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl embedded_io_async::Write for Line {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        embedded_io::Write::write(self, bytes)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[both_ways]
mod asynchronous {
    use super::*;
    use crate::asynchronous::Pms5003;

    #[test]
    async fn frames_are_read_one_after_the_other_however_they_are_cut() {
        let [first, second] = PUBLISHED;
        let line = Line::of(&[&first[..1], &first[1..9], &[&first[9..], &second[..]].concat()]);
        let mut sensor = Pms5003::new(line);
        for frame in [first, second] {
            let Frame::Reading(found) = sensor.read().await.unwrap() else { panic!("not a reading") };
            assert_eq!(found.counts.above_0_3, u16::from_be_bytes([frame[16], frame[17]]));
        }
        assert_eq!(sensor.read().await, Err(Error::Ended));
    }

    #[test]
    async fn a_line_of_garbage_is_given_up_and_says_what_it_looked_like() {
        let mut sensor = Pms5003::new(Line::of(&[&[0x55; 1_000]]));
        let error = sensor.read().await.unwrap_err();
        assert_eq!(error, Error::NoFrame { bytes: 128, last: None });
        assert_eq!(error.to_string(), "no PMS5003 frame in 128 bytes: is it 9600 baud?");
        let mut damaged = PUBLISHED[0];
        damaged[20] ^= 1;
        let mut sensor = Pms5003::new(Line::of(&[&damaged.repeat(8)]));
        let error = sensor.read().await.unwrap_err();
        assert!(error.to_string().ends_with("the last: a PMS5003 frame with checksum 0x030f, not 0x0310"), "{error}");
    }

    #[test]
    async fn what_was_read_before_a_failure_is_kept() {
        let (before, after) = PUBLISHED[0].split_at(20);
        let mut sensor = Pms5003::new(Line::of(&[before, &[], after]));
        assert_eq!(sensor.read().await, Err(Error::Read(ErrorKind::TimedOut)));
        assert!(matches!(sensor.read().await, Ok(Frame::Reading(_))));
    }

    #[test]
    async fn a_command_is_sent_whole_and_a_failure_is_told() {
        let mut sensor = Pms5003::new(Line::default());
        sensor.send(Command::Sleep).await.unwrap();
        let mut line = sensor.release();
        assert_eq!(line.sent, [0x42, 0x4d, 0xe4, 0x00, 0x00, 0x01, 0x73]);
        line.write_fails = true;
        assert_eq!(Pms5003::new(line).send(Command::Read).await, Err(Error::Write(ErrorKind::BrokenPipe)));
    }
}
