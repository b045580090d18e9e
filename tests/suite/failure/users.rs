//! Instances that share a directory in PostgreSQL.

use secrecy::SecretString;
use wsfleetd::{
    config::settings::Database,
    ids::UserId,
    users::{self, NewUser},
};

use crate::support::{
    client::refusal,
    fleet::{PATIENCE, TestFleet, eventually},
    postgres::Postgres,
};

#[tokio::test]
async fn who_is_known_keeps_connecting_while_postgresql_is_away() {
    let mut postgres = Postgres::start();
    let url = postgres.url();
    let database = Database { url: Some(SecretString::from(url.as_str())), ..Database::default() };
    users::migrate(&database).await.expect("the schema is made");
    let directory = users::open(&database, &Default::default()).await.expect("it opens");
    for user in ["Sunil", "Sid", "Mia"] {
        let user = NewUser::named(UserId::parse(user).expect("a name"));
        directory.add(user).await.expect("it is added");
    }

    let settings = format!("[database]\nurl = \"{url}\"\n");
    let fleet = TestFleet::with_settings(2, &settings).await;
    let (mut sunil, sid) = (fleet.connect(0, "Sunil").await, fleet.connect(1, "Sid").await);
    // The file of the test's other users counts for nothing.
    let answer = refusal(fleet[0].app(), "/Dev", &[("username", "Ann")]).await;
    assert_eq!(answer.status(), 401);

    postgres.stop();
    sid.close().await;
    let mut sid = fleet.connect(1, "Sid").await;
    sunil.send("Sid", r#""still here""#).await;
    sid.expect(r#""still here""#).await;
    let answer = refusal(fleet[1].app(), "/Dev", &[("username", "Mia")]).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));

    postgres.start_again();
    eventually("Mia is let in", PATIENCE, async || {
        crate::support::client::Client::try_connect(fleet[1].app(), "/Dev", "Mia").await.is_ok()
    })
    .await;
}
