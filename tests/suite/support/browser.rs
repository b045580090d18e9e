//! A real Chromium, driven over WebDriver (W3C) as a user would use it.
//!
//! chromedriver speaks plain HTTP on loopback; the few commands a story needs are here.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Chromium takes seconds to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// chromedriver says this and its port when it listens.
const STARTED: &str = "was started successfully on port ";

/// A browser without a screen; ended when dropped.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _profile: TempDir,
}

/// One of its windows.
pub struct Window<'a> {
    browser: &'a Browser,
    handle: String,
}

impl Browser {
    /// Starts one with an empty profile.
    pub fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver is installed (tests/run --all does that)");
        let port = port(&mut driver);
        let profile = TempDir::with_prefix("wsfleetd-chromium-").expect("a temporary directory");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut browser = Self { driver, address, session: String::new(), _profile: profile };
        let options = options(browser._profile.path());
        let session = browser.ask("POST", "/session", &options);
        browser.session = text(&session["sessionId"]);
        browser
    }

    /// A new window at `url`.
    pub fn open(&self, url: &str) -> Window<'_> {
        let new = self.command("POST", "/window/new", &json!({ "type": "window" }));
        let window = Window { browser: self, handle: text(&new["handle"]) };
        window.command("POST", "/url", &json!({ "url": url }));
        window
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("/session/{}{path}", self.session), body)
    }

    /// The `value` of the answer.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.exchange(method, path, body).expect("chromedriver answers");
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
        answer["value"].clone()
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = BufReader::new(stream);
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            answer.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0);
            } else if let Some(rest) = line.strip_prefix("content-length:") {
                length = rest.trim().parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut json = vec![0; length];
        answer.read_exact(&mut json)?;
        Ok((status, serde_json::from_slice(&json)?))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes Chromium; chromedriver's own end would leave it behind.
        if !self.session.is_empty() {
            let _ = self.exchange("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Window<'_> {
    /// Chooses `option` in the list `list`.
    pub fn choose(&self, list: &str, option: &str) {
        self.click("xpath", &format!("//select[@id='{list}']/option[text()='{option}']"));
    }

    /// Presses the button `id`.
    pub fn press(&self, id: &str) {
        self.click("css selector", &format!("#{id}"));
    }

    /// Types into the field `id`.
    pub fn type_into(&self, id: &str, words: &str) {
        let field = self.find("css selector", &format!("#{id}"));
        self.command("POST", &format!("/element/{field}/value"), &json!({ "text": words }));
    }

    /// Waits until the element reads `words`.
    pub fn reads(&self, selector: &str, words: &str) {
        let start = Instant::now();
        loop {
            let read = self.texts(selector);
            if read.iter().any(|text| text == words) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "no {words:?} in {selector}: {read:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What every element of `selector` reads.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)";
        let body = json!({ "script": script, "args": [selector] });
        let texts = self.command("POST", "/execute/sync", &body);
        texts.as_array().expect("a list").iter().map(text).collect()
    }

    /// Saves what it looks like, as PNG.
    pub fn photograph(&self, file: &Path) {
        let png = self.command("GET", "/screenshot", &Value::Null);
        let png = STANDARD.decode(text(&png)).expect("base64");
        std::fs::write(file, png).expect("write the screenshot");
    }

    fn click(&self, by: &str, what: &str) {
        let element = self.find(by, what);
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }

    fn find(&self, by: &str, what: &str) -> String {
        let found = self.command("POST", "/element", &json!({ "using": by, "value": what }));
        text(&found[ELEMENT])
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.browser.command("POST", "/window", &json!({ "handle": self.handle }));
        self.browser.command(method, path, body)
    }
}

/// Nothing is asked of the network but what the page asks.
fn options(profile: &Path) -> Value {
    let profile = format!("--user-data-dir={}", profile.display());
    json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--window-size=900,800", profile,
    ] } } } })
}

fn port(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
    let started = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.split_once(STARTED)?.1.trim_end_matches('.').parse().ok());
    // It must be able to go on writing.
    std::thread::spawn(move || lines.for_each(drop));
    started.expect("chromedriver says its port")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
