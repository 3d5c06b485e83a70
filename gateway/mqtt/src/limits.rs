//! What one client, and all of them together, may use of the gateway.

use std::time::Duration;

use lamppost_event::Address;

/// What a message counts for in each queue that it waits in, bytes, beside its own, which are there once for all: an entry, its share of a table
/// that grows by doubling, its packet id, and the note of some forty bytes.
pub const QUEUE_PLACE_BYTES: usize = 192;

/// The bounds of the front. Everything a client can make grow has one here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open TCP connections, those that have not sent CONNECT yet among them. One more is closed at once.
    pub connections_max: usize,
    /// A whole MQTT packet, in bytes, fixed header included. Told to v5 clients as Maximum Packet Size, where an event may be as large.
    pub packet_bytes_max: usize,
    /// What the journal takes as one event, in bytes. A will that is larger is refused with its CONNECT, and v5 clients are told no larger packets than fit.
    pub event_bytes_max: usize,
    /// QoS 1 publishes of one connection that may wait for their PUBACK. Told to v5 clients as Receive Maximum; from a
    /// v3.1.1 client no more is read. Not 0. 64 to 128 is best: 16 costs most of the speed of one fast client.
    pub window: u16,
    /// What happens to a v5 client that has more under way than `window`. `true`: DISCONNECT 0x93, as the standard says.
    /// `false`: it is not read from until it has less, as with v3.1.1. The default is `false`, since there are clients that
    /// don't heed a server's Receive Maximum (MQTT.js 5 is one) and bearing with them costs nothing.
    pub window_strict: bool,
    /// Payload bytes of one connection that may wait for the disk, QoS 0 among them. Above it nothing more is read.
    pub unacknowledged_bytes_max: usize,
    /// Bytes that may wait to be written to one connection before deliveries to it pause.
    pub outgoing_bytes_max: usize,
    /// A topic or filter, in bytes; at most [`Address::BYTES_MAX`] counts.
    pub topic_bytes_max: usize,
    /// Levels of a topic or filter (slashes plus one).
    pub topic_levels_max: usize,
    /// Topic aliases that a v5 client may set. 0: none.
    pub topic_aliases_max: u16,
    /// Subscriptions of one client.
    pub subscriptions_max: usize,
    /// Connections of one address (IPv6: of one /64).
    pub connections_per_address_max: usize,
    /// Connects in a second, in all. What comes faster waits in the system's queue. 0: no limit.
    pub connects_per_s: u64,
    /// Connects of one address in a second; ten seconds' worth may come at once. What comes faster is closed. 0: no limit.
    pub connects_per_s_per_address: u64,
    /// Connections that have not been let in yet, in all. No more are accepted: they wait in the system's queue. Not 0.
    pub coming_max: usize,
    /// When so many are coming in, who has been at it for longer than this without a whole CONNECT makes room.
    pub coming_patience: Duration,
    /// Connections of one address that have not been let in yet. Not 0.
    pub coming_per_address_max: usize,
    /// The limits by address do not concern connections from this machine.
    pub trust_loopback: bool,
    /// A whole CONNECT, in bytes: what somebody who has proven nothing yet can make the gateway hold.
    pub connect_bytes_max: usize,
    /// How long a packet may take from its first byte to its last, while it is read from.
    pub packet_timeout: Duration,
    /// Publishes that one client is read in a second; one second's worth may come at once. 0: no limit.
    pub publishes_per_s: u64,
    /// Bytes of publishes that one client is read in a second; one second's worth may come at once. 0: no limit.
    pub bytes_per_s: u64,
    /// Payload bytes of all connections that may wait for the disk. Above it nobody is read from. Not 0.
    pub inflight_bytes_max: usize,
    /// Bytes of all connections' packets that are not whole yet. Above it, what is begun goes on only as others end. Not 0.
    pub begun_bytes_max: usize,
    /// Bytes of all wills that are noted, of clients that are here and of those that wait for their delay. One more does not outlive the
    /// gateway (counted), and does not wait for its delay. Not 0.
    pub wills_bytes_max: usize,
    /// How long a connection may take for the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long a connection may take to send its CONNECT, and to be looked at, after that; and again as long until its earlier
    /// connection has ended and what CONNACK promises is on disk.
    pub connect_timeout: Duration,
    /// Passwords that are verified at the same time; by default one less than there are cores, 1 to 4. Each keeps the memory that its hash names, up to 64 MiB; 19 MiB
    /// with those that `lamppost passwd` makes. Not 0.
    pub verifications_max: usize,
    /// Sessions that outlive their connections, those of connected clients among them. For one more the session ends that has been away
    /// longest of those whose owner (its user, or else its network) has most; with none away it is refused.
    pub sessions_max: usize,
    /// Bytes of all their subscriptions, as they are kept on the disk.
    pub sessions_bytes_max: usize,
    /// QoS 1 messages that wait for one session. Above it no more are queued (counted); those that wait stay. What is retained does not count:
    /// it is looked up when it is sent.
    pub queue_messages_max: usize,
    /// Bytes of them.
    pub queue_bytes_max: usize,
    /// Bytes of all messages that wait for sessions, or were sent to their clients and not acknowledged, retained ones among them: each once, and
    /// [`QUEUE_PLACE_BYTES`] more for each session that it waits for. For more the session with as much in its queue that has been away longest
    /// ends; where none has, the message goes to as many sessions as there is room for (the others are counted). For a retained message none
    /// ends. With less than `sessions_max` places there are sessions that a message for all does not reach.
    pub queues_bytes_max: usize,
    /// The longest keepalive of a v5 client, in whole seconds up to 65,535; one that asks for more, or for none, is told this (Server Keep
    /// Alive). 0: as the client says.
    pub keep_alive_max: Duration,
    /// How long a session is remembered: v5 clients may ask for less; v3.1.1 clients can't.
    pub session_expiry_max: Duration,
    /// Bytes that may be on their way to subscribers that are here, in all, with QoS 1 until they are acknowledged where the session ends with
    /// its connection; who does not read or acknowledge gets at most half of what is free of them. Above it fan-out is shed (and
    /// counted); ingest never is. At least 16 KiB counts.
    pub fanout_bytes_max: usize,
    /// Bytes of the filters of all clients that are here, and again of all remembered sessions: each counts with its own bytes, 128
    /// for its place and 300 for each slash. They are given back when they are unsubscribed from or their session ends. Who comes back to a
    /// remembered session finds room for its filters whatever others have: twice as much may be in use then.
    pub filters_bytes_max: usize,
    /// SUBSCRIBEs and UNSUBSCRIBEs that one client is read in a second; ten seconds' worth may come at once. 0: no limit.
    pub subscribes_per_s: u64,
    /// Bytes of all retained messages: payload, topic, properties and 128 for each. One more is stored and delivered as an ordinary event, but
    /// not retained; with v5 its PUBACK says 0x97.
    pub retained_bytes_max: usize,
    /// How long a connection that ends may wait for the disk with what is on its way (its last events, its will).
    pub drain_timeout: Duration,
}

