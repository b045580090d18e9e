//! A map and a set in one sorted vector: small to copy, quick to hash, one spelling per content.

use std::fmt;

/// Keys in order, each with its value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Map<K, V>(Vec<(K, V)>);

/// Keys in order.
pub type Set<K> = Map<K, ()>;

impl<K: Ord + Copy, V> Map<K, V> {
    /// The value of `key`.
    pub fn get(&self, key: K) -> Option<&V> {
        self.find(key).ok().map(|at| &self.0[at].1)
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.find(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether `key` is there.
    pub fn has(&self, key: K) -> bool {
        self.find(key).is_ok()
    }

    /// Sets the value of `key`; answers the one before.
    pub fn set(&mut self, key: K, value: V) -> Option<V> {
        match self.find(key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// The value of `key`, made if there is none.
    pub fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let at = self.find(key).unwrap_or_else(|at| {
            self.0.insert(at, (key, V::default()));
            at
        });
        &mut self.0[at].1
    }

    /// Takes `key` out.
    pub fn take(&mut self, key: K) -> Option<V> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Keeps what `wanted` holds for.
    pub fn retain(&mut self, wanted: impl Fn(K) -> bool) {
        self.0.retain(|(key, _)| wanted(*key));
    }

    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.0.iter().map(|(key, _)| *key)
    }

    /// Every key and value.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> + '_ {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// Keys and values from `first` to `last`, both included.
    pub fn range(&self, first: K, last: K) -> impl Iterator<Item = (K, &V)> + '_ {
        let start = self.0.partition_point(|(key, _)| *key < first);
        self.0[start..].iter().take_while(move |(key, _)| *key <= last).map(|(k, v)| (*k, v))
    }

    /// Every value, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> + '_ {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(&key))
    }
}

impl<K: Ord + Copy> Set<K> {
    /// Adds `key`; whether it is new.
    pub fn add(&mut self, key: K) -> bool {
        self.set(key, ()).is_none()
    }

    /// Takes `key` out; whether it was there.
    pub fn remove(&mut self, key: K) -> bool {
        self.take(key).is_some()
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Copy> FromIterator<K> for Set<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut all: Vec<_> = keys.into_iter().map(|key| (key, ())).collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }
}

impl<K: fmt::Debug, V: fmt::Debug + 'static> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_set = std::any::TypeId::of::<V>() == std::any::TypeId::of::<()>();
        if is_set {
            f.debug_set().entries(self.0.iter().map(|(key, _)| key)).finish()
        } else {
            f.debug_map().entries(self.0.iter().map(|(key, value)| (key, value))).finish()
        }
    }
}
