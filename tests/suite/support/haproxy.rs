//! HAProxy in the place of the Application Load Balancer: path rules, health checks, one address.
//!
//! The original's clients reach the fleet through an ALB that sends `/api` and `/api/*` to one
//! target group and everything else to another, both on the same instances. Tests that claim
//! something about such clients go through this, not past it. Like an ALB it takes targets in
//! turn, never tries a request again, appends the client to `X-Forwarded-For`, closes a socket on
//! which nothing moves for its idle timeout, and leaves open sockets alone when a target turns
//! unhealthy. Unlike one it answers 503 where an ALB answers 502 or 504, and with every target of
//! a group unhealthy it does not fail open.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

/// An instance of the fleet, as the load balancer's two target groups see it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub app: SocketAddr,
    pub api: SocketAddr,
}

/// A load balancer that runs until it is dropped.
#[derive(Debug)]
pub struct HaProxy {
    process: Child,
    addr: SocketAddr,
    /// Holds the configuration.
    _dir: TempDir,
}

/// The ALB's default is 60 s, the project's template sets 180 s; pings come every 25 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);

/// Far below an ALB's 5 s, so that a test sees a target go and come within a second.
const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

impl HaProxy {
    /// Starts in front of `targets`, on a free port of the loopback.
    pub fn start(targets: &[Target]) -> Self {
        Self::with_idle_timeout(targets, IDLE_TIMEOUT)
    }

    /// The same, closing sockets on which nothing has moved for `idle_timeout`.
    pub fn with_idle_timeout(targets: &[Target], idle_timeout: Duration) -> Self {
        let dir = TempDir::with_prefix("wsfleetd-haproxy-").expect("a temporary directory");
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, configuration(targets, idle_timeout)).expect("write haproxy.cfg");
        // Bound here and handed over as standard input: no race for a port that was free once.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let process = Command::new("haproxy")
            .arg("-db") // in the foreground, one process
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .expect("start haproxy (tests/run installs it)");
        Self { process, addr, _dir: dir }
    }

    /// Where clients connect. A connection made before HAProxy is up waits in the backlog.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        // It may have ended by itself; what matters is that it is not left behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(targets: &[Target], idle_timeout: Duration) -> String {
    let idle = idle_timeout.as_millis();
    let health = HEALTH_INTERVAL.as_millis();
    let mut text = format!(
        "\
global
    # Two descriptors each; HAProxy does not start if the machine's hard limit is below that.
    maxconn 4000

defaults
    mode http
    timeout connect 10s
    timeout client {idle}ms
    timeout server {idle}ms
    timeout tunnel {idle}ms
    timeout http-request 10s
    # An ALB passes a failure on. Trying again would hide from a test what a client sees.
    retries 0
    no option redispatch
    balance roundrobin
    default-server check inter {health}ms fall 2 rise 1

frontend alb
    bind fd@0
    http-request set-header X-Forwarded-Proto http
    # Not \"option forwardfor\": an ALB writes the client to the right of what is there.
    http-request replace-header X-Forwarded-For (.*) \\1,\\ %[src]
    http-request set-header X-Forwarded-For %[src] unless {{ req.hdr(x-forwarded-for) -m found }}
    acl api path /api
    acl api path_beg /api/
    use_backend api if api
    default_backend app
"
    );
    let apps: Vec<_> = targets.iter().map(|target| target.app).collect();
    let apis: Vec<_> = targets.iter().map(|target| target.api).collect();
    text.push_str(&backend("app", "/healthz", &apps));
    text.push_str(&backend("api", "/api/healthz", &apis));
    text
}

/// A target group: who is in it, and which path says that a member is well.
fn backend(name: &str, health: &str, servers: &[SocketAddr]) -> String {
    let mut text = format!(
        "\nbackend {name}\n    option httpchk\n    http-check send meth GET uri {health} \
         ver HTTP/1.1 hdr Host health\n    http-check expect status 200\n"
    );
    for (number, server) in servers.iter().enumerate() {
        writeln!(text, "    server i-{number} {server}").expect("writing to a String");
    }
    text
}
