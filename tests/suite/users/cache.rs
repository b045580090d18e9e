//! What the cache adds, before a directory that counts its questions; time stands still except
//! where a test moves it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{advance, sleep};
use tokio_util::sync::CancellationToken;
use wsfleetd::{
    config::settings::Users,
    ids::UserId,
    users::{
        Cached, Change, Changes, Directory, Edit, Error, FileDirectory, NewUser, Unavailable, User,
    },
};

use super::{is_known, name, new_user};

const SECOND: Duration = Duration::from_secs(1);

/// A list of users that can be cut off and takes 10 ms to answer.
#[derive(Clone, Debug)]
struct Counting(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    users: FileDirectory,
    questions: AtomicU32,
    down: AtomicBool,
}

impl Counting {
    fn with(names: &[&str]) -> Self {
        let users = FileDirectory::with_users(names.iter().map(|text| new_user(text))).unwrap();
        Self(Arc::new(Inner { users, questions: AtomicU32::new(0), down: AtomicBool::new(false) }))
    }

    fn questions(&self) -> u32 {
        self.0.questions.load(Ordering::Relaxed)
    }

    fn cut_off(&self, down: bool) {
        self.0.down.store(down, Ordering::Relaxed);
    }
}

#[async_trait]
impl Directory for Counting {
    async fn find(&self, name: &UserId) -> Result<Option<Arc<User>>, Unavailable> {
        self.0.questions.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(10)).await;
        if self.0.down.load(Ordering::Relaxed) {
            return Err(Unavailable::new("cut off by the test"));
        }
        self.0.users.find(name).await
    }

    async fn add(&self, user: NewUser) -> Result<Arc<User>, Error> {
        self.0.users.add(user).await
    }

    async fn list(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Arc<User>>, Unavailable> {
        self.0.users.list(after, limit).await
    }

    async fn edit(&self, name: &UserId, edit: &Edit) -> Result<Arc<User>, Error> {
        self.0.users.edit(name, edit).await
    }

    async fn remove(&self, name: &UserId) -> Result<(), Error> {
        self.0.users.remove(name).await
    }

    async fn check(&self) -> Result<(), Unavailable> {
        self.0.users.check().await
    }

    fn changes(&self) -> Changes {
        self.0.users.changes()
    }
}

