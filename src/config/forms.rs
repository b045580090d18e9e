//! How values of each type are written: read from what was given, printed, explained.
//!
//! A form knows nothing of keys. Printing is the inverse of reading, so that the shipped file and
//! `check-config --print` can be fed back.

pub mod choice;
pub mod file;
pub mod list;
pub mod number;
pub mod percent;
pub mod span;
pub mod text;

use super::{
    given::{Given, Reading},
    settings::Settings,
};

/// How a `T` is written.
pub trait Form<T>: Sync {
    /// # Errors
    /// Every reason why this is no `T`.
    fn read(&self, given: Given<'_>) -> Reading<T>;
    /// As TOML writes it.
    fn print(&self, value: &T) -> String;
    /// What may be written, read after "write".
    fn accepts(&self) -> String;
}

/// A form tied to the setting it fills, its type hidden so that all keys fit in one table.
pub trait Field: Sync {
    /// # Errors
    /// Every reason why the value is refused; then the setting is left as it was.
    fn set(&self, settings: &mut Settings, given: Given<'_>) -> Reading<()>;
    /// Makes the setting what it is in `from`.
    fn copy(&self, from: &Settings, to: &mut Settings);
    /// The setting as TOML writes it.
    fn print(&self, settings: &Settings) -> String;
    /// What may be written, read after "write".
    fn accepts(&self) -> String;
}

/// The [`Field`] of every key.
pub struct At<T: 'static, F> {
    pub get: fn(&Settings) -> &T,
    pub get_mut: fn(&mut Settings) -> &mut T,
    pub form: F,
}

impl<T: Clone, F: Form<T>> Field for At<T, F> {
    fn set(&self, settings: &mut Settings, given: Given<'_>) -> Reading<()> {
        *(self.get_mut)(settings) = self.form.read(given)?;
        Ok(())
    }

    fn copy(&self, from: &Settings, to: &mut Settings) {
        *(self.get_mut)(to) = (self.get)(from).clone();
    }

    fn print(&self, settings: &Settings) -> String {
        self.form.print((self.get)(settings))
    }

    fn accepts(&self) -> String {
        self.form.accepts()
    }
}
