//! The ports to listen on: free, or the gateway's already.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};

use super::finding::Finding;
use super::machine::{Holder, Machine};

/// Looks at one address.
pub(crate) fn look(machine: &Machine, what: &str, address: SocketAddr) -> Finding {
    let bound = TcpListener::bind(address).map(drop).map_err(|error| error.kind());
    let lists = ["/proc/net/tcp", "/proc/net/tcp6"].map(|list| machine.read(list).unwrap_or_default());
    let inode = lists.iter().find_map(|list| listener(list, address));
    let holder = inode.and_then(|inode| machine.holder(&format!("socket:[{inode}]")));
    judge(what, address, bound, holder.as_ref())
}

fn judge(what: &str, address: SocketAddr, bound: Result<(), ErrorKind>, holder: Option<&Holder>) -> Finding {
    let fail = |found: String, remedy: String| Finding::fail("listen", format!("{what} on {address}: {found}"), remedy);
    match (bound, holder) {
        (Ok(()), _) => Finding::ok("listen", format!("{what} on {address}: free")),
        (Err(ErrorKind::AddrInUse), Some(holder)) if holder.is_gateway() => {
            Finding::ok("listen", format!("{what} on {address}: the gateway listens there (process {})", holder.pid))
        }
        (Err(ErrorKind::AddrInUse), Some(Holder { pid, name })) => {
            let remedy = match name.as_str() {
                "mosquitto" => "systemctl disable --now mosquitto, or give one of the two another port".to_owned(),
                _ => format!("stop {name}, or change `listen`"),
            };
            fail(format!("{name} (process {pid}) listens there"), remedy)
        }
        (Err(ErrorKind::AddrInUse), None) => {
            let found = "a program listens there, perhaps the gateway; only root sees which".to_owned();
            Finding::warn("listen", format!("{what} on {address}: {found}"), "run the doctor as root")
        }
        (Err(ErrorKind::AddrNotAvailable), _) => fail(
            "no interface of this machine has this address".to_owned(),
            "ip address; or listen on 0.0.0.0".to_owned(),
        ),
        (Err(ErrorKind::PermissionDenied), _) => {
            fail("a port below 1024 is root's alone".to_owned(), "choose a higher port".to_owned())
        }
        (Err(other), _) => fail(other.to_string(), "ip address; ss -ltnp".to_owned()),
    }
}

/// The socket that listens where `address` would: the inode from a table of proc_net_tcp (address and port in hexadecimal, each four
/// bytes in the machine's order; state 0A listens).
fn listener(table: &str, address: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (ip, port) = fields.nth(1)?.split_once(':')?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?.parse().ok()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let meets = is_everywhere(ip) || address.ip().is_unspecified() || ip == hexadecimal(address.ip());
        (state == "0A" && port == address.port() && meets).then_some(inode)
    })
}

fn is_everywhere(ip: &str) -> bool {
    ip.bytes().all(|digit| digit == b'0')
}

fn hexadecimal(ip: IpAddr) -> String {
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    words.map(|word| format!("{word:08X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 31337 1 0000000000000000 100 0 0 10 0
   1: 00000000:22B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   2: 0100007F:2328 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 9 1 0000000000000000 20 4 30 10 -1
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_socket_that_listens_is_found_and_no_other() {
        let at = |text: &str| listener(TABLE, text.parse().unwrap());
        assert_eq!(at("127.0.0.1:1883"), Some(31337));
        assert_eq!(at("0.0.0.0:1883"), Some(31337), "who listens everywhere meets it");
        assert_eq!(at("10.0.0.1:8883"), Some(4711), "who listens everywhere is met");
        assert_eq!(at("10.0.0.1:1883"), None);
        assert_eq!(at("127.0.0.1:9000"), None, "a connection is no listener");
    }

    #[test]
    fn a_free_port_is_right_and_one_that_the_gateway_has_too() {
        let address = "127.0.0.1:1883".parse().unwrap();
        let by = |name: &str| Some(Holder { pid: 7, name: name.to_owned() });
        let level = |bound, holder: Option<Holder>| judge("mqtt", address, bound, holder.as_ref()).level;
        assert_eq!(level(Ok(()), None), Level::Ok);
        assert_eq!(level(Err(ErrorKind::AddrInUse), by("lamppost")), Level::Ok);
        assert_eq!(level(Err(ErrorKind::AddrInUse), by("mosquitto")), Level::Fail);
        assert_eq!(level(Err(ErrorKind::AddrInUse), None), Level::Warn);
        assert_eq!(level(Err(ErrorKind::AddrNotAvailable), None), Level::Fail);
        assert_eq!(level(Err(ErrorKind::PermissionDenied), None), Level::Fail);
    }

    #[test]
    fn a_port_that_is_really_taken_is_seen() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let finding = look(&Machine::at("/"), "http", address);
        assert_ne!(finding.level, Level::Ok, "{finding:?}");
        drop(taken);
        assert_eq!(look(&Machine::at("/"), "http", address).level, Level::Ok);
    }
}
