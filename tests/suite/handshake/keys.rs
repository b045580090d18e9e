//! Keys of others: an issuer's set of public keys, and the load balancer's own.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wsfleetd::clock;

use super::{assert_refused, assert_retry_after, refusals::COLUMNS};
use crate::support::{
    instance::{Instance, USERS},
    raw::ask,
};

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/chat/50dc6c495c0c9188";

/// A fresh P-256 key pair in PEM: private, public.
fn pair() -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key.pem");
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
        assert!(output.status.success(), "openssl {arguments:?}: {output:?}");
        output.stdout
    };
    let private = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    fs::write(&file, &private).expect("write the key");
    let public = openssl(&["pkey", "-pubout", "-in", file.to_str().expect("a path")]);
    (private, public)
}

fn in_an_hour() -> u64 {
    clock::micros() / 1_000_000 + 3600
}

fn set(keys: &[(&str, &[u8])]) -> String {
    let keys = keys.iter().map(|(id, private)| {
        let key = EncodingKey::from_ec_pem(private).expect("a key");
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a public key");
        let mut jwk = serde_json::to_value(jwk).expect("JSON");
        jwk["kid"] = (*id).into();
        jwk
    });
    json!({"keys": keys.collect::<Vec<_>>()}).to_string()
}

fn token(id: &str, private: &[u8]) -> String {
    let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
    let key = EncodingKey::from_ec_pem(private).expect("a key");
    let claims = json!({"sub": "Sid", "exp": in_an_hour()});
    format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &key).expect("a token"))
}

fn start(auth: &str) -> Instance {
    let users: String = USERS.map(|user| format!("{user},,,,,\n")).concat();
    Instance::start_with(auth, &format!("{COLUMNS}{users}"), "")
}

async fn status(instance: &Instance, headers: &[(&str, &str)]) -> u16 {
    ask(instance.app(), "/ws", headers).await.status
}

#[tokio::test]
async fn an_issuers_keys_are_known_by_name_and_may_be_replaced_while_clients_are_connected() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("jwks.json");
    let ((old, _), (new, _)) = (pair(), pair());
    fs::write(&file, set(&[("old", &old)])).expect("write the set");
    let instance = start(&format!("modes = [\"token\"]\n[auth.token]\njwks_file = {file:?}"));
    let ask = async |id, key| status(&instance, &[("Authorization", &token(id, key))]).await;
    assert_eq!(ask("old", &old).await, 101);
    assert_eq!(ask("new", &new).await, 401, "nobody knows that key");
    assert_eq!(ask("old", &new).await, 401, "a name proves nothing");
    assert!(!instance.dir().join("auth-secret").exists(), "no secret is made beside them");

    fs::write(&file, "garbage").expect("write the set");
    instance.signal("HUP");
    instance.logs("the keys of credentials are not reloaded, the old ones stay").await;
    assert_eq!(ask("old", &old).await, 101);

    fs::write(&file, set(&[("new", &new)])).expect("write the set");
    let before = instance.log().lines().count();
    instance.signal("HUP");
    instance.logs_beyond(before, "reloaded").await;
    assert_eq!((ask("new", &new).await, ask("old", &old).await), (101, 401));
}

/// As a load balancer signs it: padded, all three parts.
fn oidc_data(private: &[u8], kid: &str, signer: &str, user: &str) -> String {
    let head = json!({"typ":"JWT","alg":"ES256","kid":kid,"signer":signer,
        "iss":"https://idp.example","client":"chat","exp":in_an_hour()});
    let text = |value: &Value| URL_SAFE.encode(value.to_string());
    let signed = format!("{}.{}", text(&head), text(&json!({"sub": user})));
    let key = EncodingKey::from_ec_pem(private).expect("a key");
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::ES256);
    let signature = signature.expect("a signature");
    let padding = "=".repeat((4 - signature.len() % 4) % 4);
    format!("{signed}.{signature}{padding}")
}

fn alb(line: &str) -> String {
    format!("modes = [\"alb\"]\n[auth.alb]\nsigner = \"{ARN}\"\n{line}\n")
}

fn key_file(dir: &Path, public: &[u8]) -> String {
    let file = dir.join("alb.pem");
    fs::write(&file, public).expect("write the key");
    format!("key_file = {file:?}")
}

#[tokio::test]
async fn who_has_logged_in_at_our_load_balancer_is_let_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let (private, public) = pair();
    let instance = start(&alb(&key_file(dir.path(), &public)));
    let data = |signer, user| oidc_data(&private, "k", signer, user);
    let ask = async |data: &str| ask(instance.app(), "/ws", &[("x-amzn-oidc-data", data)]).await;
    assert_eq!(ask(&data(ARN, "Zoë")).await.status, 101);
    assert_refused(&ask(&data(ARN, "Nobody")).await, 401, "Cannot identify user.");
    let other = ARN.replace("chat", "theirs");
    assert_refused(&ask(&data(&other, "Sid")).await, 401, "Unauthorized");
    assert_refused(&ask("garbage").await, 401, "Unauthorized");
    assert_eq!(status(&instance, &[]).await, 401);
}

