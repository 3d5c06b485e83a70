//! Which requests read a slave's registers: neighbours together. Pure.

use super::register::{Register, Table};

/// The most words, or bits, in one request that is ever made. The standard allows 125 words and 2,000 bits.
pub const REGISTERS_MAX: u16 = 125;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) table: Table,
    pub(crate) first: u16,
    /// From 1.
    pub(crate) count: u16,
    /// Which of the slave's registers it reads.
    pub(crate) reads: Vec<usize>,
    /// It also reads addresses that nobody asked for: a slave may refuse that.
    pub(crate) has_gaps: bool,
}

impl Request {
    /// How long the frame of its answer is: address, function, length, values, checksum.
    pub(crate) fn answer_bytes(&self) -> usize {
        let count = usize::from(self.count);
        5 + if self.table.is_bits() { count.div_ceil(8) } else { 2 * count }
    }
}

/// Joins what lies in one table with at most `gap` unwanted addresses between, as long as a request has at most `max`.
pub(crate) fn plan(registers: &[Register], gap: u16, max: u16) -> Vec<Request> {
    let mut order: Vec<usize> = (0..registers.len()).collect();
    order.sort_by_key(|at| registers.get(*at).map(|register| (register.table, register.address, register.width())));
    let mut requests: Vec<Request> = Vec::new();
    for at in order {
        let Some(register) = registers.get(at) else { continue };
        let (first, end) = (register.address, u32::from(register.address) + u32::from(register.width()));
        if let Some(last) = requests.last_mut() {
            let last_end = u32::from(last.first) + u32::from(last.count);
            let joined = end.max(last_end) - u32::from(last.first);
            let between = u32::from(first).saturating_sub(last_end);
            if last.table == register.table && between <= u32::from(gap) && joined <= u32::from(max) {
                last.count = u16::try_from(joined).unwrap_or(max);
                last.has_gaps |= between > 0;
                last.reads.push(at);
                continue;
            }
        }
        requests.push(Request {
            table: register.table,
            first,
            count: register.width(),
            reads: vec![at],
            has_gaps: false,
        });
    }
    requests
}

/// What reads the two halves of a request that the slave refuses. Nothing, if it reads a single value.
pub(crate) fn halved(request: &Request, registers: &[Register]) -> Option<Vec<Request>> {
    if request.reads.len() < 2 {
        return None;
    }
    let (first, second) = request.reads.split_at(request.reads.len() / 2);
    let of_half = |half: &[usize]| -> Vec<Request> {
        let (reads, own): (Vec<usize>, Vec<Register>) =
            half.iter().filter_map(|at| Some((*at, registers.get(*at)?.clone()))).unzip();
        let mut requests = plan(&own, 0, request.count);
        for request in &mut requests {
            request.reads = request.reads.iter().filter_map(|at| reads.get(*at).copied()).collect();
        }
        requests
    };
    Some([of_half(first), of_half(second)].concat())
}

#[cfg(test)]
mod tests {
    use lamppost_sdm::Model;
    use proptest::prelude::*;

    use super::super::register::ValueType;
    use super::*;

    fn float(address: u16) -> Register {
        Register::new("v", Table::Input, address, ValueType::F32)
    }

    fn shape(requests: &[Request]) -> Vec<(u16, u16, bool)> {
        requests.iter().map(|request| (request.first, request.count, request.has_gaps)).collect()
    }

    #[test]
    fn neighbours_are_read_together_and_what_is_far_off_is_not() {
        let registers = [float(10), float(0), float(2), float(6), float(30)];
        assert_eq!(shape(&plan(&registers, 0, 125)), [(0, 4, false), (6, 2, false), (10, 2, false), (30, 2, false)]);
        assert_eq!(shape(&plan(&registers, 2, 125)), [(0, 12, true), (30, 2, false)]);
        assert_eq!(plan(&registers, 2, 125)[0].reads, [1, 2, 3, 0]);
    }

    #[test]
    fn different_tables_are_never_joined() {
        let registers = [
            float(0),
            Register::new("c", Table::Coil, 1, ValueType::U16),
            Register { table: Table::Holding, ..float(2) },
        ];
        assert_eq!(plan(&registers, 100, 125).len(), 3);
    }

    #[test]
    fn a_meter_of_three_phases_takes_a_handful_of_requests_of_at_most_forty_values() {
        let registers = Register::of_sdm(Model::Sdm630);
        let requests = plan(&registers, 8, lamppost_sdm::REGISTERS_MAX);
        assert!(requests.len() <= 6, "{requests:?}");
        assert!(requests.iter().all(|request| request.count <= 80));
        assert_eq!(requests.iter().map(|request| request.reads.len()).sum::<usize>(), registers.len());
    }

    #[test]
    fn the_last_address_overflows_nothing() {
        assert_eq!(shape(&plan(&[float(65_534), float(65_535)], 8, 125)), [(65_534, 3, false)]);
    }

    #[test]
    fn halves_read_the_same_values_down_to_single_ones() {
        let registers = [float(4), float(0), float(2), float(2), Register::new("w", Table::Input, 0, ValueType::F64)];
        let whole = plan(&registers, 0, 125);
        assert_eq!(shape(&whole), [(0, 6, false)]);
        let (mut open, mut single) = (whole, Vec::new());
        while let Some(request) = open.pop() {
            match halved(&request, &registers) {
                None => single.push((request.first, request.count, request.reads[0])),
                Some(halves) => {
                    assert!(halves.iter().all(|half| half.reads.len() < request.reads.len()), "{halves:?}");
                    open.extend(halves);
                }
            }
        }
        single.sort_unstable();
        assert_eq!(single, [(0, 2, 1), (0, 4, 4), (2, 2, 2), (2, 2, 3), (4, 2, 0)]);
    }

    proptest! {
        #[test]
        fn every_register_is_read_once_within_its_request(
            addresses in proptest::collection::vec(0_u16..400, 0..60),
            gap in 0_u16..20,
            max in 4_u16..=125,
        ) {
            let registers: Vec<_> = addresses.iter().map(|address| float(*address)).collect();
            let requests = plan(&registers, gap, max);
            let mut read: Vec<_> = requests.iter().flat_map(|request| request.reads.clone()).collect();
            read.sort_unstable();
            prop_assert_eq!(read, (0..registers.len()).collect::<Vec<_>>());
            for request in &requests {
                prop_assert!(request.count <= max);
                for at in &request.reads {
                    let address = registers[*at].address;
                    prop_assert!(address >= request.first && address + 2 <= request.first + request.count);
                }
            }
        }
    }
}
