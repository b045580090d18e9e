//! Text of all kinds: names, addresses, networks and URLs.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::Form;
use crate::config::given::{Given, Reading, quoted, refuse};

/// Text that passes a check.
pub struct Text {
    pub accepts: &'static str,
    pub check: fn(&str) -> Result<(), String>,
}

/// A socket's address and port.
pub struct Address;

/// A network, or a single address.
pub struct Network;

/// A URL of one of these schemes, kept as a secret for the password it may hold; empty for none.
pub struct SecretUrl {
    pub schemes: &'static [&'static str],
    /// What may follow the scheme; its reasons must not quote the URL.
    pub check: fn(&str) -> Result<(), String>,
}

/// Longest free text: a host name's length, and more than any issuer or audience seen.
const MAX_TEXT_CHARS: usize = 255;
const MAX_PREFIX_CHARS: usize = 64;

/// A label without spaces; may be empty.
pub const LABEL: Text = Text { accepts: "up to 255 printable characters, no spaces", check: label };

/// What may stand before every key in Redis: no braces, which Redis Cluster would take for its own.
pub const PREFIX: Text = Text {
    accepts: "1 to 64 letters, digits, dots, underscores and hyphens",
    check: |text| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = (1..=MAX_PREFIX_CHARS).contains(&text.len());
        verdict(fits && text.chars().all(allowed), "is not a prefix")
    },
};

/// The path of a request.
pub const PATH: Text = Text {
    accepts: "a path such as \"/api\", without query, fragment or spaces",
    check: |text| {
        let allowed = |c: char| c.is_ascii_graphic() && !"?#".contains(c);
        verdict(text.starts_with('/') && text.chars().all(allowed), "is not a path")
    },
};

/// What a browser sends as `Origin`.
pub const ORIGIN: Text = Text {
    accepts: "scheme, host and port only, such as \"https://app.example.com\"",
    check: |text| {
        let origin = Url::parse(text).map(|url| url.origin().ascii_serialization());
        verdict(origin.as_deref() == Ok(text), "is not an origin as browsers send it")
    },
};

/// A level, or a filter of levels per module.
pub const LOG_FILTER: Text = Text {
    accepts: "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or a filter such as \
              \"info,wsfleetd::relay=debug\"",
    check: log_filter,
};

/// Where Redis is.
pub const REDIS_URL: SecretUrl = SecretUrl {
    schemes: &["redis", "rediss"],
    check: |text| match Url::parse(text) {
        Ok(url) => verdict(url.has_host(), "names no host"),
        Err(error) => Err(format!("is not a URL: {error}")),
    },
};

/// Where PostgreSQL is. Several hosts may stand in one such URL, which no general parser takes:
/// the driver judges the rest.
pub const POSTGRES_URL: SecretUrl =
    SecretUrl { schemes: &["postgres", "postgresql"], check: |_| Ok(()) };

/// Text as another system gave it; may be empty.
pub const FREE: Text =
    Text { accepts: "up to 255 characters, none of them a control character", check: free };

impl Form<String> for Text {
    fn read(&self, given: Given<'_>) -> Reading<String> {
        let text = given.text()?;
        (self.check)(text).or_else(refuse)?;
        Ok(text.to_owned())
    }

    fn print(&self, value: &String) -> String {
        quoted(value)
    }

    fn accepts(&self) -> String {
        self.accepts.into()
    }
}

impl Form<SocketAddr> for Address {
    fn read(&self, given: Given<'_>) -> Reading<SocketAddr> {
        parsed(given, "is not an address and port")
    }

    fn print(&self, value: &SocketAddr) -> String {
        quoted(&value.to_string())
    }

    fn accepts(&self) -> String {
        "a numeric address and port such as \"0.0.0.0:8080\" or \"[::1]:8080\"".into()
    }
}

impl Form<IpNet> for Network {
    fn read(&self, given: Given<'_>) -> Reading<IpNet> {
        if let Ok(address) = given.text()?.trim().parse::<IpAddr>() {
            return Ok(IpNet::from(address));
        }
        parsed(given, "is not a network")
    }