#[tokio::test]
async fn a_strangers_page_gets_nothing_from_the_load_balancers_cookie() {
    let dir = tempfile::tempdir().expect("a directory");
    let (private, public) = pair();
    let instance = start(&alb(&key_file(dir.path(), &public)));
    let data = oidc_data(&private, "k", ARN, "Sid");
    let from = async |origin: &str| {
        ask(instance.app(), "/ws", &[("x-amzn-oidc-data", &data), ("Origin", origin)]).await
    };
    // What `ask` says in `Host`.
    assert_eq!(from("https://test").await.status, 101, "the page of the same host");
    assert_eq!(from("https://TEST").await.status, 101, "however it is written");
    for origin in ["https://evil.example", "null", "https://", "https://test:1", "test"] {
        assert_refused(&from(origin).await, 403, "Forbidden");
    }
    assert_eq!(status(&instance, &[("x-amzn-oidc-data", &data)]).await, 101, "no browser");
}

/// The region's endpoint: one key under one name. How often it was asked.
async fn endpoint(public: Vec<u8>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let (address, asked) = (listener.local_addr().expect("an address"), Arc::default());
    let count: Arc<AtomicUsize> = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap_or(0);
            count.fetch_add(1, Ordering::Relaxed);
            let known = head[..read].starts_with(b"GET /keys/the-key HTTP/1.1\r\n");
            let (status, body) =
                if known { ("200 OK", &public[..]) } else { ("404 None", &b""[..]) };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
        }
    });
    (address, asked)
}

#[tokio::test]
async fn the_load_balancers_key_is_fetched_once_and_nobody_can_make_it_be_fetched_without_end() {
    let (private, public) = pair();
    let (address, asked) = endpoint(public).await;
    let instance = start(&alb(&format!("endpoint = \"http://{address}/keys/\"")));
    let good = oidc_data(&private, "the-key", ARN, "Sid");
    for _ in 0..5 {
        assert_eq!(status(&instance, &[("x-amzn-oidc-data", &good)]).await, 101);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one fetch for five");

    for n in 0..100 {
        let unknown = oidc_data(&private, &format!("key-{n}"), ARN, "Sid");
        let answer = ask(instance.app(), "/ws", &[("x-amzn-oidc-data", &unknown)]).await;
        assert_refused(&answer, 503, "Service Unavailable");
        assert_retry_after(&answer);
    }
    let fetches = asked.load(Ordering::Relaxed);
    println!("{fetches} fetches for 100 unknown keys");
    assert!((2..60).contains(&fetches), "{fetches} fetches");
    assert_eq!(status(&instance, &[("x-amzn-oidc-data", &good)]).await, 101, "what is known is");
    assert_eq!(instance.log().matches("is kept out").count(), 1, "said once a minute");
}

#[tokio::test]
async fn an_endpoint_that_is_away_keeps_out_only_who_needs_it_and_says_when_to_come_again() {
    let (private, public) = pair();
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("one");
    let instance = start(&alb(&format!("endpoint = \"http://{gone}\"")));
    let data = oidc_data(&private, "the-key", ARN, "Sid");
    let answer = ask(instance.app(), "/ws", &[("x-amzn-oidc-data", &data)]).await;
    assert_refused(&answer, 503, "Service Unavailable");
    assert_retry_after(&answer);
    drop(public);
}

#[test]
fn what_cannot_work_is_refused_with_key_value_and_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("keys");
    fs::write(&file, "{}").expect("write it");
    for (auth, words) in [
        ("modes = [\"alb\"]".to_owned(), "set auth.alb.signer to the load balancer's ARN"),
        (format!("modes = [\"token\"]\ntoken.jwks_file = {file:?}"), "it is no JSON Web Key Set"),
        (
            format!("modes = [\"alb\"]\nalb.signer = \"{ARN}\"\nalb.key_file = {file:?}"),
            "auth.alb.key_file",
        ),
        (
            format!("modes = [\"alb\"]\nalb.signer = \"{ARN}\"\nalb.endpoint = \"ftp://x\""),
            "\"ftp://x\" is no http:// or https:// URL",
        ),
    ] {
        let dir = dir.path().display();
        let config = format!(
            "[listen]\napp = \"127.0.0.1:0\"\napi = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             [instance]\nstate_dir = \"{dir}\"\nruntime_dir = \"{dir}\"\n[auth]\n{auth}\n"
        );
        let (code, said) = Instance::refused(&config);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}
