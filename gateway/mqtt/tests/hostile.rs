//! Clients that mean harm, or are broken as if they did, and the rest that must not notice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use lamppost_mqtt::{Cause, Entry, Limits, Listener, Passwords, Rules};
use support::raw::{A_WHILE, Raw, SOON, connect_as, connect_v4, publish_v4, subscribe_v4, text};
use support::{ANY_PORT, HandIntake, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

async fn front(limits: Limits) -> Running {
    Running::start(HandIntake::automatic(), limits).await
}

/// A connection from another address of this machine.
async fn socket_from(host: u8, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0))?;
    socket.connect(address).await
}

async fn is_alive(client: &mut Raw) {
    client.send(&[0xC0, 0]).await;
    assert_eq!(client.receive().await, [0xD0, 0]);
}

#[tokio::test]
async fn who_publishes_faster_than_allowed_is_slowed_down_and_loses_nothing() {
    let limits = Limits { publishes_per_s: 50, ..Limits::default() };
    let front = front(limits).await;
    let (mut fast, mut other) = (Raw::v4(front.address, "fast").await, Raw::v4(front.address, "other").await);
    let start = Instant::now();
    let all: Vec<u8> = (1..=125).flat_map(|packet_id| publish_v4("a", packet_id, b"x")).collect();
    fast.send(&all).await;
    is_alive(&mut other).await;
    for packet_id in 1..=125 {
        assert_eq!(fast.receive().await, [0x40, 2, 0, packet_id]);
    }
    // 50 at once, 75 at 50 a second.
    assert!(start.elapsed() >= Duration::from_millis(1_450), "{:?}", start.elapsed());
    is_alive(&mut fast).await;
    assert_eq!(front.intake.arrivals().len(), 125);
}

