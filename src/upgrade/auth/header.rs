//! The original application's way: a header that names the user, and proves nothing.

use http::HeaderName;
use ipnet::IpNet;

use super::super::{Refusal, request::Handshake};
use crate::ids::UserId;

const USERNAME: HeaderName = HeaderName::from_static("username");

/// The name in `username`, if the header is there.
pub fn find(
    handshake: &Handshake<'_>,
    trusted_proxies: &[IpNet],
) -> Option<Result<UserId, Refusal>> {
    let name = handshake.headers.get(USERNAME)?;
    let is_alone = trusted_proxies.is_empty() && handshake.peer.to_canonical().is_loopback();
    let is_listed = trusted_proxies.iter().any(|net| net.contains(&handshake.peer));
    if !is_alone && !is_listed {
        return Some(Err(Refusal::BadCredential("the header username is not believed from there")));
    }
    // Header bytes are Latin-1 on the wire; names beyond ASCII come as UTF-8.
    let name = std::str::from_utf8(name.as_bytes()).ok().and_then(UserId::parse);
    Some(name.ok_or(Refusal::UnknownUser))
}
