use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

#[expect(clippy::duplicate_mod, reason = "the front's tests have it as well")]
#[path = "../../tests/support/certificates.rs"]
mod certificates;

use certificates::{Authority, Term, client, dial, server};

use super::*;

/// A stream of a server whose socket takes little, and its client.
async fn pair() -> (Stream, tokio_rustls::client::TlsStream<TcpStream>) {
    let authority = Authority::new();
    let tls = server(&authority.issue("gateway", 1, Term::Now), None, None).unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let connector = client(&authority, None, &[&rustls::version::TLS13]);
    let dialled = tokio::spawn(async move { dial(&connector, address).await.unwrap() });
    let mut stream = Stream::new(listener.accept().await.unwrap().0, Some(&tls)).unwrap();
    stream.shake_hands(&mut BytesMut::new()).await.unwrap();
    (stream, dialled.await.unwrap())
}

#[tokio::test]
async fn what_the_socket_does_not_take_is_known_to_be_unsent_and_comes_later() {
    let (mut stream, mut client) = pair().await;
    let piece = [7; 10_000];
    let mut taken = 0;
    // Until the socket is full, and TLS holds what it could not send.
    loop {
        match stream.write(&piece) {
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(taken < 100_000_000, "the socket is never full");
    }
    assert!(stream.has_unsent());
    let reading = tokio::spawn(async move {
        let mut read = vec![0; taken];
        client.read_exact(&mut read).await.unwrap();
        read.iter().all(|byte| *byte == 7)
    });
    while stream.has_unsent() {
        stream.writable().await.unwrap();
        stream.flush().unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_secs(10), reading).await.expect("not all came").unwrap());
}

#[tokio::test]
async fn the_end_of_tls_is_the_end_of_the_stream() {
    let (mut stream, mut client) = pair().await;
    client.shutdown().await.unwrap();
    loop {
        stream.readable().await.unwrap();
        match stream.read(&mut BytesMut::new(), 1_000) {
            Ok(count) => return assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

/// Reads what came, all of it, once it is there.
async fn read_once(stream: &mut Stream) -> io::Result<Vec<u8>> {
    tokio::time::timeout(Duration::from_secs(5), stream.readable()).await.expect("it is not known to be readable")?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut came = BytesMut::new();
    let count = stream.read(&mut came, 100_000)?;
    assert_eq!(count, came.len());
    Ok(came.to_vec())
}

#[tokio::test]
async fn what_came_before_the_end_or_an_error_is_read_and_then_that_is_told_without_waiting_for_more() {
    for end in ["close_notify", "bad record", "reset"] {
        let (mut stream, mut client) = pair().await;
        client.write_all(b"last words").await.unwrap();
        client.flush().await.unwrap();
        let mut kept = None;
        match end {
            "close_notify" => {
                client.get_mut().1.send_close_notify();
                client.flush().await.unwrap();
                kept = Some(client.into_inner().0);
            }
            "bad record" => {
                let mut tcp = client.into_inner().0;
                tcp.write_all(&[&[0x17, 3, 3, 0, 20][..], &[7; 20]].concat()).await.unwrap();
                kept = Some(tcp);
            }
            _ => client.into_inner().0.set_zero_linger().unwrap(),
        }
        assert_eq!(read_once(&mut stream).await.unwrap(), b"last words", "{end}");
        let expected = match end {
            "close_notify" => Ok(vec![]),
            "bad record" => Err(io::ErrorKind::InvalidData),
            _ => Err(io::ErrorKind::ConnectionReset),
        };
        assert_eq!(read_once(&mut stream).await.map_err(|error| error.kind()), expected, "{end}");
        drop(kept);
    }
}

#[tokio::test]
async fn after_an_error_and_after_our_end_tls_is_asked_for_nothing_more() {
    for broken in [true, false] {
        let (mut stream, client) = pair().await;
        let (mut tcp, _) = client.into_inner();
        // A record that nobody encrypted.
        tcp.write_all(&[0x17, 3, 3, 0, 20]).await.unwrap();
        tcp.write_all(&[7; 20]).await.unwrap();
        if !broken {
            stream.shutdown().await.unwrap();
        }
        let read = loop {
            stream.readable().await.unwrap();
            match stream.read(&mut BytesMut::new(), 1_000) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => break read.map_err(|error| error.kind()),
            }
        };
        assert_eq!(read, if broken { Err(io::ErrorKind::InvalidData) } else { Ok(0) });
        assert_eq!(stream.read(&mut BytesMut::new(), 1_000).unwrap(), 0);
        assert_eq!(stream.has_unsent(), broken, "the alert");
        assert!(stream.flush().unwrap());
        assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        stream.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_rests_has_no_buffers_and_a_record_in_pieces_is_put_together() {
    let (mut stream, mut client) = pair().await;
    let sent: Vec<u8> = (0..60_000_u32).map(|number| number as u8).collect();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
        client
    });
    let mut came = BytesMut::new();
    while came.len() < 60_000 {
        stream.readable().await.unwrap();
        match stream.read(&mut came, 1_000) {
            Ok(count) => assert!(count > 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert!(came == expected[..]);
    let mut client = writing.await.unwrap();
    assert_eq!(stream.write(&came[..100]).unwrap(), 100);
    let mut answer = [0; 100];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[..], expected[..100]);
    assert_eq!(stream.tls.as_ref().unwrap().buffered(), 0);
}
