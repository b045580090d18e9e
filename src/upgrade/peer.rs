//! Whose connection it is: the other end of the TCP connection, or who that one speaks for.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The two addresses of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the TCP connection: a load balancer, or the client itself.
    pub proxy: IpAddr,
    /// The client as far as it can be believed.
    pub client: IpAddr,
}

impl Peer {
    /// Believes the right-most entry of `X-Forwarded-For`, the one the proxy has added, and only
    /// from a proxy in `trusted`: everything left of it is the client's own invention. Also if that
    /// entry is in `trusted` itself: a client in the proxies' network could invent the rest.
    ///
    /// IPv4 in IPv6's clothes, as a listener on `[::]` sees it, is IPv4.
    pub fn of(proxy: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let proxy = proxy.to_canonical();
        let is_trusted = trusted.iter().any(|net| net.contains(&proxy));
        let added = headers.get_all(FORWARDED_FOR).into_iter().next_back();
        let last = added.and_then(|line| line.to_str().ok()?.rsplit(',').next());
        let client = last.filter(|_| is_trusted).and_then(|entry| address(entry.trim()));
        Self { proxy, client: client.unwrap_or(proxy) }
    }
}

/// `ip`, or, as a load balancer writes it when told to, `ip:port` or `[ip]:port`.
fn address(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let address: IpAddr = entry.parse().ok().or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxy: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        Peer::of(proxy.parse().unwrap(), &headers, &trusted).client.to_string()
    }

    #[test]
    fn only_what_a_trusted_proxy_has_added_is_believed() {
        assert_eq!(client("10.0.0.7", &["6.6.6.6, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.7", &["6.6.6.6", "203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(client("10.0.0.7", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("203.0.113.50", &["6.6.6.6"]), "203.0.113.50");
        assert_eq!(client("10.0.0.7", &[]), "10.0.0.7");
    }

    #[test]
    fn what_is_malformed_is_not_replaced_by_what_the_client_wrote() {
        for last in ["nonsense", "", "unknown", "_hidden", "203.0.113", "203.0.113.9:x", "[::1"] {
            assert_eq!(client("10.0.0.7", &["6.6.6.6", last]), "10.0.0.7", "{last:?}");
            let listed = format!("6.6.6.6, {last}");
            assert_eq!(client("10.0.0.7", &[&listed]), "10.0.0.7", "{listed:?}");
        }
    }

    #[test]
    fn a_client_within_the_proxies_network_cannot_name_another() {
        assert_eq!(client("10.0.0.7", &["6.6.6.6, 10.0.0.66"]), "10.0.0.66");
    }

    #[test]
    fn ipv4_in_ipv6s_clothes_is_ipv4() {
        assert_eq!(client("::ffff:10.0.0.7", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.7", &["::ffff:203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("::ffff:203.0.113.50", &["6.6.6.6"]), "203.0.113.50");
        assert_eq!(client("2001:db8::7", &["6.6.6.6"]), "2001:db8::7");
    }
}
