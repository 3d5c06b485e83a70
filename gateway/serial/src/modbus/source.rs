//! A port with a Modbus bus: its slaves are asked in turn, and what they answer is stored.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lamppost_event::{
    Address, Arrival, ContentType, DeviceId, Intake, JournalStopped, NameError, Origin, Refusal, SourceKind,
};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use super::master::{Answer, Master, NoAnswer};
use super::plan::{Request, halved, plan};
use super::register::Register;
use super::status::{ModbusStatus, SlaveStatus};
use super::turns::Turns;
use super::{ModbusOptions, SlaveOptions};
use crate::PortSettings;
use crate::attend::{PortError, Speech, attend};
use crate::open::OpenPort;

/// How long a value waits for room at most: the others on the bus wait with it.
const ROOM_MAX: Duration = Duration::from_secs(1);
/// Before it is offered again.
const ROOM_PAUSE: Duration = Duration::from_millis(10);
/// Messages that are remembered of one slave, so that each is logged once.
const TOLD_MAX: usize = 64;

/// A serial port with a bus at its other end.
pub struct ModbusSource {
    name: Arc<str>,
    settings: PortSettings,
    options: ModbusOptions,
    /// Where each register of each slave comes in.
    addresses: Vec<Vec<Address>>,
    intake: Arc<dyn Intake>,
    status: Arc<ModbusStatus>,
}

impl ModbusSource {
    /// A source called `name` in logs. What a slave's registers hold arrives at `modbus/DEVICE/NAME`.
    ///
    /// # Errors
    /// [`NameError`]: a device's or a register's name can't be part of an address.
    pub fn new(
        name: &str,
        settings: PortSettings,
        options: ModbusOptions,
        intake: Arc<dyn Intake>,
    ) -> Result<Self, NameError> {
        let address =
            |device: &DeviceId, register: &Register| Address::new(&format!("modbus/{device}/{}", register.name));
        let of_slave =
            |slave: &SlaveOptions| slave.registers.iter().map(|register| address(&slave.device, register)).collect();
        let addresses = options.slaves.iter().map(of_slave).collect::<Result<_, _>>()?;
        let slaves = options.slaves.iter().map(|slave| SlaveStatus::new(slave.device.as_str(), slave.id)).collect();
        let status = Arc::new(ModbusStatus { slaves, ..ModbusStatus::default() });
        Ok(Self { name: name.into(), settings, options, addresses, intake, status })
    }

    /// What it has seen and done.
    #[must_use]
    pub fn status(&self) -> Arc<ModbusStatus> {
        Arc::clone(&self.status)
    }

    /// Asks until `shutdown` completes. A port that is absent, wrong or hangs up is opened again.
    ///
    /// # Errors
    /// [`JournalStopped`]: nothing can be stored any more, so nothing is asked.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) -> Result<(), JournalStopped> {
        let slaves = &self.options.slaves;
        let plan_of = |slave: &SlaveOptions| plan(&slave.registers, slave.gap, slave.registers_max);
        let mut speech = Polling {
            source: self,
            began: Instant::now(),
            turns: Turns::new(slaves.iter().map(|slave| slave.every)),
            plans: slaves.iter().map(plan_of).collect(),
            with_gaps: vec![None; slaves.len()],
            told: vec![BTreeMap::new(); slaves.len()],
            understood: false,
        };
        attend(&self.name, &self.settings, &self.status.port, &mut speech, shutdown).await
    }
}

/// Asking on an open port. The schedule goes on over hang-ups.
struct Polling<'a> {
    source: &'a ModbusSource,
    began: Instant,
    turns: Turns,
    plans: Vec<Vec<Request>>,
    /// The plan of a slave that did not answer to it, while it is asked without gaps.
    with_gaps: Vec<Option<Vec<Request>>>,
    /// Of each slave, by request or register, what was last said of it.
    told: Vec<BTreeMap<String, String>>,
    understood: bool,
}

/// How a poll went on the bus.
enum Polled {
    Answered,
    /// Not answered at all, or not to the end.
    Unanswered,
}

impl Speech for Polling<'_> {
    async fn speak(&mut self, port: OpenPort) -> PortError {
        self.understood = false;
        let mut master = Master::new(port, self.source.settings.character(), &self.source.options);
        let mut counted = 0;
        loop {
            let turn = self.turn(&mut master).await;
            let received = master.received();
            self.source.status.port.bytes.add((received - counted) as u64);
            counted = received;
            if let Err(error) = turn {
                return error;
            }
        }
    }

    fn understood(&self) -> bool {
        self.understood
    }
}

