//! What the steps of a message's way cost: `cargo bench --bench path [FILTER]`.
//!
//! Each alone, and all that happens between a frame in and a frame out but the socket.

use std::{
    collections::VecDeque,
    hint::black_box,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wsfleetd::{
    clock,
    hub::{About, Connection, Delivery, Hub},
    ids::{
        ConnectionId, CurrentEpoch, Epoch, IdSource, MessageId, Origin, UserHasher, UserId,
        request_id,
    },
    protocol::{classic, python_json},
    relay::{
        Envelope, Letter,
        envelope::{Envelopes, FORMAT},
    },
    router::{self, Router},
    session::state::{Action, Classic, Input},
    store::{HoldPolicy, View, memory::MemoryStore},
};

/// A message of 100 bytes, in a frame as the original's clients write it.
const FRAME: &str = concat!(
    r#"{"action":"send", "to":"Sid", "message":"#,
    r#""It was the best of times, it was the worst of times, it was the age of wisdom, it was "}"#
);

/// A message with everything in it that Python prints in another way.
const RICH: &str = r#"{"text":"Gr\u00fc\u00dfe aus Zürich 😀","at":1.50,"n":[1,2,3e2,-0.0],"by":{"id":7,"tags":["a","b"]},"ok":true}"#;

/// Envelopes that travel together under load.
const BATCH: usize = 16;

fn protocol(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("protocol");
    group.throughput(Throughput::Bytes(FRAME.len() as u64));
    group.bench_function("parse and print a text", |b| b.iter(|| classic::parse(black_box(FRAME))));
    let frame = format!(r#"{{"action":"send","to":"Sid","message":{RICH}}}"#);
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("parse and print an object", |b| {
        b.iter(|| classic::parse(black_box(&frame)));
    });
    group.throughput(Throughput::Bytes(RICH.len() as u64));
    group.bench_function("print an object", |b| {
        let mut out = Vec::new();
        b.iter(|| {
            out.clear();
            python_json::reprint(black_box(RICH), &mut out)
        });
    });
    group.finish();
}

fn ids(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ids");
    let (hasher, source) = (UserHasher::new(b"bench"), IdSource::new(Origin::random()));
    let text = source.issue().1.to_string();
    group.bench_function("hash a name", |b| b.iter(|| hasher.hash(black_box("Sid"))));
    group.bench_function("issue a connection's id", |b| b.iter(|| source.issue()));
    group.bench_function("read a connection's id", |b| {
        b.iter(|| ConnectionId::parse(black_box(&text)));
    });
    group.bench_function("print a request's id", |b| b.iter(|| request_id().to_string()));
    group.bench_function("draw a message's id", |b| b.iter(MessageId::random));
    group.finish();
}

fn relay(criterion: &mut Criterion) {
    let letter = Letter {
        user: UserHasher::new(b"bench").hash("Sid"),
        mid: MessageId::random(),
        from: Epoch::random(),
        epochs: vec![Epoch::random()],
        payload: Bytes::from_static(&[b'x'; 100]),
    };
    let envelope = Envelope::Deliver(letter);
    let mut payload = vec![FORMAT];
    (0..BATCH).for_each(|_| envelope.print(&mut payload));
    let payload = Bytes::from(payload);
    let mut group = criterion.benchmark_group("relay");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("print envelopes", |b| {
        let mut out = Vec::new();
        b.iter(|| {
            out.clear();
            (0..BATCH).for_each(|_| black_box(&envelope).print(&mut out));
        });
    });
    group.bench_function("read envelopes", |b| {
        b.iter(|| Envelopes::read(payload.clone()).into_iter().flatten().count());
    });
    group.finish();
}

/// One user among many, and what a session does with its outbox.
struct Desk {
    hub: Hub,
    hasher: UserHasher,
    sid: Arc<Connection>,
    taken: VecDeque<Delivery>,
}

impl Desk {
    fn new() -> Self {
        let (hub, hasher) = (Hub::default(), UserHasher::new(b"bench"));
        let ids = IdSource::new(Origin::random());
        let connect = |user: &str| {
            let (number, id) = ids.issue();
            let about = About {
                user: UserId::parse(user).expect("a name"),
                client: IpAddr::V4(Ipv4Addr::LOCALHOST),
                connected: clock::now(),
            };
            let connection = Connection::new(id, number, hasher.hash(user), about, 256 * 1024);
            let connection = Arc::new(connection);
            hub.insert(connection.clone());
            connection.end_claim();
            connection
        };
        (0..10_000).for_each(|n| drop(connect(&format!("user{n}"))));
        let sid = connect("Sid");
        Self { hub, hasher, sid, taken: VecDeque::new() }
    }

    fn take(&mut self) {
        black_box(self.sid.outbox().attend(Waker::noop(), &mut self.taken));
        self.taken.clear();
    }
}

fn hub(criterion: &mut Criterion) {
    let mut desk = Desk::new();
    let (user, delivery) =
        (desk.hasher.hash("Sid"), Delivery::unnamed(Bytes::from_static(&[b'x'; 100])));
    criterion.bench_function("hub/deliver and take", |b| {
        b.iter(|| {
            black_box(desk.hub.deliver_from_here(user, &delivery));
            desk.take();
        });
    });
}

/// Parse, route, print, deliver, take.
fn whole(criterion: &mut Criterion) {
    let mut desk = Desk::new();
    let policy =
        HoldPolicy { window: None, keeps: false, ttl: Duration::ZERO, entries: 0, bytes: 0 };
    let router = Router::new(
        router::Config { hold: true, max_stored_message: 32 * 1024, directory: None },
        desk.hub.clone(),
        Arc::new(MemoryStore::new(policy)),
        View::default(),
        None,
        desk.hasher.clone(),
        CurrentEpoch::default(),
    );
    let session = Classic::new(desk.sid.id());
    criterion.bench_function("whole/a local message without the sockets", |b| {
        b.iter(|| {
            let Action::Deliver { to, text } = session.on(Input::Text(black_box(FRAME))) else {
                unreachable!("the frame is a send")
            };
            assert!(router.deliver(&to, text).is_none());
            desk.take();
        });
    });
}

criterion_group!(way, protocol, ids, relay, hub, whole);
criterion_main!(way);
