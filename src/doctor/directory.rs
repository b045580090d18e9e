//! The users' file, where there is no database.

use super::finding::Finding;
use crate::{
    config::{Settings, settings::Users},
    users::open_existing,
};

pub async fn examine(settings: &Settings) -> Finding {
    const CHECK: &str = "users";
    let file = &settings.users.file;
    let shown = file.display();
    if !file.exists() && *file == Users::default().file {
        let found = format!("there is no {shown}: nobody can connect yet");
        return Finding::warning(
            CHECK,
            found,
            "add users with `wsfleetd users add`, or set database.url",
        );
    }
    let directory = match open_existing(&settings.database, &settings.users).await {
        Ok(directory) => directory,
        Err(error) => {
            return Finding::error(CHECK, error.to_string(), "correct the file; then reload");
        }
    };
    match directory.list(None, 1).await {
        Ok(some) if some.is_empty() => {
            let found = format!("{shown} has no user: nobody can connect");
            Finding::warning(CHECK, found, "add users with `wsfleetd users add`")
        }
        Ok(_) => Finding::ok(CHECK, format!("{shown} can be read")),
        Err(error) => Finding::error(CHECK, error.to_string(), "correct the file; then reload"),
    }
}