/// 60 s for users, 5 s for strangers, an hour in an outage.
fn cached(counting: &Counting) -> Arc<Cached<Counting>> {
    Arc::new(Cached::new(counting.clone(), &Users::default()))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_at_once_ask_once() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    for (who, known) in [("Sid", true), ("Nobody", false)] {
        let before = counting.questions();
        let asking = (0..1000).map(|_| {
            let cached = Arc::clone(&cached);
            tokio::spawn(async move { is_known(cached.as_ref(), who).await })
        });
        let answers = futures_util::future::join_all(asking.collect::<Vec<_>>()).await;
        assert!(answers.into_iter().all(|answer| answer.unwrap() == known), "{who}");
        assert_eq!(counting.questions() - before, 1, "{who}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_at_once_share_a_failure_too() {
    let counting = Counting::with(&["Sid"]);
    counting.cut_off(true);
    let cached = cached(&counting);
    let sid = name("Sid");
    let answers = futures_util::future::join_all((0..1000).map(|_| cached.find(&sid))).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(counting.questions(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_does_not_stop_the_others() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    let spawn = || {
        let cached = Arc::clone(&cached);
        tokio::spawn(async move { is_known(cached.as_ref(), "Sid").await })
    };
    let (first, second) = (spawn(), spawn());
    sleep(Duration::from_millis(5)).await;
    first.abort();
    assert!(second.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_user_is_asked_for_again_after_the_ttl() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    assert!(is_known(cached.as_ref(), "Sid").await);
    advance(59 * SECOND).await;
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 1);
    advance(2 * SECOND).await;
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_forgotten_sooner() {
    let counting = Counting::with(&[]);
    let cached = cached(&counting);
    assert!(!is_known(cached.as_ref(), "Sid").await);
    counting.add(new_user("Sid")).await.unwrap();
    advance(4 * SECOND).await;
    assert!(!is_known(cached.as_ref(), "Sid").await);
    advance(2 * SECOND).await;
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_invalidated_is_asked_for_again() {
    let counting = Counting::with(&["Sid", "Elon"]);
    let cached = cached(&counting);
    assert!(is_known(cached.as_ref(), "Sid").await && is_known(cached.as_ref(), "Elon").await);
    cached.invalidate(&name("Sid")).await;
    assert!(is_known(cached.as_ref(), "Sid").await && is_known(cached.as_ref(), "Elon").await);
    assert_eq!(counting.questions(), 3);
    cached.reload().await.unwrap();
    assert!(is_known(cached.as_ref(), "Sid").await && is_known(cached.as_ref(), "Elon").await);
    assert_eq!(counting.questions(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_on_its_way_during_a_change_is_not_remembered() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    let asking = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { is_known(cached.as_ref(), "Sid").await }
    });
    sleep(Duration::from_millis(5)).await;
    cached.invalidate(&name("Sid")).await;
    assert!(asking.await.unwrap());
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 2, "what was asked before the change counts for nothing");
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 2, "what was asked after it does");
}

#[tokio::test(start_paused = true)]
async fn what_the_directory_tells_is_forgotten_before_it_is_told() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    let stop = CancellationToken::new();
    tokio::spawn({
        let (cached, stop) = (Arc::clone(&cached), stop.clone());
        async move { cached.watch(&stop).await }
    });
    let sid = name("Sid");
    assert!(!cached.find(&sid).await.unwrap().unwrap().disabled);
    // The list that made them is a change, too.
    assert_eq!(cached.changes().next().await, Change::Users(vec![sid.clone()]));
    counting.0.users.edit(&sid, &Edit::Disabled(true)).await.unwrap();
    assert_eq!(cached.changes().next().await, Change::Users(vec![sid.clone()]));
    assert!(cached.find(&sid).await.unwrap().unwrap().disabled);
    counting.0.users.changes().tell_everything();
    assert_eq!(cached.changes().next().await, Change::Everything);
    let before = counting.questions();
    assert!(cached.find(&sid).await.unwrap().unwrap().disabled);
    assert_eq!(counting.questions() - before, 1);
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn asking_at_the_source_is_remembered() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert!(cached.find_now(&name("Sid")).await.unwrap().is_some());
    assert_eq!(counting.questions(), 2, "though it was known");
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 2);
    counting.cut_off(true);
    assert!(cached.find_now(&name("Sid")).await.is_err(), "no stand-in for the source");
    assert!(is_known(cached.as_ref(), "Sid").await);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_the_known_are_believed_for_an_hour() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert!(!is_known(cached.as_ref(), "Nobody").await);
    counting.cut_off(true);

    advance(Duration::from_secs(61)).await;
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert!(cached.find(&name("Elon")).await.is_err(), "never seen");
    assert!(cached.find(&name("Nobody")).await.is_err(), "may be registered by now");

    advance(Duration::from_secs(3590)).await;
    assert!(is_known(cached.as_ref(), "Sid").await);
    advance(Duration::from_secs(15)).await;
    assert!(cached.find(&name("Sid")).await.is_err(), "believed too long");
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_the_known_do_not_wait_for_it_one_by_one() {
    let names: Vec<String> = (0..50).map(|n| format!("user{n}")).collect();
    let counting = Counting::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let cached = cached(&counting);
    for who in &names {
        assert!(is_known(cached.as_ref(), who).await);
    }
    counting.cut_off(true);
    advance(61 * SECOND).await;
    let before = counting.questions();
    for who in &names {
        assert!(is_known(cached.as_ref(), who).await);
    }
    assert_eq!(counting.questions() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_next_question_is_answered() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    counting.cut_off(true);
    let refused = cached.find(&name("Sid")).await.unwrap_err();
    assert!(refused.to_string().contains("cut off by the test"));
    counting.cut_off(false);
    assert!(is_known(cached.as_ref(), "Sid").await, "the error must not be remembered");
}

#[tokio::test]
async fn the_number_of_answers_is_bounded() {
    let counting = Counting::with(&[]);
    let users = Users { cache_entries: 100, ..Users::default() };
    let cached = Cached::new(counting.clone(), &users);
    let all: Vec<_> = (0..1000).map(|n| name(&format!("stranger{n}"))).collect();
    futures_util::future::join_all(all.iter().map(|who| cached.find(who))).await;
    let before = counting.questions();
    futures_util::future::join_all(all.iter().map(|who| cached.find(who))).await;
    assert!(counting.questions() - before >= 500, "most of 1000 cannot be in 100 places");
}

#[tokio::test(start_paused = true)]
async fn a_reload_during_an_outage_locks_out_nobody_who_is_known() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    assert!(is_known(cached.as_ref(), "Sid").await);
    counting.cut_off(true);
    cached.reload().await.unwrap();
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 2, "but the directory is asked first");
}

#[tokio::test(start_paused = true)]
async fn other_ages_count_from_the_next_look_on() {
    let counting = Counting::with(&["Sid"]);
    let cached = cached(&counting);
    assert!(is_known(cached.as_ref(), "Sid").await);
    advance(10 * SECOND).await;
    cached.follow(&Users { cache_ttl: 5 * SECOND, ..Users::default() });
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 2);
    cached.follow(&Users { cache_ttl: 100 * SECOND, ..Users::default() });
    advance(90 * SECOND).await;
    assert!(is_known(cached.as_ref(), "Sid").await);
    assert_eq!(counting.questions(), 2);
}
