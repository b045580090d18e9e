//! Tokens: where they may stand, which are refused, and what decides when there are several
//! credentials.

use std::fs;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use wsfleetd::clock;

use super::{SUNIL, assert_refused, faces, refusals::COLUMNS};
use crate::support::{
    instance::{Instance, USERS},
    raw::ask,
};

/// An instance with these lines of `[auth]`, and the key it has made for itself.
fn start(auth: &str) -> (Instance, Vec<u8>) {
    let users: String = USERS.map(|user| format!("{user},,,,,\n")).concat();
    let instance = Instance::start_with(auth, &format!("{COLUMNS}{users}Eve,,,,,true\n"), "");
    let key = fs::read(instance.dir().join("auth-secret")).expect("the key made at first start");
    (instance, key)
}

fn sign(key: &[u8], claims: &Value) -> String {
    sign_with(Algorithm::HS256, key, claims)
}

fn sign_with(algorithm: Algorithm, key: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key))
        .expect("a token")
}

/// Seconds since 1970, so many from now.
fn after(seconds: i64) -> i64 {
    (clock::micros() / 1_000_000) as i64 + seconds
}

fn token_of(key: &[u8], user: &str) -> String {
    sign(key, &json!({"sub": user, "exp": after(600)}))
}

#[tokio::test]
async fn a_token_may_stand_in_a_header_or_a_subprotocol_and_not_in_the_query() {
    let (instance, key) = start(r#"modes = ["token"]"#);
    let token = token_of(&key, "Sunil");
    let (bearer, odd) = (format!("Bearer {token}"), format!("bEARER  {token}"));
    let (offered, alone) = (format!("fleet.v1, bearer.{token}"), format!("bearer.{token}"));
    for face in faces(&instance) {
        for header in [("Authorization", &bearer), ("Authorization", &odd)] {
            assert_eq!(ask(face, "/ws", &[(header.0, header.1)]).await.status, 101);
        }
        for offered in [&offered, &alone] {
            let answer = ask(face, "/ws", &[("Sec-WebSocket-Protocol", offered)]).await;
            assert_eq!(answer.status, 101, "{answer:?}");
            let chosen = answer.header("sec-websocket-protocol");
            assert!(chosen.is_none_or(|name| !name.starts_with("bearer")), "{answer:?}");
        }
        let path = format!("/ws?token={token}");
        assert_refused(&ask(face, &path, &[]).await, 401, "Unauthorized");
        assert_refused(&ask(face, "/ws", &[SUNIL]).await, 401, "Unauthorized");
        assert_refused(&ask(face, "/ws", &[]).await, 401, "Unauthorized");
    }
}

#[tokio::test]
async fn a_token_in_the_query_counts_where_the_operator_allows_it() {
    let (instance, key) = start("modes = [\"token\"]\ntoken.allow_query = true\n");
    let token = token_of(&key, "Sunil");
    for face in faces(&instance) {
        let answer = ask(face, &format!("/Dev/?x=1&token={token}&y=2"), &[]).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        let answer = ask(face, &format!("/Dev?token={token}x"), &[]).await;
        assert_refused(&answer, 401, "Unauthorized");
    }
    assert!(!instance.log().contains(&token), "a token is in the log");
}

#[tokio::test]
async fn bad_tokens_are_refused_without_a_word_on_why() {
    let (instance, key) = start("modes = [\"token\"]\ntoken.leeway = \"0s\"\n");
    let sunil = |seconds| json!({"sub": "Sunil", "exp": after(seconds)});
    let good = sign(&key, &sunil(600));
    let (head, rest) = good.split_once('.').expect("three parts");
    let (claims, signature) = rest.split_once('.').expect("three parts");
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let bad = [
        sign(&key, &sunil(-5)),
        sign(&key, &json!({"sub": "Sunil", "exp": after(600), "nbf": after(300)})),
        sign(&key, &json!({"sub": "Sunil"})),
        sign(&key, &json!({"exp": after(600)})),
        sign(&key, &json!({"sub": 7, "exp": after(600)})),
        sign(b"a key of at least 32 bytes, but another one", &sunil(600)),
        sign_with(Algorithm::HS384, &key, &sunil(600)),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{head}.{claims}"),
        good.replace('.', ""),
        "x".into(),
        String::new(),
    ];
    for token in bad {
        let bearer = format!("Bearer {token}");
        let answer = ask(instance.app(), "/ws", &[("Authorization", &bearer)]).await;
        assert_refused(&answer, 401, "Unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{token}");
    }
    for (user, status, message) in
        [("Nobody", 401, "Cannot identify user."), ("Eve", 403, "Forbidden")]
    {
        let bearer = format!("Bearer {}", token_of(&key, user));
        let answer = ask(instance.app(), "/ws", &[("Authorization", &bearer)]).await;
        assert_refused(&answer, status, message);
    }
}

#[tokio::test]
async fn the_first_mode_whose_credential_is_there_decides_alone() {
    let (instance, key) = start(r#"modes = ["token", "header"]"#);
    let (good, bad) = (format!("Bearer {}", token_of(&key, "Sid")), "Bearer forged".to_owned());
    let face = instance.app();
    assert_eq!(ask(face, "/ws", &[SUNIL]).await.status, 101, "no token: the header decides");
    let answer = ask(face, "/ws", &[("Authorization", &bad), SUNIL]).await;
    assert_refused(&answer, 401, "Unauthorized");
    let both = [("Authorization", good.as_str()), ("username", "Nobody")];
    assert_eq!(ask(face, "/ws", &both).await.status, 101, "the token decides");

    let (instance, key) = start(r#"modes = ["header", "token"]"#);
    let good = format!("Bearer {}", token_of(&key, "Sid"));
    let both = [("Authorization", good.as_str()), ("username", "Nobody")];
    let answer = ask(instance.app(), "/ws", &both).await;
    assert_refused(&answer, 401, "Cannot identify user.");
}

#[tokio::test]
async fn a_token_holds_a_moment_longer_than_its_time_where_clocks_differ() {
    let (instance, key) = start("modes = [\"token\"]\ntoken.leeway = \"10m\"\n");
    let bearer = format!("Bearer {}", sign(&key, &json!({"sub": "Sid", "exp": after(-60)})));
    assert_eq!(ask(instance.app(), "/ws", &[("Authorization", &bearer)]).await.status, 101);
}

#[test]
fn a_key_that_can_be_guessed_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (key, users) = (dir.path().join("key"), dir.path().join("users.csv"));
    fs::write(&key, "only thirty-one bytes, not more\n").expect("write the key");
    fs::write(&users, COLUMNS).expect("write users.csv");
    let (path, users) = (key.display(), users.display());
    let listen = "[listen]\napp = \"127.0.0.1:0\"\napi = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"";
    let auth = format!("[auth]\ntoken.key_file = \"{path}\"\n");
    let (code, said) = Instance::refused(&format!("{listen}\n{auth}[users]\nfile = \"{users}\"\n"));
    assert_eq!(code, Some(78), "{said}");
    for words in ["31 bytes", "32", "auth.token.key_file", &path.to_string()] {
        assert!(said.contains(words), "says {words:?}: {said}");
    }
    assert!(!said.contains("thirty-one"), "the key is in the log: {said}");
}
