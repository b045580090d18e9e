//! Everything the fleet keeps in Redis about who is where, in one atomic look.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::timeout;

/// A look that takes longer has got no answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads every key of ownership; values as Redis has them.
const LOOK: &str = "
local function pairs_of(key)
  local flat, out = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do out[#out + 1] = { flat[i], flat[i + 1] } end
  return out
end
local all = {}
for _, key in ipairs(redis.call('KEYS', 'wsfleetd:*')) do
  if string.match(key, '}:[uo]:') or string.match(key, '{m}:') then
    all[#all + 1] = { key, pairs_of(key) }
  elseif string.match(key, '}:q:') then
    local heads = {}
    for _, entry in ipairs(redis.call('LRANGE', key, 0, -1)) do
      heads[#heads + 1] = { string.match(entry, '^%d+'), string.match(entry, '^%d+ %d+ (%S+)') }
    end
    all[#all + 1] = { key, heads }
  end
end
return cjson.encode(all)";

/// One entry of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The slot it stands in.
    pub partition: String,
    /// Whose it is, hashed.
    pub user: String,
    /// The connection's id.
    pub device: String,
    /// The epoch that owns it.
    pub epoch: String,
}

/// One look.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every connection's entry.
    pub entries: BTreeSet<Entry>,
    /// Epoch and user, as the indices list them.
    pub index: BTreeSet<(String, String)>,
    /// Partition and epoch of each tombstone.
    pub tombstones: HashSet<(String, String)>,
    /// Of each mailbox the seq and the id of every message, oldest first.
    pub mailboxes: HashMap<String, Vec<(u64, String)>>,
    /// The members.
    pub members: HashSet<String>,
    /// Origin → epoch.
    pub origins: HashMap<String, String>,
    /// Epoch → origin, of the members.
    pub processes: BTreeMap<String, String>,
}

impl Snapshot {
    /// Looks; `None` when Redis does not answer.
    pub async fn take(connection: &mut redis::aio::MultiplexedConnection) -> Option<Self> {
        let mut look = redis::cmd("EVAL");
        look.arg(LOOK).arg(0);
        let text: String = timeout(PATIENCE, look.query_async(connection)).await.ok()?.ok()?;
        let mut snapshot = Self::default();
        for pair in list(&serde_json::from_str(&text).ok()?) {
            snapshot.read(pair[0].as_str()?, list(&pair[1]));
        }
        Some(snapshot)
    }

    /// Dials.
    pub async fn dial(port: u16) -> Option<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/0")).ok()?;
        timeout(PATIENCE, client.get_multiplexed_async_connection()).await.ok()?.ok()
    }

    fn read(&mut self, key: &str, fields: &[Value]) {
        let (Some(partition), Some((_, name))) = (key.split(':').nth(1), key.split_once("}:"))
        else {
            return;
        };
        for field in fields {
            let (name_of, value) = (text(&field[0]), text(&field[1]));
            match name.split_once(':') {
                Some(("u", user)) => drop(self.entries.insert(Entry {
                    partition: partition.to_owned(),
                    user: user.to_owned(),
                    device: name_of,
                    epoch: value.get(1..12).unwrap_or_default().to_owned(),
                })),
                Some(("o", epoch)) if name_of == "!" => {
                    self.tombstones.insert((partition.to_owned(), epoch.to_owned()));
                }
                Some(("o", epoch)) => drop(self.index.insert((epoch.to_owned(), name_of))),
                Some(("q", user)) => {
                    let message = (name_of.parse().unwrap_or(0), value);
                    self.mailboxes.entry(user.to_owned()).or_default().push(message);
                }
                _ if name == "hb" => drop(self.members.insert(name_of)),
                _ if name == "origin" => drop(self.origins.insert(name_of, value)),
                _ if name == "inf" => {
                    let info: Value = serde_json::from_str(&value).unwrap_or_default();
                    let origin = info["origin"].as_str().unwrap_or_default().to_owned();
                    self.processes.insert(name_of, origin);
                }
                _ => {}
            }
        }
    }
}

/// Lua's cjson spells an empty table as an object.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