#[tokio::test]
async fn bytes_are_paced_as_well() {
    let front = front(Limits { bytes_per_s: 20_000, ..Limits::default() }).await;
    let mut client = Raw::v4(front.address, "d").await;
    let start = Instant::now();
    for packet_id in 1..=4 {
        client.send(&publish_v4("a", packet_id, &[b'x'; 15_000])).await;
        client.receive().await;
    }
    // 20,000 at once; the last may be overdrawn.
    assert!(start.elapsed() >= Duration::from_millis(1_200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_packet_that_is_begun_and_trickles_ends_its_connection_only() {
    let front = front(Limits { packet_timeout: Duration::from_millis(300), ..Limits::default() }).await;
    let mut good = Raw::v4(front.address, "good").await;
    // Without a keepalive nothing else would ever end it.
    let mut connect = connect_v4("slow", true);
    connect[11] = 0;
    let mut slow = Raw::open(front.address).await;
    slow.send(&connect).await;
    slow.receive().await;
    let packet = publish_v4("a", 1, &[b'x'; 100]);
    for byte in &packet[..12] {
        slow.send(&[*byte]).await;
        sleep(Duration::from_millis(40)).await;
        is_alive(&mut good).await;
    }
    slow.expect_end().await;
    assert_eq!(front.counters.refusals(Cause::PacketTimeout), 1);
    sleep(Duration::from_millis(400)).await;
    is_alive(&mut good).await;
}

#[tokio::test]
async fn a_packet_that_waits_for_us_is_given_its_time_anew() {
    let limits = Limits { packet_timeout: Duration::from_millis(300), inflight_bytes_max: 1_000, ..Limits::default() };
    let front = Running::start(HandIntake::by_hand(), limits).await;
    let (mut client, mut other) = (Raw::v4(front.address, "d").await, Raw::v4(front.address, "other").await);
    let packet = publish_v4("a", 1, b"y");
    client.send(&packet[..4]).await;
    sleep(Duration::from_millis(100)).await;
    other.send(&publish_v4("a", 1, &[b'x'; 2_000])).await;
    front.intake.arrived(1).await;
    // Too much waits for the disk. This is read still, and then nothing for longer than a packet may take.
    client.send(&packet[4..5]).await;
    sleep(Duration::from_millis(1_200)).await;
    front.intake.release(1);
    assert_eq!(other.receive().await, [0x40, 2, 0, 1]);
    client.send(&packet[5..]).await;
    front.intake.arrived(2).await;
}

#[tokio::test]
async fn a_connect_packet_has_a_bound_of_its_own() {
    let front = front(Limits { connect_bytes_max: 300, ..Limits::default() }).await;
    let mut large = Raw::open(front.address).await;
    large.send(&connect_as(4, "d", Some(&"u".repeat(200)), Some(&"p".repeat(200)), None)).await;
    large.expect_end().await;
    assert_eq!(front.counters.refusals(Cause::PacketTooLarge), 1);
    let mut client = Raw::v4(front.address, "d").await;
    client.send(&publish_v4("a", 1, &[b'x'; 5_000])).await;
    assert_eq!(client.receive().await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn half_open_connections_make_room_for_who_is_in_earnest() {
    let limits = Limits { coming_max: 8, coming_patience: Duration::from_millis(200), ..Limits::default() };
    let front = front(limits).await;
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(TcpStream::connect(front.address).await.unwrap());
    }
    let mut good = Raw::v4(front.address, "good").await;
    is_alive(&mut good).await;
    // The first has been at it the longest.
    let gone = timeout(SOON, silent[0].read(&mut [0; 8])).await.expect("it was not sent away");
    assert_eq!(gone.unwrap(), 0);
    assert!(timeout(A_WHILE, silent[29].read(&mut [0; 8])).await.is_err(), "the last was sent away");
    assert_eq!(front.counters.refusals(Cause::Coming), 23);
}

#[tokio::test]
async fn fifty_clients_go_on_publishing_through_a_flood_of_connects() {
    let limits = Limits {
        trust_loopback: false,
        connects_per_s_per_address: 20,
        coming_max: 32,
        coming_per_address_max: 8,
        ..Limits::default()
    };
    let front = front(limits).await;
    let mut good = Vec::new();
    for number in 0..50 {
        good.push(Raw::v4(front.address, &format!("good-{number}")).await);
    }
    let flooding = Arc::new(AtomicBool::new(true));
    let flood: Vec<_> = (2..6)
        .map(|host| {
            let (flooding, address) = (Arc::clone(&flooding), front.address);
            tokio::spawn(async move {
                let mut held = std::collections::VecDeque::new();
                while flooding.load(Relaxed) {
                    held.extend(socket_from(host, address).await);
                    if held.len() > 100 {
                        held.pop_front();
                    }
                }
            })
        })
        .collect();
    for packet_id in 1..=20 {
        for client in &mut good {
            client.send(&publish_v4("a", packet_id, b"x")).await;
        }
        for client in &mut good {
            assert_eq!(client.receive().await, [0x40, 2, 0, packet_id as u8]);
        }
    }
    // Somebody new comes in as well.
    let mut late = Raw::over(socket_from(9, front.address).await.unwrap());
    late.send(&connect_v4("late", true)).await;
    assert_eq!(late.receive().await, [0x20, 2, 0, 0]);
    flooding.store(false, Relaxed);
    for task in flood {
        task.await.unwrap();
    }
    assert_eq!(front.intake.arrivals().len(), 1_000);
    let refused = front.counters.refusals(Cause::ConnectRate) + front.counters.refusals(Cause::Address);
    assert!(refused > 0, "there was no flood");
}

#[tokio::test]
async fn what_waits_for_the_disk_is_bounded_over_all_connections() {
    let limits = Limits { inflight_bytes_max: 20_000, ..Limits::default() };
    let front = Running::start(HandIntake::by_hand(), limits).await;
    let mut clients = Vec::new();
    for number in 0..10 {
        clients.push(Raw::v4(front.address, &format!("d{number}")).await);
    }
    for client in &mut clients {
        for packet_id in 1..=5 {
            client.send(&publish_v4("a", packet_id, &[b'x'; 2_000])).await;
        }
    }
    sleep(A_WHILE).await;
    let taken: usize = front.intake.arrivals().iter().map(|arrival| arrival.payload.len()).sum();
    // Each may have begun to take what one read brought when the bound was reached.
    assert!((10_000..100_000).contains(&taken), "{taken} bytes of 100,000 were taken");
    for released in 1..=50 {
        front.intake.arrived(released).await;
        front.intake.release(released);
    }
    for client in &mut clients {
        for packet_id in 1..=5 {
            assert_eq!(client.receive().await, [0x40, 2, 0, packet_id]);
        }
    }
}

#[tokio::test]
async fn packets_begun_by_many_share_a_bound_and_the_slow_ones_go() {
    let limits = Limits { begun_bytes_max: 60_000, packet_timeout: Duration::from_millis(500), ..Limits::default() };
    let front = front(limits).await;
    let packet = publish_v4("a", 1, &[b'x'; 16_000]);
    let mut slow = Vec::new();
    for number in 0..8 {
        let mut client = Raw::v4(front.address, &format!("slow-{number}")).await;
        client.send(&packet[..15_000]).await;
        slow.push(client);
    }
    let mut good = Raw::v4(front.address, "good").await;
    good.send(&packet).await;
    assert_eq!(good.receive().await, [0x40, 2, 0, 1]);
    for client in &mut slow {
        client.expect_end().await;
    }
    assert_eq!(front.counters.refusals(Cause::PacketTimeout), 8);
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_does_not_keep_out_who_was_verified_before() {
    let entry = Passwords::entry("anna", b"secret").unwrap();
    let rules = Rules { passwords: Some(Arc::new(Passwords::parse(&entry).unwrap())), ..Rules::default() };
    let asks = Entry { anonymous: false, password: true, ..Entry::OPEN };
    let listeners = vec![Listener { entry: asks, ..Listener::open(ANY_PORT) }];
    let limits = Limits { verifications_max: 1, ..Limits::default() };
    let front = Running::start_with(listeners, rules, HandIntake::automatic(), limits).await;
    let login = connect_as(4, "d", Some("anna"), Some("secret"), None);
    let mut first = Raw::open(front.address).await;
    first.send(&login).await;
    assert_eq!(first.receive().await, [0x20, 2, 0, 0]);
    let mut flood = Vec::new();
    for number in 0..100 {
        let mut wrong = Raw::open(front.address).await;
        wrong.send(&connect_as(4, "w", Some("anna"), Some(&number.to_string()), None)).await;
        flood.push(wrong);
    }
    let mut again = Raw::open(front.address).await;
    again.send(&login).await;
    assert_eq!(again.receive().await, [0x20, 2, 0, 0]);
    let refused = front.counters.refusals(Cause::Credentials);
    assert!(refused < 100, "all {refused} were refused before: the flood proves nothing");
}

#[tokio::test]
async fn who_subscribes_to_more_than_allowed_takes_no_place_of_others() {
    let front = front(Limits { subscriptions_max: 4, filters_bytes_max: 3_500, ..Limits::default() }).await;
    let mut greedy = Raw::v4(front.address, "greedy").await;
    for number in 0..40_u16 {
        greedy.send(&subscribe_v4(number + 1, &format!("own/{number}"), 0)).await;
        let code = greedy.receive().await[4];
        assert_eq!(code, if number < 4 { 0 } else { 0x80 }, "filter {number}");
    }
    let mut other = Raw::v4(front.address, "other").await;
    other.send(&subscribe_v4(1, "another", 0)).await;
    assert_eq!(other.receive().await, [0x90, 3, 0, 1, 0]);
}

#[tokio::test]
async fn who_is_sent_away_at_once_takes_nobodys_turn_to_connect() {
    let limits =
        Limits { trust_loopback: false, connects_per_s: 10, connects_per_s_per_address: 1, ..Limits::default() };
    let front = front(limits).await;
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(socket_from(2, front.address).await.unwrap());
    }
    // Of those, ten may come in, in the first second; behind all of them comes one from elsewhere.
    let mut good = Raw::over(socket_from(3, front.address).await.unwrap());
    good.send(&connect_v4("good", true)).await;
    assert_eq!(good.receive().await, [0x20, 2, 0, 0]);
    assert!(front.counters.refusals(Cause::ConnectRate) >= 280);
}

#[tokio::test]
async fn who_says_nothing_does_not_hold_up_the_end() {
    let front = front(Limits::default()).await;
    let silent = TcpStream::connect(front.address).await.unwrap();
    let mut begun = TcpStream::connect(front.address).await.unwrap();
    begun.write_all(&[0x10, 60, 0, 4]).await.unwrap();
    is_alive(&mut Raw::v4(front.address, "d").await).await;
    timeout(Duration::from_secs(4), front.stop()).await.expect("it waits for who may never say anything");
    drop((silent, begun));
}

#[tokio::test]
async fn a_subscribe_with_more_filters_than_anybody_may_have_is_looked_at_no_further() {
    let front = front(Limits { subscribes_per_s: 0, ..Limits::default() }).await;
    let mut client = Raw::v4(front.address, "d").await;
    let filters = [&text("a")[..], &[0]].concat().repeat(5_000);
    let mut subscribe = vec![0x82, 0xA2, 0x9C, 0x01, 0, 1];
    subscribe.extend(&filters);
    client.send(&subscribe).await;
    let answer = client.receive().await;
    let granted = answer.iter().skip(answer.len() - 5_000).take_while(|code| **code == 0).count();
    assert_eq!(granted, 64);
    is_alive(&mut client).await;
}

#[tokio::test]
async fn a_client_for_whom_much_is_on_its_way_is_heard_meanwhile() {
    let front = front(Limits::default()).await;
    let mut publisher = Raw::v4(front.address, "publisher").await;
    // 7.6 MB: more than the system takes for one connection.
    for number in 0..80 {
        let body = [&text(&format!("a/{number}"))[..], &[0, 1], &[b'x'; 95_000]].concat();
        let length =
            [(body.len() & 0x7F) as u8 | 0x80, (body.len() >> 7 & 0x7F) as u8 | 0x80, (body.len() >> 14) as u8];
        publisher.send(&[&[0x33][..], &length, &body].concat()).await;
        assert_eq!(publisher.receive().await, [0x40, 2, 0, 1]);
    }
    // A keepalive of a second, and nothing is read for four.
    let mut connect = connect_v4("slow", true);
    connect[11] = 1;
    let mut slow = Raw::open(front.address).await;
    slow.send(&connect).await;
    slow.receive().await;
    slow.send(&subscribe_v4(1, "#", 0)).await;
    for _ in 0..14 {
        slow.send(&[0xC0, 0]).await;
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(front.counters.refusals(Cause::KeepAlive), 0);
    slow.receive().await;
    let (mut messages, mut answers) = (0, 0);
    while messages < 80 || answers < 14 {
        match slow.receive().await[0] {
            0x31 => messages += 1,
            _ => answers += 1,
        }
    }
}

/// Whether the system asks silent peers of this port whether they are there (proc(5), /proc/net/tcp: timer 2).
fn are_asked(port: u16) -> Vec<bool> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|it| it[1].ends_with(&format!(":{port:04X}")) && it[3] == "01");
    ours.map(|it| it[5].starts_with("02:")).collect()
}

#[tokio::test]
async fn who_need_not_say_anything_is_asked_by_the_system_whether_it_is_there() {
    let front = front(Limits::default()).await;
    let mut connect = connect_v4("silent", true);
    connect[11] = 0;
    let mut silent = Raw::open(front.address).await;
    silent.send(&connect).await;
    silent.receive().await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(are_asked(front.address.port()), [true]);
    let _says_something = Raw::v4(front.address, "d").await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(are_asked(front.address.port()).iter().filter(|asked| **asked).count(), 1);
}