    fn print(&self, value: &IpNet) -> String {
        quoted(&value.to_string())
    }

    fn accepts(&self) -> String {
        "a network such as \"10.0.0.0/16\", or an address".into()
    }
}

impl Form<Option<SecretString>> for SecretUrl {
    fn read(&self, given: Given<'_>) -> Reading<Option<SecretString>> {
        let text = given.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        match text.split_once("://") {
            Some((scheme, rest)) if self.schemes.contains(&scheme) && !rest.is_empty() => {}
            _ => return refuse("is not a URL of a scheme allowed here"),
        }
        (self.check)(text).or_else(refuse)?;
        Ok(Some(text.into()))
    }

    fn print(&self, value: &Option<SecretString>) -> String {
        quoted(value.as_ref().map_or("", ExposeSecret::expose_secret))
    }

    fn accepts(&self) -> String {
        let schemes: Vec<_> = self.schemes.iter().map(|scheme| format!("{scheme}://…")).collect();
        format!("{}, or \"\" for none", schemes.join(" or "))
    }
}

fn label(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_graphic();
    verdict(text.len() <= MAX_TEXT_CHARS && text.chars().all(allowed), "is not a label")
}

fn free(text: &str) -> Result<(), String> {
    let fits = text.chars().count() <= MAX_TEXT_CHARS;
    verdict(fits && !text.contains(char::is_control), "is too long or holds a control character")
}

/// A bare word that is no level would be taken for a module's name, and all else be silenced: a
/// misspelt level must not do that.
fn log_filter(text: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_rule = |part: &str| part.contains('=') || LEVELS.contains(&part.trim());
    verdict(text.split(',').all(is_rule), "is not a level or filter")?;
    EnvFilter::builder().parse(text).map(drop).map_err(|error| format!("is not a filter: {error}"))
}

fn parsed<T: FromStr>(given: Given<'_>, problem: &str) -> Reading<T> {
    given.text()?.trim().parse().or_else(|_| refuse(problem))
}

fn verdict(fits: bool, problem: &str) -> Result<(), String> {
    if fits { Ok(()) } else { Err(problem.into()) }
}

#[cfg(test)]
mod tests {
    use super::{LABEL, LOG_FILTER, ORIGIN, PATH, PREFIX, REDIS_URL};

    #[test]
    fn a_prefix_never_holds_what_redis_cluster_hashes_by() {
        for good in ["wsfleetd", "a", "a.b_c-1", &"x".repeat(64)] {
            assert_eq!((PREFIX.check)(good), Ok(()));
        }
        for bad in ["", "a{b}", "a:b", "a b", "é", &"x".repeat(65)] {
            assert!((PREFIX.check)(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_starts_at_the_root_and_has_no_query() {
        assert_eq!((PATH.check)("/api"), Ok(()));
        for bad in ["", "api", "/a?b", "/a#b", "/a b", "https://x/api"] {
            assert!((PATH.check)(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_origin_is_compared_as_browsers_write_it() {
        for good in ["https://app.com", "http://localhost:3000", "https://[::1]:8443"] {
            assert_eq!((ORIGIN.check)(good), Ok(()));
        }
        for bad in ["app.com", "https://app.com/", "https://App.com", "https://app.com:443", "*"] {
            assert!((ORIGIN.check)(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        for good in ["info", "info,wsfleetd::relay=debug", "wsfleetd=trace"] {
            assert_eq!((LOG_FILTER.check)(good), Ok(()));
        }
        for bad in ["", "inof", "info,", "wsfleetd=loud"] {
            assert!((LOG_FILTER.check)(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_label_holds_no_space() {
        assert_eq!((LABEL.check)(""), Ok(()));
        assert!((LABEL.check)("web 1").is_err());
    }

    #[test]
    fn a_refused_url_is_never_quoted() {
        for bad in ["redis://:hunter2@host:99999", "redis://:hunter2@", "redis://host:hunter2"] {
            let reason = (REDIS_URL.check)(bad).expect_err(bad);
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }
}
