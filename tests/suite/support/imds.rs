//! EC2's instance metadata service as it behaves on the wire, version 2 only.
//!
//! A token is asked for with `PUT` and a lifetime of 1 to 21,600 seconds, and must come with each
//! `GET`; a `PUT` that passed a proxy (`X-Forwarded-For`) is refused. Everything asked is written
//! down, so that a story can tell what a client did.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

/// A metadata service on a free port; it ends when dropped.
pub struct Imds {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct State {
    values: BTreeMap<String, String>,
    tokens: BTreeMap<String, Instant>,
    delay: Duration,
    /// Status that every `GET` gets instead of an answer.
    fault: Option<u16>,
    log: Vec<String>,
}

impl Imds {
    /// Serves `values` under `/latest/meta-data/`.
    pub async fn start(values: &[(&str, &str)]) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), values)
    }

    /// The same on a port that was free a moment ago.
    pub async fn start_at(address: SocketAddr, values: &[(&str, &str)]) -> Self {
        Self::serve(TcpListener::bind(address).await.expect("the port is still free"), values)
    }

    fn serve(listener: TcpListener, values: &[(&str, &str)]) -> Self {
        let values = values.iter().map(|(path, value)| ((*path).into(), (*value).into())).collect();
        let state = Arc::new(Mutex::new(State { values, ..State::default() }));
        let address = listener.local_addr().expect("a bound socket");
        let mut server = JoinSet::new();
        server.spawn(accept(listener, state.clone()));
        Self { address, state, _server: server }
    }

    /// The value of `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets each answer wait.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Answers each `GET` with `status`.
    pub fn fail(&self, status: u16) {
        self.state.lock().unwrap().fault = Some(status);
    }

    /// What was asked, as `METHOD path status`.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, state.clone()));
    }
}

/// One kept-alive connection.
async fn converse(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = Request::read(&mut stream).await {
        let delay = state.lock().unwrap().delay;
        sleep(delay).await;
        let answer = state.lock().unwrap().answer(&request);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    /// `None` at the end of the connection. Bodies do not occur.
    async fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let first = line(stream).await?;
        let (method, rest) = first.split_once(' ')?;
        let path = rest.split_once(' ')?.0;
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut headers = BTreeMap::new();
        while let Some((name, value)) = line(stream).await?.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Some(Self { method, path, headers })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let length = stream.read_line(&mut line).await.ok()?;
    (length > 0).then(|| line.trim_end().to_owned())
}

impl State {
    fn answer(&mut self, request: &Request) -> String {
        let (status, extra, body) = match (request.method.as_str(), request.path.as_str()) {
            ("PUT", "/latest/api/token") => self.token(request),
            ("GET", path) => self.value(request, path),
            _ => (405, String::new(), String::new()),
        };
        self.log.push(format!("{} {} {status}", request.method, request.path));
        format!(
            "HTTP/1.1 {status} -\r\nServer: EC2ws\r\nContent-Type: text/plain\r\n{extra}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn token(&mut self, request: &Request) -> (u16, String, String) {
        let nothing = |status| (status, String::new(), String::new());
        if request.header("x-forwarded-for").is_some() {
            return nothing(403);
        }
        let lifetime = request.header("x-aws-ec2-metadata-token-ttl-seconds");
        match lifetime.and_then(|text| text.parse::<u64>().ok()) {
            Some(seconds @ 1..=21_600) => {
                let token = format!("token-{}", self.tokens.len());
                let end = Instant::now() + Duration::from_secs(seconds);
                self.tokens.insert(token.clone(), end);
                (200, format!("X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {seconds}\r\n"), token)
            }
            _ => nothing(400),
        }
    }

    fn value(&self, request: &Request, path: &str) -> (u16, String, String) {
        let token = request.header("x-aws-ec2-metadata-token");
        let valid =
            token.and_then(|token| self.tokens.get(token)).is_some_and(|end| *end > Instant::now());
        let value = path.strip_prefix("/latest/meta-data/").and_then(|key| self.values.get(key));
        match (valid, self.fault, value) {
            (false, ..) => (401, String::new(), String::new()),
            (true, Some(status), _) => (status, String::new(), String::new()),
            (true, None, Some(value)) => (200, String::new(), value.clone()),
            (true, None, None) => (404, String::new(), String::new()),
        }
    }
}
