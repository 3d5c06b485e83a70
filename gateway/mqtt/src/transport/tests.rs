use tokio::io::AsyncReadExt;
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
    assert!(tokio::time::timeout(std::time::Duration::from_secs(10), reading).await.expect("not all came").unwrap());
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