impl Polling<'_> {
    /// Waits for the next that is due, and polls it.
    async fn turn(&mut self, master: &mut Master) -> Result<(), PortError> {
        let Some((at, due)) = self.turns.next() else { return std::future::pending().await };
        sleep_until(self.began + due).await;
        self.source.intake.durable()?;
        let (Some(options), Some(status)) = (self.source.options.slaves.get(at), self.source.status.slaves.get(at))
        else {
            return Ok(());
        };
        status.missed.add(self.turns.take(at, self.began.elapsed()));
        status.polls.add(1);
        let asked = Instant::now();
        match self.poll(at, options, status, master).await? {
            Polled::Answered => self.turns.answered(at),
            Polled::Unanswered => {
                status.missed.add(self.turns.failed(at, self.began.elapsed(), asked.elapsed()));
            }
        }
        Ok(())
    }

    /// Sends a slave's requests one after the other. An exception concerns its request alone; silence ends the poll.
    async fn poll(
        &mut self,
        at: usize,
        options: &SlaveOptions,
        status: &SlaveStatus,
        master: &mut Master,
    ) -> Result<Polled, PortError> {
        let requests = self.plans.get(at).cloned().unwrap_or_default();
        let mut complete = true;
        for request in requests {
            let tries = if self.turns.is_failing(at) { 1 } else { 1 + self.source.options.retries };
            match self.ask(options.id, &request, tries, master).await {
                Ok(answer) => {
                    self.understood = true;
                    status.answers.add(1);
                    self.turns.answered(at);
                    self.recovered(at, options, &place(&request));
                    if self.with_gaps.get_mut(at).and_then(Option::take).is_some() {
                        self.tell_gaps(at, options);
                    }
                    complete &= self.store(at, options, status, &request, &answer).await?;
                }
                Err(NoAnswer::Port(error)) => {
                    status.errors.add(1);
                    return Err(PortError::Read { path: self.source.settings.path.clone(), error });
                }
                Err(error) => {
                    complete = false;
                    self.tell(at, options, status, &place(&request), &error.to_string());
                    if error.may_pass() {
                        if error.is_no_answer() {
                            self.try_the_other_way(at, options, &request);
                        }
                        status.errors.add(1);
                        return Ok(Polled::Unanswered);
                    }
                    self.understood = true;
                    status.exceptions.add(1);
                    if request.has_gaps && error.may_be_the_gaps() {
                        self.without_gaps(at, options);
                        self.tell_gaps(at, options);
                    } else if !request.has_gaps && error.is_illegal_address() {
                        self.halve(at, options, &request);
                    }
                }
            }
        }
        if !complete {
            status.errors.add(1);
        }
        Ok(Polled::Answered)
    }

    async fn ask(&self, id: u8, request: &Request, tries: u32, master: &mut Master) -> Result<Answer, NoAnswer> {
        let counts = &self.source.status;
        let mut tried = 1;
        loop {
            counts.requests.add(1);
            let error = match master.ask(id, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match &error {
                NoAnswer::Silent(_) => counts.silent.add(1),
                NoAnswer::Garbled { .. } | NoAnswer::Noise { .. } => counts.garbled.add(1),
                NoAnswer::Wrong(_) => counts.wrong.add(1),
                NoAnswer::Exception { .. } | NoAnswer::Port(_) => {}
            }
            if tried >= tries || !error.may_pass() {
                return Err(error);
            }
            tried += 1;
            counts.retries.add(1);
        }
    }

    /// From now on only what is wanted is asked for: the slave refuses what lies between.
    fn without_gaps(&mut self, at: usize, options: &SlaveOptions) {
        if let Some(known) = self.plans.get_mut(at) {
            *known = plan(&options.registers, 0, options.registers_max);
        }
    }

    fn tell_gaps(&self, at: usize, options: &SlaveOptions) {
        info!(
            source = &*self.source.name, device = %options.device, slave = options.id, requests = self.plans.get(at).map(Vec::len),
            "the slave is asked without the gaps between its registers from now on"
        );
    }

    /// No answer came to a request: next time the slave is asked without gaps, and if that does not help, with them again.
    fn try_the_other_way(&mut self, at: usize, options: &SlaveOptions, request: &Request) {
        let (Some(known), Some(aside)) = (self.plans.get_mut(at), self.with_gaps.get_mut(at)) else { return };
        if let Some(with_gaps) = aside.take() {
            *known = with_gaps;
        } else if request.has_gaps {
            *aside = Some(std::mem::replace(known, plan(&options.registers, 0, options.registers_max)));
        }
    }

    /// One value that the slave does not have makes it refuse the request of all its neighbours: from the next poll on they are
    /// asked for in two halves, as often as it takes to be left with that value alone.
    fn halve(&mut self, at: usize, options: &SlaveOptions, request: &Request) {
        let Some(known) = self.plans.get_mut(at) else { return };
        let place = known.iter().position(|planned| planned == request);
        if let (Some(place), Some(halves)) = (place, halved(request, &options.registers)) {
            known.splice(place..=place, halves);
        }
    }

    /// Stores what an answer holds. False if a value was unusable.
    async fn store(
        &mut self,
        at: usize,
        options: &SlaveOptions,
        status: &SlaveStatus,
        request: &Request,
        answer: &Answer,
    ) -> Result<bool, PortError> {
        let until = (self.began + self.turns.due_at(at)).min(Instant::now() + ROOM_MAX);
        let mut all = true;
        for index in &request.reads {
            let (Some(register), Some(address)) =
                (options.registers.get(*index), self.source.addresses.get(at).and_then(|list| list.get(*index)))
            else {
                continue;
            };
            let place = format!("{} {} ({:?})", register.table, register.address, register.name);
            match value(register, request, answer) {
                Err(reason) => {
                    all = false;
                    status.unusable.add(1);
                    self.tell(at, options, status, &place, &reason);
                }
                Ok(value) => {
                    self.recovered(at, options, &place);
                    let arrival = arrival(options, address, payload(register, &value));
                    self.source.offer(arrival, until, status).await?;
                }
            }
        }
        Ok(all)
    }

    /// Logs what is wrong once, and keeps it for whoever looks.
    fn tell(&mut self, at: usize, options: &SlaveOptions, status: &SlaveStatus, place: &str, error: &str) {
        let whole = format!("slave {} ({}), {place}: {error}", options.id, options.device);
        status.set_error(&whole);
        let Some(told) = self.told.get_mut(at) else { return };
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        if told.insert(place.to_owned(), error.to_owned()).as_deref() != Some(error) {
            warn!(source = &*self.source.name, error = whole, "a poll has failed; it is tried again");
        }
    }

    fn recovered(&mut self, at: usize, options: &SlaveOptions, place: &str) {
        if let Some(told) = self.told.get_mut(at)
            && !told.is_empty()
            && told.remove(place).is_some()
        {
            let (name, device, slave) = (&*self.source.name, &options.device, options.id);
            info!(source = name, %device, slave, place, "the slave answers again");
        }
    }
}

