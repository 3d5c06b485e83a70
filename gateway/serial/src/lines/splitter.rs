//! Lines from bytes. A line ends with CR, LF or both; empty ones are none.

use bytes::Bytes;

/// What the bytes held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole line, without its end.
    Line(Bytes),
    /// The beginning of a line longer than allowed. The rest of it is passed over.
    TooLong(Bytes),
    /// The end of a line whose beginning was not read.
    Partial,
}

/// What becomes of the bytes up to the next line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    Kept,
    /// Its beginning was not read.
    Cut,
    /// Its beginning has been told as too long.
    Told,
}

/// Gathers at most one line.
#[derive(Debug)]
pub(crate) struct Splitter {
    gathered: Vec<u8>,
    line_bytes_max: usize,
    until: Until,
    /// Of a cut line.
    passed_over: usize,
}

impl Splitter {
    /// Begins in the middle of a line.
    pub(crate) fn new(line_bytes_max: usize) -> Self {
        Self { gathered: Vec::new(), line_bytes_max, until: Until::Cut, passed_over: 0 }
    }

    /// What comes next is the beginning of a line.
    pub(crate) fn begin(&mut self) {
        if self.until == Until::Cut && self.passed_over == 0 {
            self.until = Until::Kept;
        }
    }

    /// Bytes were lost: what is gathered and what comes up to the next line end is no line.
    pub(crate) fn cut(&mut self) {
        self.passed_over = self.gathered.len().max(1);
        self.gathered.clear();
        self.until = Until::Cut;
    }

    /// Takes bytes off the front of `bytes`, up to the next piece; all of them, if there is none.
    pub(crate) fn take(&mut self, bytes: &mut &[u8]) -> Option<Piece> {
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if matches!(byte, b'\n' | b'\r') {
                if let Some(piece) = self.end() {
                    return Some(piece);
                }
                continue;
            }
            match self.until {
                Until::Kept if self.gathered.len() == self.line_bytes_max => {
                    self.until = Until::Told;
                    return Some(Piece::TooLong(std::mem::take(&mut self.gathered).into()));
                }
                Until::Kept => self.gathered.push(*byte),
                Until::Cut => self.passed_over += 1,
                Until::Told => {}
            }
        }
        None
    }

    fn end(&mut self) -> Option<Piece> {
        let until = std::mem::replace(&mut self.until, Until::Kept);
        match until {
            Until::Kept if self.gathered.is_empty() => None,
            Until::Kept => Some(Piece::Line(std::mem::take(&mut self.gathered).into())),
            Until::Cut if std::mem::take(&mut self.passed_over) > 0 => Some(Piece::Partial),
            Until::Cut | Until::Told => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(splitter: &mut Splitter, mut bytes: &[u8]) -> Vec<Piece> {
        std::iter::from_fn(|| splitter.take(&mut bytes)).collect()
    }

    fn line(text: &'static str) -> Piece {
        Piece::Line(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn what_was_begun_before_the_port_was_opened_is_no_line() {
        let mut splitter = Splitter::new(16);
        assert_eq!(pieces(&mut splitter, b"4,5\n1,2\r\n\n3,4\r5"), [Piece::Partial, line("1,2"), line("3,4")]);
        assert_eq!(pieces(&mut splitter, b",6\n"), [line("5,6")]);
    }

    #[test]
    fn a_line_end_alone_after_the_opening_is_no_partial_line() {
        assert_eq!(pieces(&mut Splitter::new(16), b"\r\n1\n"), [line("1")]);
    }

    #[test]
    fn after_a_silence_the_first_line_is_whole() {
        let mut splitter = Splitter::new(16);
        splitter.begin();
        assert_eq!(pieces(&mut splitter, b"1,2\n"), [line("1,2")]);
        let mut late = Splitter::new(16);
        assert_eq!(pieces(&mut late, b"1,"), []);
        late.begin();
        assert_eq!(pieces(&mut late, b"2\n3\n"), [Piece::Partial, line("3")]);
    }

    #[test]
    fn a_line_too_long_is_told_once_with_its_beginning_and_the_next_is_read() {
        let mut splitter = Splitter::new(4);
        splitter.begin();
        let too_long = Piece::TooLong(Bytes::from_static(b"abcd"));
        assert_eq!(pieces(&mut splitter, b"abcdefghijkl\n1234\n"), [too_long, line("1234")]);
    }

    #[test]
    fn where_bytes_were_lost_two_halves_do_not_make_a_line() {
        let mut splitter = Splitter::new(16);
        splitter.begin();
        assert_eq!(pieces(&mut splitter, b"1,2\n3"), [line("1,2")]);
        splitter.cut();
        assert_eq!(pieces(&mut splitter, b",9\n5,6\n"), [Piece::Partial, line("5,6")]);
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_pieces_are_the_same(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..200),
            cuts in proptest::collection::vec(1_usize..20, 0..40),
        ) {
            let whole = pieces(&mut Splitter::new(8), &bytes);
            let mut splitter = Splitter::new(8);
            let (mut rest, mut parts) = (&bytes[..], Vec::new());
            for cut in cuts {
                let (first, later) = rest.split_at(cut.min(rest.len()));
                parts.extend(pieces(&mut splitter, first));
                rest = later;
            }
            parts.extend(pieces(&mut splitter, rest));
            prop_assert_eq!(parts, whole);
        }
    }
}