/// What a publish may have beside its payload in a packet that is told as the largest: topic, properties.
const PACKET_ROOM_BYTES: usize = 4_096;

impl Limits {
    /// The largest packet that a v5 client is told to send: one that can be stored as an event, so that no client sends for ever what is refused.
    pub(crate) fn told_packet_bytes_max(&self) -> u32 {
        let stored = self.event_bytes_max.saturating_add(PACKET_ROOM_BYTES);
        u32::try_from(self.packet_bytes_max.min(stored)).unwrap_or(u32::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            packet_bytes_max: 256 * 1024,
            window: 64,
            event_bytes_max: usize::MAX,
            window_strict: false,
            unacknowledged_bytes_max: 1024 * 1024,
            outgoing_bytes_max: 64 * 1024,
            topic_bytes_max: Address::BYTES_MAX,
            topic_levels_max: 32,
            topic_aliases_max: 16,
            subscriptions_max: 64,
            connections_per_address_max: usize::MAX,
            connects_per_s: 2_000,
            connects_per_s_per_address: 100,
            coming_max: 512,
            coming_patience: Duration::from_secs(1),
            coming_per_address_max: 128,
            trust_loopback: true,
            connect_bytes_max: 64 * 1024,
            packet_timeout: Duration::from_secs(30),
            publishes_per_s: 0,
            bytes_per_s: 0,
            inflight_bytes_max: 32 * 1024 * 1024,
            begun_bytes_max: 16 * 1024 * 1024,
            wills_bytes_max: 8 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            verifications_max: verifications(),
            sessions_max: 10_000,
            sessions_bytes_max: 4 * 1024 * 1024,
            queue_messages_max: 1_000,
            queue_bytes_max: 256 * 1024,
            queues_bytes_max: 16 * 1024 * 1024,
            keep_alive_max: Duration::from_secs(3_600),
            session_expiry_max: Duration::from_secs(24 * 3600),
            fanout_bytes_max: 8 * 1024 * 1024,
            filters_bytes_max: 16 * 1024 * 1024,
            subscribes_per_s: 20,
            retained_bytes_max: 8 * 1024 * 1024,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// A core is left to those who are in.
fn verifications() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).clamp(1, 4))
}
