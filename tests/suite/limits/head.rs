//! What a request's head may be: its lines, their number, their length.

use crate::{
    handshake::{SUNIL, faces},
    support::{
        instance::Instance,
        raw::{Raw, ask, ask_with, handshake},
    },
};

#[tokio::test]
async fn a_head_within_its_bounds_is_read_and_one_beyond_is_told_so() {
    let instance = Instance::start("");
    for face in faces(&instance) {
        let many = |count: usize| "X-More: 1\r\n".repeat(count) + "\r\n";
        let with = |more: &str| handshake("/Dev", &[SUNIL]).replacen("\r\n\r\n", more, 1);
        // Six stand in it already, as many as 64 in all.
        assert_eq!(ask_with(face, &with(&format!("\r\n{}", many(58)))).await.status, 101);
        assert_eq!(ask_with(face, &with(&format!("\r\n{}", many(59)))).await.status, 431);
        let long = |length: usize| format!("/Dev?{}", "x".repeat(length));
        assert_eq!(ask(face, &long(8 * 1024), &[SUNIL]).await.status, 101);
        // Sent to the last byte that is read: what is left unread would reset the connection.
        let mut client = Raw::open(face).await;
        let start = format!("GET {}", long(17 * 1024));
        client.write(&start.as_bytes()[..16 * 1024]).await;
        assert_eq!(client.answer().await.status, 431, "a first line that does not end");
        let mut client = Raw::open(face).await;
        let start = format!("GET / HTTP/1.1\r\nX-Long: {}", "x".repeat(17 * 1024));
        client.write(&start.as_bytes()[..16 * 1024]).await;
        assert_eq!(client.answer().await.status, 431, "a header that does not end");
    }
    for face in faces(&instance) {
        for garbage in ["\r\n\r\n\r\n \r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\x02\x00\x01\r\n\r\n"]
        {
            let mut client = Raw::open(face).await;
            client.try_write(garbage.as_bytes()).await;
            assert_eq!(client.answer().await.status, 400, "{garbage:?}");
        }
    }
    let mut sunil = instance.connect("Sunil").await;
    sunil.send("Sunil", "1").await;
    sunil.expect("1").await;
}