impl ModbusSource {
    /// What finds no room until then is given up, and counted.
    async fn offer(&self, mut arrival: Arrival, until: Instant, status: &SlaveStatus) -> Result<(), JournalStopped> {
        let count = loop {
            match self.intake.offer(arrival) {
                Ok(_commit) => break &status.stored,
                Err(Refusal::Stopped(stopped)) => return Err(stopped),
                Err(Refusal::TooLarge { .. }) => break &status.unusable,
                Err(Refusal::Full(back)) => {
                    arrival = *back;
                    if Instant::now() >= until || timeout_at(until, self.intake.room()).await.is_err() {
                        break &status.missed;
                    }
                    // There may be room for something smaller only.
                    sleep(ROOM_PAUSE).await;
                }
            }
        };
        count.add(1);
        Ok(())
    }
}

/// Which function and addresses, for a message.
fn place(request: &Request) -> String {
    let (function, first) = (request.table.function(), request.first);
    let last = first.saturating_add(request.count.saturating_sub(1));
    let addresses = if request.count == 1 { first.to_string() } else { format!("{first} to {last}") };
    format!("function {function}, {} {addresses}", request.table)
}

/// A register's value in the answer to its request.
fn value(register: &Register, request: &Request, answer: &Answer) -> Result<String, String> {
    let start = usize::from(register.address.saturating_sub(request.first));
    let missing = || "the answer does not reach so far".to_owned();
    match answer {
        Answer::Bits(bits) => bits.get(start).map(bool::to_string).ok_or_else(missing),
        Answer::Words(words) => {
            let words = words.get(start..start + usize::from(register.width())).ok_or_else(missing)?;
            register.value(words).map_err(|error| error.to_string())
        }
    }
}

/// `{"measure":"voltage","value":230.2,"unit":"V"}`.
fn payload(register: &Register, value: &str) -> Bytes {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let unit = register.unit.as_ref().map(|unit| format!(",\"unit\":{}", text(unit))).unwrap_or_default();
    Bytes::from(format!("{{\"measure\":{},\"value\":{value}{unit}}}", text(&register.name)))
}

fn arrival(options: &SlaveOptions, address: &Address, payload: Bytes) -> Arrival {
    Arrival {
        source: SourceKind::Serial,
        device: options.device.clone(),
        address: address.clone(),
        // A poll is never sent twice.
        origin: Origin::Unmarked,
        device_time: None,
        content_type: ContentType::new("application/json").ok(),
        payload,
        refused: false,
    }
}
